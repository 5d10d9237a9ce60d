"""A training recipe: every value of a training at full size, checked, and its YAML files.

`spach` is the paper's recipe, `short` is for small data on a CPU. A file of your own may begin with
`base: short`; what it leaves out is taken from that recipe, and from `spach` without a base. The
`training` section of a search YAML is the short form: see `training_settings.py`, where the fields
that both have are stated with their bounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, TypeAdapter

from spach_nas.config.logger_registry import LoggerName
from spach_nas.config.training_settings import (
    BatchSize,
    Device,
    DropPathRate,
    EmaSettings,
    Epochs,
    LabelSmoothing,
    OptimizerSettings,
    Precision,
    WrittenTeacher,
)
from spach_nas.errors import ConfigError, did_you_mean, one_of
from spach_nas.units import Real, Size, Whole
from spach_nas.validation import Document, Settings, read_document, read_yaml_value, validate

HERE, LOCAL = "here", "local"
AtLeast1 = Annotated[Whole, Field(ge=1)]
NotNegative = Annotated[Real, Field(ge=0)]
Chance = Annotated[Real, Field(ge=0, le=1)]
_FOLDER = Path(__file__).with_name("recipes")
_DEFAULT_BASE = "spach"


def _check_rand_augment(value: str) -> str:
    if value.split("-")[0] not in ("rand", "augmix", "original", "v0", "3a"):
        raise ValueError(f"{value!r}; expected a text such as rand-m9-mstd0.5-inc1")
    return value


def _check_scale(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1] <= 1:
        raise ValueError(f"{value!r}; expected 0 < low <= high <= 1")
    return value


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleSettings(Settings):
    """The learning rate over the training: a linear warm-up, then half a cosine, step by step."""

    warmup_epochs: NotNegative
    """May be a fraction."""
    warmup_from: NotNegative
    """Learning rate of the first step."""
    final: NotNegative
    """Learning rate at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FullAugmentation(Settings):
    """Random changes of each training image, drawn anew every time."""

    crop: Literal["resized", "shifted"]
    """`resized`: a random part at a random scale, and whatever needs an image as PIL has it.
    `shifted`: images stay in memory as they are scored, and are shifted by some pixels."""
    crop_scale: Annotated[tuple[Real, Real], AfterValidator(_check_scale)]
    """Smallest and largest share of the image that `resized` cuts out."""
    shift: Annotated[Whole, Field(ge=0)]
    """Pixels by which `shifted` moves an image at most."""
    flip: Chance
    """Chance that an image is mirrored left to right."""
    rand_augment: Annotated[str, AfterValidator(_check_rand_augment)] | None
    """timm's text, such as rand-m9-mstd0.5-inc1; null: off."""
    color_jitter: NotNegative
    """Of brightness, contrast and saturation; timm ignores it where `rand_augment` is on."""
    erasing: Chance
    """Chance that a rectangle of an image is filled with noise."""
    mixup: NotNegative
    """Alpha of Mixup; 0 is off."""
    cutmix: NotNegative
    """Alpha of CutMix; 0 is off."""
    mix: Chance
    """Chance that a batch is mixed, by either."""
    label_smoothing: LabelSmoothing
    repeats: AtLeast1
    """Times that an image comes in an epoch, each time changed in another way, while so many others
    stay out of it."""
    interpolation: Literal["bicubic", "bilinear", "random"]
    """Of resized images; random: either."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        mistakes = [
            f"{name}: {value}; expected {off}, or crop: resized"
            for name, value, off in (
                ("rand_augment", self.rand_augment, "null"),
                ("color_jitter", self.color_jitter, "0"),
            )
            if self.crop == "shifted" and value
        ]
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are mixed."""
        return self.mix > 0 and (self.mixup > 0 or self.cutmix > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataOptions(Settings):
    """How the images are read."""

    root: Path | None
    """Folder of a data set with a name; null: its usual place."""
    validation: Annotated[Real, Field(ge=0, lt=1)] | None
    """Share of each training class that is held out instead of a validation split; 0: nothing is
    validated. null: the set's own split; where it has none, what the search of the network held
    out, or a fifth."""
    split_seed: Annotated[Whole, Field(ge=0)]
    """Chooses that share."""
    download: bool
    """Whether a missing set may be fetched from the network."""
    check_images: bool
    """Read every file of a folder once before the training, which finds those that are broken and
    those that are in both splits."""
    skip_broken: bool
    """Leave broken files out instead of refusing the folder."""
    loader_processes: Annotated[Whole, Field(ge=0)] | Literal["auto"]
    """Processes that read images, for each worker; auto: its cores less one."""
    normalisation: Literal["imagenet", "measured"]
    """`imagenet`: its mean and deviation; `measured`: those of the training images."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.skip_broken and not self.check_images:
            raise ConfigError("skip_broken: true; expected false, or check_images: true with it")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationSettings(Settings):
    """How images are scored."""

    crop_share: Annotated[Real, Field(gt=0, le=1)]
    """Of resized images: side of the centre crop over the shorter side of the image that it is cut
    from; 0.875 cuts 224 from 256."""
    batch_size: AtLeast1
    """Images at once in a worker."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FullResources(Settings):
    """Workers that share every batch, and what each gets."""

    address: Annotated[str, Field(min_length=1)]
    """`here`: one worker, in this process. Otherwise Ray Train starts the workers: on this machine
    (`local`), or on a running Ray cluster (`auto` or `host:port`) whose machines see the data and
    the output folder under the same names."""
    workers: AtLeast1 | Literal["auto"]
    """How many; auto: one for each GPU, or one where there is none."""
    cpus_per_worker: AtLeast1 | Literal["auto"]
    """Cores, and threads of torch; auto: those of the largest machine, shared by its workers."""
    gpus_per_worker: Literal[0, 1, "auto"]
    """0 or 1; auto: 1 where there are GPUs."""
    max_failures: Annotated[Whole, Field(ge=0)]
    """How often lost workers are replaced, from the last checkpoint."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.address == HERE and self.workers not in ("auto", 1):
            raise ConfigError(
                f"workers: {self.workers}; expected 1 where address is here; local takes more"
            )

    @property
    def known_workers(self) -> int:
        """How many workers there will be, as far as it is known; at least so many."""
        return 1 if self.workers == "auto" else self.workers


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe(Settings):
    """A whole training at full size."""

    epochs: Epochs
    batch_size: BatchSize
    accumulation: AtLeast1
    """Parts of a worker's batch, whose gradients are summed: less memory."""
    seed: Annotated[Whole, Field(ge=0)]
    """Of initial weights, order and changes of the images, dropped paths."""
    image_size: Size | None
    """Height and width; null: the architecture's."""
    resample_tokens: bool
    """Interpolate the weights of token-MLPs where the image size is another one."""
    precision: Precision
    """`auto` is bf16 autocast on CUDA and fp32 elsewhere."""
    device: Device
    """`auto` is CUDA where there is one and the CPU elsewhere."""
    compile: bool
    """Whether `torch.compile` makes kernels for the network."""
    drop_path: DropPathRate
    sync_batch_norm: bool
    """Whether norms over a batch take the images of all GPUs together."""
    final: Literal["best", "last"]
    """Whether the bundle gets the `best` weights by validation top-1, or the `last`."""
    checkpoint_steps: AtLeast1 | None
    """Steps between checkpoints within an epoch; null: at its end only."""
    loggers: tuple[LoggerName, ...]
    """Where the curve is sent, besides the files."""
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    ema: EmaSettings
    augmentation: FullAugmentation
    evaluation: EvaluationSettings
    data: DataOptions
    resources: FullResources
    teacher: WrittenTeacher | None = None
    """A trained network that the network learns to agree with: a folder, or a mapping."""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        warmup, batch = self.schedule.warmup_epochs, self.batch_size
        parts = self.accumulation * self.resources.known_workers
        mistakes = []
        if warmup >= self.epochs:
            less = f"less than epochs, which is {self.epochs}"
            mistakes.append(f"schedule.warmup_epochs: {warmup}; expected {less}")
        if batch % parts:
            multiple = f"a multiple of {parts}, workers x accumulation"
            mistakes.append(f"batch_size: {batch}; expected {multiple}")
        elif self.augmentation.mixes and batch // parts % 2:
            multiple = f"a multiple of {2 * parts}, since Mixup and CutMix take images in pairs"
            mistakes.append(f"batch_size: {batch}; expected {multiple}")
        if mistakes:
            raise ConfigError("\n".join(mistakes))

    @property
    def peak_rate(self) -> float:
        """The highest learning rate."""
        batch = self.optimizer.learning_rate_batch
        factor = 1.0 if batch is None else self.batch_size / batch
        return self.optimizer.learning_rate * factor

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as YAML has them."""
        plain: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return plain


def recipe_names() -> tuple[str, ...]:
    """The shipped recipes."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_recipe(source: str | Path, *, changes: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        source: A shipped recipe's name, or a YAML file.
        changes: `key.path=value` each, the value as YAML has it; they go over the file.

    Raises:
        ConfigError: One line for each mistake, with its line in a file.
    """
    document = _with_base(str(source))
    mistakes = [_change(document.data, change) for change in changes]
    if any(mistakes):
        raise ConfigError("\n".join(filter(None, mistakes)))
    changed = [tuple(change.partition("=")[0].split(".")) for change in changes]
    # A value that was changed is no longer the one on that line.
    lines = {
        keys: line
        for keys, line in document.lines.items()
        if not any(keys[: len(path)] == path for path in changed)
    }
    document = Document(path=document.path, data=document.data, lines=lines)
    return parse_recipe(document.data, where=document)


def parse_recipe(data: Any, *, where: str | Document) -> Recipe:
    """A recipe from plain values, all of them given.

    Raises:
        ConfigError: One line `where: key.path: what; expected` for each mistake.
    """
    return validate(_adapter(), data, where=where, error=ConfigError)


def recipe_text(recipe: Recipe) -> str:
    """The recipe as YAML."""
    text: str = yaml.safe_dump(recipe.as_dict(), sort_keys=False)
    return text


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe."""
    return _adapter().json_schema()


def _with_base(source: str) -> Document:
    """A recipe with what its base adds; the lines are those of the user's file."""
    names = recipe_names()
    if source in names:
        return Document(path=source, data=_shipped(source), lines={})
    if not Path(source).is_file():
        raise ConfigError(
            f"{source}: no such recipe; expected {one_of((*names, 'a YAML file'))}"
            f"{did_you_mean(source, names)}"
        )
    document = read_document(source, error=ConfigError)
    if not isinstance(document.data, dict):
        raise ConfigError(f"{source}: {document.data!r}; expected a mapping of keys to values")
    base = document.data.pop("base", _DEFAULT_BASE)
    if base is None:
        return document
    if base not in names:
        raise ConfigError(
            f"{document.place(('base',))}: base: {base!r}; expected {one_of(names)}"
            f"{did_you_mean(str(base), names)}"
        )
    merged = _merged(_shipped(base), document.data)
    return Document(path=source, data=merged, lines=document.lines)


def _shipped(name: str) -> dict[str, Any]:
    data: dict[str, Any] = read_document(_FOLDER / f"{name}.yaml", error=ConfigError).data
    return data


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        merged[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged


def _change(data: dict[str, Any], change: str) -> str:
    """Make one change in place; what is wrong with it."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        return f"--set {change}: expected KEY=VALUE, such as epochs=10 or data.validation=0.1"
    *outer, last = path.split(".")
    for key in outer:
        inner = data.setdefault(key, {})
        if not isinstance(inner, dict):
            return f"--set {change}: {key} has no keys in it"
        data = inner
    try:
        data[last] = read_yaml_value(text)
    except ValueError as problem:
        return f"--set {change}: {problem}"
    return ""


@cache
def _adapter() -> TypeAdapter[Recipe]:
    return TypeAdapter(Recipe)
