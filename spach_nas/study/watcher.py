"""Follows a search from another process, by the files in its folder alone.

Only what was appended since the last reading is read, so that following a long search is cheap.
Nothing is written, and nothing in the folder is executed.
"""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from spach_nas.config.search_yaml import load_config
from spach_nas.config.study_files import RECORDS_FILE, SEARCH_YAML
from spach_nas.errors import StudyError
from spach_nas.evaluators.heartbeat import Running, read_pulse
from spach_nas.files import is_driven
from spach_nas.study.ending import Ending, ending
from spach_nas.study.folder import check_plugins
from spach_nas.study.journal import LOG_JSONL, Line, parse_journal, read_foreseen
from spach_nas.study.progress import Phase, Progress, Tally, outline
from spach_nas.study.records import Record, parse_record


class Watcher:
    """Follows one study.

    Attributes:
        records: The records read so far.

    Raises:
        PluginError: A mixer of the study is not available.
        StudyError: The folder is not a study.
        ConfigError: Its search YAML is damaged.
    """

    def __init__(self, folder: Path) -> None:
        for name in (SEARCH_YAML, RECORDS_FILE):
            if not (folder / name).is_file():
                raise StudyError(f"{folder}: holds no {name}; expected the folder of a study")
        check_plugins(folder)
        self._folder = folder
        self._tally = Tally(outline(load_config(folder / SEARCH_YAML), folder))
        self._records, self._log = _Tail(folder / RECORDS_FILE), _Tail(folder / LOG_JSONL)
        self.records: list[Record] = []
        self._running: dict[tuple[int, int], Running] = {}
        self._ending: Ending | None = None
        self._elapsed = 0.0
        self._phase: Phase = "running"
        self._stopped = False
        self._last_sign: datetime | None = None

    def progress(self) -> Progress:
        """The current progress of the search.

        Raises:
            StudyError: A record is damaged.
        """
        # The lock is checked before the files are read: if the search has ended by then, everything
        # that it wrote is seen.
        alive = is_driven(self._folder)
        for line in parse_journal(self._log.new()):
            self._take(line)
        for text in self._records.new().decode(errors="replace").split("\n")[:-1]:
            where = f"{self._folder / RECORDS_FILE}:{len(self.records) + 1}"
            self.records.append(parse_record(text, where=where))
            self._tally.add(self.records[-1])
        progress = self._tally.progress(
            running=tuple(self._running.values()),
            elapsed=self._elapsed_now(alive=alive),
            phase=self._phase_now(alive=alive),
            last_sign=self._last_sign,
        )
        if not progress.over:
            return progress
        if self._ending is None:
            self._ending = ending(self._folder, self.records)
        return replace(progress, ending=self._ending)

    def _take(self, line: Line) -> None:
        """Process one line of the journal; missing fields are ignored."""
        event = line["event"]
        elapsed = line.get("elapsed")
        if isinstance(elapsed, int | float):
            self._elapsed = float(elapsed)
        # Trials that ran when the search was killed are over; the next session asks for them again.
        if event in ("begun", "resumed"):
            self._running, self._phase, self._stopped = {}, "running", False
            self._ending, self._tally.foreseen = None, read_foreseen(line.get("foreseen"))
        elif event == "stopped":
            self._phase, self._stopped = "stopping", True
        elif event == "concluded":
            self._phase = "finishing"
        elif event == "ended":
            self._phase = "stopped" if self._stopped else "ended"
        else:
            self._take_step(event, line)
        self._last_sign = _time(line.get("time")) or self._last_sign

    def _take_step(self, event: str, line: Line) -> None:
        trial, rung = line.get("trial"), line.get("rung")
        if not isinstance(trial, int) or not isinstance(rung, int):
            return
        step = trial, rung
        if event == "asked":
            self._running[step] = Running(trial=trial, rung=rung, since=self._elapsed)
        elif event == "progress" and step in self._running:
            self._running[step] = replace(self._running[step], pulse=read_pulse(line))
        elif event in ("finished", "lost"):
            self._running.pop(step, None)

    def _phase_now(self, *, alive: bool) -> Phase:
        if self._last_sign is None:
            if alive:
                return "running"
            # A study with records but no journal is older than journals.
            return "ended" if self._tally.last_end else "silent"
        return self._phase if alive or self._phase in ("ended", "stopped") else "silent"

    def _elapsed_now(self, *, alive: bool) -> float:
        if not alive or self._last_sign is None or self._phase in ("ended", "stopped"):
            return max(self._elapsed, self._tally.last_end)
        # The journal is written on events only; between them the clock goes on.
        since = (datetime.now(UTC) - self._last_sign).total_seconds()
        return self._elapsed + max(0.0, since)


class _Tail:
    """Reads what was appended to a file since the last reading, in whole lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> bytes:
        """The new lines, each with its newline."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return b""
        # The rest of a line that is being written comes with the next reading.
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole


def _time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
