"""The learning rate of each step: a linear warm-up, then half a cosine.

Source: Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A learning rate over a whole training, in whatever pieces it is run.

    Attributes:
        peak: Highest learning rate.
        steps: Steps of the whole training.
        warmup_steps: Steps until the peak, less than `steps`.
    """

    peak: float
    steps: int
    warmup_steps: int = 0


def make_schedule(*, peak: float, steps: int, warmup_share: float) -> Schedule:
    """A schedule that warms up for a share of the steps, never for all of them."""
    warmup_steps = min(round(warmup_share * steps), steps - 1)
    return Schedule(peak=peak, steps=steps, warmup_steps=warmup_steps)


def learning_rate(schedule: Schedule, step: int) -> float:
    """The learning rate of `step`, counted from 0; more than 0 throughout."""
    if step < schedule.warmup_steps:
        return schedule.peak * (step + 1) / schedule.warmup_steps
    # In the middle of each step, so that neither the first nor the last one is wasted at 0.
    done = (step - schedule.warmup_steps + 0.5) / (schedule.steps - schedule.warmup_steps)
    return schedule.peak * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
