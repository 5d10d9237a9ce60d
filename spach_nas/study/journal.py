"""The journal of a search: what happened when, one JSON object per line in `log.jsonl`.

It is for watching a search. The records are the truth: a search neither stops nor changes when its
journal cannot be written, as on a full disk, or lacks lines.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOG_JSONL = "log.jsonl"
Line = Mapping[str, Any]


class Journal:
    """Appends lines to the journal of a study.

    Attributes:
        path: The file. It is opened for every line, so there is nothing to close.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG_JSONL

    def write(self, event: str, fields: Mapping[str, object] | None = None) -> None:
        """Append one line: `time` (UTC, ISO 8601, to the millisecond), `event`, and the fields.

        Args:
            event: One of begun, resumed, asked, progress, finished, lost, warning, stopped,
                concluded, ended.
            fields: Plain values by name; values that JSON does not know are written as text.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "event": event, **(fields or {})}, default=str)
        with contextlib.suppress(OSError), self.path.open("ab+") as file:
            size = file.tell()
            file.seek(max(0, size - 1))
            # Without a new line, a line torn by a full disk or a kill would damage the next one.
            gap = b"" if file.read(1) in (b"", b"\n") else b"\n"
            file.write(gap + line.encode() + b"\n")


def read_journal(folder: Path) -> tuple[Line, ...]:
    """All complete lines of a journal, oldest first; empty without a journal."""
    try:
        return parse_journal((folder / LOG_JSONL).read_bytes())
    except OSError:
        return ()


def parse_journal(text: bytes) -> tuple[Line, ...]:
    """The lines in a part of a journal, without torn and damaged ones."""
    lines = (_parse(line) for line in text.split(b"\n"))
    return tuple(line for line in lines if line is not None)


def _parse(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(line, dict) and isinstance(line.get("event"), str)
    return line if whole else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreseen:
    """The estimate of a search, from a few timed steps.

    Attributes:
        seconds: Duration of the search including the report, at most `max_duration`.
        evaluation_seconds: Duration of an evaluation while others run, by rung, cheapest first.
        at_once: Number of evaluations at once.
        start_seconds: Time before the first training, for Ray and its workers.
        finish_seconds: Time after the last one, for the report and the best network.
    """

    seconds: float
    evaluation_seconds: tuple[float, ...]
    at_once: int
    start_seconds: float
    finish_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)


def read_foreseen(plain: object) -> Foreseen | None:
    """The estimate in a line of a journal; None if there is none or it is damaged."""
    if not isinstance(plain, Mapping):
        return None
    try:
        found = Foreseen(
            seconds=float(plain["seconds"]),
            evaluation_seconds=tuple(map(float, plain["evaluation_seconds"])),
            at_once=max(1, int(plain["at_once"])),
            start_seconds=float(plain["start_seconds"]),
            finish_seconds=float(plain["finish_seconds"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    sound = all(0 < item < math.inf for item in (found.seconds, *found.evaluation_seconds))
    return found if sound and found.evaluation_seconds else None
