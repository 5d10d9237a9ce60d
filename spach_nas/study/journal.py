"""The journal of a search: what happened when, one JSON object a line in `log.jsonl`.

It serves those who watch. The records are the truth; a journal that cannot be written, as on a full
disk, or that lacks a line, never stops a search and changes nothing in it.
"""

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOG_JSONL = "log.jsonl"
Line = Mapping[str, Any]


class Journal:
    """Appends lines to the journal of a study.

    Attributes:
        path: The file. It is opened for every line, so that nothing has to be closed.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOG_JSONL

    def write(self, event: str, fields: Mapping[str, object] | None = None) -> None:
        """Append one line: `time` (UTC, ISO 8601, to the millisecond), `event`, and the fields.

        Args:
            event: One of begun, resumed, asked, progress, finished, lost, warning, stopped,
                concluded, ended.
            fields: Plain values by name; one that JSON does not know is written as text.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "event": event, **(fields or {})}, default=str)
        with contextlib.suppress(OSError), self.path.open("ab+") as file:
            size = file.tell()
            file.seek(max(0, size - 1))
            # A line that a full disk or a kill has torn would take the next one with it.
            gap = b"" if file.read(1) in (b"", b"\n") else b"\n"
            file.write(gap + line.encode() + b"\n")


def read_journal(folder: Path) -> tuple[Line, ...]:
    """All whole lines of a journal, oldest first; none where there is no journal."""
    try:
        return parse_journal((folder / LOG_JSONL).read_bytes())
    except OSError:
        return ()


def parse_journal(text: bytes) -> tuple[Line, ...]:
    """The lines in a piece of a journal. Torn and damaged ones are passed over."""
    lines = (_parse(line) for line in text.split(b"\n"))
    return tuple(line for line in lines if line is not None)


def _parse(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    whole = isinstance(line, dict) and isinstance(line.get("event"), str)
    return line if whole else None
