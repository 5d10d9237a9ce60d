"""What a search YAML says about data and training, as values free of torch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from spach_nas.errors import ConfigError
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

    name: Annotated[
        str,
        Field(
            description="`fashion-mini`, `fashion-mnist`, `folder`, or a name of "
            "`timm.data.create_dataset` with its prefix, such as `torch/cifar10`."
        ),
    ]
    root: Annotated[
        Path | None,
        BeforeValidator(_check_root),
        Field(
            description="Folder of the data. Left out: the embedded set needs none, others have a "
            "usual place.",
            json_schema_extra={"minLength": 1},
        ),
    ] = None
    validation: Annotated[
        Annotated[Real, Field(gt=0, lt=1)] | None,
        Field(
            description="Share of each class of the train split that is held out to score "
            "candidates. Left out: a folder's `val/` scores them, and where there is none, a fifth "
            "of train."
        ),
    ] = None
    split_seed: Annotated[
        Whole, Field(ge=0, description="Chooses that part; the same for all trials.")
    ] = 0
    download: Annotated[
        bool, Field(description="Whether a missing set may be fetched from the network.")
    ] = False
    skip_broken: Annotated[
        bool,
        Field(
            description="Leave out images that cannot be read, and say how many, instead of "
            "refusing the set."
        ),
    ] = False

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

    crop_padding: Annotated[
        Whole,
        Field(
            ge=0,
            description="Zeros around the image before a random crop of its own size, in pixels.",
        ),
    ] = 0
    flip: Annotated[
        bool, Field(description="Whether half of the images are mirrored left to right.")
    ] = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings(Settings):
    """The protocol by which every candidate is trained."""

    epochs: Annotated[
        Whole,
        Field(ge=1, description="Passes over the share of the train part, at the full fidelity."),
    ] = 2
    data_share: Annotated[
        Real,
        Field(
            gt=0,
            le=1,
            description="Share of each class of the train part that is used, at the full fidelity.",
        ),
    ] = 1.0
    batch_size: Annotated[Whole, Field(ge=1, description="Images per step.")] = 32
    learning_rate: Annotated[
        Real,
        Field(gt=0, description="Highest learning rate, reached at the end of the warm-up."),
    ] = 2e-3
    optimizer: Annotated[
        Optimizer,
        Field(
            description="`adamw`, or `muon`, which learns more from the same images by longer "
            "steps (5e-3 suits it in small proxies): matrices by Muon, all else by AdamW."
        ),
    ] = "adamw"
    weight_decay: Annotated[
        Real, Field(ge=0, description="Decoupled; biases, norms and gamma_1 are exempt.")
    ] = 0.05
    warmup_share: Annotated[
        Real, Field(ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    ] = 0.1
    label_smoothing: Annotated[
        Real, Field(ge=0, lt=1, description="Probability mass that is spread over all classes.")
    ] = 0.0
    drop_path_rate: Annotated[
        Real,
        Field(ge=0, lt=1, description="Highest probability that a residual branch is skipped."),
    ] = 0.0
    augmentation: Annotated[Augmentation, Field(description="Changes of the training images.")] = (
        field(default_factory=Augmentation)
    )
    seed: Annotated[
        Annotated[Whole, Field(ge=0)] | None,
        Field(
            description="Seed of initial weights, order of images and augmentation. Left out: the "
            "search's. Random searches that differ in it alone train the same architectures again "
            "under other chance."
        ),
    ] = None
    precision: Annotated[
        Precision, Field(description="`auto` is bf16 autocast on CUDA and fp32 elsewhere.")
    ] = "auto"
    compile: Annotated[
        bool,
        Field(
            description="Whether `torch.compile` makes kernels for each candidate. That takes a "
            "minute or more on a CPU, which only long trainings earn back."
        ),
    ] = False
    device: Annotated[
        Device, Field(description="`auto` is CUDA where there is one and the CPU elsewhere.")
    ] = "auto"


def outside(name: str, value: object, expected: str, inside: bool) -> str:
    """A line for `raise_mistakes`, empty when the value is inside."""
    return "" if inside else f"{name}: {value}; expected {expected}"


def raise_mistakes(*mistakes: str) -> None:
    """Raise all that are not empty, one a line."""
    found = list(filter(None, mistakes))
    if found:
        raise ConfigError("\n".join(found))
