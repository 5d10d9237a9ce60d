"""The page of a study that goes on: built when somebody asks and something has changed."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from http import HTTPStatus
from pathlib import Path

from spach_nas.config import SEARCH_YAML
from spach_nas.errors import SpachNasError
from spach_nas.live.progress import Progress
from spach_nas.live.server import Answer, Routes, json_answer
from spach_nas.live.watching import Watcher
from spach_nas.paths import command_line
from spach_nas.records import FILE_NAME, Record
from spach_nas.report.document import to_json
from spach_nas.report.page import FILE_NAME as REPORT
from spach_nas.report.page import page_data, render
from spach_nas.report.study import study_facts
from spach_nas.report.summary import StudyFacts
from spach_nas.units import format_duration

REFRESH_S = 2.0
# Seconds of rest for each of building: a page may take one part in fifty of one core.
_REST = 49
_HTML = "text/html"


@dataclass(kw_only=True)
class _State:
    """What the page shows.

    Attributes:
        revision: Names it.
        records: Of the study.
        progress: Of the search.
        page: Built when asked for.
        data: Built when asked for, by the number of records that the page has already.
    """

    revision: str
    records: tuple[Record, ...]
    progress: Progress
    page: bytes | None = None
    data: dict[int, bytes] = field(default_factory=dict)


class LivePage:
    """Answers for the page of one study and for its script, from the files of its folder.

    Attributes:
        last_asked: When a script asked for news, by the monotonic clock.
        told_the_end: Whether a script has heard that no more will come.

    Args:
        folder: Of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._watcher: Watcher | None = None
        self._facts: StudyFacts | None = None
        self._inode = 0
        self._state: _State | None = None
        self._next_build = 0.0
        self._fault: tuple[float, SpachNasError] | None = None
        self.last_asked = 0.0
        self.told_the_end = False

    @property
    def routes(self) -> Routes:
        """What is answered, by path."""
        return {"/": self._answer_page, "/data.json": self._answer_data}

    @property
    def busy(self) -> bool:
        """Whether an answer is being made."""
        return self._lock.locked()

    def _answer_page(self, query: Mapping[str, str]) -> Answer:
        with self._lock:
            try:
                state = self._current()
                state.page = state.page or self._built(lambda: self._page(state))
            except SpachNasError as problem:
                return _problem_page(self._folder, problem)
            return Answer(state.page, kind=_HTML)

    def _answer_data(self, query: Mapping[str, str]) -> Answer:
        self.last_asked = time.monotonic()
        with self._lock:
            try:
                state = self._current()
                known = query.get("revision", "")
                if known == state.revision:
                    return Answer(status=HTTPStatus.NO_CONTENT)
                since = self._records_of(known)
                if since not in state.data:
                    state.data[since] = self._built(lambda: self._data(state, since=since))
            except SpachNasError as problem:
                words = {"problem": _first_line(problem)}
                return json_answer(words, status=HTTPStatus.SERVICE_UNAVAILABLE)
            self.told_the_end = state.progress.over
            return Answer(state.data[since], kind="application/json")

    def _current(self) -> _State:
        """What to show: the last state for a while, should building take long."""
        progress = self._look()
        assert self._watcher is not None, "it has looked"
        records = self._watcher.records
        revision = f"{self._inode:x}-{len(records)}-{progress.phase}"
        state = self._state
        fresh = state is not None and state.revision == revision
        if state is None or not (fresh or self._resting(progress)):
            state = _State(revision=revision, records=tuple(records), progress=progress)
            self._state = state
        return state

    def _resting(self, progress: Progress) -> bool:
        return not progress.over and time.monotonic() < self._next_build

    def _look(self) -> Progress:
        """Read what is new; a folder that cannot be read is not read again at once.

        Raises:
            SpachNasError: The folder is damaged, or gone.
        """
        began = time.monotonic()
        if self._fault is not None and began < self._fault[0]:
            raise self._fault[1]
        try:
            self._follow()
            assert self._watcher is not None, "it follows"
            progress = self._watcher.progress()
        except SpachNasError as problem:
            rest = REFRESH_S + _REST * (time.monotonic() - began)
            self._watcher, self._fault = None, (began + rest, problem)
            raise
        self._fault = None
        return progress

    def _follow(self) -> None:
        path = self._folder / FILE_NAME
        inode = path.stat().st_ino if path.is_file() else 0
        if self._watcher is None or inode != self._inode:
            self._watcher, self._inode = Watcher(self._folder), inode
            self._facts = study_facts(self._folder)

    def _built(self, build: Callable[[], str]) -> bytes:
        began = time.thread_time()
        text = build().encode()
        self._next_build = time.monotonic() + _REST * (time.thread_time() - began)
        return text

    def _page(self, state: _State) -> str:
        assert self._facts is not None, "it has looked"
        return render(state.records, facts=self._facts, folder=self._folder, refresh=REFRESH_S)

    def _records_of(self, revision: str) -> int:
        """How many records a page of this revision has; none of another study's."""
        inode, _, rest = revision.partition("-")
        count = rest.partition("-")[0]
        known = inode == f"{self._inode:x}" and count.isdecimal() and len(count) < 10
        return int(count) if known else 0

    def _data(self, state: _State, *, since: int) -> str:
        assert self._facts is not None, "it has looked"
        data = page_data(
            state.records,
            facts=self._facts,
            folder=self._folder,
            revision=state.revision,
            since=since,
            ended=ended_words(state.progress),
        )
        return to_json(data | {"status": status_words(state.progress)})


def ended_words(progress: Progress) -> str:
    """Why no more will come; nothing while a search goes on."""
    folder = progress.outline.folder
    kept = f"; {folder / REPORT} holds this page" if (folder / REPORT).is_file() else ""
    if progress.phase == "ended":
        return f"The search has ended after {format_duration(progress.elapsed)}{kept}."
    again = command_line("search", folder / SEARCH_YAML, "--out", folder, "--resume")
    if progress.phase == "stopped":
        return f"The search was stopped before its budget was spent. To go on: {again}"
    return f"The process of the search is gone. To go on: {again}" if progress.over else ""


def status_words(progress: Progress) -> str:
    """How far the search is."""
    left = (
        "" if progress.time_left is None else f", about {format_duration(progress.time_left)} left"
    )
    return f"{progress.done} of {progress.total} evaluations done{left}"


def _problem_page(folder: Path, problem: SpachNasError) -> Answer:
    # No script: it asks again by itself, until the study can be read.
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(str(folder))}'
        f'</title><meta http-equiv="refresh" content="{REFRESH_S:g}">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" '
        'content="light dark"></head><body style="font-family:sans-serif;margin:2em">'
        f"<h1>The study cannot be shown</h1><p>{escape(_first_line(problem))}</p></body></html>"
    )
    return Answer(text.encode(), kind=_HTML, status=HTTPStatus.SERVICE_UNAVAILABLE)


def _first_line(problem: SpachNasError) -> str:
    first, *others = str(problem).splitlines()
    return f"{first} (and {len(others)} more)" if others else first
