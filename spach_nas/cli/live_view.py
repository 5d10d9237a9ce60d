"""Shows the progress of a search: while it runs, and in `watch`, on terminals of any size."""

import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from spach_nas.cli.status_line import TICK_S, Doing, live_block
from spach_nas.evaluators.heartbeat import Running
from spach_nas.report.terminal import front_title, members_table
from spach_nas.study.hypervolume import HypervolumeData
from spach_nas.study.progress import Progress, Tally, outline
from spach_nas.study.records import Record
from spach_nas.study.watcher import Watcher
from spach_nas.units import format_count, format_duration

if TYPE_CHECKING:
    from spach_nas.study.driver import StudyDriver

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.:-=+*#"  # for terminals without UTF-8
_PHASES = {
    "running": "running",
    "stopping": "stopping",
    "finishing": "writing the report and the best network",
    "stopped": "stopped before the budget was spent",
    "ended": "ended",
}
_STYLES = {"running": "green", "finishing": "green", "stopping": "yellow", "silent": "red"}
# In terminals with fewer lines, running trials are not shown, to leave the lines to the front.
_ROOMY = 20
# At most this many running trials are shown individually.
_NAMED = 3
_LOOK_SECONDS = 1.0  # between two looks at a folder
# Without a terminal: seconds between two lines about running trials while nothing else is printed.
SILENCE_S = 60.0


class ProgressView:
    """Shows the progress of a search, cut to the width and height of the terminal.

    If the front is too long, members are left out evenly; its ends, best and knee remain. Reusing
    one view for successive states is cheaper than creating new ones.

    Args:
        progress: The progress to show, which may be replaced later. None means that the search has
            not begun.
        whole: Show the whole front, however many lines the terminal has.

    Attributes:
        doing: The current step besides trainings, or None.
    """

    def __init__(self, progress: Progress | None = None, *, whole: bool = False) -> None:
        self.progress = progress
        self.doing: Doing | None = None
        self._whole = whole
        self._key: tuple[tuple[Record, ...], int, int | None] | None = None
        self._segments: list[Segment] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines for this width and height."""
        progress, width = self.progress, options.max_width
        if self.doing is not None:
            yield self.doing
        if progress is None:
            return
        lines: list[Table | Text] = [_head(progress, width), _pace(progress), *_rungs(progress)]
        if self._whole or options.size.height >= _ROOMY:
            lines += _running(progress)
        growth = progress.hypervolume
        if growth is not None:
            bars = _BARS if options.encoding.startswith("utf") else _PLAIN_BARS
            lines += _growth(growth, seconds=progress.elapsed, width=width, bars=bars)
        lines += _failures(progress)
        for line in lines:
            if isinstance(line, Text):
                line.truncate(width, overflow="ellipsis")
        # Commands in it are meant to be copied, so these lines are wrapped, not truncated.
        lines += [line for text in _advice(progress) for line in text.wrap(console, width)]
        yield from lines
        if progress.front:
            # An empty line, the title, the headings, and the line that the cursor is on.
            above = len(lines) + (self.doing is not None)
            rows = None if self._whole else options.size.height - above - 4
            yield Text("")
            yield Text(front_title(len(progress.front), progress.trials), style="italic")
            yield Segments(self._table(console, options, rows=rows))

    def _table(
        self, console: Console, options: ConsoleOptions, *, rows: int | None
    ) -> list[Segment]:
        """The front, cached because it takes most of the time of a refresh and changes rarely."""
        progress = self.progress
        assert progress is not None, "there is a front"
        key = (progress.front, options.max_width, rows)
        if key != self._key:
            table = members_table(
                progress.front,
                marks=progress.marks,
                objectives=progress.outline.objectives,
                rows=rows,
            )
            self._key, self._segments = key, list(console.render(table, options))
        return self._segments


def sparkline(data: HypervolumeData, *, seconds: float, width: int, bars: str = _BARS) -> str:
    """The growth from the start until now, one character for each interval of time.

    Args:
        data: The hypervolume over time.
        seconds: The current time since the start.
        width: Number of characters.
        bars: Characters from lowest to highest; the highest stands for the current share.
    """
    top = data.shares[-1]
    end = max(seconds, data.seconds[-1])
    shown = ""
    for column in range(width):
        until = end if column == width - 1 else end * (column + 1) / width
        share = data.shares[bisect_right(data.seconds, until) - 1]
        level = share / top if top > 0 else 0.0
        shown += bars[min(len(bars) - 1, int(level * len(bars)))]
    return shown


def _head(progress: Progress, width: int) -> Table:
    name = Text(progress.outline.name, style="bold", no_wrap=True, overflow="ellipsis")
    name.truncate(width // 3, overflow="ellipsis")
    head = Table.grid(padding=(0, 2, 0, 0))
    phase = _phase(progress)
    counts = f"{progress.done}/{progress.total} done"
    room = width - name.cell_len - len(counts) - len(phase) - 6
    bar = ProgressBar(total=max(1, progress.total), completed=progress.done, width=min(30, room))
    state = Text(phase, style=_STYLES.get(progress.phase, ""), no_wrap=True, overflow="ellipsis")
    head.add_row(name, *([bar] if room > 4 else []), Text(counts, no_wrap=True), state)
    return head


def _phase(progress: Progress) -> str:
    if progress.phase == "silent":
        return _silence(progress)
    words = _PHASES[progress.phase]
    if progress.phase == "running" and progress.starting:
        words = "starting"
    if progress.phase == "running" and progress.late:
        words = "max_duration is over"
    if progress.running and (progress.late or progress.phase == "stopping"):
        words += ": running trials finish first"
    return words


def _silence(progress: Progress) -> str:
    sign = progress.last_sign
    return "no sign of life" + ("" if sign is None else f" since {sign:%Y-%m-%d %H:%M:%S} UTC")


def _pace(progress: Progress) -> Text:
    words = [f"{format_duration(progress.elapsed)} elapsed"]
    if progress.time_left:
        words.append(f"about {format_duration(progress.time_left)} left")
    if progress.pace is not None:
        a_minute = 60 * progress.pace
        words.append(
            f"{a_minute:.1f} a minute" if a_minute >= 1 else f"{60 * a_minute:.1f} an hour"
        )
    return Text(", ".join(words))


def _running(progress: Progress) -> list[Text]:
    """The progress of the running trials, the oldest first; empty if there are none."""
    return [Text(words, style="dim")] if (words := running_words(progress)) else []


def running_words(progress: Progress) -> str:
    """The progress of the running trials in one line; empty if there are none."""
    if not progress.running:
        return ""
    words = [_one(item) for item in progress.running[:_NAMED]]
    more = len(progress.running) - len(words)
    if more:
        words.append(f"{more:,} more")
    rate = sum(item.pulse.images_per_second for item in progress.running if item.pulse is not None)
    speed = f"; {rate:,.0f} images/s" if rate >= 1 else f"; {rate:.2g} images/s" if rate else ""
    return f"{', '.join(words)}{speed}"


def _one(item: Running) -> str:
    pulse = item.pulse
    if pulse is None:
        return f"trial {item.trial} is starting"
    if pulse.last <= pulse.first:
        return f"trial {item.trial} is being scored"
    number = min(pulse.last, int(pulse.epochs) + 1)
    return f"trial {item.trial} in epoch {number} of {pulse.last} ({pulse.share:.0%})"


def _rungs(progress: Progress) -> list[Text]:
    """One line for each rung: the numbers of complete, failed, running and future trials."""
    rows = [_counts(progress, rung) for rung in range(len(progress.wanted))]
    widths = {name: max(len(str(row[name])) for row in rows) for name in rows[0]}
    labels = [_rung_label(progress, rung) for rung in range(len(rows))]
    longest = max(map(len, labels))
    shown = [name for name in rows[0] if name == "complete" or any(row[name] for row in rows)]
    return [
        Text(f"{label:<{longest}} ")
        + Text(", ".join(f"{row[name]:>{widths[name]}} {name}" for name in shown))
        for label, row in zip(labels, rows, strict=True)
    ]


def _counts(progress: Progress, rung: int) -> dict[str, int]:
    counts = {
        "complete": progress.finished.get((rung, "complete"), 0),
        "failed": progress.finished.get((rung, "failed"), 0),
        "running": progress.running_at(rung),
    }
    to_come = 0 if progress.over else max(0, progress.wanted[rung] - progress.started(rung))
    return {**counts, "to come": to_come}


def _rung_label(progress: Progress, rung: int) -> str:
    fidelities = progress.outline.rungs
    epochs = fidelities[rung].epochs
    words = f"{epochs} {'epoch' if epochs == 1 else 'epochs'}" if epochs else "no training"
    return f"rung {rung}, {words}:" if len(fidelities) > 1 else f"{words}:"


def _growth(data: HypervolumeData, *, seconds: float, width: int, bars: str) -> list[Text]:
    share = f"{data.shares[-1]:.1%} of the box"
    if data.paper is not None:
        share += f", the paper's models {data.paper:.1%}"
    name = "hypervolume"
    # A sparkline of fewer than 8 characters would show nothing useful.
    room = min(60, width - len(name) - len(share) - 2)
    line = Text(f"{name} ")
    if room >= 8:
        line.append(sparkline(data, seconds=seconds, width=room, bars=bars), style="cyan")
        line.append(" ")
    worst = ", ".join(
        f"{item.name} {item.words(data.reference[item.name])}" for item in data.objectives
    )
    reference = Text(f"reference point: {worst}", style="dim")
    return [line + Text(share), reference]


def _failures(progress: Progress) -> list[Text]:
    record = progress.last_failure
    if record is None:
        return []
    words = f"{progress.count('failed')} failed, the last trial {record.trial}: {record.reason}"
    # A traceback has several lines, and there is room for one.
    return [Text(" ".join(words.split()), style="red")]


def _advice(progress: Progress) -> list[Text]:
    """Why the search ended before its budget was spent, and how to resume it."""
    end = progress.ending
    if end is None or not end.cut:
        return []
    return [Text(words, style="yellow") for words in (end.outcome, end.advice) if words]


class LiveView:
    """Listens to a study and shows its progress."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._study: StudyDriver | None = None
        self._tally: Tally | None = None
        self._view = ProgressView()
        self._seen = 0
        self._quiet_s, self._told = 0.0, False

    @contextmanager
    def shown(self) -> Iterator["LiveView"]:
        """Show the view inside a `with` block."""
        with live_block(self._console, self.render, otherwise=self._give_sign):
            yield self

    def __call__(self, study: "StudyDriver", record: Record | None) -> None:
        """Note a new record; None means that the study begins."""
        self._study = study
        if not self._console.is_terminal:
            self._print(_line(study, record))

    def doing(self, what: str) -> None:
        """Show the current step before or after the trainings."""
        self._view.doing = Doing(what)
        if not self._console.is_terminal:
            self._print(Text(f"{what} ..."))

    def _print(self, line: Text) -> None:
        self._quiet_s = 0.0
        self._console.print(line, soft_wrap=True, highlight=False)

    def _give_sign(self) -> None:
        """Without a terminal, print the progress of running trials from time to time."""
        self._quiet_s += TICK_S
        if self._study is None or (self._told and self._quiet_s < SILENCE_S):
            return
        progress = self.render().progress
        if progress is None or not any(item.pulse for item in progress.running):
            return
        self._told = True
        left = f"; about {format_duration(progress.time_left)} left" if progress.time_left else ""
        with suppress(OSError, ValueError):  # the output was closed
            self._print(Text(f"{running_words(progress)}{left}"))

    def render(self) -> ProgressView:
        """The view of the current state."""
        # Called in a thread of its own. Records are processed here, so that the search itself never
        # waits for its view.
        study = self._study
        if study is None:
            return self._view
        if self._tally is None:
            self._tally = Tally(outline(study.config, study.folder), study.foreseen)
        new = study.records[self._seen :]
        for record in new:
            self._tally.add(record)
        self._seen += len(new)
        running, concluded = study.under_way, study.concluded
        if not concluded and (new or any(item.pulse for item in running)):
            self._view.doing = None
        self._view.progress = self._tally.progress(
            running=running,
            elapsed=study.elapsed,
            phase="finishing" if concluded else "stopping" if study.stopped else "running",
        )
        return self._view


def _line(study: "StudyDriver", record: Record | None) -> Text:
    if record is None:
        seen = len(study.records)
        going_on = f", resuming after {seen} records" if seen else ""
        return Text(f"{study.config.study}: {study.total} trials into {study.folder}{going_on}")
    rung = f", rung {record.fidelity.rung}" if study.config.rungs.levels else ""
    name = f"{record.reference or f'trial {record.trial}'}{rung}"
    scores = ", ".join(
        f"{item.name} {record.objectives[item.name]:{'.4f' if item.is_share else '.4g'}}"
        for item in dict.fromkeys(study.config.stand_ins(record.fidelity.rung).values())
        if item.source == "score" and item.name in record.objectives
    )
    outcome = scores or f"failed: {record.reason}"
    return Text(
        f"[{study.done:>{len(str(study.total))}}/{study.total}] {name}: {outcome}, "
        f"{format_count(record.target_cost.macs)} MACs, "
        f"{format_count(record.target_cost.params)} params, {record.seconds:.1f} s, "
        f"{record.architecture}"
    )


def watch(folder: Path, *, console: Console, once: bool = False) -> Progress:
    """Show the progress of a search until it ends, or once if the output is not a terminal.

    Args:
        folder: Folder of the study.
        console: The console to print to.
        once: Show the whole state once.

    Returns:
        The progress that was shown last.

    Raises:
        PluginError: A mixer of the study is not available.
        StudyError: The folder is not a study, or a record is damaged.
        ConfigError: Its search YAML is damaged.
    """
    watcher = Watcher(folder)
    progress = watcher.progress()
    if once or not console.is_terminal:
        console.print(ProgressView(progress, whole=True))
        return progress
    view = ProgressView(progress)
    with Live(view, console=console, auto_refresh=False) as live:
        while not progress.over:
            time.sleep(_LOOK_SECONDS)
            view.progress = progress = watcher.progress()
            live.refresh()
    return progress
