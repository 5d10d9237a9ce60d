"""What a search YAML says about data and training, as values free of torch.

`TrainingSettings` is the short form of a training recipe: a proxy's training leaves off what else a
`Recipe` (`config/recipe.py`) offers. Fields that both have are stated once, here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from spach_nas.errors import ConfigError
from spach_nas.space.timm_reference import TIMM
from spach_nas.units import Real, Whole
from spach_nas.validation import Settings

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]
Optimizer = Literal["adamw", "muon"]
Epochs = Annotated[
    Whole,
    Field(ge=1, description="Passes over the training images; in a search, at the full fidelity."),
]
BatchSize = Annotated[Whole, Field(ge=1, description="Images per step, over all workers.")]
LearningRate = Annotated[
    Real, Field(gt=0, description="Highest learning rate, reached at the end of the warm-up.")
]
WeightDecay = Annotated[
    Real, Field(ge=0, description="Decoupled; biases, norms and gamma_1 are exempt.")
]
LabelSmoothing = Annotated[
    Real, Field(ge=0, lt=1, description="Probability mass that is spread over all classes.")
]
DropPathRate = Annotated[
    Real, Field(ge=0, lt=1, description="Highest probability that a residual branch is skipped.")
]
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
class OptimizerSettings(Settings):
    """The optimizer and its learning rate."""

    name: Optimizer
    """`adamw`, or `muon` of timm, which learns faster from the same images."""
    learning_rate: LearningRate
    learning_rate_batch: Annotated[Whole, Field(ge=1)] | None = None
    """`learning_rate` is for so many images per step and grows in proportion to `batch_size`; null:
    it holds for any batch."""
    weight_decay: WeightDecay
    clip_norm: Annotated[Real, Field(gt=0)] | None = None
    """Longest gradient; null: gradients are not clipped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmaSettings(Settings):
    """A moving average of the weights, which is scored as well."""

    decay: Annotated[Real, Field(gt=0, lt=1)] | None = None
    """Share that stays in each step; null: no average."""
    warmup: bool = False
    """Whether the share grows with the steps up to `decay`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherSettings(Settings):
    """A trained network that the trained one learns to agree with (arXiv:1503.02531)."""

    network: Annotated[str, Field(min_length=1)]
    """Folder of a bundle or of a study, whose best proxy is taken; or a model of timm, such as
    `timm/resnet18`. It has the channels and classes of the data."""
    weights: str | None = None
    """File with the weights of a timm model: safetensors, or what torch loads as tensors only."""
    temperature: Annotated[Real, Field(gt=0)] = 2.0
    """By which the outputs of both are divided before they are compared."""
    share: Annotated[Real, Field(gt=0, le=1)] = 0.5
    """Share of this loss; the rest is that of the labels."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.weights is not None and not self.network.startswith(TIMM):
            raise ConfigError(
                f"weights: {self.weights}; expected none, since {self.network} has its own"
            )


def _as_teacher(value: object) -> object:
    return {"network": value} if isinstance(value, str) else value


# A folder alone, or a mapping.
WrittenTeacher = Annotated[
    TeacherSettings,
    BeforeValidator(
        _as_teacher, json_schema_input_type=Annotated[str, Field(min_length=1)] | TeacherSettings
    ),
]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings(Settings):
    """The protocol by which every candidate is trained: a short recipe."""

    epochs: Epochs = 2
    data_share: Annotated[Real, Field(gt=0, le=1)] = 1.0
    """Share of each class of the train part that is used, at the full fidelity."""
    batch_size: BatchSize = 32
    learning_rate: LearningRate = 2e-3
    optimizer: Optimizer = "adamw"
    """`adamw`, or `muon`, which learns more from the same images by longer steps (5e-3 suits it in
    small proxies): matrices by Muon, all else by AdamW."""
    weight_decay: WeightDecay = 0.05
    warmup_share: Annotated[Real, Field(ge=0, lt=1)] = 0.1
    """Share of the steps in which the learning rate rises."""
    label_smoothing: LabelSmoothing = 0.0
    drop_path_rate: DropPathRate = 0.0
    teacher: WrittenTeacher | None = None
    """A trained network that candidates learn to agree with: a folder, or a mapping."""
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

    @property
    def optimizer_settings(self) -> OptimizerSettings:
        """The optimizer as a recipe states it."""
        return OptimizerSettings(
            name=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
