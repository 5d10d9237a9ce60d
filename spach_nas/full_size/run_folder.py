"""A training and the files of its folder, and its section of a model card; without torch.

curve.jsonl     one line for each finished epoch
progress.json   the current progress, written about once a second
run.json        what the training began with; `--resume` accepts nothing else
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from spach_nas.config.recipe import Recipe, recipe_text
from spach_nas.data.images import HeldOut, Normalisation
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.data.reader import DataChoice, OpenData
from spach_nas.errors import StudyError
from spach_nas.files import replace_text, write_durably
from spach_nas.space.architecture import Architecture
from spach_nas.space.timm_reference import TimmModel

CURVE = "curve.jsonl"
PROGRESS = "progress.json"
TEACHER = "teacher.safetensors"
RUN_JSON = "run.json"
Phase = Literal["starting", "training", "scoring", "ended", "diverged"]
_SECONDS = 1.0
# Keys that may differ when a training is resumed: they change at most the rounding of sums.
_FREE = ("resources", "loggers", "checkpoint_steps", "final", "compile")
_FREE_DATA = ("loader_processes", "check_images", "skip_broken", "download", "root")
_MOST_ROWS = 12


def teacher_file(folder: Path) -> Path:
    """The file with the teacher of a run, where its recipe names one."""
    return folder / TEACHER


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training, as its workers are told; without the images.

    Attributes:
        name: Name of the network, shown to users.
        architecture: The network, with the channels and classes of the data.
        recipe: How the network is trained.
        data: The data set and how it is read.
        class_names: Classes in the order of the network's outputs.
        normalisation: Mean and deviation of the pixels.
        folder: Folder of the run, which every worker sees.
        initial: Whether it holds initial weights; otherwise they are drawn from the seed.
        held_out: Part of the train split that is used for validation; None: the set has a
            validation split, or nothing is validated.
    """

    name: str
    architecture: Architecture | TimmModel
    recipe: Recipe
    data: DataChoice
    class_names: tuple[str, ...]
    normalisation: Normalisation
    folder: Path
    initial: bool = False
    held_out: HeldOut | None = None

    @property
    def mixers(self) -> tuple[str, ...]:
        """Names of the mixers of the network; a model of timm has none."""
        if isinstance(self.architecture, TimmModel):
            return ()
        return tuple(name for stage in self.architecture.stages for name in stage.mixers)

    @property
    def shifted(self) -> bool:
        """Whether images are held in memory at the size of the network."""
        return self.recipe.augmentation.crop == "shifted"

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are prepared when the network is scored."""
        return Preprocessing(
            mean=self.normalisation.mean,
            std=self.normalisation.std,
            class_names=self.class_names,
            crop_share=None if self.shifted else self.recipe.evaluation.crop_share,
            held_out=self.held_out,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochLine:
    """Figures of a finished epoch.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: Mean training loss on augmented and mixed images; lower is better.
        top1: Validation accuracy, in [0, 1]; None: nothing is validated.
        top5: Share of validation images whose class is among the five highest logits.
        validation_loss: Cross-entropy on the validation images; lower is better.
        ema_top1: `top1` of the averaged weights; None without an average.
        ema_top5: `top5` of the averaged weights.
        ema_loss: `validation_loss` of the averaged weights.
        learning_rate: Learning rate of the last step.
        images_per_s: Speed of the training over all workers, without validation.
        seconds: Duration of the epoch with its validation.
    """

    epoch: int
    loss: float
    top1: float | None = None
    top5: float | None = None
    validation_loss: float | None = None
    ema_top1: float | None = None
    ema_top5: float | None = None
    ema_loss: float | None = None
    learning_rate: float = 0.0
    images_per_s: float = 0.0
    seconds: float = 0.0

    @property
    def best_top1(self) -> float | None:
        """The higher of `top1` and `ema_top1`."""
        known = [value for value in (self.top1, self.ema_top1) if value is not None]
        return max(known, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Now:
    """Progress of a training.

    Attributes:
        phase: What it is doing.
        epochs: Epochs of the whole training.
        epoch: Current epoch, from 1.
        steps: Steps of an epoch.
        step: Steps done in the current epoch.
        loss: Mean training loss of the current epoch so far.
        images_per_s: Speed in the current epoch over all workers.
        seconds: Duration of the training so far.
        time_left: Estimated seconds until the end; None: unknown.
    """

    phase: Phase = "starting"
    epochs: int = 0
    epoch: int = 1
    steps: int = 0
    step: int = 0
    loss: float | None = None
    images_per_s: float = 0.0
    seconds: float = 0.0
    time_left: float | None = None


class ProgressFile:
    """Writes the progress of a training, about once a second."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether the last write was long enough ago."""
        return time.monotonic() >= self._next

    def write(self, now: Now) -> None:
        """Write it if possible: a full disk does not stop a training here."""
        self._next = time.monotonic() + _SECONDS
        try:
            replace_text(self._path, json.dumps(asdict(now)))
        except OSError:
            return


def read_now(folder: Path) -> Now:
    """Progress of the training in a folder; that of its start if nothing was written yet."""
    try:
        return Now(**json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Now()


def read_curve(folder: Path) -> tuple[EpochLine, ...]:
    """The finished epochs, in order; damaged lines are skipped."""
    try:
        text = (folder / CURVE).read_text(encoding="utf-8")
    except OSError:
        return ()
    lines = []
    for line in text.split("\n"):
        try:
            lines.append(EpochLine(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return tuple(lines)


def write_curve(folder: Path, lines: Sequence[EpochLine]) -> None:
    """Write all finished epochs.

    Raises:
        OSError: The disk is full; the file is unchanged.
    """
    text = "".join(json.dumps(_known(line)) + "\n" for line in lines)
    write_durably(folder / CURVE, text.encode())


def _known(line: EpochLine) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(line).items() if value is not None}


def run_text(job: Job, data: OpenData) -> str:
    """The text of `run.json`, with which `--resume` compares."""
    part = job.data.held_out
    files = {
        "broken": sorted(job.data.broken),
        "channels": data.train.channels,
        "held_out": None if part is None else asdict(part),
    }
    return json.dumps({"origin": _origin(job, data), "files": files}, indent=1) + "\n"


def known_files(folder: Path) -> Mapping[str, Any]:
    """`broken` files, `channels` and the `held_out` part with which the training began.

    Raises:
        StudyError: They are missing or damaged.
    """
    files: Mapping[str, Any] = _read(folder)["files"]
    return files


def check_origin(folder: Path, job: Job, data: OpenData) -> None:
    """Refuse to resume a folder with a training other than the one that began there.

    Raises:
        StudyError: One line for each difference.
    """
    before, now = _flat(_read(folder)["origin"]), _flat(json.loads(json.dumps(_origin(job, data))))
    if before.get("recipe.precision") == "faster":
        # Earlier versions measured the format once, and kept it in a file.
        before["recipe.precision"] = _measured_format(folder)
    mistakes = [
        f"{folder}: {key}: {now.get(key)!r}; expected {before.get(key)!r}, as the training began"
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    ]
    held_out = 0 if data.held_out is None else len(data.validation or ())
    whole = before.get("training images") == len(data.train) + held_out
    if held_out and whole and not job.data.is_folder:
        mistakes.append(
            f"{folder}: began to validate on the test images of {job.data.name}, which only "
            "evaluate uses now; expected another folder by --out, for a new training"
        )
    if mistakes:
        raise StudyError("\n".join(mistakes))


def _measured_format(folder: Path) -> str:
    try:
        return (folder / "precision.txt").read_text(encoding="ascii")
    except OSError:
        return "fp32"


def _origin(job: Job, data: OpenData) -> dict[str, Any]:
    recipe = {k: v for k, v in job.recipe.as_dict().items() if k not in _FREE}
    recipe["data"] = {k: v for k, v in recipe["data"].items() if k not in _FREE_DATA}
    return {
        "architecture": job.architecture.arch_id,
        "data": job.data.name,
        "training images": len(data.train),
        "validation images": 0 if data.validation is None else len(data.validation),
        "classes": list(job.class_names),
        "weights to begin with": job.initial,
        "recipe": recipe,
    }


def _read(folder: Path) -> dict[str, Any]:
    path = folder / RUN_JSON
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"origin": plain["origin"], "files": plain["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{path}: missing or damaged; expected what the training wrote") from None


def _flat(plain: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        name = f"{path}.{key}" if path else key
        flat |= _flat(value, name) if isinstance(value, dict) else {name: value}
    return flat


def training_section(job: Job, curve: Sequence[EpochLine]) -> str:
    """Data, curve and recipe as Markdown."""
    recipe, data = job.recipe, job.data.name
    if job.data.is_folder:
        # A whole path would tell who trained where.
        data = data.rstrip("/").rsplit("/", 1)[-1]
    text = (
        f"On `{data}` from seed {recipe.seed}, {recipe.epochs} epochs with {recipe.batch_size} "
        "images per step."
    )
    if recipe.final == "best" and any(line.top1 is not None for line in curve):
        text += " The weights were chosen by the validation images, which were not trained on."
    recipe_block = f"```yaml\n{recipe_text(recipe).rstrip()}\n```"
    return "\n\n".join(filter(None, ["## Training", text, _table(curve), recipe_block]))


def _table(curve: Sequence[EpochLine]) -> str:
    """Some epochs, evenly spread, and the last one."""
    if not curve:
        return ""
    every = -(-len(curve) // _MOST_ROWS)
    shown = [line for line in curve if line.epoch % every == 0 or line is curve[-1]]
    columns = ("loss", "top1", "top5", "ema_top1", "ema_top5")
    used = [name for name in columns if getattr(shown[-1], name) is not None]
    rows = [["epoch", *used], ["---"] * (len(used) + 1)]
    rows += [[str(line.epoch), *(f"{getattr(line, name):.4f}" for name in used)] for line in shown]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
