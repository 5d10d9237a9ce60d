"""Renders the description of a search space for a terminal of 100 columns."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spach_nas.cli.status_line import plain_table
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import measure_words
from spach_nas.search.estimate import TimeEstimate
from spach_nas.search.space_report import (
    Binding,
    CostSpread,
    Hidden,
    PaperModel,
    SpaceReport,
    StageShares,
)
from spach_nas.space.references import REFERENCES
from spach_nas.units import format_count, format_duration, plural

# A file or a pipe has no width.
console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
_NAMES = {"macs": "MACs", "params": "params"}


def print_space(name: str, report: SpaceReport) -> None:
    """Print what the space contains within its limits."""
    console.print(Text.assemble((name, "bold"), f"  limits: {report.limits}"))
    for title, part in _parts(report):
        _print_part(title, part)


def print_estimate(estimate: TimeEstimate) -> None:
    """Print what the search would take."""
    _print_part("The whole search on this machine", estimate_table(estimate))


def _print_part(title: str, part: RenderableType) -> None:
    console.print(Text(f"\n{title}", style="bold"), soft_wrap=True)
    console.print(Padding(part, (0, 0, 0, 2), expand=False))


def space_json(name: str, report: SpaceReport, estimate: TimeEstimate | None) -> str:
    """Everything as JSON: plain counts, shares in [0, 1], seconds and bytes."""
    plain = {"name": name, **asdict(report), "estimate": estimate and asdict(estimate)}
    return json.dumps(plain)


def _parts(report: SpaceReport) -> Iterator[tuple[str, RenderableType]]:
    yield "How many", _numbers(report)
    if report.binding:
        yield "Limits: what each excludes alone", _limits(report.binding)
    yield f"Ranges{' (from a sample)' if report.sampled else ''}", _ranges(report)
    if report.binding:
        yield "Mixers: share of a stage's blocks among the feasible (among all)", _mixers(report)
    else:
        yield "Mixers: share of a stage's blocks", _mixers(report)
    outside = [model for model in report.paper if model.outside is not None]
    if len(outside) < len(report.paper):
        yield "Models of the SPACH paper, and the share of the feasible below them", _paper(report)
    if outside:
        yield "Models of the SPACH paper outside the space", _outside(outside)


def _numbers(report: SpaceReport) -> Table:
    table = plain_table("", "", "", right=(1,))
    table.columns[2].overflow = "fold"
    table.add_row(
        "architectures", f"{report.architectures:,}", plural(report.encodings, "encoding")
    )
    if report.feasible is None:
        count, how = "unknown", "in a sample, because there are too many to count"
        share = "less than one in the sample" if not report.feasible_share else ""
    else:
        count, how, share = f"{report.feasible:,}", "of them", ""
    table.add_row("feasible", count, share or f"{percent(report.feasible_share)} {how}")
    table.add_row("targets", "", report.targets)
    if report.proxies is not None:
        table.add_row("hidden changes", *_hidden(report.proxies.hidden))
    if report.sampled:
        table.add_row("sampled", f"{report.sampled:,}", "of all and of the feasible, uniformly")
    return table


def _hidden(found: Hidden) -> tuple[str, str | Text]:
    if not found.share:
        return "none", "in a sample, each change of a choice changes the proxy"
    names = ", ".join(found.choices[:3]) + (" ..." if len(found.choices) > 3 else "")
    text = f"{names}: a search cannot distinguish these, and the cheapest dominates the others"
    return percent(found.share), Text(text, style="yellow")


def _limits(binding: Sequence[Binding]) -> Table:
    table = plain_table("", "", "meet all others", "break this one", "", right=(1, 2, 3))
    for item in binding:
        share = ""
        if item.excluded is not None and item.met_by_others:
            share = f"{percent(item.excluded / item.met_by_others)} of them"
        note = "binds most" if item.binds_most else ""
        table.add_row(
            item.limit,
            measure_words(item.limit.rpartition("_")[2], item.value),
            "unknown" if item.met_by_others is None else f"{item.met_by_others:,}",
            share if item.excluded else ("none" if item.excluded == 0 else ""),
            Text(note, style="yellow"),
        )
    return table


def _ranges(report: SpaceReport) -> Table:
    table = plain_table("", "", "lowest", "5 %", "median", "95 %", "highest", right=range(2, 7))
    for item in report.quantities:
        table.add_row(_NAMES[item.name], "all", *_figures(item.everywhere))
        if item.feasible != item.everywhere:
            table.add_row("", "feasible", *_figures(item.feasible))
    if report.proxies is not None:
        table.add_row("proxy MACs", "feasible", *_figures(report.proxies.macs))
        table.add_row("proxy params", "feasible", *_figures(report.proxies.params))
    return table


def _figures(spread: CostSpread) -> tuple[str, ...]:
    values = (spread.low, spread.p5, spread.median, spread.p95, spread.high)
    return tuple(format_count(value) for value in values)


def _mixers(report: SpaceReport) -> Table:
    names = list(dict.fromkeys(name for stage in report.stages for name in stage.everywhere))
    table = plain_table("", *names, right=range(1, len(names) + 1))
    for number, stage in enumerate(report.stages, 1):
        table.add_row(
            f"stage {number}",
            *(_mixer(stage, name) for name in names),
        )
    return table


def _mixer(stage: StageShares, name: str) -> str:
    if name not in stage.everywhere:
        return ""
    share, everywhere = percent(stage.feasible[name]), percent(stage.everywhere[name])
    return share if stage.feasible == stage.everywhere else f"{share} ({everywhere})"


def _paper(report: SpaceReport) -> Table:
    table = plain_table("", "MACs", "below", "params", "below", "", right=range(1, 5))
    table.columns[5].overflow = "fold"
    inside = [model for model in report.paper if model.outside is None]
    for model in sorted(inside, key=lambda model: (bool(model.violations), model.macs)):
        what = "; ".join(map(_violation, model.violations)) or "inside"
        table.add_row(
            model.name,
            format_count(model.macs),
            percent(model.macs_rank),
            format_count(model.params),
            percent(model.params_rank),
            Text(what, style="yellow" if model.violations else ""),
        )
    return table


def _violation(phrase: str) -> str:
    """The part after the model's own cost, which has a column: `above max_macs 12.3G`."""
    proxy = "proxy " if phrase.startswith("proxy ") else ""
    return proxy + " ".join(phrase.split()[-3:])


def _outside(models: Sequence[PaperModel]) -> Table:
    """Models grouped by the reason why they are outside."""
    reasons: dict[str, list[str]] = {}
    for model in models:
        reasons.setdefault(model.outside or "", []).append(model.name)
    table = plain_table("", "")
    table.columns[1].overflow = "fold"
    for reason, names in reasons.items():
        table.add_row(Text(reason), Text(", ".join(names), style="dim"))
    return table


def references_table() -> Table:
    """The paper's models: exact counts and published figures."""
    table = Table(title="Models of the SPACH paper, arXiv:2108.13002", title_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("architecture")
    for heading in ("params", "MACs", "with norms", "published", "ImageNet top-1"):
        table.add_column(heading, justify="right")
    for reference in REFERENCES.values():
        figures = cost(reference.architecture)
        published = [
            f"{reference.params_m}M" if reference.params_m else "",
            f"{reference.gflops}G" if reference.gflops else "",
        ]
        table.add_row(
            reference.name,
            str(reference.architecture),
            f"{figures.params:,}",
            f"{figures.macs:,}",
            f"{figures.macs_with_norms:,}",
            " ".join(filter(None, published)),
            f"{reference.top1} {reference.source}" if reference.top1 else "",
        )
    return table


def estimate_table(estimate: TimeEstimate) -> Table:
    """Time, disk space, measurements and assumptions."""
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
            + (
                f"{plural(rung.epochs, 'epoch')}, {rung.images:,} images of {height} x {width} px"
                if rung.epochs
                else f"scored without training, {height} x {width} px"
            ),
        )
    table.add_row(
        "disk",
        f"at most {format_count(estimate.disk_bytes)}B: {format_count(estimate.checkpoint_bytes)}B "
        "for the weights of a candidate on the front, records and report",
    )
    good = [item for item in estimate.timed if item.failure is None]
    if good:
        table.add_row(
            "measured",
            ", ".join(
                f"{format_count(item.macs)} MACs {item.train_seconds * 1e3:.2f} ms" for item in good
            )
            + f" per image; a linear fit in MACs is accurate to {percent(estimate.scatter)}",
        )
    for item in estimate.timed:
        if item.failure is not None:
            table.add_row("", Text(f"{format_count(item.macs)} MACs: {item.failure}", "red"))
    if estimate.concurrent > 1 and estimate.device == "cpu":
        table.add_row(
            "", f"{estimate.concurrent} at once each take {estimate.slowdown:.2f} times as long"
        )
    if estimate.load > 0.5:
        table.add_row(
            "busy",
            Text(
                f"{estimate.load:.1f} other processes ran during the measurement: the search is "
                "faster without them, and slower with more",
                "yellow",
            ),
        )
    table.add_row("assumed", Text(_assumed(estimate), "dim"))
    return table


def _assumed(estimate: TimeEstimate) -> str:
    words = ["candidates as large as in a uniform sample, although samplers prefer some"]
    if estimate.concurrent > 1 and estimate.device != "cpu":
        words.append("concurrent trainings as fast as a single one")
    words.append("only this machine, as busy as during the measurement")
    if len(estimate.rungs) > 1:
        words.append("every rung filled")
    return "; ".join(words)


def _seconds(value: float) -> str:
    return f"{value:.1f}s" if value < 60 else format_duration(value)


def percent(share: float) -> str:
    """A share in [0, 1] with one decimal; `0 %` and `100 %` are exact."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{100 * share:.0f} %" if share in (0, 1) else f"{100 * share:.1f} %"
