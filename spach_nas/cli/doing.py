"""What a command is doing while it shows no result yet.

On a terminal it is a line with a spinner and the time that the step has taken; elsewhere each step
that takes long is a line of its own. Next to nothing is imported, so that it is there before what
takes long to import.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

# A step that takes longer says for how long it has gone on.
_PATIENCE_S = 3.0
# Without a terminal a step that takes longer is told.
LONG_S = 2.0


def make_console() -> Console:
    """The terminal. A file or a pipe has no width, and 80 columns would cut the tables."""
    return Console(width=None if sys.stdout.isatty() else 120)


class Doing:
    """A line with a spinner: what is done, and for how long.

    Args:
        what: In a few words.
    """

    def __init__(self, what: str = "") -> None:
        self._spinner = Spinner("dots")
        self.begin(what)

    def begin(self, what: str) -> None:
        """Say what is done from now on."""
        self.what, self._since = what, time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The line, cut to the width."""
        seconds = time.monotonic() - self._since
        words = f"{self.what} ..." + (f" {seconds:.0f} s" if seconds >= _PATIENCE_S else "")
        line = Text(words, style="dim", no_wrap=True)
        if options.encoding.startswith("utf"):
            frame = self._spinner.render(console.get_time())
            line = Text.assemble(frame if isinstance(frame, Text) else "", " ", line)
        line.truncate(options.max_width, overflow="ellipsis")
        yield line


class Steps:
    """Says what a command is doing: `steps("reading images")`, until it says the next thing.

    Args:
        console: Where to.
        long_s: Without a terminal, a step that takes longer is told; 0: every one, at once.
    """

    def __init__(self, console: Console, *, long_s: float) -> None:
        self._console = console
        self._long_s = long_s
        self._doing = Doing()
        self._timer: threading.Timer | None = None

    def __call__(self, what: str) -> None:
        """Say what is done from now on."""
        self._doing.begin(what)
        if self._console.is_terminal:
            return
        self._forget()
        if self._long_s <= 0:
            self._tell(what)
            return
        self._timer = threading.Timer(self._long_s, self._tell, [what])
        self._timer.daemon = True
        self._timer.start()

    def update(self, what: str) -> None:
        """Say how far the step is; on a terminal alone, and its time goes on."""
        self._doing.what = what

    @contextmanager
    def shown(self) -> Iterator["Steps"]:
        """Show them inside of a `with` block; nothing of them stays on a terminal."""
        try:
            if not self._console.is_terminal:
                yield self
                return
            with Live(self._doing, console=self._console, refresh_per_second=8, transient=True):
                yield self
        finally:
            self._forget()

    def _tell(self, what: str) -> None:
        self._console.print(Text(f"{what} ..."), soft_wrap=True)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None


@contextmanager
def doing(what: str) -> Iterator[Steps]:
    """Say what a command does on standard error, so that results stand alone on standard output.

    `as` gives a function that tells the next step.
    """
    with Steps(Console(stderr=True), long_s=LONG_S).shown() as steps:
        steps(what)
        yield steps
