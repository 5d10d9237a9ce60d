"""How the hypervolume of several studies grows, in one box, over trials and training time."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spach_nas.config.objectives import Objective
from spach_nas.report.comparison_study import ComparedStudy, StudyGroup, check_objectives
from spach_nas.study.hypervolume import (
    Corners,
    HypervolumeData,
    hypervolume_data,
    record_corners,
    wider,
)

Axis = Literal["trials", "seconds"]
# From so many seeds on a band leaves out the most extreme ones.
_MANY_SEEDS = 20
# A curve of a group over time is drawn at so many moments.
_MOMENTS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """The growth of one study.

    Attributes:
        group: Label of its group.
        study: Its label.
        trials: Trials done, failed ones too, at each step; begins with 0.
        seconds: Of training, summed over all evaluations of the search, at each step.
        shares: Of the box, in [0, 1], at each step; higher is better.
    """

    group: str
    study: str
    trials: tuple[int, ...]
    seconds: tuple[float, ...]
    shares: tuple[float, ...]

    def steps(self, axis: Axis) -> Sequence[float]:
        """Trials or seconds at each step."""
        return self.trials if axis == "trials" else self.seconds

    def at(self, effort: float, *, axis: Axis) -> float:
        """Share after so many trials or seconds of training."""
        return self.shares[max(0, bisect_right(self.steps(axis), effort) - 1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """The growth of a group's seeds, as far as all of them go.

    Attributes:
        group: Its label.
        seeds: How many.
        x: Trials or seconds.
        median: Shares of the box.
        low: The worst seed; with many seeds the 5th of 100.
        high: The best seed; with many the 95th.
    """

    group: str
    seeds: int
    x: tuple[float, ...]
    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GrowthData:
    """The growth of all studies in one box.

    Attributes:
        objectives: What spans the box.
        reference: The worst value of each objective that counts, by name.
        ideal: The best value of each.
        fixed: Whether the box was known before the first trial of any.
        groups: In their order.
        curves: One for each study that has something to compare.
        equal_trials: As many as the shortest of them has.
        equal_seconds: Of training, as many as the shortest of them has.
    """

    objectives: tuple[Objective, ...]
    reference: Mapping[str, float]
    ideal: Mapping[str, float]
    fixed: bool
    groups: tuple[StudyGroup, ...]
    curves: tuple[Growth, ...]
    equal_trials: int
    equal_seconds: float

    def of(self, group: StudyGroup) -> tuple[Growth, ...]:
        """The curves of a group."""
        return tuple(curve for curve in self.curves if curve.group == group.label)


def growth_data(groups: Sequence[StudyGroup]) -> GrowthData | None:
    """The growth of all studies; None when all of them together span no box."""
    studies = [study for group in groups for study in group.studies]
    check_objectives(studies)
    corners = shared_corners(studies)
    found = [
        (_growth(study, group=group.label, data=data), data)
        for group in groups
        for study in group.studies
        if study.usable and (data := _data(study, corners)) is not None
    ]
    if not found:
        return None
    curves = tuple(curve for curve, _ in found)
    first = found[0][1]
    return GrowthData(
        objectives=first.objectives,
        reference=first.reference,
        ideal=first.ideal,
        fixed=all(item.name in one.corners for one in studies for item in one.objectives),
        groups=tuple(groups),
        curves=curves,
        equal_trials=min(curve.trials[-1] for curve in curves),
        equal_seconds=min(curve.seconds[-1] for curve in curves),
    )


def shared_corners(studies: Sequence[ComparedStudy]) -> Corners:
    """The box that holds those of all studies; without its own, a study's records span it."""
    corners: dict[str, tuple[float, float]] = {}
    for study in studies:
        seen = record_corners(study.records, study.objectives, limits=study.limits)
        own = {**seen, **study.corners}
        for item in study.objectives:
            if item.name in own:
                ends = corners.get(item.name, own[item.name])
                corners[item.name] = wider(item, ends, own[item.name])
    return corners


def bands(data: GrowthData, *, axis: Axis) -> tuple[Band, ...]:
    """Median and spread of each group of several seeds, up to the end of its shortest."""
    found = []
    for group in data.groups:
        curves = data.of(group)
        if len(curves) > 1:
            found.append(_band(group.label, curves, axis=axis))
    return tuple(found)


def band_words(seeds: int) -> str:
    """What the band of so many seeds is."""
    return "worst to best" if seeds < _MANY_SEEDS else "5 to 95 %"


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Low end, median and high end: of all, or of the middle 90 % where there are many."""
    few = len(values) < _MANY_SEEDS
    low, median, high = np.percentile(values, [0, 50, 100] if few else [5, 50, 95])
    return float(low), float(median), float(high)


def _data(study: ComparedStudy, corners: Corners) -> HypervolumeData | None:
    return hypervolume_data(study.records, study.objectives, limits=study.limits, corners=corners)


def _growth(study: ComparedStudy, *, group: str, data: HypervolumeData) -> Growth:
    return Growth(
        group=group,
        study=study.label,
        trials=data.trials,
        # Unlike the time by the clock, it depends on neither workers nor interruptions.
        seconds=data.training,
        shares=data.shares,
    )


def _band(group: str, curves: Sequence[Growth], *, axis: Axis) -> Band:
    end = min(curve.steps(axis)[-1] for curve in curves)
    moments = range(int(end) + 1) if axis == "trials" else np.linspace(0, end, _MOMENTS).tolist()
    x = [float(moment) for moment in moments]
    low, median, high = zip(
        *(spread([curve.at(moment, axis=axis) for curve in curves]) for moment in x), strict=True
    )
    return Band(group=group, seeds=len(curves), x=tuple(x), median=median, low=low, high=high)
