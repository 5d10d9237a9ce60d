"""What a search YAML says about data and training, as values free of torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from spach_nas.units import Real, Whole
from spach_nas.validation import Settings

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]
Optimizer = Literal["adamw", "muon"]
# Share of a train split that scores candidates where neither the file nor the data set says.
HELD_OUT_SHARE = 0.2


def _check_root(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty; expected a folder, such as . for this one")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings(Settings):
    """Which images a search trains on, and which of them it validates on."""

    name: str
    """`fashion-mini`, `fashion-mnist`, `folder`, a drawn task such as `controls/set`, or a name of
    `timm.data.create_dataset` with its prefix, such as `torch/cifar10`."""
    root: Annotated[
        Path | None, BeforeValidator(_check_root), Field(json_schema_extra={"minLength": 1})
    ] = None
    """Folder of the data. Left out: the embedded set needs none, others have a usual place."""
    validation: Annotated[Real, Field(gt=0, lt=1)] | None = None
    """Share of each class of the train split that is held out to score candidates. Left out: a
    folder's `val/` scores them, and where there is none, a fifth of train."""
    split_seed: Annotated[Whole, Field(ge=0)] = 0
    """Chooses that part; the same for all trials."""
    download: bool = False
    """Whether a missing set may be fetched from the network."""
    skip_broken: bool = False
    """Leave out images that cannot be read, and say how many, instead of refusing the set."""

    @property
    def held_out_share(self) -> float:
        """Share that is held out where a set has no validation split of its own."""
        return HELD_OUT_SHARE if self.validation is None else self.validation


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation(Settings):
    """Random changes of each training image, drawn anew in every epoch.

    None by default: in trainings of one or two epochs they cost accuracy (5 to 13 points of it on
    fashion-mini), and they begin to pay where images are seen many times.
    """

    crop_padding: Annotated[Whole, Field(ge=0)] = 0
    """Zeros around the image before a random crop of its own size, in pixels."""
    flip: bool = False
    """Whether half of the images are mirrored left to right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings(Settings):
    """The protocol by which every candidate is trained."""

    epochs: Annotated[Whole, Field(ge=1)] = 2
    """Passes over the share of the train part, at the full fidelity."""
    data_share: Annotated[Real, Field(gt=0, le=1)] = 1.0
    """Share of each class of the train part that is used, at the full fidelity."""
    batch_size: Annotated[Whole, Field(ge=1)] = 32
    """Images per step."""
    learning_rate: Annotated[Real, Field(gt=0)] = 2e-3
    """Highest learning rate, reached at the end of the warm-up."""
    optimizer: Optimizer = "adamw"
    """`adamw`, or `muon`, which learns more from the same images by longer steps (5e-3 suits it in
    small proxies): matrices by Muon, all else by AdamW."""
    weight_decay: Annotated[Real, Field(ge=0)] = 0.05
    """Decoupled; biases, norms and gamma_1 are exempt."""
    warmup_share: Annotated[Real, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the learning rate rises."""
    label_smoothing: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    """Probability mass that is spread over all classes."""
    drop_path_rate: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    """Highest probability that a residual branch is skipped."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: Annotated[Whole, Field(ge=0)] | None = None
    """Seed of initial weights, order of images and augmentation. Left out: the search's. Random
    searches that differ in it alone train the same architectures again under other chance."""
    precision: Precision = "auto"
    """`auto` is bf16 autocast on CUDA and fp32 elsewhere."""
    compile: bool = False
    """Whether `torch.compile` makes kernels for each candidate. That takes a minute or more on a
    CPU, which only long trainings earn back."""
    device: Device = "auto"
    """`auto` is CUDA where there is one and the CPU elsewhere."""
