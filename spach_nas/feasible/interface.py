"""What a search needs to know of the architectures that it may propose."""

from typing import Protocol

import numpy as np

from spach_nas.architecture import Architecture
from spach_nas.search_space import SearchSpace
from spach_nas.stage_space import Encoding


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

    def near(self, encoding: Encoding, rng: np.random.Generator) -> Architecture:
        """One of them near a proposal; the proposal itself when it is one of them."""
