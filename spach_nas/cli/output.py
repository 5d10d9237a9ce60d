"""Standard output and error of commands that continue when nothing reads them any more.

A pipe may close (`| head -1`), a terminal may hang up, or a file may be on a full disk. Then the
output is lost, and nothing else.
"""

import codecs
import io
import os
import select
import signal
import sys
from types import FrameType
from typing import Any, TextIO

_ANY_TEXT = "spach-nas"


def outlive_readers() -> None:
    """Discard standard output and error once they can no longer be written."""
    codecs.register_error(_ANY_TEXT, _written)
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def open_closed_streams() -> None:
    """Open /dev/null for streams that were closed when the process was started (`>&-`).

    Otherwise the next file that is opened would become the standard output of child processes.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    descriptor = 0
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor <= 2:
            os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(0, "r", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False, encoding="utf-8")


def interrupt_on_hangup() -> None:
    """Treat a terminal that hangs up as one Ctrl-C; `nohup` keeps its meaning."""
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None and signal.getsignal(hangup) == signal.SIG_DFL:
        signal.signal(hangup, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    # Shell and kernel both send the signal: the second one would interrupt the cleanup.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _written(problem: UnicodeError) -> tuple[str | bytes, int]:
    """Error handler for text that cannot be encoded: a limited terminal, or a name of bytes."""
    assert isinstance(problem, UnicodeEncodeError)
    characters = problem.object[problem.start : problem.end]
    try:
        # A file name that is not valid text: its bytes, unchanged.
        return characters.encode("ascii", "surrogateescape"), problem.end
    except UnicodeEncodeError:
        return codecs.backslashreplace_errors(problem)


class _Lasting(io.FileIO):
    """A file descriptor that is /dev/null from its first failure on, for child processes, too."""

    def write(self, data: Any, /) -> int:
        """Write the data, or discard it."""
        try:
            while (written := super().write(data)) is None:  # a non-blocking pipe is full
                select.select([], [self.fileno()], [])
            return int(written)
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(memoryview(data).cast("B"))


def _lasting(stream: TextIO) -> TextIO:
    # Anything else belongs to a test, a notebook, or the console of Windows.
    if type(stream) is not io.TextIOWrapper:
        return stream
    raw = getattr(stream.buffer, "raw", stream.buffer)  # no buffer with PYTHONUNBUFFERED
    if type(raw) is not io.FileIO:
        return stream
    stream.flush()
    lasting = _Lasting(raw.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        lasting if raw is stream.buffer else io.BufferedWriter(lasting),
        encoding=stream.encoding,
        errors=_ANY_TEXT if stream.errors == "strict" else stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
