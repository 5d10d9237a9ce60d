"""What a rediscovery came to: how far the searches got, and what each mixer is worth."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata, ttest_ind

from spach_nas.config.rediscovery_settings import Rediscovery
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits
from spach_nas.errors import SearchSpaceError
from spach_nas.replay.audit import audit_records
from spach_nas.replay.cold_trainings import train_cold
from spach_nas.replay.control_checks import ControlOutcome, judge_controls
from spach_nas.replay.known_answers import KnownAnswer
from spach_nas.replay.mixer_worths import mixer_shares, worths_of_records
from spach_nas.replay.rediscovery import MIXERS, Doing, run_studies, searched_space
from spach_nas.report.shares import draw_feasible
from spach_nas.space.references import REFERENCES, reference_target
from spach_nas.space.scaling import DataShape
from spach_nas.study import pareto
from spach_nas.study.audit_rows import AuditRow, Estimate
from spach_nas.study.pareto import GrowingFront, comparable, front
from spach_nas.study.rank_correlation import Figures, kendall, resamples
from spach_nas.study.records import Record

_RESAMPLES = 1000
# With fewer of the paper's models a rank correlation says nothing.
_FEWEST_MODELS = 4
_BANDS = 3  # of the paper's models


class SearchOutcome(NamedTuple):
    """One search, or one uniform sample.

    Attributes:
        name: Of its folder.
        records: Complete ones of its own proposals at the highest rung, by trial.
        front: Those that no other dominates.
        best: The most accurate.
        needed: Trials until the known layout was on the front; None: it never was.
        failed: Trials without a score.
    """

    name: str
    records: tuple[Record, ...]
    front: tuple[Record, ...]
    best: Record | None
    needed: int | None
    failed: int


class Network(NamedTuple):
    """One network that was trained again.

    Attributes:
        role: `best found`, `best of conv alone`, or the name of the paper's model.
        changes: Blocks to change until it has the known layout.
        cold: Accuracy on the test split, by seed.
        ahead: By how much `best found` is more accurate, with its 95 % interval (Welch); None for
            itself.
    """

    role: str
    record: Record
    changes: int
    cold: Mapping[int, float]
    ahead: Estimate | None


class UnderLimit(NamedTuple):
    """What came out under one limit.

    Attributes:
        chance: Share of the feasible architectures that have the known layout; None: not counted.
        rank: Of the known model among all networks trained under the limit, and their number; None
            where it is a rule or does not fit.
    """

    limits: Limits
    chance: float | None
    searches: tuple[SearchOutcome, ...]
    networks: tuple[Network, ...]
    rank: tuple[int, int] | None


class Effect(NamedTuple):
    """What a mixer adds to the accuracy where all blocks of a stage have it instead of `base`.

    Attributes:
        stage: From 1.
        worth: In points, at equal MACs, with its 95 % interval.
        front: Share of the stage's blocks that have it on the fronts of the searches.
        chance: The same over feasible architectures; None: not counted.
    """

    stage: int
    mixer: str
    base: str
    worth: Estimate
    front: float
    chance: float | None


class Model(NamedTuple):
    """A model of the paper: whether it can be found, and what the protocol says of it.

    Attributes:
        lacks: Why it is not in the space; empty where it is.
        scores: Accuracies of its proxy, by seed.
    """

    name: str
    lacks: str
    scores: tuple[float, ...]


class Agreement(NamedTuple):
    """How a figure ranks the paper's models, against their ImageNet accuracies.

    Attributes:
        tau: Kendall's tau-b over all, with its interval over models.
        within: Over pairs of one of three bands of MACs alone.
    """

    name: str
    models: int
    tau: Estimate
    within: Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Rediscovered:
    """What came out of it.

    Attributes:
        models: The paper's published models, and what the protocol says of them.
        paper: How scores and sizes rank these; empty where too few were trained.
        audit: How well one training ranks another, beside sizes; empty where too few were trained.
        limits: What came out under each limit.
        effects: What each mixer is worth in each stage.
        changes: Blocks to change until an architecture has the known layout, by its `arch_id`.
        controls: What the training made of tasks whose needed mixers are known.
    """

    given: Rediscovery
    models: tuple[Model, ...]
    paper: tuple[Agreement, ...]
    audit: tuple[AuditRow, ...]
    limits: tuple[UnderLimit, ...]
    effects: tuple[Effect, ...]
    changes: Mapping[str, int]
    controls: tuple[ControlOutcome, ...] = ()


def rediscover(given: Rediscovery, folder: Path, *, doing: Doing = lambda _: None) -> Rediscovered:
    """Run what is not there yet, and judge it; see the module.

    Args:
        given: The YAML.
        folder: Of the rediscovery.
        doing: Takes a few words on what is being done.

    Raises:
        SpachNasError: As `run_studies`, or a mistake in the recipe.
        KeyboardInterrupt: A study was stopped; calling again continues it.
    """
    every = run_studies(given, folder, doing=doing)
    known = KnownAnswer(given.known, searched_space(given).shape)
    found = {name: records for name, records in every.items() if name.startswith("limit_")}
    limits = []
    for place, bounds in enumerate(given.limits):
        own = {
            name.partition("/")[2]: records
            for name, records in found.items()
            if name.startswith(f"limit_{place}/")
        }
        limits.append(_under_limit(given, bounds, own, known, folder=folder, doing=doing))
    sampled = {
        name: records
        for name, records in found.items()
        if name.partition("/")[2].startswith(("random", "repeat"))
    }
    models = tuple(_models(given, sampled))
    return Rediscovered(
        given=given,
        models=models,
        paper=paper_agreements({one.name: one.scores for one in models}, given.search.space.shape),
        audit=audit_records(
            [record for own in sampled.values() for record in own], where="the uniform samples"
        ),
        limits=tuple(limits),
        effects=tuple(_effects(given, found, limits)),
        changes={
            record.arch_id: known.changes(record.architecture)
            for records in found.values()
            for record in records
        },
        controls=tuple(judge_controls(given, every)),
    )


def _under_limit(
    given: Rediscovery,
    limits: Limits,
    found: Mapping[str, Sequence[Record]],
    known: KnownAnswer,
    *,
    folder: Path,
    doing: Doing,
) -> UnderLimit:
    searches = tuple(
        _outcome(name, records, given.search, known)
        for name, records in found.items()
        if name.startswith(("search", "random"))
    )
    drawn = draw_feasible(searched_space(given), limits)
    every = [record for records in found.values() for record in comparable(records)]
    reference = next((one for one in every if one.reference == given.known), None)
    bests = [one.best for one in searches if one.best and one.name.startswith("search")]
    chosen: dict[str, Record] = {}
    if bests:
        chosen["best found"] = _best(bests)
    for mixer in MIXERS:
        pure = comparable(found.get(f"pure_{mixer}", ()))
        if pure:
            chosen[f"best of {mixer} alone"] = _best(pure)
    if reference is not None:
        chosen[str(given.known)] = reference
    targets = [record.architecture for record in chosen.values()]
    trained = train_cold(given, targets, folder=folder, doing=doing)
    cold = {role: trained[record.arch_id] for role, record in chosen.items()}
    networks = tuple(
        Network(
            role=role,
            record=record,
            changes=known.changes(record.architecture),
            cold=cold[role],
            ahead=None
            if role == "best found" or not bests
            else difference(list(cold["best found"].values()), list(cold[role].values())),
        )
        for role, record in chosen.items()
    )
    return UnderLimit(
        limits=limits,
        chance=float(np.mean([known.changes(one) == 0 for one in drawn])) if drawn else None,
        searches=searches,
        networks=networks,
        rank=None if reference is None else _rank(reference, every),
    )


def _outcome(
    name: str, records: Sequence[Record], search: SearchConfig, known: KnownAnswer
) -> SearchOutcome:
    proposed = [record for record in records if record.reference is None]
    own = comparable(proposed)
    growing, needed = GrowingFront(search.objective_list), None
    for record in own:
        growing.add(record)
        if any(known.changes(one.architecture) == 0 for one in growing.members):
            # The paper's models are trials, too.
            needed = len({one.trial for one in proposed if one.trial <= record.trial})
            break
    return SearchOutcome(
        name=name,
        records=own,
        front=front(own, search.objective_list),
        best=_best(own) if own else None,
        needed=needed,
        failed=sum(record.state == "failed" for record in proposed),
    )


def _best(records: Sequence[Record]) -> Record:
    found = pareto.best(records)
    assert found is not None
    return found


def _accuracy(record: Record) -> float:
    return record.curve[-1].accuracy


def _rank(reference: Record, records: Sequence[Record]) -> tuple[int, int]:
    # Once for each architecture, by its first training.
    scores = {record.arch_id: _accuracy(record) for record in reversed(records)}
    own = scores.pop(reference.arch_id)
    return 1 + sum(score > own for score in scores.values()), 1 + len(scores)


def difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Mean of the first less mean of the second, with Welch's 95 % interval; at least two each."""
    middle = float(np.mean(first) - np.mean(second))
    if len({*first}) == len({*second}) == 1:  # scipy warns, and knows no interval
        return Estimate(figure=middle, low=middle, high=middle)
    found = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    return Estimate(figure=middle, low=float(found.low), high=float(found.high))


def _models(given: Rediscovery, found: Mapping[str, Sequence[Record]]) -> Iterator[Model]:
    space = searched_space(given)
    for name, one in REFERENCES.items():
        if one.top1 is None and name != given.known:
            continue
        try:
            space.encode(reference_target(name, space.shape))
            lacks = ""
        except SearchSpaceError as problem:
            lacks = str(problem)
        scores = {
            record.seed: _accuracy(record)
            for records in found.values()
            for record in comparable(records)
            if record.reference == name
        }
        yield Model(name=name, lacks=lacks, scores=tuple(scores.values()))


def paper_agreements(
    scores: Mapping[str, Sequence[float]], shape: DataShape
) -> tuple[Agreement, ...]:
    """How scores and sizes rank models of the paper, against their ImageNet accuracies.

    Args:
        scores: By the name of the model, one for each training; higher is better.
        shape: Of the targets.

    Returns:
        Of the score, the MACs and the params; empty where too few published models have scores.
    """
    own = [name for name, found in scores.items() if found and REFERENCES[name].top1]
    if len(own) < _FEWEST_MODELS:
        return ()
    truth = np.array([REFERENCES[name].top1 for name in own], dtype=float)
    sizes = [cost(reference_target(name, shape)) for name in own]
    macs = np.array([size.macs for size in sizes], dtype=float)
    bands = ((rankdata(macs, method="ordinal") - 1) * _BANDS // len(own)).astype(np.int64)
    weights = resamples(len(own), _RESAMPLES)
    figures = {
        "score of the proxy": np.array([np.mean(scores[name]) for name in own]),
        "macs": macs,
        "params": np.array([size.params for size in sizes], dtype=float),
    }
    found = []
    for name, values in figures.items():
        every, within = (
            _estimate(kendall(values, truth, bands=band, weights=weights))
            for band in (np.zeros_like(bands), bands)
        )
        found.append(Agreement(name=name, models=len(own), tau=every, within=within))
    return tuple(found)


def _effects(
    given: Rediscovery, found: Mapping[str, Sequence[Record]], limits: Sequence[UnderLimit]
) -> Iterator[Effect]:
    """What each mixer is worth, over all that was drawn by chance, and how often fronts have it."""
    space = searched_space(given)
    drawn = [
        record
        for name, records in found.items()
        # What searches propose depends on the scores before.
        if not name.partition("/")[2].startswith("search")
        for record in comparable(records)
        if record.reference is None
    ]
    worths = worths_of_records(drawn, space=space)
    fronts = [
        record.architecture
        for one in limits
        for search in one.searches
        if search.name.startswith("search")
        for record in search.front
    ]
    feasible = [item for one in limits for item in draw_feasible(space, one.limits)]
    for (place, mixer), worth in worths.items():
        yield Effect(
            stage=place + 1,
            mixer=mixer,
            base=space.stages[place].mixers.names[0],
            worth=worth,
            front=float(np.mean(mixer_shares(fronts, place, mixer))) if fronts else 0.0,
            chance=float(np.mean(mixer_shares(feasible, place, mixer))) if feasible else None,
        )


def _estimate(found: Figures) -> Estimate:
    low, high = np.percentile(found[1:], [2.5, 97.5])
    return Estimate(figure=float(found[0]), low=float(low), high=float(high))
