"""Repairs a proposal that breaks a limit: to a feasible one near it, by few changes."""

from collections.abc import Callable, Mapping

import numpy as np

from spach_nas.space.layouts import Value
from spach_nas.space.stage_space import Encoding

Choices = Mapping[str, tuple[Value, ...]]
DONORS = 4  # feasible architectures to move towards; the nearest result is taken


def repair(
    encoding: Encoding,
    parameters: Choices,
    *,
    allows: Callable[[Encoding], bool],
    draw: Callable[[], Encoding],
    rng: np.random.Generator,
) -> Encoding:
    """The nearest of a few feasible encodings, each between the proposal and a feasible one.

    Args:
        encoding: The proposal, which is not feasible.
        parameters: Choices of each parameter of the space.
        allows: Whether an encoding is feasible.
        draw: Draws a feasible one.
        rng: Random generator for the order of changes.
    """
    found = [_towards(draw(), encoding, parameters, allows=allows, rng=rng) for _ in range(DONORS)]
    return min(found, key=lambda item: _distance(encoding, item, parameters))


def _towards(
    goal: Encoding,
    encoding: Encoding,
    parameters: Choices,
    *,
    allows: Callable[[Encoding], bool],
    rng: np.random.Generator,
) -> Encoding:
    names = [name for name in parameters if goal[name] != encoding[name]]
    changed, steps = dict(encoding), []
    # In random order, so that no parameter is always the first to be changed.
    for i in rng.permutation(len(names)):
        changed[names[i]] = goal[names[i]]
        steps.append(names[i])
        if allows(changed):
            break
    # Changes that were not needed are reverted. Reverting one may make it possible to revert
    # another, so repeat until none can be.
    reverted = True
    while reverted:
        reverted = False
        for name in list(steps):
            kept = {**changed, name: encoding[name]}
            if allows(kept):
                changed, reverted = kept, True
                steps.remove(name)
    return changed


def _distance(one: Encoding, other: Encoding, parameters: Choices) -> float:
    """Sum over the parameters: for ordered choices the share of all steps, else 0 or 1."""
    total = 0.0
    for name, choices in parameters.items():
        if isinstance(choices[0], str | bool):  # names and flags have no order
            total += one[name] != other[name]
        else:
            steps = choices.index(one[name]) - choices.index(other[name])
            total += abs(steps) / (len(choices) - 1)
    return total
