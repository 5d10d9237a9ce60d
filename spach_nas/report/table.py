"""The table of all trials: what the page's script knows about each, and why trials failed."""

import base64
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.paths import shell_word
from spach_nas.report.drawing import draw
from spach_nas.report.view import StudyView, Trained, seed_words
from spach_nas.space.architecture import Architecture
from spach_nas.study.pareto import value
from spach_nas.study.records import Record
from spach_nas.units import common_unit, format_share

KEPT = "Writes the trained proxy with its weights."
NOT_KEPT = "Its weights are not kept: this writes the untrained network at full size."
_EFFORT = 9  # of the compression
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NO_REASON = "no reason given"
_ACCURACY = OBJECTIVES["accuracy"]

Row = dict[str, Any]


class Column(NamedTuple):
    """A column of the table.

    Attributes:
        key: Of a row.
        label: At its head, short.
        name: In a sentence.
        suffix: After the figure in a sentence.
        unit: What the figures are divided by; 0 for text.
        digits: After the point; -1 for four significant ones.
        down: Whether the first click on the head shows the highest first.
        own_unit: Whether a figure in a sentence has a unit of its own, not that of the column.
    """

    key: str
    label: str
    name: str = ""
    suffix: str = ""
    unit: float = 1.0
    digits: int = 0
    down: bool = False
    own_unit: bool = False


# Key, heading, name and largest unit.
_COUNTS = (
    ("macs", "MACs", "MACs", "G"),
    ("params", "Params", "parameters", "M"),
    ("activations", "Act.", "activations", "M"),
)


def table_data(view: StudyView, rows: Sequence[Row], *, folder: Path) -> dict[str, Any]:
    """Rows and columns of the table, ready for JSON."""
    scored = [row for row in rows if row["accuracy"] is not None]
    top = max(scored, key=lambda row: row["accuracy"], default={"trial": None})
    return {
        "study": shell_word(folder),
        "notes": [KEPT, NOT_KEPT],
        "selected": view.best.trial if view.best else top["trial"],
        "columns": [column._asdict() for column in _columns(view, rows)],
        "rows": list(rows),
        "drawings": packed_drawings(view),
    }


def export_command(folder: str, record: Record, *, kept: bool) -> str:
    """What exports a trial, quoted for a shell; without weights the network at full size.

    Args:
        folder: Of the study, quoted.
        record: The trial.
        kept: Whether its weights are there.
    """
    scale = "" if kept else " --scale target"
    name = record.arch_id
    return f"spach-nas export {folder} --pick {name}{scale} --out bundle-{name}"


def packed_drawings(view: StudyView) -> str:
    """Drawings by `arch_id`: JSON, deflated, in base64; thousands of them take a megabyte."""
    drawings = {record.arch_id: cached_drawing(record.architecture) for record in view.records}
    # Neighbours that are alike pack a third better.
    text = json.dumps(dict(sorted(drawings.items(), key=lambda item: item[1])))
    return base64.b64encode(zlib.compress(text.encode(), _EFFORT)).decode()


@lru_cache(maxsize=8192)
def cached_drawing(architecture: Architecture) -> str:
    """The drawing of an architecture; thousands of trials share some."""
    return draw(architecture)


def _columns(view: StudyView, rows: Sequence[Row]) -> list[Column]:
    counts = []
    for key, label, name, largest in _COUNTS:
        unit, factor = common_unit([row[key] for row in rows], largest=largest)
        counts.append(Column(key, f"{label} ({unit})", name, "", factor, 2, own_unit=True))
    measured = [
        Column(
            item.name, item.label.capitalize(), item.label, digits=-1, down=item.direction == "max"
        )
        for item in _further(view)
        if rows
    ]
    # These say something only where trials differ in them.
    epochs = [Column("epochs", "Epochs")] if len({row["epochs"] for row in rows}) > 1 else []
    seeds = [Column("count", "Seeds")] if any(row["count"] > 1 for row in rows) else []
    return [
        Column("trial", "Trial"),
        Column("accuracy", "Accuracy", "accuracy", down=True),
        *counts,
        *measured,
        Column("seconds", "Time (s)", "trained for", " s", 1.0, 1),
        *epochs,
        *seeds,
        Column("architecture", "Architecture", unit=0.0),
        Column("note", "Note", unit=0.0),
    ]


def _further(view: StudyView) -> list[Objective]:
    return [item for item in view.objectives if item.source != "target_cost" and item != _ACCURACY]


def table_rows(view: StudyView) -> list[Row]:
    """One row for each trial at its highest rung, in their order; what is missing is left out."""
    seconds: dict[int, float] = {}
    for record in view.records:
        seconds[record.trial] = seconds.get(record.trial, 0.0) + record.seconds
    groups = {record.trial: one for one in view.trained for record in one.trainings}
    front = {record.trial for record in view.front}
    kept = {record.trial for record in view.records if view.keeps(record)}
    rows = []
    for trial, record in view.last.items():
        one = groups.get(trial, Trained(record=record, trainings=(record,)))
        kinds = {
            "note": " · ".join(_notes(view, record, one, on_front=trial in front)),
            "front": trial in front,
            "kept": trial in kept,
            "paper": record.reference is not None,
            "failed": record.state == "failed",
        }
        given = {name: content for name, content in kinds.items() if content}
        rows.append(given | _figures(view, record, one) | {"seconds": round(seconds[trial], 2)})
    return rows


def _figures(view: StudyView, record: Record, one: Trained) -> Row:
    scored = record.state == "complete"
    cost = record.target_cost
    return {
        **{item.name: value(one.record, item) if scored else None for item in _further(view)},
        "trial": record.trial,
        "id": record.arch_id,
        "architecture": view.names[record.arch_id],
        "accuracy": value(one.record, _ACCURACY) if scored else None,
        "shown": {"accuracy": one.words(_ACCURACY) if scored else ""},
        "macs": cost.macs,
        "params": cost.params,
        "activations": cost.activations,
        "epochs": record.fidelity.epochs,
        "seeds": seed_words(one.seeds),
        "count": len(one.seeds),
    }


def _notes(view: StudyView, record: Record, one: Trained, *, on_front: bool) -> list[str]:
    words = ["front"] if on_front else []
    words += [", ".join(view.marks[record.trial])] if record.trial in view.marks else []
    words += [f"paper: {record.reference}"] if record.reference else []
    if record.state == "failed":
        words.append(f"failed: {record.reason or _NO_REASON}")
    elif value(one.record, _ACCURACY) is None:
        words.append("no finite accuracy")
    accuracies = one.values(_ACCURACY)
    if len(one.trainings) > 1 and accuracies:
        words.append(
            f"mean of {len(accuracies)} seeds, {format_share(min(accuracies))} to "
            f"{format_share(max(accuracies))}"
        )
    return words + ([record.remark] if record.remark else [])


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One reason; those that differ in numbers alone are one.

    Attributes:
        reason: Of the first trial.
        trials: Their numbers.
        words: What the reasons have in common: words without numbers.
    """

    reason: str
    trials: tuple[int, ...]
    words: str


def failures(view: StudyView) -> tuple[Failure, ...]:
    """The most frequent first."""
    reasons = {
        trial: record.reason or _NO_REASON
        for trial, record in view.last.items()
        if record.state == "failed"
    }
    groups: dict[str, list[int]] = {}
    for trial, reason in reasons.items():
        groups.setdefault(" ".join(_NUMBER.sub(" ", reason).split()), []).append(trial)
    found = [
        Failure(reason=reasons[trials[0]], trials=tuple(trials), words=words)
        for words, trials in groups.items()
    ]
    return tuple(sorted(found, key=lambda item: (-len(item.trials), item.trials)))
