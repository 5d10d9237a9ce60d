"""The live page beside a search, in a process of its own, so that no proposal waits for a page.

It reads the folder of the study as any other watcher does, and lets trainings go first.
"""

import contextlib
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Protocol, TypeVar

from rich.console import Console

from spach_nas.live.server import PageServer, listen, url_of
from spach_nas.live.watching import watch
from spach_nas.plugins import load_plugins
from spach_nas.report.live_page import REFRESH_S, LivePage

# Trainings come first, and a browser still waits for seconds, not minutes, on a full machine.
_NICER = 5
# A browser that has asked lately is given so long to ask once more, and hear of the end.
_FAREWELL_S = 2 * REFRESH_S + 1.0
# On a machine that is busy with other things, the last page takes its time.
_LONGEST_FAREWELL_S = 3 * _FAREWELL_S


class _HasFolder(Protocol):
    folder: Path


_StudyT = TypeVar("_StudyT", bound=_HasFolder)
_RecordT = TypeVar("_RecordT")


class PageProcess:
    """Serves the page of a study from `start` until the end of its `with` block.

    The port is taken at once, so that a browser which comes early waits.

    Args:
        port: Which; None: the first free one.
        plugins: Modules with mixers of the user's.

    Raises:
        SpachNasError: The port cannot be had.
    """

    def __init__(self, port: int | None = None, *, plugins: Sequence[str] = ()) -> None:
        self._listener = listen(port)
        self.url = url_of(self._listener)
        self._plugins = tuple(plugins)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._lifeline: Connection | None = None

    def start(self, folder: Path) -> None:
        """Serve the study in this folder; only the first call counts."""
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")
        far_end, self._lifeline = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_serve, args=(folder, self._listener, self._plugins, far_end), daemon=True
        )
        self._process.start()
        far_end.close()
        self._listener.close()

    def beside(
        self, listener: Callable[[_StudyT, _RecordT], None]
    ) -> Callable[[_StudyT, _RecordT], None]:
        """A listener that starts the page when the search begins, and tells the given one."""

        def tell(study: _StudyT, record: _RecordT) -> None:
            self.start(study.folder)
            listener(study, record)

        return tell

    def __enter__(self) -> "PageProcess":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        if self._process is None or self._lifeline is None:
            return
        self._lifeline.close()
        self._process.join(_LONGEST_FAREWELL_S + 1.0)
        if self._process.is_alive():
            self._process.kill()


@contextlib.contextmanager
def page_served(folder: Path, port: int | None = None) -> Iterator[str]:
    """Serve the page of a study from a thread of this process; the URL.

    Args:
        folder: Of the study.
        port: Which; None: the first free one.

    Raises:
        SpachNasError: The port cannot be had.
    """
    server = PageServer(listen(port), LivePage(folder).routes)
    server.start()
    try:
        yield url_of(server.socket)
    finally:
        server.shutdown()
        server.server_close()


def watch_with_page(folder: Path, *, console: Console, port: int | None = None) -> NoReturn:
    """Show how far a search is until it ends, and serve its page until Ctrl-C.

    Raises:
        SpachNasError: The port cannot be had, or the folder is no study.
        KeyboardInterrupt: By Ctrl-C.
    """
    with page_served(folder, port) as url:
        console.print(f"page     {url}\n         until Ctrl-C", highlight=False)
        watch(folder, console=console)
        while True:
            time.sleep(3600)


def _serve(
    folder: Path, listener: socket.socket, plugins: Sequence[str], lifeline: Connection
) -> None:
    """Serve until the search lets go of the other end of the lifeline, in whatever way it ends."""
    # Ctrl-C and a hang-up of a terminal reach all its processes; the search decides what they mean.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(_NICER)
    load_plugins(plugins)
    page = LivePage(folder)
    server = PageServer(listener, page.routes)
    server.start()
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    _take_leave(page)
    server.shutdown()


def _take_leave(page: LivePage) -> None:
    """Wait until a browser that is there has heard of the end, or seems to be gone."""
    ended = time.monotonic()
    there = page.last_asked > ended - _FAREWELL_S
    while (there or page.busy) and not page.told_the_end:
        late = time.monotonic() - ended
        if late > _LONGEST_FAREWELL_S or (late > _FAREWELL_S and not page.busy):
            break
        time.sleep(0.05)
    # What is being sent is sent.
    time.sleep(0.2)
