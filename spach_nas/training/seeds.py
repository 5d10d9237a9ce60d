"""Seeds of a training: one for each purpose and epoch."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from spach_nas.training.device import Runtime


def derive_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed for one purpose and epoch of a run."""
    entropy = (seed, epoch, *purpose.encode())
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def global_seed(seed: int, runtime: Runtime) -> Iterator[None]:
    """Seed torch's global generators, which dropped paths and initial weights draw from.

    Afterwards their state is restored.
    """
    cuda = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


def seed_everything(seed: int, device: torch.device | None = None) -> None:
    """Seed Python, numpy and torch, which timm's augmentation and dropped paths draw from.

    Args:
        seed: From 0 to 2**63 - 1.
        device: Is seeded in addition to the CPU.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # Not torch.manual_seed: until CUDA is initialised, it queues every call with its traceback, at
    # half a millisecond per image and with ever more memory.
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device is not None and device.type == "mps":
        torch.mps.manual_seed(seed)
