"""A training recipe: every value of a full-size training, as values that check themselves."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from spach_nas.config.training_settings import Device, Optimizer, Precision
from spach_nas.errors import ConfigError
from spach_nas.units import Real, Size, Whole

_STRICT = ConfigDict(extra="forbid")
LoggerName = Literal["tensorboard", "mlflow", "wandb"]
From1 = Annotated[Whole, Field(ge=1)]
From0Whole = Annotated[Whole, Field(ge=0)]
From0 = Annotated[Real, Field(ge=0)]
Above0 = Annotated[Real, Field(gt=0)]
Between = Annotated[Real, Field(gt=0, lt=1)]
Share = Annotated[Real, Field(ge=0, lt=1)]
Chance = Annotated[Real, Field(ge=0, le=1)]
HERE, LOCAL = "here", "local"


def _check_rand_augment(value: str) -> str:
    if value.split("-")[0] not in ("rand", "augmix", "original", "v0", "3a"):
        raise ValueError(f"{value!r}; expected a text such as rand-m9-mstd0.5-inc1")
    return value


def _check_scale(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1] <= 1:
        raise ValueError(f"{value!r}; expected 0 < low <= high <= 1")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerSettings:
    """The optimizer and its learning rate.

    Attributes:
        name: `adamw`, or `muon` of timm, which learns faster from the same images.
        learning_rate: Highest learning rate for a batch of `learning_rate_batch` images; it grows
            in proportion to the batch.
        learning_rate_batch: None: `learning_rate` holds for whatever batch.
        weight_decay: Not of norms, biases and gamma_1.
        clip_norm: Longest gradient; None: as long as it is.
    """

    __pydantic_config__ = _STRICT

    name: Optimizer
    learning_rate: Above0
    learning_rate_batch: From1 | None
    weight_decay: From0
    clip_norm: Above0 | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleSettings:
    """The learning rate over the training: a linear warm-up, then half a cosine, step by step.

    Attributes:
        warmup_epochs: May be a fraction.
        warmup_from: Learning rate of the first step.
        final: Learning rate at the end.
    """

    __pydantic_config__ = _STRICT

    warmup_epochs: From0
    warmup_from: From0
    final: From0


@dataclass(frozen=True, kw_only=True, slots=True)
class EmaSettings:
    """A moving average of the weights, scored as well.

    Attributes:
        decay: Share that stays in each step, in (0, 1); None: no average.
        warmup: Whether the share grows with the steps up to `decay`.
    """

    __pydantic_config__ = _STRICT

    decay: Between | None
    warmup: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FullAugmentation:
    """What changes the training images, drawn anew every time.

    Attributes:
        crop: `resized`: a random part at a random scale, and whatever needs an image as PIL has it.
            `shifted`: images stay in memory as they are scored, and are shifted by some pixels.
        crop_scale: Smallest and largest share of the image that `resized` cuts out.
        shift: Pixels that `shifted` moves an image by, at most.
        flip: Chance that an image is mirrored left to right.
        rand_augment: timm's text, such as rand-m9-mstd0.5-inc1; None: off.
        color_jitter: Of brightness, contrast and saturation; where `rand_augment` is on, timm
            leaves it to that.
        erasing: Chance that a rectangle of an image is filled with noise.
        mixup: Alpha of Mixup; 0 is off.
        cutmix: Alpha of CutMix; 0 is off.
        mix: Chance that a batch is mixed, by either.
        label_smoothing: Probability mass spread over all classes, in [0, 1).
        repeats: Times that an image comes in an epoch, each time changed in another way, while so
            many others stay out of it.
        interpolation: Of resized images: bicubic, bilinear, or random of both.
    """

    __pydantic_config__ = _STRICT

    crop: Literal["resized", "shifted"]
    crop_scale: Annotated[tuple[Real, Real], AfterValidator(_check_scale)]
    shift: From0Whole
    flip: Chance
    rand_augment: Annotated[str, AfterValidator(_check_rand_augment)] | None
    color_jitter: From0
    erasing: Chance
    mixup: From0
    cutmix: From0
    mix: Chance
    label_smoothing: Share
    repeats: From1
    interpolation: Literal["bicubic", "bilinear", "random"]

    def __post_init__(self) -> None:
        shifted, text, jitter = self.crop == "shifted", self.rand_augment, self.color_jitter
        _raise(
            _outside("rand_augment", text, "null, or crop: resized", not (shifted and text)),
            _outside("color_jitter", jitter, "0, or crop: resized", not (shifted and jitter)),
        )

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed."""
        return self.mix > 0 and (self.mixup > 0 or self.cutmix > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataOptions:
    """How the images are read.

    Attributes:
        root: Folder of a data set with a name; None: its usual place.
        validation: Share of each training class that is held out instead of a validation split, in
            [0, 1); 0: nothing is validated. None: the set's own split; where it has none, what the
            search of the network held out, or a fifth.
        split_seed: Chooses that share.
        download: Whether a missing set may be fetched from the network.
        check_images: Read every file of a folder once before the training, which finds those that
            are broken and those that are in both splits.
        skip_broken: Leave broken files out instead of refusing the folder.
        loader_processes: Processes that read images, for each worker; auto: its cores less one.
        normalisation: `imagenet`: its mean and deviation; `measured`: those of the training images.
    """

    __pydantic_config__ = _STRICT

    root: Path | None
    validation: Share | None
    split_seed: From0Whole
    download: bool
    check_images: bool
    skip_broken: bool
    loader_processes: From0Whole | Literal["auto"]
    normalisation: Literal["imagenet", "measured"]

    def __post_init__(self) -> None:
        possible = self.check_images or not self.skip_broken
        _raise(_outside("skip_broken", self.skip_broken, "check_images with it", possible))


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings:
    """How images are scored.

    Attributes:
        crop_share: Of resized images: side of the centre crop over the shorter side of the image
            that it is cut from; 0.875 cuts 224 from 256.
        batch_size: Images at once in a worker.
    """

    __pydantic_config__ = _STRICT

    crop_share: Annotated[Real, Field(gt=0, le=1)]
    batch_size: From1


@dataclass(frozen=True, kw_only=True, slots=True)
class FullResources:
    """Workers that share every batch, and what each gets.

    Attributes:
        address: `here`: one worker, in this process. Otherwise Ray Train starts the workers: on
            this machine (`local`), or on a running Ray cluster (`auto` or `host:port`) whose
            machines see the data and the output folder under the same names.
        workers: How many; auto: one for each GPU, or one where there is none.
        cpus_per_worker: Cores, and threads of torch; auto: those of the largest machine, shared by
            its workers.
        gpus_per_worker: 0 or 1; auto: 1 where there are GPUs.
        max_failures: How often lost workers are replaced, from the last checkpoint.

    Raises:
        ConfigError: A number out of range.
    """

    __pydantic_config__ = _STRICT

    address: Annotated[str, Field(min_length=1)]
    workers: From1 | Literal["auto"]
    cpus_per_worker: From1 | Literal["auto"]
    gpus_per_worker: Literal[0, 1, "auto"]
    max_failures: From0Whole

    def __post_init__(self) -> None:
        enough = self.address != HERE or self.workers in ("auto", 1)
        _raise(
            _outside("workers", self.workers, "1 where address is here; local takes more", enough)
        )

    @property
    def known_workers(self) -> int:
        """How many workers there will be, as far as it is known; at least so many."""
        return 1 if self.workers == "auto" else self.workers


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A whole training.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images a step, over all workers and parts.
        accumulation: Parts of a worker's batch, whose gradients are summed: less memory.
        seed: Of initial weights, order and changes of the images, dropped paths.
        image_size: Height and width; None: the architecture's.
        resample_tokens: Interpolate the weights of token-MLPs where the image size is another one.
        precision: `auto` is bf16 autocast on CUDA and fp32 elsewhere.
        device: `auto` is CUDA where there is one and the CPU elsewhere.
        compile: Whether torch.compile makes kernels for the network.
        drop_path: Highest chance that a residual branch is skipped, in [0, 1).
        sync_batch_norm: Whether norms over a batch take the images of all GPUs together.
        final: Whether the bundle gets the `best` weights by validation top-1, or the `last`.
        checkpoint_steps: Steps between checkpoints within an epoch; None: at its end only.
        loggers: Where the curve is sent, besides the files.
        optimizer: Optimizer and learning rate.
        schedule: The learning rate.
        ema: Moving average of the weights.
        augmentation: Of the training images.
        evaluation: Of the validation images.
        data: How images are read.
        resources: Workers, and what each gets.

    Raises:
        ConfigError: A value out of range.
    """

    __pydantic_config__ = _STRICT

    epochs: From1
    batch_size: From1
    accumulation: From1
    seed: From0Whole
    image_size: Size | None
    resample_tokens: bool
    precision: Precision | Literal["faster"]
    device: Device
    compile: bool
    drop_path: Share
    sync_batch_norm: bool
    final: Literal["best", "last"]
    checkpoint_steps: From1 | None
    loggers: tuple[LoggerName, ...]
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    ema: EmaSettings
    augmentation: FullAugmentation
    evaluation: EvaluationSettings
    data: DataOptions
    resources: FullResources

    def __post_init__(self) -> None:
        warmup, batch = self.schedule.warmup_epochs, self.batch_size
        parts = self.accumulation * self.resources.known_workers
        whole = batch % parts == 0
        pairs = not self.augmentation.mixes or batch // parts % 2 == 0
        _raise(
            _outside(
                "schedule.warmup_epochs",
                warmup,
                f"less than epochs, which is {self.epochs}",
                warmup < self.epochs,
            ),
            _outside("batch_size", batch, f"a multiple of {parts}, workers x accumulation", whole),
            _outside(
                "batch_size",
                batch,
                f"a multiple of {2 * parts}, since Mixup and CutMix take images in pairs",
                pairs or not whole,
            ),
        )

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        batch = self.optimizer.learning_rate_batch
        factor = 1.0 if batch is None else self.batch_size / batch
        return self.optimizer.learning_rate * factor

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as YAML has them."""
        plain = asdict(self)
        root = plain["data"]["root"]
        plain["data"]["root"] = None if root is None else str(root)
        plain["augmentation"]["crop_scale"] = list(plain["augmentation"]["crop_scale"])
        plain["loggers"] = list(plain["loggers"])
        if self.image_size is not None:
            plain["image_size"] = list(self.image_size)
        return plain


def _outside(name: str, value: object, expected: str, inside: bool) -> str:
    """A line for `_raise`, empty when the value is inside."""
    return "" if inside else f"{name}: {value}; expected {expected}"


def _raise(*mistakes: str) -> None:
    """Raise all that are not empty, one a line."""
    found = list(filter(None, mistakes))
    if found:
        raise ConfigError("\n".join(found))
