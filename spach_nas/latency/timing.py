"""Times networks and parts of networks on this device, one runtime at a time, by torch's timer.

The rules are those of torch.utils.benchmark: passes in blocks, the number of threads set and
restored, accelerators synchronised, garbage collection off.
"""

import contextlib
import copy
import importlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from spach_nas.config.runtime_registry import RUNTIMES, USUAL, Format, RuntimeSpec
from spach_nas.config.training_settings import Device
from spach_nas.errors import LatencyError, one_line
from spach_nas.latency.latency_table import Conditions, Timing
from spach_nas.latency.parts import BlockPart, DownsamplePart, HeadPart, Part, StemPart
from spach_nas.latency.request import check_known
from spach_nas.networks.block import NORM_EPS, Block, Downsample, build_stem
from spach_nas.networks.onnx_graph import quiet
from spach_nas.networks.timm_networks import build_any, named_timm
from spach_nas.registry import import_named
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.read_architecture import Source, as_architecture
from spach_nas.space.timm_reference import TimmModel, is_timm
from spach_nas.training import choose_runtime, format_warning, threads

# Minimum duration of all timed passes together, without warm-up: of a part or a network for a
# table, and of a network that a user asks about.
SECONDS, _WHOLE_SECONDS = 0.1, 2.0
_FEWEST_RUNS = 5
# Load per core from which on other work is likely to disturb measurements.
_BUSY = 0.5


def conditions(
    *,
    runtime: str = "eager",
    device: Device = "auto",
    batch_size: int = 1,
    threads: int = 1,
    precision: Format = "fp32",
) -> Conditions:
    """The conditions of a measurement on this machine with these settings.

    Raises:
        ConfigError: This machine has no such device.
        LatencyError: The runtime is not installed, or does not support the settings.
    """
    kind = choose_runtime(device=device, precision="fp32").device.type
    spec = RUNTIMES.find(runtime)
    spec.check(kind, precision)
    return Conditions(
        machine=_machine(kind),
        device=kind,
        runtime=runtime,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
        versions=_versions(spec),
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
        where: Device, runtime, threads and number format.
        seconds: Minimum duration of all timed passes together.

    Raises:
        LatencyError: The runtime does not support the module.
    """
    module = module.eval().requires_grad_(False)
    with threads(where.threads), torch.inference_mode():
        run = _prepare(module, example, where)
        return time_calls(run, where, seconds=seconds)


def time_calls(run: Callable[[], object], where: Conditions, *, seconds: float) -> Timing:
    """Time a function that runs on the device: once to warm up, then in blocks."""
    with quiet():  # on import it logs that a CUDA runtime is missing
        from torch.utils.benchmark import Timer
    wait: Callable[[], object] = torch.accelerator.synchronize
    if where.device == "cpu":
        wait = lambda: None  # noqa: E731
    # On an idle machine the clock of a single computing thread agrees with the wall clock. On a
    # busy one, it excludes the time that other processes and threads take.
    clock = time.thread_time if where.by_processor else time.perf_counter

    def waited() -> float:
        wait()
        return clock()

    run()
    started = waited()
    run()
    once = waited() - started
    timer = Timer("run()", globals={"run": run}, num_threads=where.threads, timer=waited)
    measured = timer.blocked_autorange(min_run_time=max(seconds, _FEWEST_RUNS * once))
    return summarise([1e9 * each for each in measured.times])


def summarise(times: list[float]) -> Timing:
    """Median and quartiles, which an outlier, such as an interruption, does not move."""
    low, median, high = np.percentile(times, (25, 50, 75)).tolist()
    return Timing(median=median, low=low, high=high, runs=len(times))


def cautions(where: Conditions) -> tuple[str, ...]:
    """Warnings before a measurement: other work on the machine, a format it only emulates."""
    emulated = where.device == "cpu" and where.precision == "bf16"
    slow = format_warning("bf16", device="cpu") if emulated else None
    return tuple(filter(None, (busy(), slow)))


def busy() -> str | None:
    """A warning if other work will distort the times; None on an idle machine."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = os.cpu_count() or 1
    if load < _BUSY * cores:
        return None
    return f"this machine is busy (load {load:.1f} on {cores} cores): times will be too long"


def _prepare(module: nn.Module, example: Tensor, where: Conditions) -> Callable[[], object]:
    spec = RUNTIMES.find(where.runtime)
    factory = import_named(spec.factory, what=f"runtime {spec.name!r}", error=LatencyError)
    try:
        run: Callable[[], object] = factory(module, example, where)
    # No C++ compiler, an operator that is not known, a library that does not load: anything.
    except Exception as problem:
        ours = isinstance(problem, LatencyError)
        words = one_line(problem, named=not ours, first=True)
        raise LatencyError(f"{spec.name}: {words}") from None
    return run


def _versions(spec: RuntimeSpec) -> dict[str, str]:
    found = {"torch": str(torch.__version__)}
    for name in spec.modules[:1]:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # as of onnxruntime-gpu
            found[name] = str(getattr(importlib.import_module(name), "__version__", "unknown"))
    return found


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name" and name.strip():
                return name.strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The result for one runtime and batch size.

    Attributes:
        runtime: Name of the runtime.
        batch_size: Images in a forward pass.
        where: The conditions; None if this machine cannot meet them.
        timing: Time of a whole batch; None if it was not measured.
        missing: Why it was not measured.
    """

    runtime: str
    batch_size: int
    where: Conditions | None = None
    timing: Timing | None = None
    missing: str | None = None

    @property
    def images_per_second(self) -> float | None:
        """Throughput at the median time; higher is better."""
        return None if self.timing is None else 1e9 * self.batch_size / self.timing.median


def time_network(
    architecture: Architecture | TimmModel, where: Conditions, *, seconds: float = SECONDS
) -> Timing:
    """Time of a whole network with random weights on this device.

    Args:
        architecture: The network to time.
        where: Conditions, which this device must meet.
        seconds: Minimum duration of all timed passes together.

    Raises:
        LatencyError: The runtime does not support the network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        image = torch.randn(where.batch_size, architecture.in_channels, *architecture.image_size)
        network = build_any(architecture)
    return time_module(network, image, where, seconds=seconds)


def measure_network(
    architecture: Architecture | TimmModel,
    *,
    batch_sizes: Sequence[int] = (1,),
    runtimes: Sequence[str] = USUAL,
    device: Device = "auto",
    threads: int = 1,
    precision: Format = "fp32",
    seconds: float = _WHOLE_SECONDS,
) -> Iterator[Measured]:
    """Time a network on this device, one runtime and batch size after another.

    Args:
        architecture: The network to time. Its weights are random, which does not matter.
        batch_sizes: Images in a forward pass.
        runtimes: The runtimes. If one is not available, its result says why.
        device: The device to measure on.
        threads: Threads of the CPU.
        precision: Number format of weights and features.
        seconds: Minimum duration of all timed passes of each together.

    Raises:
        ConfigError: This machine has no such device.
    """
    for runtime in runtimes:
        for batch_size in batch_sizes:
            where = None
            try:
                where = conditions(
                    runtime=runtime,
                    device=device,
                    batch_size=batch_size,
                    threads=threads,
                    precision=precision,
                )
                timing = time_network(architecture, where, seconds=seconds)
            except LatencyError as problem:
                yield Measured(
                    runtime=runtime, batch_size=batch_size, where=where, missing=str(problem)
                )
                break  # other batch sizes would fail in the same way
            yield Measured(runtime=runtime, batch_size=batch_size, where=where, timing=timing)


def latency(
    source: Source,
    *,
    batch_size: int = 1,
    runtime: str = "eager",
    device: Device = "auto",
    threads: int = 1,
    precision: Format = "fp32",
    seconds: float = _WHOLE_SECONDS,
) -> Timing:
    """Time of a whole network with random weights on this device.

    Args:
        source: An architecture, a record (its target), the name of a paper's model, an architecture
            file, a bundle, or a model of timm as `timm/NAME`.
        batch_size: Images in a forward pass.
        runtime: `eager`, `compile`, `onnx`, `openvino`, `tensorrt`, or one that is registered.
        device: `cpu`, `cuda`, `mps`, or `auto`, the fastest of them.
        threads: Threads of the CPU.
        precision: Number format of weights and features: `fp32`, `bf16`, `fp16` or `int8`.
        seconds: Minimum duration of all timed passes together.

    Returns:
        Median and quartiles of the time of a whole batch; lower is better.

    Raises:
        ArchitectureError: The source is not a network.
        LatencyError: An argument has none of these values, or the runtime is not installed.
        ConfigError: This machine has no such device.
    """
    check_known("runtime", runtime, RUNTIMES.names())
    check_known("device", device, get_args(Device))
    check_known("precision", precision, get_args(Format))
    for name, number in (("batch_size", batch_size), ("threads", threads)):
        if not isinstance(number, int) or number < 1:
            raise LatencyError(f"{name}: {number!r}; expected a whole number from 1")
    architecture: Architecture | TimmModel
    architecture = named_timm(str(source)) if is_timm(source) else as_architecture(source)
    where = conditions(
        runtime=runtime,
        device=device,
        batch_size=batch_size,
        threads=threads,
        precision=precision,
    )
    return time_network(architecture, where, seconds=seconds)


def time_part(part: Part, where: Conditions) -> Timing:
    """Time of one part on this device.

    Raises:
        LatencyError: The runtime does not support it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, example, number = part_module(part, batch_size=where.batch_size)
    whole = time_module(module, example, where)
    return Timing(
        median=whole.median / number,
        low=whole.low / number,
        high=whole.high / number,
        runs=whole.runs,
    )


# Blocks are timed in chains, each with its own weights, as they follow each other in a network:
# repeated alone, a block would find its weights warm in the caches.
CHAIN = 4


class _Chain(nn.Module):
    """Equal blocks in sequence, (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, part: BlockPart, length: int) -> None:
        super().__init__()
        block = Block(
            part.mixer, part.site, expansion_ratio=part.expansion_ratio, shared=False, drop_path=0.0
        )
        # Copied, because drawing new random weights would take longer than timing the block.
        self.blocks = nn.ModuleList([block, *(copy.deepcopy(block) for _ in range(length - 1))])
        self.shared = part.shared

    def forward(self, x: Tensor) -> Tensor:
        """Run all of them, (B, H, W, C) -> (B, H, W, C)."""
        for block in self.blocks:
            x = block(x, self.blocks[0].mixer if self.shared else None)
        return x


class _Head(nn.Module):
    """Norm, mean over positions and linear head, (B, H, W, C) -> (B, K)."""

    def __init__(self, part: HeadPart) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(part.width, eps=NORM_EPS)
        self.head = nn.Linear(part.width, part.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify, (B, H, W, C) -> (B, K)."""
        logits: Tensor = self.head(self.norm(x).mean((1, 2)))
        return logits


def part_module(
    part: Part, *, batch_size: int, chain: int = CHAIN
) -> tuple[nn.Module, Tensor, int]:
    """A module to time, an input for it, and how many times it contains the part."""
    if isinstance(part, BlockPart):
        return _Chain(part, chain), torch.randn(batch_size, *part.resolution, part.width), chain
    if isinstance(part, StemPart):
        image = torch.randn(batch_size, part.in_channels, *part.image_size)
        norm = nn.LayerNorm(part.width, eps=NORM_EPS)
        return nn.Sequential(build_stem(_smallest(part)), norm), image, 1
    if isinstance(part, DownsamplePart):
        height, width = part.resolution
        features = torch.randn(batch_size, 2 * height, 2 * width, part.before)
        return Downsample(part.before, part.after), features, 1
    return _Head(part), torch.randn(batch_size, *part.resolution, part.width), 1


def _smallest(part: StemPart) -> Architecture:
    """A minimal architecture with this stem."""
    stage = Stage(mixers=("conv",), width=part.width, heads=1, expansion_ratio=1.0)
    return Architecture(
        stem=part.stem,  # type: ignore[arg-type]
        stem_width=part.stem_width,
        patch_size=part.patch_size,
        stages=(stage,),
        image_size=part.image_size,
        in_channels=part.in_channels,
        num_classes=1,
    )
