"""Which number format is faster, by measuring.

Meant for trainings that stand alone, such as that of one found network at full size. A search must
not ask it: near the break-even point the answer may change from run to run, so that candidates
would be trained by different protocols and a score would not repeat itself.
"""

import copy
import statistics
import time
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from spach_nas.training.device import Runtime, autocast
from spach_nas.training.formats import computes_in_bf16

# Seconds of one forward and backward pass.
StepTimer = Callable[[nn.Module, Tensor, Runtime], float]
# A gain that noise may feign is not worth the lost digits.
_LEAST_GAIN = 1.1


def faster_precision(
    network: nn.Module, images: Tensor, *, rounds: int = 3, timer: StepTimer | None = None
) -> Literal["fp32", "bf16"]:
    """`bf16` where a training step with bfloat16 autocast is at least 1.1 times as fast.

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
