"""The commands `train` and `evaluate`, with what they show.

Torch is imported once what can be checked without it was checked.
"""

import json
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from spach_nas.cli.doing import doing
from spach_nas.cli.live_view import make_console
from spach_nas.cli.training_view import (
    TrainingView,
    best_epoch,
    epoch_words,
    epochs_table,
    print_evaluation,
)
from spach_nas.cost.closed_form import cost
from spach_nas.data.reader import EvaluationSplit
from spach_nas.errors import ConfigError
from spach_nas.full_size.plan import TrainingPlan, TrainingRequest, check_evaluation, plan_training
from spach_nas.full_size.recipe_files import load_recipe
from spach_nas.full_size.run_folder import read_curve
from spach_nas.paths import command_line
from spach_nas.units import format_count


def train_in_terminal(request: TrainingRequest) -> None:
    """Plan, say what will be done, train with a live view, and say what came of it.

    Raises:
        SpachNasError: See `plan_training` and `run_training`.
    """
    console = make_console()
    with doing("checking the images"):
        plan = plan_training(request)
    from spach_nas.full_size.run import run_training

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
    """Evaluate and print.

    Raises:
        SpachNasError: See `evaluate`.
    """
    sizes = _numbers(batch_sizes)
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
    figures, validation = cost(plan.job.architecture), plan.data.validation
    scored = "no validation" if validation is None else f"{len(validation):,} to validate"
    lines = [
        f"{plan.job.name}: {plan.job.architecture}",
        f"  {format_count(figures.params)} params, {format_count(figures.macs)} MACs",
        f"  {request.data}: {len(plan.data.train):,} images to train on, {scored}, "
        f"{len(plan.job.class_names)} classes",
        f"  recipe {request.recipe}: {plan.job.recipe.epochs} epochs of batches of "
        f"{plan.job.recipe.batch_size}, into {_shown(plan.job.folder)}",
    ]
    return [*lines, *(f"  {note}" for note in plan.notes)]


def _shown(path: Path) -> Path:
    """As a person in this folder would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--batch-size: {text!r}; expected numbers such as 1,32")
    return [int(part) for part in parts]
