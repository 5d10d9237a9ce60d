"""What the script of the page knows about each trial: rows, columns, drawings."""

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.paths import shell_word
from spach_nas.report.drawing import draw
from spach_nas.report.trials import TrialRow, seed_words
from spach_nas.space.architecture import Architecture
from spach_nas.study.records import Record
from spach_nas.units import common_unit, format_share

_EFFORT = 9
KEPT = "Writes the trained proxy with its weights."
NOT_KEPT = "Its weights are not kept: this writes the untrained network at full size."


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


_TRIAL = Column("trial", "Trial")
_ACCURACY = Column("accuracy", "Accuracy", "accuracy", down=True)
# Key, heading, name and largest unit.
_COUNTS = (
    ("macs", "MACs", "MACs", "G"),
    ("params", "Params", "parameters", "M"),
    ("activations", "Act.", "activations", "M"),
)
_SECONDS = Column("seconds", "Time (s)", "trained for", " s", 1.0, 1)
_EPOCHS = Column("epochs", "Epochs")
_SEEDS = Column("count", "Seeds")
_ARCHITECTURE = Column("architecture", "Architecture", unit=0.0)
_NOTE = Column("note", "Note", unit=0.0)


def table_data(rows: Sequence[TrialRow], *, folder: Path) -> dict[str, Any]:
    """Rows and columns of the table, ready for JSON."""
    return {
        "study": shell_word(folder),
        "notes": [KEPT, NOT_KEPT],
        "selected": _first(rows),
        "columns": [column._asdict() for column in _columns(rows)],
        "rows": [_table_row(row) for row in rows],
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


def packed_drawings(records: Iterable[Record]) -> str:
    """Drawings by `arch_id`: JSON, deflated, in base64; thousands of them take a megabyte."""
    drawings = {record.arch_id: _drawn(record.architecture) for record in records}
    # Neighbours that are alike pack a third better.
    text = json.dumps(dict(sorted(drawings.items(), key=lambda item: item[1])))
    return base64.b64encode(zlib.compress(text.encode(), _EFFORT)).decode()


@lru_cache(maxsize=8192)
def _drawn(architecture: Architecture) -> str:
    return draw(architecture)


def _first(rows: Sequence[TrialRow]) -> int | None:
    """The best trial within the limits, else the best of all."""
    best = [row.trial for row in rows if "best" in row.mark]
    scored = [row for row in rows if row.accuracy is not None]
    top = max(scored, key=lambda row: row.accuracy or 0.0, default=None)
    if best:
        return best[0]
    return None if top is None else top.trial


def _count_columns(rows: Sequence[TrialRow]) -> list[Column]:
    columns = []
    for key, label, name, largest in _COUNTS:
        unit, factor = common_unit([getattr(row, key) for row in rows], largest=largest)
        columns.append(Column(key, f"{label} ({unit})", name, "", factor, 2, own_unit=True))
    return columns


def _columns(rows: Sequence[TrialRow]) -> list[Column]:
    names = dict.fromkeys(name for row in rows for name in row.measured)
    measured = [
        Column(
            name,
            OBJECTIVES[name].label.capitalize(),
            OBJECTIVES[name].label,
            digits=-1,
            down=OBJECTIVES[name].direction == "max",
        )
        for name in names
    ]
    counts = _count_columns(rows)
    # These say something only where trials differ in them.
    epochs = [_EPOCHS] if len({row.epochs for row in rows}) > 1 else []
    seeds = [_SEEDS] if any(row.accuracies for row in rows) else []
    return [_TRIAL, _ACCURACY, *counts, *measured, _SECONDS, *epochs, *seeds, _ARCHITECTURE, _NOTE]


def _table_row(row: TrialRow) -> dict[str, Any]:
    words = {"note": " · ".join(_notes(row))}
    kinds = {
        "front": row.on_front,
        "kept": row.kept,
        "paper": row.reference is not None,
        "failed": row.state == "failed",
    }
    # Most rows have none of these: what is missing is empty or false.
    given = {name: content for name, content in (words | kinds).items() if content}
    return {
        **given,
        **row.measured,
        "trial": row.trial,
        "id": row.arch_id,
        "architecture": row.architecture,
        "accuracy": row.accuracy,
        "shown": {"accuracy": row.accuracy_words},
        "macs": row.macs,
        "params": row.params,
        "activations": row.activations,
        "seconds": row.seconds,
        "epochs": row.epochs,
        "seeds": seed_words(row.seeds),
        "count": len(row.seeds),
    }


def _notes(row: TrialRow) -> list[str]:
    words = ["front"] if row.on_front else []
    words += [row.mark] if row.mark else []
    words += [f"paper: {row.reference}"] if row.reference else []
    if row.state == "failed":
        words.append(f"failed: {row.reason or 'no reason given'}")
    elif row.accuracy is None:
        words.append("no finite accuracy")
    if row.accuracies:
        words.append(
            f"mean of {len(row.accuracies)} seeds, {format_share(min(row.accuracies))} to "
            f"{format_share(max(row.accuracies))}"
        )
    return words + ([row.remark] if row.remark else [])
