"""A study as its report sees it, worked out once: what is comparable, the front, best and knee.

Where an architecture was trained with several seeds, a front of single trainings would favour the
luckiest one. So an architecture counts by the mean of its seeds, and the front is one of means.
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from spach_nas.config.objectives import OBJECTIVES, USUAL, Objective, cost_of, score_of
from spach_nas.cost.limits import Limits, ProxyLimits
from spach_nas.latency.front_latency import FrontLatency
from spach_nas.space.search_space import SearchSpace
from spach_nas.space.short_names import short_names
from spach_nas.study.audit_rows import AuditRow
from spach_nas.study.folder import CheckpointKey
from spach_nas.study.hypervolume import Corners, HypervolumeData, hypervolume_data
from spach_nas.study.intervals import Interval, image_interval, score_words, surely_better
from spach_nas.study.pareto import best, comparable, front, knee, value, within
from spach_nas.study.records import Record
from spach_nas.study.timm_figures import TimmFigures


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFacts:
    """What a report says about a study besides its records.

    Attributes:
        objectives: In the order of the search YAML.
        limits: Bounds on the target's cost.
        corners: The box that hypervolumes are shares of, as far as it is known.
        startup_trials: The number of first trials that were uniform; 0: not known.
        kept: Proxies and rungs whose weights are there; None: those of the front.
        settings: The search YAML as run.
        space: The YAML of its search space, where that is a file of its own.
        command: The command that runs the same search again.
        search_space: What was searched, for what chance gives; None: not known.
        proxy_limits: Bounds on the cost of the trained networks.
        ending: Why the search ended before its budget was spent and how to continue, one sentence
            each; empty where the budget was spent.
        audit: How well scores rank, where the study has an audit.
        timm: The models of timm among the references.
        front_latency: Measured latency of whole networks, where the study has any.
        doubts: What an audit says against its scores, one sentence each.
    """

    name: str
    objectives: tuple[Objective, ...] = USUAL
    limits: Limits = field(default_factory=Limits)
    corners: Corners = field(default_factory=dict)
    seed: int | None = None
    sampler: str = ""
    startup_trials: int = 0
    kept: Set[CheckpointKey] | None = None
    settings: str = ""
    space: str = ""
    command: str = ""
    search_space: SearchSpace | None = None
    proxy_limits: ProxyLimits | None = None
    ending: tuple[str, ...] = ()
    audit: tuple[AuditRow, ...] = ()
    timm: tuple[TimmFigures, ...] = ()
    front_latency: FrontLatency | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """An architecture with all its comparable trainings.

    Attributes:
        record: That of the earliest trial, with the mean of each score and measurement.
        trainings: One for each seed, by trial.
    """

    record: Record
    trainings: tuple[Record, ...]

    @staticmethod
    def of(trainings: tuple[Record, ...]) -> "Trained":
        """From the trainings, by trial."""
        return Trained(record=_mean(trainings), trainings=trainings)

    @property
    def seed_words(self) -> str:
        """`seed 3`, or `mean of seeds 3, 4, 5`."""
        seeds = ", ".join(str(record.seed) for record in self.trainings)
        return f"mean of seeds {seeds}" if len(self.trainings) > 1 else f"seed {seeds}"

    def values(self, objective: Objective) -> tuple[float, ...]:
        """The finite values of the trainings."""
        found = (value(record, objective) for record in self.trainings)
        return tuple(figure for figure in found if figure is not None)

    def interval(self, objective: Objective) -> Interval | None:
        """The interval of the images, widened to all seeds; None if images were not counted."""
        ends = image_interval(self.record, objective)
        if ends is None:
            return None
        scores = self.values(objective)
        return Interval(min(ends.low, *scores), max(ends.high, *scores))

    def words(self, objective: Objective) -> str:
        """The mean with its interval: `83.1 ± 1.8 %`."""
        return score_words(objective, value(self.record, objective), self.interval(objective))


class Spread(NamedTuple):
    """How far single trainings lie from the mean of their architecture.

    Attributes:
        deviation: Standard deviation, pooled over all architectures with several seeds.
        freedom: Degrees of freedom: seeds less one, over these architectures.
    """

    deviation: float
    freedom: int

    def reach(self, first: int, second: int) -> float:
        """The most that means of so many seeds of one architecture differ by, in 95 of 100."""
        two = math.sqrt(1 / first + 1 / second)
        # Late: mistakes in a study are reported before scipy is imported.
        from scipy.special import stdtrit

        return float(stdtrit(self.freedom, 0.975)) * self.deviation * two


def pooled_spread(scores: Sequence[Sequence[float]]) -> Spread | None:
    """The spread within architectures; None where each was trained once."""
    several = [found for found in scores if len(found) > 1]
    freedom = sum(len(found) - 1 for found in several)
    if not freedom:
        return None
    means = [math.fsum(found) / len(found) for found in several]
    squares = math.fsum(
        (score - mean) ** 2 for found, mean in zip(several, means, strict=True) for score in found
    )
    return Spread(math.sqrt(squares / freedom), freedom)


def beyond_chance(
    first: Trained, second: Trained, objective: Objective, *, spread: Spread | None
) -> bool | None:
    """Whether the first score is better by more than images and trainings explain.

    Returns:
        None where neither the images nor the spread of trainings are known.
    """
    by_images = surely_better(first.record, second.record, objective)
    if spread is None:
        return by_images
    ours, theirs = (value(item.record, objective) or 0.0 for item in (first, second))
    gain = ours - theirs if objective.direction == "max" else theirs - ours
    by_training = gain > spread.reach(len(first.trainings), len(second.trainings))
    return by_training if by_images is None else by_images and by_training


def group_seeds(records: Sequence[Record]) -> tuple[Trained, ...]:
    """The comparable records by architecture, in the order of their earliest trials.

    The same seed twice is no repetition: such trainings stay separate.
    """
    groups: dict[tuple[str, str | None], list[Record]] = {}
    for record in comparable(records):
        groups.setdefault((record.arch_id, record.reference), []).append(record)
    found: list[tuple[Record, ...]] = []
    for group in groups.values():
        distinct = len({record.seed for record in group}) == len(group)
        found += [tuple(group)] if distinct else [(record,) for record in group]
    found.sort(key=lambda group: (group[0].trial, group[0].seed))
    return tuple(map(Trained.of, found))


def _mean(group: tuple[Record, ...]) -> Record:
    if len(group) == 1:
        return group[0]
    names = {name for record in group for name in record.objectives} | {"accuracy", "loss"}
    means = {}
    for name in sorted(names & set(OBJECTIVES)):
        found = [value(record, OBJECTIVES[name]) for record in group]
        figures = [figure for figure in found if figure is not None]
        if figures:
            means[name] = math.fsum(figures) / len(figures)
    return replace(group[0], objectives={**group[0].objectives, **means})


@dataclass(frozen=True, kw_only=True)
class StudyView:
    """Every section of a page is a function of this; each part is computed when first needed.

    Attributes:
        records: Of the study, in the order in which they finished.
        facts: What the records do not say.
    """

    records: tuple[Record, ...]
    facts: StudyFacts

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Of the study."""
        return self.facts.objectives

    @property
    def limits(self) -> Limits:
        """Bounds on the target's cost."""
        return self.facts.limits

    @cached_property
    def score(self) -> Objective:
        """What "best" is judged by."""
        return score_of(self.objectives)

    @cached_property
    def price(self) -> Objective:
        """What a score is paid for with."""
        return cost_of(self.objectives)

    @cached_property
    def trained(self) -> tuple[Trained, ...]:
        """Complete at the highest rung; paper models and those over the limits, too."""
        return group_seeds(self.records)

    @cached_property
    def within(self) -> tuple[Trained, ...]:
        """Those that keep to the limits."""
        return tuple(one for one in self.trained if within(one.record, self.limits))

    @cached_property
    def found(self) -> tuple[Trained, ...]:
        """Those of the search itself, over the limits too."""
        return tuple(one for one in self.trained if one.record.reference is None)

    @cached_property
    def paper(self) -> tuple[Trained, ...]:
        """The paper's models, trained by the same protocol."""
        return tuple(one for one in self.trained if one.record.reference is not None)

    @cached_property
    def front(self) -> tuple[Record, ...]:
        """The means that no other one dominates, cheapest target first."""
        return front(self._means, self.objectives)

    @cached_property
    def best(self) -> Record | None:
        """The mean with the best score inside the limits."""
        return best(self._means, self.objectives)

    @cached_property
    def knee(self) -> Record | None:
        """The front's knee."""
        return knee(self._means, self.objectives)

    @cached_property
    def marks(self) -> dict[int, tuple[str, ...]]:
        """The words `best` and `knee` by trial: what `--pick best` and `--pick knee` take."""
        marks: dict[int, tuple[str, ...]] = {}
        for word, record in (("best", self.best), ("knee", self.knee)):
            if record is not None:
                marks[record.trial] = (*marks.get(record.trial, ()), word)
        return marks

    @cached_property
    def best_paper(self) -> Record | None:
        """The best paper model that is not on the front, over the limits too."""
        members = {record.trial for record in self.front}
        paper = [one.record for one in self.paper if one.record.trial not in members]
        return best(paper, self.objectives)

    @cached_property
    def spread(self) -> Spread | None:
        """Of the score, where architectures were trained with several seeds."""
        return pooled_spread([one.values(self.score) for one in self.trained])

    @cached_property
    def names(self) -> dict[str, str]:
        """Short names by `arch_id`, no two alike."""
        known = {record.arch_id: record.architecture for record in self.records}
        return dict(zip(known, short_names(list(known.values())), strict=True))

    @cached_property
    def growth(self) -> HypervolumeData | None:
        """The hypervolume over the study; None where nothing spans a box."""
        corners = self.facts.corners
        return hypervolume_data(self.records, self.objectives, limits=self.limits, corners=corners)

    @cached_property
    def last(self) -> dict[int, Record]:
        """Each trial at its highest rung, by number."""
        last: dict[int, Record] = {}
        for record in self.records:
            known = last.get(record.trial)
            if known is None or record.fidelity.rung > known.fidelity.rung:
                last[record.trial] = record
        return dict(sorted(last.items()))

    def of(self, record: Record) -> Trained:
        """The trainings behind one of the means."""
        return self._trained_by_id[id(record)]

    def keeps(self, record: Record) -> bool:
        """Whether the weights of a record are there to export."""
        kept = self.facts.kept
        if kept is None:
            return record.trial in self._kept_trials
        return (record.proxy_id, record.fidelity.rung) in kept

    @cached_property
    def _means(self) -> tuple[Record, ...]:
        return tuple(one.record for one in self.within)

    @cached_property
    def _trained_by_id(self) -> dict[int, Trained]:
        return {id(one.record): one for one in self.trained}

    @cached_property
    def _kept_trials(self) -> frozenset[int]:
        # A search keeps the weights of the front of its single trainings.
        members = front(self.records, self.objectives, limits=self.limits)
        return frozenset(record.trial for record in members)


def study_view(records: Sequence[Record], facts: StudyFacts) -> StudyView:
    """The view of a study, whose records are in the order in which they finished."""
    return StudyView(records=tuple(records), facts=facts)


def record_name(record: Record) -> str:
    """`trial 17`, or the name of the paper's model."""
    return record.reference or f"trial {record.trial}"
