"""What a search YAML says about data and training, as values free of torch.

They check themselves on construction, so that a mistake shows before anything is loaded or trained.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator

from spach_nas.errors import ConfigError, did_you_mean, one_of
from spach_nas.units import Real, Whole

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]
Optimizer = Literal["adamw", "muon"]
# For pydantic, which would pass over a misspelt key otherwise.
_STRICT = {"extra": "forbid"}
# Of a train split, where nobody says how much scores candidates and nothing else does.
HELD_OUT_SHARE = 0.2


def _check_root(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty; expected a folder, such as . for this one")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings:
    """Which images, and which of them a search validates on.

    Attributes:
        name: `fashion-mini`, `fashion-mnist`, `folder`, or a name of `timm.data.create_dataset`
            with its prefix, such as `torch/cifar10`.
        root: Folder of the data; None for the embedded set and for the usual place of others.
        validation: Share of each class of the train split that is held out to score candidates, in
            (0, 1); None: a folder's `val/` scores them, and where there is none, a fifth of train.
        split_seed: Chooses that part; the same for all trials.
        download: Whether a missing set may be fetched from the network.
        skip_broken: Leave images out that cannot be read, and say how many, instead of refusing the
            set.

    Raises:
        ConfigError: A number out of range.
    """

    __pydantic_config__ = _STRICT

    name: str
    root: Annotated[Path | None, BeforeValidator(_check_root)] = None
    validation: Real | None = None
    split_seed: Whole = 0
    download: bool = False
    skip_broken: bool = False

    @property
    def held_out_share(self) -> float:
        """Share that is held out where a set has no validation split of its own."""
        return HELD_OUT_SHARE if self.validation is None else self.validation

    def __post_init__(self) -> None:
        raise_mistakes(
            outside(
                "validation",
                self.validation,
                "between 0 and 1",
                self.validation is None or 0 < self.validation < 1,
            ),
            outside("split_seed", self.split_seed, "0 or more", self.split_seed >= 0),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Random changes of each training image, drawn anew in every epoch.

    None by default: in trainings of one or two epochs they cost accuracy (5 to 13 points of it on
    fashion-mini), and they begin to pay where images are seen many times.

    Attributes:
        crop_padding: Zeros around the image before a random crop of its own size, in pixels.
        flip: Whether half of the images are mirrored left to right.
    """

    __pydantic_config__ = _STRICT

    crop_padding: Whole = 0
    flip: bool = False

    def __post_init__(self) -> None:
        raise_mistakes(
            outside("crop_padding", self.crop_padding, "0 or more", self.crop_padding >= 0)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSettings:
    """The protocol by which every candidate is trained.

    Attributes:
        epochs: Passes over the share of the train part, at the full fidelity.
        data_share: Share of each class of the train part that is used, in (0, 1], at the full
            fidelity.
        batch_size: Images a step.
        learning_rate: Highest learning rate, reached at the end of the warm-up.
        optimizer: `adamw`, or `muon`, which learns more from the same images by longer steps
            (5e-3 suits it in small proxies): matrices by Muon, all else by AdamW.
        weight_decay: Decoupled; biases, norms and gamma_1 are exempt.
        warmup_share: Share of the steps in which the learning rate rises, in [0, 1).
        label_smoothing: Probability mass spread over all classes, in [0, 1).
        drop_path_rate: Highest probability that a residual branch is skipped, in [0, 1).
        augmentation: Of the training images.
        seed: Of initial weights, order of images and augmentation; None: the search's. Random
            searches that differ in it alone train the same architectures again, by other chance.
        precision: `auto` is bf16 autocast on CUDA and fp32 elsewhere.
        compile: Whether `torch.compile` makes kernels for each candidate. That takes a minute or
            more on a CPU, which only long trainings earn back.
        device: `auto` is CUDA where there is one and the CPU elsewhere.

    Raises:
        ConfigError: A number out of range or an unknown name.
    """

    __pydantic_config__ = _STRICT

    epochs: Whole = 2
    data_share: Real = 1.0
    batch_size: Whole = 32
    learning_rate: Real = 2e-3
    optimizer: Optimizer = "adamw"
    weight_decay: Real = 0.05
    warmup_share: Real = 0.1
    label_smoothing: Real = 0.0
    drop_path_rate: Real = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: Whole | None = None
    precision: Precision = "auto"
    compile: bool = False
    device: Device = "auto"

    def __post_init__(self) -> None:
        shares = ("warmup_share", "label_smoothing", "drop_path_rate")
        raise_mistakes(
            outside("epochs", self.epochs, "at least 1", self.epochs >= 1),
            outside(
                "data_share", self.data_share, "more than 0 and at most 1", 0 < self.data_share <= 1
            ),
            outside("batch_size", self.batch_size, "at least 1", self.batch_size >= 1),
            outside("learning_rate", self.learning_rate, "more than 0", self.learning_rate > 0),
            outside("weight_decay", self.weight_decay, "0 or more", self.weight_decay >= 0),
            outside("seed", self.seed, "0 or more", self.seed is None or self.seed >= 0),
            *(
                outside(name, getattr(self, name), "in [0, 1)", 0 <= getattr(self, name) < 1)
                for name in shares
            ),
            _not_one_of("optimizer", self.optimizer, get_args(Optimizer)),
            _not_one_of("precision", self.precision, get_args(Precision)),
            _not_one_of("device", self.device, get_args(Device)),
        )


def outside(name: str, value: object, expected: str, inside: bool) -> str:
    """A line for `raise_mistakes`, empty when the value is inside."""
    return "" if inside else f"{name}: {value}; expected {expected}"


def _not_one_of(name: str, value: str, legal: Iterable[str]) -> str:
    legal = tuple(legal)
    if value in legal:
        return ""
    return f"{name}: {value!r}; expected {one_of(legal)}{did_you_mean(value, legal)}"


def raise_mistakes(*mistakes: str) -> None:
    """Raise all that are not empty, one a line."""
    found = list(filter(None, mistakes))
    if found:
        raise ConfigError("\n".join(found))
