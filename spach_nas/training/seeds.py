"""Random numbers of a run: a seed of its own for each purpose and epoch."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from spach_nas.training.device import Runtime


def derive_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed of its own for each purpose and epoch of a run."""
    entropy = (seed, epoch, *purpose.encode())
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def global_seed(seed: int, runtime: Runtime) -> Iterator[None]:
    """Seed torch's global generators, which dropped paths and initial weights draw from.

    Their state is the caller's again afterwards.
    """
    cuda = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(seed)
        yield


def seed_everything(seed: int, device: torch.device | None = None) -> None:
    """Seed Python, numpy and torch, which timm's augmentation and dropped paths draw from.

    Args:
        seed: From 0 to 2**63 - 1.
        device: Seeded as well as the CPU.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # Not torch.manual_seed: while a GPU is not in use it notes every call, with its traceback, for
    # later: half a millisecond an image, and memory without end.
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device is not None and device.type == "mps":
        torch.mps.manual_seed(seed)
