"""The settings sent to each worker of a training, without the images."""

from dataclasses import dataclass
from pathlib import Path

from spach_nas.config.recipe import Recipe
from spach_nas.data.images import HeldOut, Normalisation
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.data.reader import DataChoice
from spach_nas.space.architecture import Architecture


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training.

    Attributes:
        name: Shown to users.
        architecture: Of the network, with the channels and classes of the data.
        recipe: How it is trained.
        data: On what.
        class_names: In the order of the outputs.
        normalisation: Of the pixels.
        folder: Where the run is kept; every worker sees it.
        initial: Whether initial weights lie there; else they are drawn by the seed.
        held_out: What of the train split validates; None: a split of its own, or nothing.
    """

    name: str
    architecture: Architecture
    recipe: Recipe
    data: DataChoice
    class_names: tuple[str, ...]
    normalisation: Normalisation
    folder: Path
    initial: bool = False
    held_out: HeldOut | None = None

    @property
    def shifted(self) -> bool:
        """Whether images are held in memory at the size of the network."""
        return self.recipe.augmentation.crop == "shifted"

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network's images go through when they are scored."""
        return Preprocessing(
            mean=self.normalisation.mean,
            std=self.normalisation.std,
            class_names=self.class_names,
            crop_share=None if self.shifted else self.recipe.evaluation.crop_share,
            held_out=self.held_out,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One of the workers that share every batch.

    Attributes:
        rank: From 0; that one writes the files.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1
