"""What a search needs to know of the architectures that it may propose."""

from typing import Protocol

import numpy as np

from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding


class Feasible(Protocol):
    """Architectures that may be proposed: all inside the limits, or those of a table."""

    @property
    def space(self) -> SearchSpace:
        """The space that they are of."""

    @property
    def count(self) -> int | None:
        """How many there are; None where they cannot be counted."""

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One of them, uniformly."""

    def allows(self, architecture: Architecture) -> bool:
        """Whether an architecture of the space is one of them."""

    def near(self, encoding: Encoding, rng: np.random.Generator) -> Architecture:
        """One of them near a proposal; the proposal itself when it is one of them."""


class Latency(Protocol):
    """Predicted latency on some device, nanoseconds: a sum over the parts of a network."""

    def frame(self, architecture: Architecture) -> int:
        """Of all but the blocks."""

    def blocks(self, stage: Stage, resolution: tuple[int, int]) -> int:
        """Of the blocks of a stage, whatever their order."""

    def of(self, architecture: Architecture) -> int:
        """Of the whole network: the sum of its frame and of the blocks of all its stages."""
