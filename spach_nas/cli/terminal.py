"""Terminal output of a search: a live view, the result, and tables.

If the output is not a terminal, plain lines replace the live view.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from spach_nas.cli.doctor import Finding
from spach_nas.cli.live_view import ProgressView, running_words
from spach_nas.cli.status_line import Doing, make_console
from spach_nas.config.evaluator_registry import TRAIN
from spach_nas.config.search_settings import SearchSettings
from spach_nas.cost.closed_form import cost
from spach_nas.paths import command_line
from spach_nas.search.plan import Plan
from spach_nas.space.references import REFERENCES
from spach_nas.space.scaling import scale
from spach_nas.study.ending import ending
from spach_nas.study.folder import BEST, checkpoint_path
from spach_nas.study.progress import Tally, outline
from spach_nas.study.records import Record
from spach_nas.units import format_count, format_duration

if TYPE_CHECKING:
    from spach_nas.study.driver import StudyDriver

console = make_console()


# Without a terminal: seconds between two checks of the running trials, and between two lines about
# them while nothing else is printed.
TICK_S, SILENCE_S = 1.0, 60.0


class LiveView:
    """Listens to a study and shows its progress."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._study: StudyDriver | None = None
        self._tally: Tally | None = None
        self._view = ProgressView()
        self._seen = 0
        self._quiet_s = 0.0

    @contextmanager
    def shown(self) -> Iterator["LiveView"]:
        """Show the view inside a `with` block."""
        if not self._console.is_terminal:
            ended = threading.Event()
            threading.Thread(target=self._give_signs, args=(ended,), daemon=True).start()
            try:
                yield self
            finally:
                ended.set()
            return
        with Live(
            console=self._console, get_renderable=self._render, refresh_per_second=2, transient=True
        ) as self._live:
            yield self

    def __call__(self, study: "StudyDriver", record: Record | None) -> None:
        """Note a new record; None means that the study begins."""
        self._study = study
        if self._live is None:
            self._print(_line(study, record))

    def doing(self, what: str) -> None:
        """Show the current step before or after the trainings."""
        self._view.doing = Doing(what)
        if self._live is None:
            self._print(Text(f"{what} ..."))

    def _print(self, line: Text) -> None:
        self._quiet_s = 0.0
        self._console.print(line, soft_wrap=True, highlight=False)

    def _give_signs(self, ended: threading.Event) -> None:
        """Without a live view, print the progress of running trials from time to time."""
        told = False
        while not ended.wait(TICK_S):
            self._quiet_s += TICK_S
            if self._study is None or (told and self._quiet_s < SILENCE_S):
                continue
            progress = self._render().progress
            if progress is None or not any(item.pulse for item in progress.running):
                continue
            told = True
            left = (
                f"; about {format_duration(progress.time_left)} left" if progress.time_left else ""
            )
            with suppress(OSError, ValueError):  # the output was closed
                self._print(Text(f"{running_words(progress)}{left}"))

    def _render(self) -> ProgressView:
        # Runs in its own thread several times a second. Records are processed here, so that the
        # search itself never waits for its view.
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
        f"{item.name} {record.objectives[item.name]:.4f}"
        for item in study.objectives
        if item.source == "score" and item.name in record.objectives
    )
    outcome = scores or f"failed: {record.reason}"
    return Text(
        f"[{study.done:>{len(str(study.total))}}/{study.total}] {name}: {outcome}, "
        f"{format_count(record.target_cost.macs)} MACs, "
        f"{format_count(record.target_cost.params)} params, {record.seconds:.1f} s, "
        f"{record.architecture}"
    )


def print_plan(plan: Plan) -> None:
    """Print what a search would do."""
    config, space = plan.config, plan.config.space
    size, count = space.size(), plan.feasible.count
    share = "" if count is None else f", {count:,} of them ({count / size:.1%}) inside the limits"
    train, validation = len(plan.images.train), len(plan.images.validation)
    console.print(Text.assemble((config.study, "bold"), f": nothing is wrong with {plan.path}"))
    for name, text in {
        "space": f"{size:,} architectures{share}",
        "targets": plan.targets,
        "limits": str(config.limits),
        "data": f"{config.data.name}: {train:,} images to train on, {validation:,} to validate",
        "sampler": _sampler(config.search),
        "budget": f"{config.search.trials} trials and {len(config.references)} paper models"
        + (f" of {config.training.epochs} epochs" if config.evaluator.spec.trains else ""),
        "proxies": _proxy_range(plan),
        "scored": "by " + ", then by ".join(dict.fromkeys(map(str, config.evaluators))),
    }.items():
        if name == "scored" and text == f"by {TRAIN.name}":
            continue
        console.print(f"  {name:<8} {text}", highlight=False)


def _sampler(search: SearchSettings) -> str:
    if search.sampler == "random":
        return "random, uniform over the architectures inside the limits"
    return f"{search.sampler}, the first {search.startup_trials} uniform"


def _proxy_range(plan: Plan) -> str:
    proxies = [
        cost(scale(plan.feasible.sample(seed), plan.config.proxy, plan.preprocessing.data_shape))
        for seed in range(200)
    ]
    macs, params = ([getattr(item, name) for item in proxies] for name in ("macs", "params"))
    return (
        f"{format_count(min(macs))} to {format_count(max(macs))} MACs, "
        f"{format_count(min(params))} to {format_count(max(params))} parameters"
    )


def print_result(study: "StudyDriver") -> None:
    """Print how the search ended, the front as a table, and the next commands."""
    from spach_nas.report import front_table

    if not study.records:
        console.print("Stopped before the first trial finished; nothing was saved.")
        return
    end = ending(study.folder, study.records)
    console.print(Text(f"{end.outcome} It {end.duration}."), soft_wrap=True)
    if end.cut:
        console.print(Text(end.advice, style="yellow"), soft_wrap=True)
    if not study.front():
        where = study.folder / "trials.csv"
        console.print(Text(f"no trial is complete; {where} holds the reasons"), soft_wrap=True)
        return
    console.print(front_table(study.records, study.objectives))
    failed = sum(record.state == "failed" for record in study.records)
    if failed:
        console.print(f"{failed} trials failed; trials.csv holds the reasons")
    folder = study.folder
    console.print(Text(f"\nreport   {folder / 'report.html'}"), soft_wrap=True)
    if (folder / BEST).exists():
        console.print(Text(f"best     {folder / BEST}"), soft_wrap=True)
    best = study.best()
    if best is not None and not checkpoint_path(folder, best).is_file():
        # A study that was copied or published without weights.
        console.print(
            f"the weights of trial {best.trial}, the best one, are not in this folder; "
            f"{BEST}/ has the best of those that are",
            soft_wrap=True,
        )
    console.print("\nNext:")
    for command, what in (
        (("--pick", "knee", "--out", "knee"), "another network of the front"),
        (("--scale", "target", "--out", "target"), "the best one at full size"),
    ):
        line = command_line("export", folder, *command)
        # As Text, because rich would read brackets and colons in a path as markup.
        console.print(Text(f"  {line:<60} # {what}"), soft_wrap=True)


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


def findings_table(findings: Iterable[Finding]) -> Table:
    """The findings of `doctor` as a table."""
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        style = "red" if finding.fault else "yellow" if finding.advice else ""
        table.add_row(finding.name, Text(finding.value, style=style), Text(finding.advice))
    return table
