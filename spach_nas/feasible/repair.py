"""Repairs proposals: from outside the limits to an architecture inside, by few changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spach_nas.space.architecture import Architecture
from spach_nas.space.layouts import Value
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.stage_space import Encoding

DONORS = 4  # feasible architectures to move towards; the nearest result is taken


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """Makes proposals in a space feasible.

    Attributes:
        space: The search space.
        allows: Whether an encoding is feasible.
        sample: Draws a feasible architecture.
    """

    space: SearchSpace
    allows: Callable[[Encoding], bool]
    sample: Callable[[np.random.Generator], Architecture]

    def nearest(self, encoding: Encoding, rng: np.random.Generator) -> Encoding:
        """A feasible encoding near one that is not.

        Starting from the proposal, one parameter after another is set to its value in a feasible
        architecture until the limits are met. Then every change that was not needed is reverted.
        This is done for several feasible architectures, and the nearest result is returned.
        """
        found = [self._towards(encoding, rng) for _ in range(DONORS)]
        return min(found, key=lambda repaired: self._distance(encoding, repaired))

    def _towards(self, encoding: Encoding, rng: np.random.Generator) -> Encoding:
        goal = self.space.encode(self.sample(rng))
        names = [name for name in self.space.parameters if goal[name] != encoding[name]]
        changed = dict(encoding)
        steps = []
        # In random order, so that no parameter is always the first to be changed.
        for i in rng.permutation(len(names)):
            changed[names[i]] = goal[names[i]]
            steps.append(names[i])
            if self.allows(changed):
                break
        # Reverting one change may make it possible to revert another, so repeat until none can be.
        taken_back = True
        while taken_back:
            taken_back = False
            for name in list(steps):
                kept = {**changed, name: encoding[name]}
                if self.allows(kept):
                    changed, taken_back = kept, True
                    steps.remove(name)
        return changed

    def _distance(self, one: Encoding, other: Encoding) -> float:
        """Sum over the parameters: the share of all steps for ordered choices, else 0 or 1."""
        return sum(
            _steps(choices, one[name], other[name])
            for name, choices in self.space.parameters.items()
        )


def _steps(choices: Sequence[Value], one: Value, other: Value) -> float:
    if isinstance(choices[0], str | bool):  # names and flags have no order
        return float(one != other)
    return abs(choices.index(one) - choices.index(other)) / (len(choices) - 1)
