"""What is left of a search when it begins or resumes: trainings, time, and warnings about both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spach_nas.config.study_files import RECORDS_FILE
from spach_nas.cost.closed_form import cost
from spach_nas.errors import StudyError, one_of
from spach_nas.search.estimate import TimeEstimate, cut_by
from spach_nas.search.plan import Plan, study_path
from spach_nas.search.proxy_timing import QUICK, time_search
from spach_nas.space.scaling import scale
from spach_nas.study.journal import Foreseen
from spach_nas.study.progress import Tally, outline
from spach_nas.study.records import Record, read_records
from spach_nas.training import choose_runtime
from spach_nas.units import format_count, format_duration, plural

# A proxy is not small if its forward pass costs more than this share of the target's, and with so
# many MACs it takes long to train on a CPU.
_SMALL, MANY_MACS = 0.5, 200_000_000
_SAMPLED = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchBudget:
    """The work left when a search begins or resumes.

    Attributes:
        evaluations: Number of trainings, including those of the paper's models and of all rungs.
        cut: Number of these trainings that `max_duration` leaves undone.
        unlimited: Seconds that all of them would take, including start and report.
        device: The device they run on.
        foreseen: The estimate that the search uses for its time left.
        kind: What an evaluation is: `training`, or `evaluation` where some rungs train nothing.
    """

    evaluations: int
    cut: int
    unlimited: float
    device: str
    foreseen: Foreseen
    kind: str = "training"


def budget(plan: Plan, estimate: TimeEstimate, records: Sequence[Record] = ()) -> SearchBudget:
    """The work left, derived from an estimate of the whole search.

    Args:
        plan: The search.
        estimate: Estimate of the whole search on this machine.
        records: The records so far.
    """
    foreseen = estimate.foreseen
    if not any(record.origin is None for record in records):
        return SearchBudget(
            evaluations=estimate.evaluations,
            cut=estimate.cut,
            unlimited=estimate.unlimited,
            device=estimate.device,
            foreseen=foreseen,
            kind=_kind(plan),
        )
    tally = _tally(plan, records, foreseen)
    return _rest(plan, tally, left=_left(tally), device=estimate.device, foreseen=foreseen)


def evaluations_left(plan: Plan, records: Sequence[Record]) -> int:
    """Number of trainings that a search with these records still has to do, at all rungs."""
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


def _rest(plan: Plan, tally: Tally, *, left: int, device: str, foreseen: Foreseen) -> SearchBudget:
    seconds = tally.work_left(()) / foreseen.at_once
    limit = plan.config.search.max_duration
    around = foreseen.start_seconds + foreseen.finish_seconds
    # The time that earlier sessions of the study took counts towards `max_duration`.
    until = seconds
    if limit is not None:
        until = max(0.0, limit - tally.last_end - foreseen.start_seconds)
    return SearchBudget(
        evaluations=left,
        cut=cut_by(until, seconds, evaluations=left, at_once=foreseen.at_once),
        unlimited=seconds + around,
        device=device,
        foreseen=replace(
            foreseen,
            seconds=min(seconds, until + foreseen.evaluation_seconds[0] / 2) + around,
        ),
        kind=_kind(plan),
    )


def _kind(plan: Plan) -> str:
    trains = all(choice.spec.trains for choice in plan.config.evaluators)
    return "training" if trains else "evaluation"


def foresee(
    plan: Plan,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    doing: Callable[[str], None] = lambda _: None,
) -> SearchBudget | None:
    """What a search will take on this machine, estimated from a few timed steps.

    Args:
        plan: The search.
        out: Folder of the study.
        resume: Whether it resumes the study in that folder.
        doing: Receives the current step.

    Returns:
        The budget. None if it cannot be estimated: on a cluster, whose machines differ from this
        one; if no proxy trains, which the search itself reports better; or if nothing is left to
        train.
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


def budget_warnings(plan: Plan, found: SearchBudget | None) -> tuple[str, ...]:
    """Warnings about settings that probably do not do what the user intends, a sentence each.

    Args:
        plan: The search.
        found: Its budget; None if it is not known.
    """
    config = plan.config
    search, words = config.search, []
    if found is not None and found.cut:
        limit = format_duration(search.max_duration or 0.0)
        words.append(
            f"max_duration ({limit}) will leave about {found.cut:,} of "
            f"{plural(found.evaluations, found.kind)} undone; all of them take about "
            f"{format_duration(found.unlimited)}"
        )
    if search.sampler != "random" and search.startup_trials >= search.trials:
        words.append(
            f"startup_trials ({search.startup_trials:,}) use up all {search.trials:,} trials: "
            f"every architecture is drawn uniformly, and {search.sampler} proposes none"
        )
    prepared = dict.fromkeys(item.name for item in config.evaluators if item.spec.prepare)
    if found is not None and prepared:
        words.append(
            f"the time of preparing {one_of(prepared)}, and of scoring by it, is not in the "
            "estimate"
        )
    if found is not None and config.init is not None and config.init.placement:
        words.append("the time of the placement search is not in the estimate")
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
    # The median, because single architectures of a space may be large on purpose.
    macs, target = pairs[len(pairs) // 2]
    if macs < MANY_MACS or macs < _SMALL * target:
        return ""
    return (
        f"the proxies are not small ({format_count(macs)} MACs, their targets "
        f"{format_count(target)}) and train on a CPU: proxy.image_size and proxy.width_scale "
        "make them smaller"
    )
