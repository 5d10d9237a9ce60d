"""What a search prints before its first trial, plan and budget, and after its last, the result."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from spach_nas.config.evaluator_registry import TRAIN
from spach_nas.config.search_settings import SearchSettings
from spach_nas.cost.closed_form import cost
from spach_nas.latency.front_latency import read_front_latency
from spach_nas.paths import command_line
from spach_nas.search.budget import SearchBudget, budget_warnings
from spach_nas.search.plan import Plan
from spach_nas.space.scaling import scale
from spach_nas.study.ending import ending
from spach_nas.study.folder import BEST, checkpoint_path
from spach_nas.study.timm_figures import read_timm_table
from spach_nas.units import format_count, format_duration, plural

if TYPE_CHECKING:
    from spach_nas.study.driver import StudyDriver


def budget_line(found: SearchBudget, *, now: datetime) -> str:
    """One line with the number of trainings, their duration and end; `now` is local time."""
    seconds = found.foreseen.seconds
    end = now + timedelta(seconds=seconds)
    when = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%a %d %b, %H:%M}"
    at_once = found.foreseen.at_once
    how = f"{at_once} at once" if at_once > 1 else "one at a time"
    return (
        f"{plural(found.evaluations, found.kind)}, {how} on {found.device}: about "
        f"{format_duration(seconds)}, until about {when}"
    )


def print_budget(plan: Plan, found: SearchBudget | None, *, console: Console) -> None:
    """Print the number of trainings, their duration and end, and the warnings."""
    if found is not None:
        line = budget_line(found, now=datetime.now().astimezone())
        console.print(Text(line), soft_wrap=True)
    elif plan.config.resources.address != "local":
        trials = plan.config.search.trials + len(plan.config.paper_models)
        console.print(
            f"{trials:,} trials; the time left on the cluster is estimated from the first ones",
            soft_wrap=True,
            highlight=False,
        )
    for words in budget_warnings(plan, found):
        console.print(Text(f"warning: {words}", style="yellow"), soft_wrap=True)


def print_plan(plan: Plan, *, console: Console) -> None:
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
        "budget": f"{config.search.trials} trials and {len(config.paper_models)} paper models"
        + (f", {len(config.timm_models)} models of timm untrained" if config.timm_models else "")
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


def print_result(study: "StudyDriver", *, console: Console) -> None:
    """Print how the search ended, the front as a table, and the next commands."""
    from spach_nas.report import StudyFacts, front_table
    from spach_nas.report.device_latency import latency_words
    from spach_nas.report.view import study_view

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
    facts = StudyFacts(
        name=study.config.study,
        objectives=study.objectives,
        limits=study.config.limits,
        timm=read_timm_table(study.folder),
        front_latency=read_front_latency(study.folder),
    )
    view = study_view(study.records, facts)
    console.print(front_table(view))
    for sentence in latency_words(view):
        console.print(Text(f"Latency: {sentence}"), soft_wrap=True)
    failed = sum(record.state == "failed" for record in study.records)
    if failed:
        console.print(f"{failed} trials failed; trials.csv holds the reasons")
    folder = study.folder
    console.print(Text(f"\nreport   {folder / 'report.html'}"), soft_wrap=True)
    if (folder / BEST).exists():
        console.print(Text(f"best     {folder / BEST}"), soft_wrap=True)
    best = study.best()
    trained = study.config.evaluator.spec.trains
    if best is not None and trained and not checkpoint_path(folder, best).is_file():
        # A study that was copied or published without weights.
        console.print(
            f"the weights of trial {best.trial}, the best one, are not in this folder; "
            f"{BEST}/ has the best of those that are",
            soft_wrap=True,
        )
    console.print("\nNext:")
    for command, what in (
        # Without training there are no weights to export.
        *(
            [(("--pick", "knee", "--out", "knee"), "another network of the front")]
            if trained
            else []
        ),
        (("--scale", "target", "--out", "target"), "the best one at full size"),
    ):
        line = command_line("export", folder, *command)
        # As Text, because rich would read brackets and colons in a path as markup.
        console.print(Text(f"  {line:<60} # {what}"), soft_wrap=True)
