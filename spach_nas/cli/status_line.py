"""Shows what a command is doing: a block of lines on a terminal, plain lines elsewhere.

Before there is anything to show, the block is one line with a spinner and the duration of the step
so far. This module imports very little, so that it can be used before slow imports.
"""

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

# From then on, a step shows its duration.
_PATIENCE_S = 3.0
# Without a terminal, a step that takes longer than this is printed.
LONG_S = 2.0
# Without a terminal, the time between two looks for something new to print.
TICK_S = 1.0


def make_console() -> Console:
    """A console for standard output.

    A file or a pipe has no width, and the default of 80 columns would truncate tables.
    """
    return Console(width=None if sys.stdout.isatty() else 120)


def plain_table(*headings: str, right: Collection[int] = (), gap: int = 2) -> Table:
    """A table without lines; `right` lists the columns to align to the right."""
    table = Table(box=None, padding=(0, gap, 0, 0), show_header=any(headings), header_style="dim")
    for number, heading in enumerate(headings):
        table.add_column(
            heading,
            justify="right" if number in right else "left",
            no_wrap=number < len(headings) - 1,
        )
    return table


@contextmanager
def live_block(
    console: Console, render: Callable[[], RenderableType], *, otherwise: Callable[[], None]
) -> Iterator[None]:
    """Keep a block of lines up to date during a `with` block.

    Args:
        console: The console to print to.
        render: Returns the block. On a terminal, it is called twice a second, in another thread.
            The block is erased at the end.
        otherwise: Prints what is new. Without a terminal, it is called once a second, in another
            thread.
    """
    if console.is_terminal:
        with Live(console=console, get_renderable=render, refresh_per_second=2, transient=True):
            yield
        return
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(TICK_S):
            otherwise()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Doing:
    """A line with a spinner, the current step, and its duration.

    Args:
        what: The step in a few words.

    Attributes:
        since: When the step began, by `time.monotonic`.
    """

    def __init__(self, what: str = "") -> None:
        self._spinner = Spinner("dots")
        self.begin(what)

    def begin(self, what: str) -> None:
        """Begin a new step."""
        self.what, self.since = what, time.monotonic()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The line, truncated to the width."""
        seconds = time.monotonic() - self.since
        words = f"{self.what} ..." + (f" {seconds:.0f} s" if seconds >= _PATIENCE_S else "")
        line = Text(words, style="dim", no_wrap=True)
        if options.encoding.startswith("utf"):
            frame = self._spinner.render(console.get_time())
            line = Text.assemble(frame if isinstance(frame, Text) else "", " ", line)
        line.truncate(options.max_width, overflow="ellipsis")
        yield line


class Steps:
    """Shows the current step of a command: `steps("reading images")` holds until the next call.

    Args:
        console: The console to print to.
        long_s: Without a terminal, steps that take longer than this many seconds are printed. 0
            prints every step at once.
    """

    def __init__(self, console: Console, *, long_s: float) -> None:
        self._console = console
        self._long_s = long_s
        self._doing = Doing()
        self._timer: threading.Timer | None = None

    def __call__(self, what: str) -> None:
        """Begin a new step."""
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
        """Update the words of the current step, on a terminal only. Its duration continues."""
        self._doing.what = what

    @contextmanager
    def shown(self) -> Iterator["Steps"]:
        """Show the steps inside a `with` block. On a terminal they are erased at the end."""
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
    """Show steps on standard error, so that standard output contains only results.

    The value of the `with` block is a function that begins the next step.
    """
    with Steps(Console(stderr=True), long_s=LONG_S).shown() as steps:
        steps(what)
        yield steps
