"""The estimate of a whole search as a terminal shows it."""

from rich.table import Table
from rich.text import Text

from spach_nas.cli.tables import percent, plain_table, plural
from spach_nas.search.estimate import TimeEstimate
from spach_nas.units import format_count, format_duration


def estimate_table(estimate: TimeEstimate) -> Table:
    """Time, disk, what was measured and what is assumed."""
    table = plain_table("", "")
    table.columns[1].overflow = "fold"
    end = ""
    if estimate.limited:
        end = (
            f", ended by max_duration; all trials would take {format_duration(estimate.unlimited)}"
        )
    at_once = "one at a time" if estimate.concurrent == 1 else f"{estimate.concurrent} at once"
    table.add_row(
        "time",
        Text.assemble(
            (f"about {format_duration(estimate.seconds)}", "bold"),
            f"{end}: {format_duration(estimate.start_seconds)} to start and finish, then trainings "
            f"{at_once} on {estimate.device}",
        ),
    )
    for rung in estimate.rungs:
        height, width = rung.image_size
        table.add_row(
            "" if rung is not estimate.rungs[0] else "trainings",
            f"{rung.evaluations:,} of {_seconds(rung.seconds)} each: "
            f"{plural(rung.epochs, 'epoch')}, "
            f"{rung.images:,} images of {height} x {width} px",
        )
    table.add_row(
        "disk",
        f"at most {format_count(estimate.disk_bytes)}B: {format_count(estimate.checkpoint_bytes)}B "
        "for the weights of a candidate on the front, records and report",
    )
    good = [item for item in estimate.timed if item.failure is None]
    table.add_row(
        "measured",
        ", ".join(
            f"{format_count(item.macs)} MACs {item.train_seconds * 1e3:.2f} ms" for item in good
        )
        + f" for an image; a line in the MACs is right to {percent(estimate.scatter)}",
    )
    for item in estimate.timed:
        if item.failure is not None:
            table.add_row("", Text(f"{format_count(item.macs)} MACs: {item.failure}", "red"))
    if estimate.concurrent > 1 and estimate.device == "cpu":
        table.add_row(
            "", f"{estimate.concurrent} at once take {estimate.slowdown:.2f} times as long as one"
        )
    if estimate.load > 0.5:
        table.add_row(
            "busy",
            Text(
                f"{estimate.load:.1f} other processes ran when it was timed: without them a search "
                "takes less, with more of them longer",
                "yellow",
            ),
        )
    table.add_row("assumed", Text(_assumed(estimate), "dim"))
    return table


def _assumed(estimate: TimeEstimate) -> str:
    words = ["candidates as large as a uniform sample, though samplers come to prefer some"]
    if estimate.concurrent > 1 and estimate.device != "cpu":
        words.append("trainings side by side as fast as one alone")
    words.append("this machine alone, as busy as when timed")
    if len(estimate.rungs) > 1:
        words.append("every rung filled")
    return "; ".join(words)


def _seconds(value: float) -> str:
    return f"{value:.1f}s" if value < 60 else format_duration(value)
