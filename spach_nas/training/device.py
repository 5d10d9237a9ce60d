"""Where and in which number format a network runs: what a device computes in, and how fast.

A processor without units for bfloat16 takes it all the same, and emulates: on one with AVX2 alone a
batched product in bfloat16 was seen to reach 1.5 GFLOP/s a core where float32 reaches 41. So on a
CPU nothing uses it unless it is asked for by name, and a warning says what it costs.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from spach_nas.config.training_settings import Device, Precision
from spach_nas.errors import ConfigError

# The kind of product that small networks and Muon spend their time in; 34 million operations.
_SHAPE = (8, 128, 128)
_RUNS = 5
# A gain within the noise of timing is not worth the lost digits.
_LEAST_GAIN = 1.1


Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """A device with its number format.

    Attributes:
        device: Of weights and activations.
        bf16: Whether matrix products run in bfloat16, by autocast.
    """

    device: torch.device
    bf16: bool


def choose_runtime(*, device: Device = "auto", precision: Precision = "auto") -> Runtime:
    """The device and format that the settings mean on this machine.

    A fixed rule and not `faster_precision`: a search compares scores, so all its candidates need
    the same format, and a reproducible score must not depend on a measured time.

    Raises:
        ConfigError: This machine has no such device.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    name = ("cuda" if available["cuda"] else "cpu") if device == "auto" else device
    if not available[name]:
        there = [other for other, found in available.items() if found]
        raise ConfigError(f"device: {name}; this machine has {' and '.join(there)} for torch")
    if precision == "auto":
        # Of CPUs only some have bf16 units: 0.9 to 3.2 times the speed there, far less elsewhere.
        bf16 = name == "cuda" and computes_in_bf16(torch.device(name))
    else:
        bf16 = precision == "bf16"
    return Runtime(device=torch.device(name), bf16=bf16)


def gpu_count() -> int:
    """GPUs of this machine that torch and Ray both know."""
    return max(torch.cuda.device_count(), torch.xpu.device_count())


@contextmanager
def autocast(runtime: Runtime) -> Iterator[None]:
    """Run matrix products in the format of the runtime."""
    with torch.autocast(runtime.device.type, dtype=torch.bfloat16, enabled=runtime.bf16):
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Use `count` threads of the host, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def move(network: Network, runtime: Runtime) -> Network:
    """`network` on the device, with convolutions channels-last: a view of (B, H, W, C) to them."""
    moved: Network = network.to(runtime.device).to(memory_format=torch.channels_last)
    return moved


def fits(tensor: Tensor, runtime: Runtime) -> bool:
    """Whether a whole set may stay on the device, with room left to train in."""
    if runtime.device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(runtime.device)
    return tensor.nbytes < 0.4 * free


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductRates:
    """How fast one core multiplies matrices, in GFLOP/s; higher is better.

    Attributes:
        fp32: In float32.
        bf16: In bfloat16.
        fp16: In float16.
    """

    fp32: float
    bf16: float
    fp16: float

    @property
    def bf16_gain(self) -> float:
        """Rate of bfloat16 over that of float32; less than 1 where it is only emulated."""
        return self.bf16 / self.fp32


@cache
def cpu_rates() -> ProductRates:
    """Measured once a process on one thread, in about 0.3 s on a processor that emulates."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return ProductRates(
            fp32=_rate(torch.float32), bf16=_rate(torch.bfloat16), fp16=_rate(torch.float16)
        )
    finally:
        torch.set_num_threads(threads)


def _rate(dtype: torch.dtype) -> float:
    matrices = torch.linspace(-1, 1, _SHAPE[0] * _SHAPE[1] * _SHAPE[2]).reshape(_SHAPE).to(dtype)
    with torch.inference_mode():
        product_seconds(matrices)  # sets up kernels
        seconds = statistics.median(product_seconds(matrices) for _ in range(_RUNS))
    return 2 * _SHAPE[0] * _SHAPE[1] ** 3 / seconds / 1e9


def product_seconds(matrices: Tensor) -> float:
    """Duration of one batched product of matrices, (B, N, N), with themselves."""
    started = time.perf_counter()
    torch.bmm(matrices, matrices)
    return time.perf_counter() - started


def computes_in_bf16(device: torch.device) -> bool:
    """Whether products in bfloat16 are at least as fast as in float32; measured on a CPU."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_rates().bf16_gain >= 1


def orthogonalisation_format(device: torch.device) -> torch.dtype:
    """Format of Muon's products: bfloat16 on a GPU that computes in it, float32 elsewhere.

    A fixed rule on a CPU, and nothing measured: a search repeats itself on every processor.
    """
    if device.type == "cuda" and computes_in_bf16(device):
        return torch.bfloat16
    return torch.float32


def format_warning(precision: Precision, *, device: Device) -> str | None:
    """What asking for `precision` costs on this machine; None where it costs nothing.

    Args:
        precision: As a YAML or a flag names it.
        device: Where it would be used.
    """
    on_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if precision != "bf16" or not on_cpu or computes_in_bf16(torch.device("cpu")):
        return None
    rates = cpu_rates()
    return (
        f"precision: bf16; this processor emulates it, at {rates.bf16_gain:.2f} times the speed of "
        f"fp32 ({rates.bf16:.1f} against {rates.fp32:.0f} GFLOP/s a core); expected auto or fp32"
    )


# Seconds of one forward and backward pass.
StepTimer = Callable[[nn.Module, Tensor, Runtime], float]


def faster_precision(
    network: nn.Module, images: Tensor, *, rounds: int = 3, timer: StepTimer | None = None
) -> Literal["fp32", "bf16"]:
    """`bf16` where a training step with bfloat16 autocast is at least 1.1 times as fast.

    For trainings that stand alone. A search must not ask it: near the break-even point the answer
    may change from run to run, so that candidates would be trained by different protocols and a
    score would not repeat itself.

    Takes the time of `rounds + 1` steps in either format, with torch's current number of threads;
    none where the device only emulates bfloat16, since a single step of a large network would take
    minutes there.
    The network, its gradients and torch's random state are left as they are.

    Args:
        network: (B, C, H, W) -> (B, K), on the device of the images.
        images: A batch as in the training, (B, C, H, W).
        rounds: Timed steps in either format, in turn; their medians are compared.
        timer: Seconds of a step; None measures them.
    """
    device = images.device
    if timer is None and not computes_in_bf16(device):
        return "fp32"
    timer = seconds_of_step if timer is None else timer
    twin = copy.deepcopy(network).train()
    runtimes = [Runtime(device=device, bf16=bf16) for bf16 in (False, True)]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # The first step of each sets up kernels and memory.
        first, *timed = [[timer(twin, images, r) for r in runtimes] for _ in range(rounds + 1)]
    assert len(first) == 2
    fp32, bf16 = (statistics.median(seconds) for seconds in zip(*timed, strict=True))
    return "bf16" if fp32 >= _LEAST_GAIN * bf16 else "fp32"


def seconds_of_step(network: nn.Module, images: Tensor, runtime: Runtime) -> float:
    """Seconds of one forward and backward pass, waiting for the device before and after."""
    _wait(runtime.device)
    started = time.perf_counter()
    with autocast(runtime):
        logits = network(images)
    logits.float().square().mean().backward()
    _wait(runtime.device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
