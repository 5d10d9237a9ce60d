"""Where and in which number format a network runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from spach_nas.config.training_settings import Device, Precision
from spach_nas.errors import ConfigError
from spach_nas.training.formats import computes_in_bf16


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
    the same format, and a score that repeats itself must not hang on a measured time.

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


def move(network: torch.nn.Module, runtime: Runtime) -> torch.nn.Module:
    """`network` on the device, with convolutions channels-last: a view of (B, H, W, C) to them."""
    return network.to(runtime.device).to(memory_format=torch.channels_last)


def fits(tensor: Tensor, runtime: Runtime) -> bool:
    """Whether a whole set may stay on the device, with room left to train in."""
    if runtime.device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(runtime.device)
    return tensor.nbytes < 0.4 * free
