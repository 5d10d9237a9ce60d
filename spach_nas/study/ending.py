"""How a search ended, read from its folder alone.

The journal says why. If it is missing or old, records and search YAML are used instead.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from spach_nas.config.search_yaml import SearchConfig, load_config
from spach_nas.config.study_files import SEARCH_YAML
from spach_nas.files import is_driven
from spach_nas.paths import command_line
from spach_nas.study.folder import PLUGINS_JSON
from spach_nas.study.hypervolume import finished_after
from spach_nas.study.journal import Line, read_foreseen, read_journal
from spach_nas.study.records import Record, read_records
from spach_nas.units import format_duration

# Why the search ended. The first four are in the journal, as `why` of `concluded`.
Why = Literal["done", "exhausted", "max_duration", "stopped", "running", "gone", "unknown"]
_SESSION = ("begun", "resumed")
_OVER = ("done", "exhausted")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a search ended.

    Attributes:
        why: `done`: the budget was spent; `exhausted`: no architecture is left inside the limits;
            `max_duration`; `stopped`: by Ctrl-C, by SIGTERM, or for the `reason`; `running`: it has
            not ended; `gone`: its process was killed; `unknown`: an older study does not say.
        planned: Number of planned trials, including the paper's models.
        done: Number of these that have a record, including failed ones.
        seconds: Duration of the search over all its sessions.
        session_seconds: Duration since it last began or resumed.
        foreseen_seconds: The estimate for that session, if any.
        max_duration: Seconds that the search YAML allows; None: no limit.
        reason: Why it stopped itself; empty if it did not.
        command: Command that resumes it, quoted for a shell; empty if nothing is left to do.
        file: The search YAML in the folder, where the budget can be raised.
    """

    why: Why
    planned: int
    done: int
    seconds: float
    session_seconds: float
    foreseen_seconds: float | None
    max_duration: float | None
    reason: str
    command: str
    file: Path

    @property
    def cut(self) -> bool:
        """Whether it ended before everything planned was done."""
        return self.why not in ("running", *_OVER) and (
            self.why != "unknown" or self.done < self.planned
        )

    @property
    def outcome(self) -> str:
        """A sentence on why it ended."""
        counts = f"{self.done:,} of {self.planned:,} trials are done"
        if self.why == "max_duration":
            limit = "" if self.max_duration is None else f" ({format_duration(self.max_duration)})"
            more = "" if self.done < self.planned else ", but not all that go on to the next rung"
            return f"Ended by max_duration{limit}: {counts}{more}."
        if self.why == "stopped":
            why = f": {self.reason}" if self.reason else " before the budget was spent"
            return f"Stopped{why}: {counts}."
        if self.why == "gone":
            return f"Its process is gone: {counts}."
        if self.why == "exhausted":
            return f"No architecture is left inside the limits: {counts}."
        return f"{counts[0].upper()}{counts[1:]}."

    @property
    def advice(self) -> str:
        """A sentence on how to continue; empty if it cannot."""
        if not self.command or not self.cut:
            return ""
        if self.why == "max_duration":
            return f"To go on: a larger max_duration in {self.file}, then {self.command}"
        return f"To go on: {self.command}"

    @property
    def duration(self) -> str:
        """Duration of the last session and its estimate, in words."""
        took = f"took {format_duration(self.session_seconds)}"
        if self.foreseen_seconds is None:
            return took
        return f"{took}, estimated {format_duration(self.foreseen_seconds)}"


def ending(folder: Path, records: Sequence[Record] | None = None) -> Ending:
    """How the search in a folder ended, or that it has not ended.

    Args:
        folder: Folder of the study.
        records: Its records, if they have been read already.

    Raises:
        StudyError: The folder is not a study, or a record is damaged.
        ConfigError: Its search YAML is damaged.
    """
    config = load_config(folder / SEARCH_YAML)
    session = _last_session(read_journal(folder))
    seconds = max((_elapsed(line) for line in session), default=0.0)
    said = _last(session, "concluded") or {}
    planned, done = said.get("planned"), said.get("done")
    if not isinstance(planned, int) or not isinstance(done, int):
        # The journal is missing or old.
        known = read_records(folder) if records is None else records
        own = [record for record in known if record.origin is None]
        planned = config.search.trials + len(config.paper_models)
        done = len({record.trial for record in own})
        seconds = max([seconds, *map(finished_after, own)])
    begun = session[0] if session and session[0]["event"] in _SESSION else {}
    foreseen = read_foreseen(begun.get("foreseen"))
    why = _why(folder, config, session, complete=done >= planned, seconds=seconds)
    return Ending(
        why=why,
        planned=planned,
        done=done,
        seconds=seconds,
        session_seconds=seconds - _elapsed(begun),
        foreseen_seconds=None if foreseen is None else foreseen.seconds,
        max_duration=config.search.max_duration,
        reason=next((str(line["reason"]) for line in session if _is_failure(line)), ""),
        command="" if why in _OVER else resume_command(folder),
        file=folder / SEARCH_YAML,
    )


def resume_command(folder: Path) -> str:
    """The command that resumes the search in a folder, quoted for a shell."""
    plugins = [word for module in _plugins(folder) for word in ("--plugin", module)]
    return command_line("search", folder / SEARCH_YAML, "--out", folder, "--resume", *plugins)


def _plugins(folder: Path) -> list[str]:
    try:
        homes = dict(json.loads((folder / PLUGINS_JSON).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return []
    return sorted({str(module) for module in homes.values()})


def _why(
    folder: Path, config: SearchConfig, session: Sequence[Line], *, complete: bool, seconds: float
) -> Why:
    said = (_last(session, "concluded") or {}).get("why")
    for known in get_args(Why)[:4]:
        if said == known:
            return known  # type: ignore[no-any-return]
    # After the journal, since the search still holds the lock while its report is written.
    if is_driven(folder):
        return "running"
    if any(_is_failure(line) for line in session):
        return "stopped"
    if not session or _last(session, "ended"):
        # Written before journals said why.
        if complete:
            return "done"
        if _last(session, "stopped"):
            return "stopped"
        limit = config.search.max_duration
        if limit is not None and seconds >= limit:
            return "max_duration"
        return "exhausted" if session else "unknown"
    return "gone"


def _is_failure(line: Line) -> bool:
    return line["event"] == "stopped" and bool(line.get("reason"))


def _last_session(lines: Sequence[Line]) -> list[Line]:
    """The lines since the search was begun or resumed."""
    begins = [number for number, line in enumerate(lines) if line["event"] in _SESSION]
    return list(lines[begins[-1] :]) if begins else list(lines)


def _last(lines: Sequence[Line], event: str) -> Line | None:
    return next((line for line in reversed(lines) if line["event"] == event), None)


def _elapsed(line: Line) -> float:
    value = line.get("elapsed")
    return float(value) if isinstance(value, int | float) else 0.0
