"""The table of all trials: what the page's script knows about each, and why trials failed."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.paths import shell_word
from spach_nas.report.document import Section, render
from spach_nas.report.drawing import draw
from spach_nas.report.view import StudyView, Trained
from spach_nas.study.pareto import value
from spach_nas.study.records import Record
from spach_nas.units import format_count, format_share

KEPT = "Writes the trained proxy with its weights."
NOT_KEPT = "Its weights are not kept: this writes the untrained network at full size."
_EFFORT = 9  # of the compression
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NO_REASON = "no reason given"
# A traceback or a compiler's output would hide the other reasons.
_LONGEST_REASON = 300
_ACCURACY = OBJECTIVES["accuracy"]
# Heading and name in a sentence.
_COUNTS = {
    "macs": ("MACs", "MACs"),
    "params": ("Params", "parameters"),
    "activations": ("Act.", "activations"),
}

Row = dict[str, Any]


def trials_section(view: StudyView) -> Section:
    """The table, which a script fills."""
    if not view.records:
        return Section(id="trials", title="All trials", missing="No trial is finished yet.")
    return Section(
        id="trials",
        title="All trials",
        controls=render("study.html", "filters"),
        body=render("study.html", "table", table_columns(view)),
    )


def table_data(view: StudyView, *, folder: Path) -> dict[str, Any]:
    """What the script needs, ready for JSON."""
    rows = table_rows(view)
    scored = [row for row in rows if row["accuracy"] is not None]
    top = max(scored, key=lambda row: row["accuracy"], default={"trial": None})
    return {
        "study": shell_word(folder),
        "notes": [KEPT, NOT_KEPT],
        "selected": view.best.trial if view.best else top["trial"],
        "rows": rows,
        "drawings": packed_drawings(view),
    }


def export_command(folder: str, record: Record, *, kept: bool) -> str:
    """The command that exports a trial; without weights the network at full size.

    Args:
        folder: Of the study, quoted for a shell.
        record: The trial.
        kept: Whether its weights are there.
    """
    scale = "" if kept else " --scale target"
    name = record.arch_id
    return f"spach-nas export {folder} --pick {name}{scale} --out bundle-{name}"


def packed_drawings(view: StudyView) -> str:
    """Drawings by `arch_id`: JSON, deflated, in base64; thousands of them take a megabyte."""
    known = {record.arch_id: record.architecture for record in view.records}
    drawings = {arch_id: draw(architecture) for arch_id, architecture in known.items()}
    # Neighbours that are alike pack a third better.
    text = json.dumps(dict(sorted(drawings.items(), key=lambda item: item[1])))
    return base64.b64encode(zlib.compress(text.encode(), _EFFORT)).decode()


def table_columns(view: StudyView) -> list[tuple[str, str, str]]:
    """Columns from left to right; epochs and seeds only where trials differ in them.

    Returns:
        For each the key of a row, the heading, and its classes: `number`, and `down` where the
        first click on the heading shows the highest first.
    """
    several_epochs = len({record.fidelity.epochs for record in view.last.values()}) > 1
    several_seeds = any(len(one.trainings) > 1 for one in view.trained)
    further = {
        item.name: (item.label.capitalize(), "number down" if item.direction == "max" else "number")
        for item in _further(view)
    }
    return [
        ("trial", "Trial", "number"),
        ("accuracy", "Accuracy", "number down"),
        *((key, label, "number") for key, (label, _) in _COUNTS.items()),
        *((key, *rest) for key, rest in further.items()),
        ("seconds", "Time (s)", "number"),
        *([("epochs", "Epochs", "number")] if several_epochs else []),
        *([("seeds", "Seeds", "number")] if several_seeds else []),
        ("architecture", "Architecture", ""),
        ("note", "Note", ""),
    ]


def _further(view: StudyView) -> list[Objective]:
    return [item for item in view.objectives if item.source != "target_cost" and item != _ACCURACY]


def table_rows(view: StudyView) -> list[Row]:
    """One row for each trial at its highest rung, in their order.

    A row has a value for each column to sort by, `text` where that is shown in other words, and for
    a card the `words` of its figures and its `origin`.
    """
    seconds: dict[int, float] = {}
    for record in view.records:
        seconds[record.trial] = seconds.get(record.trial, 0.0) + record.seconds
    groups = {record.trial: one for one in view.trained for record in one.trainings}
    front = {record.trial for record in view.front}
    kept = {record.trial for record in view.records if view.keeps(record)}
    rows = []
    for trial, record in view.last.items():
        one = groups.get(trial, Trained(record=record, trainings=(record,)))
        flags = {
            "front": trial in front,
            "kept": trial in kept,
            "paper": record.reference is not None,
            "failed": record.state == "failed",
        }
        row = _row(view, one, record, seconds=seconds[trial])
        note = " · ".join(_notes(view, record, one, on_front=trial in front))
        # What is false or empty is left out: thousands of rows are part of the page.
        rows.append(row | {key: given for key, given in {"note": note, **flags}.items() if given})
    return rows


def _row(view: StudyView, one: Trained, record: Record, *, seconds: float) -> Row:
    items = [_ACCURACY, *_further(view)] if record.state == "complete" else []
    figures = {item: figure for item in items if (figure := value(one.record, item)) is not None}
    shown = {item.name: one.words(item) for item in figures}
    costs = {key: getattr(record.target_cost, key) for key in _COUNTS}
    counts, seeds = {key: format_count(cost) for key, cost in costs.items()}, one.seed_words
    words = [
        *(f"{item.name} {shown[item.name]}{' ms' * (item.unit == 'ms')}" for item in figures),
        *(f"{name} {counts[key]}" for key, (_, name) in _COUNTS.items()),
        seeds,
    ]
    sentence = ", ".join(words)
    return {
        "accuracy": None,
        **{item.name: figure for item, figure in figures.items()},
        **costs,
        "trial": record.trial,
        "id": record.arch_id,
        "architecture": view.names[record.arch_id],
        "seconds": round(seconds, 2),
        "epochs": record.fidelity.epochs,
        "seeds": len(one.trainings),
        "text": {
            "accuracy": "\N{EN DASH}",
            **counts,
            "seconds": f"{seconds:.1f}",
            **shown,
        },
        "words": sentence[0].upper() + sentence[1:],
        "origin": f"{record.arch_id}, trained for {seconds:.1f} s, {seeds}",
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
        low, high = map(format_share, (min(accuracies), max(accuracies)))
        words.append(f"mean of {len(accuracies)} seeds, {low} to {high}")
    return words + ([record.remark] if record.remark else [])


def failures_section(view: StudyView) -> Section:
    """Why trials failed."""
    body = render("study.html", "failures", failures(view), _LONGEST_REASON)
    return Section(id="failures", title="Failures", body=body)


class Failure(NamedTuple):
    """One reason; those that differ only in numbers are one.

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
    found = [Failure(reasons[trials[0]], tuple(trials), words) for words, trials in groups.items()]
    return tuple(sorted(found, key=lambda item: (-len(item.trials), item.trials)))
