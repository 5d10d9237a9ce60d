"""Random numbers of a run: a seed of its own for each purpose and epoch."""

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
