"""The files of a training's folder, and what its bundle's model card says; free of torch.

curve.jsonl     one line for each finished epoch
progress.json   where it is now, written anew about once a second
run.json        what it began with: `--resume` goes on with nothing else
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from spach_nas.config.recipe import recipe_text
from spach_nas.data.reader import OpenData
from spach_nas.errors import StudyError
from spach_nas.files import replace_text, write_durably
from spach_nas.full_size.job import Job

CURVE = "curve.jsonl"
PROGRESS = "progress.json"
RUN_JSON = "run.json"
Phase = Literal["starting", "training", "scoring", "ended", "diverged"]
_SECONDS = 1.0
# What may change while a training is interrupted: none of it changes the curve by more than the
# order of sums.
_FREE = ("resources", "loggers", "checkpoint_steps", "final", "compile")
_FREE_DATA = ("loader_processes", "check_images", "skip_broken", "download", "root")
_MOST_ROWS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochLine:
    """What came of an epoch.

    Attributes:
        epoch: From 1.
        loss: Mean training loss, as augmented and mixed; lower is better.
        top1: Of the validation images, in [0, 1]; None: nothing is validated.
        top5: The same for the five highest logits.
        validation_loss: Lower is better.
        ema_top1: As `top1`, of the averaged weights; None without an average.
        ema_top5: As `top5`.
        ema_loss: As `validation_loss`.
        learning_rate: Of the last step.
        images_per_s: Of the training, over all workers, without validation.
        seconds: Of the epoch with its validation.
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
        """The higher one of the weights and of their average."""
        known = [value for value in (self.top1, self.ema_top1) if value is not None]
        return max(known, default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Now:
    """Where a training is.

    Attributes:
        phase: What it does.
        epochs: In all.
        epoch: Under way, from 1.
        steps: Of an epoch.
        step: Steps done of this one.
        loss: Mean of this epoch so far.
        images_per_s: Over all workers, in this epoch.
        seconds: Of the training so far.
        time_left: Seconds until its end; None when unknown.
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
    """Writes where a training is, but not too often.

    Attributes:
        due: Whether it is time to write again.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PROGRESS
        self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether the last writing is long enough ago."""
        return time.monotonic() >= self._next

    def write(self, now: Now) -> None:
        """Write it, if that is possible: a full disk does not stop a training."""
        self._next = time.monotonic() + _SECONDS
        try:
            replace_text(self._path, json.dumps(asdict(now)))
        except OSError:
            return


def read_now(folder: Path) -> Now:
    """Where the training in a folder is; at its beginning where nothing was written."""
    try:
        return Now(**json.loads((folder / PROGRESS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Now()


def read_curve(folder: Path) -> tuple[EpochLine, ...]:
    """The finished epochs, in order; damaged lines are passed over."""
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
        OSError: The disk is full; the file is what it was.
    """
    text = "".join(json.dumps(_known(line)) + "\n" for line in lines)
    write_durably(folder / CURVE, text.encode())


def _known(line: EpochLine) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(line).items() if value is not None}


def run_text(job: Job, data: OpenData) -> str:
    """What `--resume` looks at, as JSON."""
    part = job.data.held_out
    files = {
        "broken": sorted(job.data.broken),
        "channels": data.train.channels,
        "held_out": None if part is None else asdict(part),
    }
    return json.dumps({"origin": _origin(job, data), "files": files}, indent=1) + "\n"


def known_files(folder: Path) -> Mapping[str, Any]:
    """`broken` files, `channels` and what is `held_out`, as the training began with them.

    Raises:
        StudyError: They are missing or damaged.
    """
    files: Mapping[str, Any] = _read(folder)["files"]
    return files


def check_origin(folder: Path, job: Job, data: OpenData) -> None:
    """Refuse to go on with another training than the one that began there.

    Raises:
        StudyError: One line for each difference.
    """
    before, now = _flat(_read(folder)["origin"]), _flat(json.loads(json.dumps(_origin(job, data))))
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
    """Data, curve and recipe as Markdown.

    Args:
        job: The training.
        curve: Its epochs.
    """
    parts = [
        "## Training",
        f"On `{_data_name(job)}` from seed {job.recipe.seed}, {job.recipe.epochs} epochs of "
        f"{job.recipe.batch_size} images a step. Validation images were not trained on, but "
        "chose the weights that are kept."
        if _chosen(job, curve)
        else f"On `{_data_name(job)}` from seed {job.recipe.seed}, {job.recipe.epochs} epochs of "
        f"{job.recipe.batch_size} images a step.",
        _table(curve),
        f"```yaml\n{recipe_text(job.recipe).rstrip()}\n```",
    ]
    return "\n\n".join(filter(None, parts))


def _chosen(job: Job, curve: Sequence[EpochLine]) -> bool:
    return job.recipe.final == "best" and any(line.top1 is not None for line in curve)


def _data_name(job: Job) -> str:
    # A whole path says who trained where.
    return job.data.name.rstrip("/").rsplit("/", 1)[-1] if job.data.is_folder else job.data.name


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
