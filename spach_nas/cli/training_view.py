"""Shows the progress of a training, live on a terminal and as plain lines elsewhere."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from spach_nas.cli.status_line import doing, live_block, make_console, plain_table
from spach_nas.config.recipe import load_recipe
from spach_nas.cost.closed_form import cost
from spach_nas.data.reader import EvaluationSplit
from spach_nas.full_size.run_folder import EpochLine, Now, read_curve, read_now
from spach_nas.full_size.training_plan import (
    TrainingPlan,
    TrainingRequest,
    check_evaluation,
    plan_training,
)
from spach_nas.latency.request import parse_batch_sizes
from spach_nas.paths import command_line
from spach_nas.space.timm_reference import TimmModel
from spach_nas.units import format_count, format_duration

if TYPE_CHECKING:
    from spach_nas.full_size.evaluate import EvaluationResult

_ROWS = 12
_HEADINGS = {
    "loss": "loss",
    "top1": "top-1",
    "top5": "top-5",
    "ema_top1": "EMA top-1",
    "ema_top5": "EMA top-5",
}


class TrainingView:
    """Follows a training by the files in its folder."""

    def __init__(self, console: Console, folder: Path, *, title: str) -> None:
        self._console, self._folder, self._title = console, folder, title
        self._seen = 0

    @contextmanager
    def shown(self) -> Iterator["TrainingView"]:
        """Show the view inside a `with` block; without a terminal, a line for each new epoch."""
        self._seen = len(read_curve(self._folder))  # those of an earlier run are not repeated
        try:
            with live_block(self._console, self.render, otherwise=self._print_new):
                yield self
        finally:
            if not self._console.is_terminal:
                self._print_new()

    def render(self) -> RenderableType:
        """The epochs so far and the current one."""
        curve, now = read_curve(self._folder), read_now(self._folder)
        parts: list[RenderableType] = [Text(self._title, style="bold")]
        if curve:
            parts.append(epochs_table(curve[-_ROWS:], best=best_epoch(curve)))
        return Group(*parts, _bar(now), Text(now_words(now)))

    def _print_new(self) -> None:
        curve = read_curve(self._folder)
        epochs = read_now(self._folder).epochs
        for line in curve[self._seen :]:
            self._console.print(epoch_words(line, epochs), soft_wrap=True, highlight=False)
        self._seen = len(curve)


def best_epoch(curve: tuple[EpochLine, ...]) -> int | None:
    """The first epoch with the highest top-1; None if there is no validation."""
    scored = [line for line in curve if line.best_top1 is not None]
    if not scored:
        return None
    return max(scored, key=lambda line: (line.best_top1 or 0.0, -line.epoch)).epoch


def epochs_table(curve: tuple[EpochLine, ...], *, best: int | None) -> Table:
    """One row per epoch; the best one is marked."""
    used = [name for name in _HEADINGS if getattr(curve[-1], name) is not None]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("epoch", *(_HEADINGS[name] for name in used), "images/s", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for line in curve:
        table.add_row(
            str(line.epoch),
            *(f"{getattr(line, name):.4f}" for name in used),
            f"{line.images_per_s:,.0f}",
            format_duration(line.seconds),
            "best" if line.epoch == best else "",
            style="bold" if line.epoch == best else "",
        )
    return table


def epoch_words(line: EpochLine, epochs: int) -> str:
    """`[3/20] loss 1.4797, top-1 0.5663, ...`."""
    figures = [
        f"{heading} {getattr(line, name):.4f}"
        for name, heading in _HEADINGS.items()
        if getattr(line, name) is not None
    ]
    pace = f"{line.images_per_s:,.0f} images/s, {format_duration(line.seconds)}"
    return f"[{line.epoch:>{len(str(epochs))}}/{epochs}] {', '.join(figures)}, {pace}"


def now_words(now: Now) -> str:
    """The current epoch, step, loss, images/s and time left in one line."""
    if now.phase == "starting" or not now.steps:
        return "starting: reading images, setting up workers ..."
    if now.phase == "scoring":
        return f"epoch {now.epoch}/{now.epochs}: scoring the validation images"
    parts = [f"epoch {now.epoch}/{now.epochs}", f"step {now.step:,}/{now.steps:,}"]
    if now.loss is not None:
        parts.append(f"loss {now.loss:.4f}")
    parts += [f"{now.images_per_s:,.0f} images/s", format_duration(now.seconds)]
    if now.time_left is not None:
        parts.append(f"{format_duration(now.time_left)} left")
    return ", ".join(parts)


def _bar(now: Now) -> Table:
    total = max(1, now.epochs * now.steps)
    done = min(total, (now.epoch - 1) * now.steps + now.step)
    line = Table.grid()  # a progress bar by itself does not end its line
    line.add_row(ProgressBar(total=total, completed=done, width=60))
    return line


def print_evaluation(result: "EvaluationResult", console: Console) -> None:
    """Print the scores of the whole split and of each class, and the speed."""
    head = f"{result.source} on the {result.split} split of {result.data}: {result.images:,} images"
    console.print(Text(head, style="bold"))
    for note in result.notes:
        console.print(Text(note))
    figures = f"top-1 {result.top1:.4f}, top-5 {result.top5:.4f}, loss {result.loss:.4f}"
    console.print(Text(figures), "")
    classes = plain_table("class", "images", "top-1", "top-5", right=(1, 2, 3))
    for item in result.classes:
        shares = ["" if share is None else f"{share:.4f}" for share in (item.top1, item.top5)]
        classes.add_row(Text(item.name), f"{item.images:,}", *shares)
    console.print(classes, "")
    where = f"on {result.device}, {result.precision}, {result.threads} threads"
    speeds = plain_table("batch", "latency", "images/s", right=(0, 1, 2))
    speeds.title, speeds.title_justify = where, "left"
    for speed in result.speeds:
        speeds.add_row(
            str(speed.batch_size), f"{speed.latency_ms:.2f} ms", f"{speed.images_per_s:,.1f}"
        )
    console.print(speeds)


def train_in_terminal(request: TrainingRequest) -> None:
    """Plan a training, print the plan, train with a live view, and print the result.

    Raises:
        SpachNasError: See `plan_training` and `run_training`.
    """
    console = make_console()
    with doing("checking the images"):
        plan = plan_training(request)
    from spach_nas.full_size.training_run import run_training

    for line in _head(plan, request):
        console.print(Text(line), soft_wrap=True)
    folder = _shown(plan.job.folder)
    with TrainingView(console, plan.job.folder, title=f"{plan.job.name} on {request.data}").shown():
        bundle = run_training(plan)
    curve = read_curve(plan.job.folder)
    if console.is_terminal:
        console.print(epochs_table(curve, best=best_epoch(curve)))
    best = best_epoch(curve)
    if best is not None:
        console.print(Text(f"best     {epoch_words(curve[best - 1], plan.job.recipe.epochs)}"))
    console.print(Text(f"curve    {folder / 'curve.jsonl'}"), soft_wrap=True)
    console.print(Text(f"bundle   {_shown(bundle)}"), soft_wrap=True)
    console.print("\nNext:")
    command = command_line("evaluate", _shown(bundle), "--data", request.data)
    console.print(Text(f"  {command}  # top-1, top-5 and speed"), soft_wrap=True)


def evaluate_in_terminal(
    bundle: str,
    *,
    data: str,
    split: EvaluationSplit | None,
    batch_sizes: str,
    root: Path | None,
    skip_broken: bool,
    as_json: bool,
) -> None:
    """Evaluate a network and print the result.

    Raises:
        SpachNasError: See `evaluate`.
    """
    sizes = parse_batch_sizes(batch_sizes)
    options = replace(load_recipe("short").data, root=root, skip_broken=skip_broken)
    check_evaluation(bundle, data=data, options=options)
    from spach_nas.full_size.evaluate import evaluate

    with doing("scoring the images, and timing the network"):
        result = evaluate(bundle, data=data, split=split, batch_sizes=sizes, options=options)
    if as_json:
        print(json.dumps(result.as_dict()))
        return
    print_evaluation(result, make_console())


def _head(plan: TrainingPlan, request: TrainingRequest) -> list[str]:
    network, validation = plan.job.architecture, plan.data.validation
    if isinstance(network, TimmModel):
        from spach_nas.networks.timm_networks import timm_cost

        figures = timm_cost(network)
    else:
        figures = cost(network)
    scored = "no validation" if validation is None else f"{len(validation):,} to validate"
    lines = [
        f"{plan.job.name}: {network}",
        f"  {format_count(figures.params)} params, {format_count(figures.macs)} MACs",
        f"  {request.data}: {len(plan.data.train):,} images to train on, {scored}, "
        f"{len(plan.job.class_names)} classes",
        f"  recipe {request.recipe}: {plan.job.recipe.epochs} epochs of batches of "
        f"{plan.job.recipe.batch_size}, into {_shown(plan.job.folder)}",
    ]
    return [*lines, *(f"  {note}" for note in plan.notes)]


def _shown(path: Path) -> Path:
    """The path as a user in the current folder would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
