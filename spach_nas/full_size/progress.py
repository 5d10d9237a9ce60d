"""How far a training is, in the files of its folder; free of torch.

curve.jsonl     one line for each finished epoch
progress.json   where it is now, written anew about once a second
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from spach_nas.files import replace_text, write_durably

CURVE = "curve.jsonl"
PROGRESS = "progress.json"
Phase = Literal["starting", "training", "scoring", "ended", "diverged"]
_SECONDS = 1.0


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
        """Write it; who cannot, as on a full disk, leaves it be."""
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
    text = "".join(json.dumps(_plain(line)) + "\n" for line in lines)
    write_durably(folder / CURVE, text.encode())


def _plain(line: EpochLine) -> Mapping[str, Any]:
    return {name: value for name, value in asdict(line).items() if value is not None}
