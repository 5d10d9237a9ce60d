"""What a search says of itself before its first trial."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.text import Text

from spach_nas.cli.space_view import plural
from spach_nas.config.study_files import RECORDS_FILE
from spach_nas.cost.closed_form import cost
from spach_nas.errors import StudyError
from spach_nas.search.estimate import TimeEstimate, cut_by
from spach_nas.search.plan import Plan, study_path
from spach_nas.search.timing import QUICK, time_search
from spach_nas.space.scaling import scale
from spach_nas.study.journal import Foreseen
from spach_nas.study.progress import Tally, outline
from spach_nas.study.records import Record, read_records
from spach_nas.training import choose_runtime
from spach_nas.units import format_count, format_duration

# A proxy is no small copy when its forward pass costs more than this share of the target's, and
# a CPU takes long over one of so many MACs.
_SMALL, _MANY_MACS = 0.5, 200_000_000
_SAMPLED = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What is left to do when a search begins or goes on.

    Attributes:
        evaluations: Trainings, those of the paper's models and of all rungs among them.
        cut: Of them those that `max_duration` leaves undone.
        unlimited: Seconds that all of them would take, start and report included.
        device: Where they are trained.
        foreseen: What the search is told.
    """

    evaluations: int
    cut: int
    unlimited: float
    device: str
    foreseen: Foreseen


def budget(plan: Plan, estimate: TimeEstimate, records: Sequence[Record] = ()) -> Budget:
    """What is left to do, by an estimate of the whole search.

    Args:
        plan: The search.
        estimate: Of it, on this machine.
        records: What is done.
    """
    foreseen = estimate.foreseen
    if not any(record.origin is None for record in records):
        return Budget(
            evaluations=estimate.evaluations,
            cut=estimate.cut,
            unlimited=estimate.unlimited,
            device=estimate.device,
            foreseen=foreseen,
        )
    tally = _tally(plan, records, foreseen)
    return _rest(plan, tally, left=_left(tally), device=estimate.device, foreseen=foreseen)


def evaluations_left(plan: Plan, records: Sequence[Record]) -> int:
    """Trainings that a search with these records has to do, at the higher rungs at least."""
    return _left(_tally(plan, records))


def _tally(plan: Plan, records: Sequence[Record], foreseen: Foreseen | None = None) -> Tally:
    tally = Tally(outline(plan.config, Path()), foreseen)
    for record in records:
        tally.add(record)
    return tally


def _left(tally: Tally) -> int:
    progress = tally.progress(running=(), elapsed=tally.last_end)
    return sum(
        max(0, number - progress.started(rung)) for rung, number in enumerate(progress.wanted)
    )


def _rest(plan: Plan, tally: Tally, *, left: int, device: str, foreseen: Foreseen) -> Budget:
    seconds = tally.work_left(()) / foreseen.at_once
    limit = plan.config.search.max_duration
    around = foreseen.start_seconds + foreseen.finish_seconds
    until = seconds
    if limit is not None:
        until = max(0.0, limit - tally.last_end - foreseen.start_seconds)
    return Budget(
        evaluations=left,
        cut=cut_by(until, seconds, evaluations=left, at_once=foreseen.at_once),
        unlimited=seconds + around,
        device=device,
        foreseen=replace(
            foreseen,
            seconds=min(seconds, until + foreseen.evaluation_seconds[0] / 2) + around,
        ),
    )


def budget_line(found: Budget, *, now: datetime) -> str:
    """How much, how long and until when, in a line; `now` is local time."""
    seconds = found.foreseen.seconds
    end = now + timedelta(seconds=seconds)
    when = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%a %d %b, %H:%M}"
    at_once = found.foreseen.at_once
    how = f"{at_once} at once" if at_once > 1 else "one at a time"
    return (
        f"{plural(found.evaluations, 'training')}, {how} on {found.device}: about "
        f"{format_duration(seconds)}, until about {when}"
    )


def budget_warnings(plan: Plan, found: Budget | None) -> tuple[str, ...]:
    """What in the budget of a search will not come out as somebody hopes, a sentence each.

    Args:
        plan: The search.
        found: What it would take; None where that is not known.
    """
    config = plan.config
    search, words = config.search, []
    if found is not None and found.cut:
        limit = format_duration(search.max_duration or 0.0)
        words.append(
            f"max_duration ({limit}) will leave about {found.cut:,} of "
            f"{plural(found.evaluations, 'training')} undone; all take about "
            f"{format_duration(found.unlimited)}"
        )
    if search.sampler != "random" and search.startup_trials >= search.trials:
        words.append(
            f"startup_trials ({search.startup_trials:,}) are all of the {search.trials:,} trials: "
            f"every one is uniform, {search.sampler} proposes none"
        )
    proxy = _large_proxy(plan)
    if proxy:
        words.append(proxy)
    return tuple(words)


def _large_proxy(plan: Plan) -> str:
    config = plan.config
    if choose_runtime(device=config.training.device).device.type != "cpu":
        return ""
    targets = plan.feasible.samples(_SAMPLED, 0)
    shape = plan.preprocessing.data_shape
    pairs = sorted(
        (cost(scale(item, config.proxy, shape)).macs, cost(item).macs) for item in targets
    )
    macs, target = pairs[len(pairs) // 2]
    if macs < _MANY_MACS or macs < _SMALL * target:
        return ""
    return (
        f"the proxies are no small copies ({format_count(macs)} MACs, their targets "
        f"{format_count(target)}) and train on a CPU: proxy.image_size and proxy.width_scale "
        "make them smaller"
    )


def foresee(
    plan: Plan,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    doing: Callable[[str], None] = lambda _: None,
) -> Budget | None:
    """What a search is going to take here, from a few timed steps.

    Args:
        plan: The search.
        out: Folder of the study.
        resume: Whether it goes on with what is in there.
        doing: Told what goes on.

    Returns:
        None where it cannot be said: on a cluster, whose machines are not this one, where no
        proxy trains, which the search itself says better, or where nothing is left to train.
    """
    if plan.config.resources.address != "local":
        return None
    folder = study_path(plan.config, out)
    records = read_records(folder) if resume and (folder / RECORDS_FILE).is_file() else ()
    if records and not evaluations_left(plan, records):
        return None
    doing("timing a few training steps")
    try:
        return budget(plan, time_search(plan, care=QUICK), records)
    except StudyError:
        return None


def print_budget(plan: Plan, found: Budget | None, *, console: Console) -> None:
    """How much, how long and until when, and what does not fit."""
    if found is not None:
        line = budget_line(found, now=datetime.now().astimezone())
        console.print(Text(line), soft_wrap=True)
    elif plan.config.resources.address != "local":
        trials = plan.config.search.trials + len(plan.config.references)
        console.print(
            f"{trials:,} trials; how long they take on the cluster is told from the first ones on",
            soft_wrap=True,
            highlight=False,
        )
    for words in budget_warnings(plan, found):
        console.print(Text(f"warning: {words}", style="yellow"), soft_wrap=True)
