"""The architectures of a table as what a sampler may propose."""

from collections.abc import Iterable

import numpy as np

from spach_nas.errors import StudyError
from spach_nas.space.architecture import Architecture
from spach_nas.space.layouts import Value
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding


class TableSet:
    """Some architectures of a space; takes the place of a `FeasibleSet`.

    Attributes:
        space: The space.
        count: How many there are.

    Raises:
        StudyError: None of them is in the space.
    """

    def __init__(self, space: SearchSpace, architectures: Iterable[Architecture]) -> None:
        self.space = space
        self._members = [item for item in dict.fromkeys(architectures) if space.contains(item)]
        self.count: int | None = len(self._members)
        if not self._members:
            raise StudyError("the table holds no architecture of the search space within limits")
        self._known = set(self._members)
        self._rows = np.array([self._row(space.encode(item)) for item in self._members])
        # Ordered choices by steps over all steps, others 0 or 1, as repairs measure it.
        self._spans = np.array(
            [0 if _named(values) else len(values) - 1 for values in space.parameters.values()]
        )

    @property
    def members(self) -> tuple[Architecture, ...]:
        """All of them."""
        return tuple(self._members)

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One of them, uniformly."""
        return self._members[int(np.random.default_rng(seed).integers(len(self._members)))]

    def allows(self, architecture: Architecture) -> bool:
        """Whether it is one of them."""
        return architecture in self._known

    def near(self, encoding: Encoding, rng: np.random.Generator) -> Architecture:
        """The nearest to a proposal, itself when it is one of them; any of those equally near.

        Args:
            encoding: A value for each parameter of the space.
            rng: Decides between equals.
        """
        proposed = self.space.decode(encoding)
        if proposed in self._known:
            return proposed
        steps = np.abs(self._rows - self._row(self.space.encode(proposed)))
        distance = np.where(self._spans, steps / np.maximum(self._spans, 1), steps > 0).sum(1)
        nearest = np.flatnonzero(np.isclose(distance, distance.min()))
        return self._members[int(rng.choice(nearest))]

    def _row(self, encoding: Encoding) -> list[int]:
        return [values.index(encoding[name]) for name, values in self.space.parameters.items()]


def _named(values: tuple[Value, ...]) -> bool:
    return isinstance(values[0], str | bool)
