"""The protocols `Feasible` and `Latency`: what a search needs to know of architectures."""

from typing import Protocol

import numpy as np

from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding


class Feasible(Protocol):
    """Architectures that may be proposed: all inside the limits, or those of a table."""

    @property
    def space(self) -> SearchSpace:
        """The search space that contains them."""

    @property
    def count(self) -> int | None:
        """The number of them, or None if they cannot be counted."""

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One of them, uniformly."""

    def allows(self, architecture: Architecture) -> bool:
        """Whether an architecture of the space is one of them."""

    def near(self, encoding: Encoding, rng: np.random.Generator) -> Architecture:
        """One of them near a proposal, or the proposal itself if it is one of them."""


class Latency(Protocol):
    """Predicted latency on one device in nanoseconds: a sum over the parts of a network."""

    def frame(self, architecture: Architecture) -> int:
        """Latency of everything except the blocks."""

    def blocks(self, stage: Stage, resolution: tuple[int, int]) -> int:
        """Latency of the blocks of a stage, which does not depend on their order."""

    def of(self, architecture: Architecture) -> int:
        """Latency of the whole network: the sum of its frame and the blocks of all its stages."""
