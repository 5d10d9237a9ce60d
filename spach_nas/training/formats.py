"""Which number formats a device computes in.

A processor without units for bfloat16 takes it all the same, and emulates: on one with AVX2 alone a
batched product in bfloat16 was seen to reach 1.5 GFLOP/s a core where float32 reaches 41. So on a
CPU nothing uses it unless it is asked for by name, and whoever asks is told what it costs.
"""

import statistics
import time
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from spach_nas.config.training_settings import Device, Precision

# The kind of product that small networks and Muon spend their time in; 34 million operations.
_SHAPE = (8, 128, 128)
_RUNS = 5


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
        _seconds(matrices)  # sets up kernels
        seconds = statistics.median(_seconds(matrices) for _ in range(_RUNS))
    return 2 * _SHAPE[0] * _SHAPE[1] ** 3 / seconds / 1e9


def _seconds(matrices: Tensor) -> float:
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
        f"fp32 ({rates.bf16:.1f} beside {rates.fp32:.0f} GFLOP/s a core); expected auto or fp32"
    )
