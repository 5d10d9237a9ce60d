"""What a search YAML says about the training of a supernet, free of torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from spach_nas.units import Real, Whole
from spach_nas.validation import Settings

Paths = Literal["single", "sandwich"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SupernetSettings(Settings):
    """How the supernet of a search is trained; everything else is as in `training`."""

    epochs: Annotated[Whole, Field(ge=1)] = 10
    """Passes over the train part."""
    paths: Paths = "sandwich"
    """Subnets that each step trains. `single`: one, drawn uniformly from the feasible ones.
    `sandwich`: the largest, the smallest, and `random_paths` drawn ones."""
    random_paths: Annotated[Whole, Field(ge=1)] = 2
    """Drawn subnets of a sandwich step."""
    distillation: Annotated[Real, Field(ge=0, le=1)] = 0.0
    """Share of a sandwich step's loss in which the other subnets learn the outputs of the largest
    instead of the labels."""
    clip_norm: Annotated[Real, Field(gt=0)] = 1.0
    """Longest gradient; a longer one is shortened."""
    workers: Annotated[Whole, Field(ge=1)] = 1
    """Processes that train it together in a search, each on its share of every batch; each has the
    resources of a trial, or a whole GPU where a trial has a share of one."""
    images: Annotated[Whole, Field(ge=1)] = 2000
    """Largest number of validation images that score a candidate, the same for all."""
