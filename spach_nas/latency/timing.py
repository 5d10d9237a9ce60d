"""Times of forward passes on this device: warmed up, one runtime at a time, by torch's own timer.

Source of the rules: torch.utils.benchmark (blocks of passes, the thread count set and put back,
accelerators waited for, garbage collection off).
"""

import contextlib
import importlib
import importlib.metadata
import io
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spach_nas.config.search_settings import Format, RuntimeName
from spach_nas.config.training_settings import Device
from spach_nas.errors import LatencyError, one_line
from spach_nas.latency.table import Conditions, Timing
from spach_nas.training import choose_runtime, format_warning, threads

if TYPE_CHECKING:
    from torch.utils.benchmark import Timer

# What one time of a part or a network takes at least, warm-up not counted.
SECONDS = 0.1
_FEWEST_RUNS = 5
# Load for each core from which on other work is likely to disturb.
_BUSY = 0.5
_OPSET = 20


def conditions(
    *,
    runtime: RuntimeName = "eager",
    device: Device = "auto",
    batch_size: int = 1,
    threads: int = 1,
    precision: Format = "fp32",
) -> Conditions:
    """What measuring here with these settings means.

    Raises:
        ConfigError: This machine has no such device.
        LatencyError: The runtime is not installed, or cannot do this.
    """
    kind = choose_runtime(device=device, precision="fp32").device.type
    versions = {"torch": str(torch.__version__)}
    if runtime == "onnx":
        versions |= _onnx_versions(kind, precision)
    return Conditions(
        machine=_machine(kind),
        device=kind,
        runtime=runtime,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
        versions=versions,
    )


def time_module(
    module: nn.Module,
    example: Tensor,
    where: Conditions,
    *,
    seconds: float = SECONDS,
) -> Timing:
    """Time forward passes of a module.

    Args:
        module: Takes one tensor.
        example: The tensor, on the CPU.
        where: Device, runtime, threads and format.
        seconds: What the timed passes take together at least.

    Raises:
        LatencyError: The runtime does not take the module.
    """
    dtype = torch.bfloat16 if where.precision == "bf16" else torch.float32
    module = module.eval().requires_grad_(False).to(where.device, dtype)
    # As it is trained and served: (B, H, W, C) features are channels-last to a convolution.
    module = module.to(memory_format=torch.channels_last)
    example = example.to(where.device, dtype)
    with threads(where.threads), torch.inference_mode():
        run = _prepare(module, example, where)
        return time_calls(run, where, seconds=seconds)


def time_calls(run: Callable[[], object], where: Conditions, *, seconds: float) -> Timing:
    """Time something that runs on the device: once to warm up, then in blocks."""
    wait = _waiting(where.device)
    # What one thread computes takes as long by its own clock as by the wall's, without what other
    # processes, and other threads of this one, take from it meanwhile.
    clock = time.thread_time if where.by_processor else time.perf_counter

    def waited() -> float:
        wait()
        return clock()

    run()
    started = waited()
    run()
    once = waited() - started
    timer = _timer_class()("run()", globals={"run": run}, num_threads=where.threads, timer=waited)
    measured = timer.blocked_autorange(min_run_time=max(seconds, _FEWEST_RUNS * once))
    return summarise([1e9 * each for each in measured.times])


def summarise(times: list[float]) -> Timing:
    """Median and quartiles: an outlier, such as a process that got in between, moves neither."""
    low, median, high = (
        statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    )
    return Timing(median=median, low=low, high=high, runs=len(times))


def _timer_class() -> "type[Timer]":
    # Its import tells of a missing CUDA runtime, which is nobody's concern here.
    logger = logging.getLogger("torch.utils.cpp_extension")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return importlib.import_module("torch.utils.benchmark").Timer  # type: ignore[no-any-return]
    finally:
        logger.setLevel(before)


def cautions(where: Conditions) -> tuple[str, ...]:
    """What to know before times are taken: other work on the machine, a format it only emulates."""
    slow = format_warning(where.precision, device="cpu") if where.device == "cpu" else None
    return tuple(filter(None, (busy(), slow)))


def busy() -> str | None:
    """A warning where other work would be in the times; None on an idle machine."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = os.cpu_count() or 1
    if load < _BUSY * cores:
        return None
    return f"other work runs on this machine (load {load:.1f} on {cores} cores): times are too long"


def _prepare(module: nn.Module, example: Tensor, where: Conditions) -> Callable[[], object]:
    if where.runtime == "eager":
        return lambda: module(example)
    if where.runtime == "compile":
        return _compiled(module, example)
    return _onnx_session(module, example, where)


def _compiled(module: nn.Module, example: Tensor) -> Callable[[], object]:
    # A class of module that was compiled for many shapes falls back to eager without a word.
    torch.compiler.reset()
    compiled = torch.compile(module)
    try:
        compiled(example)
    except Exception as problem:  # no C++ compiler, no Triton, a mixer that it does not take
        raise LatencyError(f"compile: {one_line(problem, named=True, first=True)}") from None
    return lambda: compiled(example)


def _onnx_session(module: nn.Module, example: Tensor, where: Conditions) -> Callable[[], object]:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = where.threads, 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            _onnx_bytes(module, example), options, providers=["CPUExecutionProvider"]
        )
    except Exception as problem:
        raise LatencyError(f"onnx: {one_line(problem, named=True, first=True)}") from None
    feed = {session.get_inputs()[0].name: example.numpy()}
    return lambda: session.run(None, feed)


def _onnx_bytes(module: nn.Module, example: Tensor) -> bytes:
    with (
        TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")  # the exporter warns of its own parts
        program = torch.onnx.export(
            module, (example,), dynamo=True, opset_version=_OPSET, verbose=False
        )
        assert program is not None
        path = Path(folder) / "module.onnx"
        program.save(path)
        return path.read_bytes()


def _onnx_versions(device: str, precision: Format) -> dict[str, str]:
    if device != "cpu":
        raise LatencyError(f"onnx: is measured on the CPU alone, not on {device}")
    if precision != "fp32":
        raise LatencyError(f"onnx: is measured in fp32 alone, not in {precision}")
    found = {}
    for name in ("onnxruntime", "onnxscript"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise LatencyError(f"onnx: {name} is missing; pip install {name}") from None
    del found["onnxscript"]  # it writes the file, and does not run it
    return found


def _waiting(device: str) -> Callable[[], None]:
    if device == "cuda":
        return torch.cuda.synchronize
    return torch.mps.synchronize if device == "mps" else lambda: None


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name" and name.strip():
                return name.strip()
    return platform.processor() or platform.machine()
