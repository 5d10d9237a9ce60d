"""The device and number format in which a network runs.

A processor without units for bfloat16 emulates it: with AVX2 alone, a batched product in bfloat16
reached 1.5 GFLOP/s per core where float32 reaches 41. So bfloat16 is used on a CPU only if it is
asked for by name, and a warning says what it costs.
"""

import gc
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor, nn

from spach_nas.config.training_settings import Device, Precision
from spach_nas.errors import ConfigError

# A process that has seen one cannot use its device again. Older releases of torch do not tell it
# from other errors.
LOST_DEVICE: type[Exception] | tuple[()] = getattr(torch, "AcceleratorError", ())
# The kind of product that small networks and Muon spend their time in; 34 million operations.
_SHAPE = (8, 128, 128)
_RUNS = 5


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

    A fixed rule, without measuring: a search compares scores, so all its candidates need the same
    format, and a reproducible score must not depend on a measured time.

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
        # Only some CPUs have bf16 units: 0.9 to 3.2 times the speed there, far less elsewhere.
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


def free_memory() -> None:
    """Give back to the accelerator, if there is one, what nothing refers to any more."""
    # A failed backward pass leaves reference cycles.
    gc.collect()
    torch.accelerator.empty_cache()


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductRates:
    """Rates at which one core multiplies matrices, in GFLOP/s; higher is better.

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
        """Rate of bfloat16 over that of float32; less than 1 if it is only emulated."""
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

    On a CPU nothing is measured, so that a search repeats itself on every processor.
    """
    if device.type == "cuda" and computes_in_bf16(device):
        return torch.bfloat16
    return torch.float32


def format_warning(precision: Precision, *, device: Device) -> str | None:
    """A warning if this machine only emulates `precision`; None otherwise.

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
