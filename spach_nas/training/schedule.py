"""The learning-rate schedule, and which images each epoch of a proxy's training uses.

A course is one training over several rungs: each adds epochs on its own share of the images. An
epoch belongs to the first rung that ends after it, so that a run up to a rung and a run that
continues from there take the same images in the same steps as an uninterrupted one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spach_nas.config.evaluation import Fidelity
from spach_nas.data.held_out import nested_share
from spach_nas.data.images import Labels


@dataclass(frozen=True, kw_only=True, slots=True)
class Leg:
    """The epochs that one rung adds to a course; they use the same images.

    Attributes:
        first: First epoch, counted from 0 over the whole course.
        stop: Epoch after the last one.
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
    """Full batches in `images`, or a single smaller one.

    The images left over are different ones in every epoch.
    """
    return max(1, images // batch_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A learning rate over a whole training: a linear warm-up, then half a cosine, step by step.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts. There are two shapes.
    In that of short trainings no step is wasted: the warm-up begins above 0, the cosine begins
    where the warm-up ends, and each step has the rate of its middle. In timm's, with `first`, the
    cosine spans all steps, and the warm-up replaces its beginning.

    Attributes:
        peak: Highest learning rate.
        steps: Steps of the whole training.
        warmup_steps: Steps until the peak, less than `steps`.
        first: Learning rate of the first step in timm's shape; None: the shape of short trainings.
        final: Learning rate after the last step in timm's shape.
    """

    peak: float
    steps: int
    warmup_steps: int = 0
    first: float | None = None
    final: float = 0.0


def make_schedule(*, peak: float, steps: int, warmup_share: float) -> Schedule:
    """A schedule that warms up for a share of the steps, never for all of them."""
    warmup_steps = min(round(warmup_share * steps), steps - 1)
    return Schedule(peak=peak, steps=steps, warmup_steps=warmup_steps)


def learning_rate(schedule: Schedule, step: int) -> float:
    """The learning rate of `step`, counted from 0; more than 0 throughout."""
    peak, first, final = schedule.peak, schedule.first, schedule.final
    warming = step < schedule.warmup_steps
    if first is not None:
        if warming:
            return first + step * ((peak - first) / schedule.warmup_steps)
        return final + 0.5 * (peak - final) * (1 + math.cos(math.pi * step / schedule.steps))
    if warming:
        return peak * (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps + 0.5) / (schedule.steps - schedule.warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
