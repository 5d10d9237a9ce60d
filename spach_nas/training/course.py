"""Which images and which steps the epochs of a training take, in whatever pieces it is run.

A course is one training over several rungs: each adds epochs, on a share of the images of its own.
An epoch belongs to the first rung that ends behind it, so that a run up to a rung and a run that
goes on from there take the same images in the same steps as an uninterrupted one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spach_nas.config.evaluation import Fidelity
from spach_nas.data.images import Labels
from spach_nas.data.splits import nested_share


@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """Epochs of a course that use the same images: those that one rung adds.

    Attributes:
        first: First epoch, counted from 0 over the whole course.
        stop: Epoch behind the last one.
        first_step: Steps of the course before its first epoch.
        steps: Steps of each epoch.
        chosen: (N,), indices of the images, ascending.
    """

    first: int
    stop: int
    first_step: int
    steps: int
    chosen: Tensor


def make_legs(rungs: Sequence[Fidelity], labels: Labels, *, batch_size: int) -> tuple[Leg, ...]:
    """The legs of a course.

    Args:
        rungs: Cheapest first; a rung that adds no epoch has no leg.
        labels: (N,), of the train part.
        batch_size: Images a step.
    """
    legs: list[Leg] = []
    first = first_step = 0
    for rung in rungs:
        if rung.epochs <= first:
            continue
        chosen = torch.from_numpy(nested_share(labels, rung.data_share))
        steps = steps_per_epoch(len(chosen), batch_size)
        legs.append(
            Leg(first=first, stop=rung.epochs, first_step=first_step, steps=steps, chosen=chosen)
        )
        first_step += (rung.epochs - first) * steps
        first = rung.epochs
    return tuple(legs)


def leg_of(legs: Sequence[Leg], epoch: int) -> Leg:
    """The leg that an epoch belongs to."""
    return next(leg for leg in legs if epoch < leg.stop)


def total_steps(legs: Sequence[Leg]) -> int:
    """Steps of the whole course, which the learning rate spans."""
    return sum((leg.stop - leg.first) * leg.steps for leg in legs)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Full batches in `images`; a single smaller one where there is no full one.

    The rest is left out of an epoch, and is another rest in every one.
    """
    return max(1, images // batch_size)
