"""The progress of a search, for the live view and for watching a folder.

A `Tally` takes records one by one and keeps their sums, so that the progress of a study of
thousands of trials costs no more than that of a small one.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from spach_nas.config.evaluation import Fidelity, State
from spach_nas.config.objectives import Objective
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.cost.limits import Limits
from spach_nas.evaluators.heartbeat import Running
from spach_nas.study import pareto
from spach_nas.study.ending import Ending
from spach_nas.study.folder import class_count
from spach_nas.study.hypervolume import (
    Corners,
    GrowingHypervolume,
    HypervolumeData,
    finished_after,
    study_corners,
)
from spach_nas.study.journal import Foreseen
from spach_nas.study.ladder import places
from spach_nas.study.records import Record

Phase = Literal["running", "stopping", "finishing", "stopped", "ended", "silent"]
_OVER = ("stopped", "ended", "silent")
# The pace is measured over this many evaluations.
_LATELY = 20
# The estimate before the search has the weight of this many evaluations.
_TRUST = 2
# A score without training takes as long as this many epochs, until its duration is known.
_UNTRAINED = 0.05
# An evaluation that reports nothing counts as done by at most this share.
_UNHEARD = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What a search plans to do.

    Attributes:
        corners: The box of which hypervolumes are shares.
        rungs: Fidelities, cheapest first.
        trials: The budget, without references.
        references: Number of the paper's models.
        reduction: One of this many trials is promoted to the next rung.
        max_duration: Seconds after which nothing new starts; None: no limit.
    """

    name: str
    folder: Path
    objectives: tuple[Objective, ...]
    limits: Limits
    corners: Corners
    rungs: tuple[Fidelity, ...]
    trials: int
    references: int
    reduction: int
    max_duration: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """The progress of a search.

    Attributes:
        wanted: Planned evaluations at each rung if no trial fails; at higher rungs, at least.
        phase: `running`; `stopping`: running trials are being finished; `finishing`: the report is
            being written; `stopped` before the budget was spent; `ended`; `silent`: its process is
            gone.
        finished: Number of evaluations by rung and state, without those of an earlier study.
        running: Running evaluations, oldest first.
        elapsed: Seconds of the search.
        pace: Recent evaluations per second; None before the first.
        time_left: Seconds until all trainings are over, more than 0 while one runs; None if
            unknown.
        trials: Number of trials with a record.
        front: Records that no other dominates, cheapest target first.
        marks: Words for members of the front by trial: `best`, `knee`.
        hypervolume: Its growth; None before the first trial, or if no box is known.
        last_failure: The last record that failed, if any.
        last_sign: Time of the last journal line; None for a search of this process.
        ending: How it ended; None while it has not, or if that is unknown.
    """

    outline: Outline
    wanted: tuple[int, ...]
    phase: Phase
    finished: Mapping[tuple[int, State], int]
    running: tuple[Running, ...]
    elapsed: float
    pace: float | None
    time_left: float | None
    trials: int
    front: tuple[Record, ...]
    marks: Mapping[int, tuple[str, ...]]
    hypervolume: HypervolumeData | None
    last_failure: Record | None
    last_sign: datetime | None = None
    ending: Ending | None = None

    @property
    def done(self) -> int:
        """Number of finished evaluations."""
        return sum(self.finished.values())

    @property
    def total(self) -> int:
        """Evaluations in all. Promotion is asynchronous, so more may be promoted than planned."""
        return sum(max(number, self.started(rung)) for rung, number in enumerate(self.wanted))

    def started(self, rung: int) -> int:
        """Evaluations of a rung that are finished or running."""
        over = sum(number for (other, _), number in self.finished.items() if other == rung)
        return over + self.running_at(rung)

    def running_at(self, rung: int) -> int:
        """Running evaluations of a rung."""
        return sum(item.rung == rung for item in self.running)

    @property
    def starting(self) -> bool:
        """Whether no training has reported anything yet."""
        return not self.trials and not any(item.pulse for item in self.running)

    @property
    def late(self) -> bool:
        """Whether `max_duration` is over, so that nothing new starts."""
        limit = self.outline.max_duration
        return limit is not None and self.elapsed >= limit

    @property
    def over(self) -> bool:
        """Whether the search is over."""
        return self.phase in _OVER

    def count(self, state: State) -> int:
        """Number of evaluations of all rungs that ended in a state."""
        return sum(number for (_, other), number in self.finished.items() if other == state)


def outline(config: SearchConfig, folder: Path) -> Outline:
    """What a search plans to do."""
    return Outline(
        name=config.study,
        folder=folder,
        objectives=config.objective_list,
        limits=config.limits,
        corners=study_corners(config, classes=class_count(folder)),
        rungs=config.fidelities,
        trials=config.search.trials,
        references=len(config.paper_models),
        reduction=config.rungs.reduction,
        max_duration=config.search.max_duration,
    )


class Tally:
    """Sums over the records of a search.

    Attributes:
        outline: What the search plans to do.
        foreseen: The estimate made before the search, if any.
    """

    def __init__(self, outline: Outline, foreseen: Foreseen | None = None) -> None:
        self.outline = outline
        self.foreseen = foreseen
        self._finished: Counter[tuple[int, State]] = Counter()
        self._seconds: defaultdict[int, float] = defaultdict(float)
        self._first_start: float | None = None
        self._ends: deque[float] = deque([0.0], maxlen=_LATELY + 1)
        self._trials: set[int] = set()
        self._warm: Counter[int] = Counter()
        self._front = pareto.GrowingFront(outline.objectives)
        self._growth = GrowingHypervolume(
            outline.objectives, corners=outline.corners, limits=outline.limits
        )
        self._best: Record | None = None
        self._marks: tuple[tuple[Record, ...], dict[int, tuple[str, ...]]] = ((), {})
        self._last_failure: Record | None = None

    @property
    def last_end(self) -> float:
        """Seconds of the search at the end of the last evaluation."""
        return self._ends[-1]

    def add(self, record: Record) -> None:
        """Add a finished record; records come in the order of their ends."""
        rung = record.fidelity.rung
        self._trials.add(record.trial)
        if record.origin is None:
            self._finished[rung, record.state] += 1
            self._seconds[rung] += record.seconds
            # A shared score is recorded after the training that it comes from.
            self._ends.append(max(self._ends[-1], finished_after(record)))
            if self._first_start is None or record.started < self._first_start:
                self._first_start = record.started
        else:
            self._warm[rung] += 1
        if record.state == "failed":
            self._last_failure = record
        elif pareto.within(record, self.outline.limits):
            self._front.add(record)
            # Of two records, the one at the higher rung, then the one with the better score.
            two = [item for item in (self._best, record) if item is not None]
            self._best = pareto.best(two, self.outline.objectives)
        self._growth.add(record)

    def progress(
        self,
        *,
        running: Sequence[Running],
        elapsed: float,
        phase: Phase = "running",
        last_sign: datetime | None = None,
        ending: Ending | None = None,
    ) -> Progress:
        """The progress, from the records and from what these do not say.

        Args:
            running: Running evaluations.
            elapsed: Seconds of the search.
            phase: Phase of the search.
            last_sign: Time of the last journal line.
            ending: How it ended.
        """
        # A killed search leaves running evaluations behind.
        running = () if phase in _OVER else tuple(running)
        members = self._front.members
        return Progress(
            outline=self.outline,
            wanted=self._wanted(),
            phase=phase,
            finished=dict(self._finished),
            running=running,
            elapsed=elapsed,
            pace=self._pace(elapsed),
            time_left=self._time_left(running, elapsed, phase),
            trials=len(self._trials),
            front=members,
            marks=self._marked(members),
            hypervolume=self._growth.data(),
            last_failure=self._last_failure,
            last_sign=last_sign,
            ending=ending,
        )

    def _wanted(self) -> tuple[int, ...]:
        """Evaluations at each rung: some of the trials are promoted, and all the paper's models."""
        numbers = places(
            self.outline.trials + self._warm[0],
            reduction=self.outline.reduction,
            rungs=len(self.outline.rungs),
        )
        return tuple(
            max(0, number - self._warm[rung]) + self.outline.references
            for rung, number in enumerate(numbers)
        )

    def _pace(self, elapsed: float) -> float | None:
        done = len(self._ends) - 1
        duration = max(elapsed, self._ends[-1]) - self._ends[0]
        return done / duration if done and duration > 0 else None

    def _time_left(self, running: Sequence[Running], elapsed: float, phase: Phase) -> float | None:
        """Work left over the rate of work so far; at first, both come from the estimate."""
        known = self.foreseen is not None or any(self._seconds.values())
        if phase in (*_OVER, "finishing") or not known:
            return None
        shares = [self._share(item, elapsed) for item in running]
        rests = [
            (1 - share) * self._seconds_of_one(item.rung)
            for item, share in zip(running, shares, strict=True)
        ]
        # Running evaluations are finished even if no other begins any more.
        last = max(rests, default=0.0)
        limit = self.outline.max_duration
        until = math.inf if limit is None else limit - elapsed
        if phase == "stopping" or until <= 0:
            return _not_zero(last, running)
        waiting = self.work_left(running)
        rate = self._rate(running, shares, elapsed)
        if rate is None:
            return None
        seconds = (waiting + sum(rests)) / rate
        # Evaluations that run when the time is up are finished; half of them is left on average.
        cut = until + self._seconds_of_one(0) / 2 if waiting else math.inf
        return _not_zero(max(min(seconds, cut), last), running)

    def work_left(self, running: Sequence[Running]) -> float:
        """Seconds of all evaluations that have not begun, in sequence."""
        return sum(
            max(0, wanted - self._done(rung) - sum(item.rung == rung for item in running))
            * self._seconds_of_one(rung)
            for rung, wanted in enumerate(self._wanted())
        )

    def _rate(
        self, running: Sequence[Running], shares: Sequence[float], elapsed: float
    ) -> float | None:
        """Seconds of evaluations that are done in one second; None before the first evaluation."""
        done = sum(self._seconds.values()) + sum(
            share * self._seconds_of_one(item.rung)
            for item, share in zip(running, shares, strict=True)
        )
        # Work is measured from the first training on: the start of Ray says nothing about it.
        begun = [self._first_start] if self._first_start is not None else []
        begun += [item.since for item in running if item.pulse is not None]
        busy = max(0.0, elapsed - min(begun, default=elapsed))
        if self.foreseen is not None:
            before = _TRUST * self.foreseen.evaluation_seconds[0]
            done, busy = done + before * self.foreseen.at_once, busy + before
        return done / busy if done and busy else None

    def _share(self, item: Running, elapsed: float) -> float:
        """Share of a running evaluation that is done, as it reports or else by the clock."""
        if item.pulse is not None:
            return item.pulse.share
        if not self._trials:
            return 0.0  # its worker is still starting
        one = self._seconds_of_one(item.rung)
        return min(_UNHEARD, max(0.0, elapsed - item.since) / one) if one else 0.0

    def _done(self, rung: int) -> int:
        return self._finished[rung, "complete"] + self._finished[rung, "failed"]

    def _seconds_of_one(self, rung: int) -> float:
        """Duration of an evaluation at a rung: the mean so far, blended with what is expected.

        That is the estimate, or without one the effort, corrected by the evaluations of all rungs.
        """
        rungs = range(len(self.outline.rungs))
        expected = [self._effort(other) for other in rungs]
        trust = 0.0
        if self.foreseen is not None and len(self.foreseen.evaluation_seconds) >= len(rungs):
            expected = list(self.foreseen.evaluation_seconds)
            trust = _TRUST * expected[0]
        so_far = trust + sum(expected[other] * self._done(other) for other in rungs)
        if not so_far:  # a damaged estimate, and nothing is done
            return 0.0
        likely = expected[rung] * (trust + sum(self._seconds.values())) / so_far
        return (self._seconds[rung] + _TRUST * likely) / (self._done(rung) + _TRUST)

    def _effort(self, rung: int) -> float:
        fidelity = self.outline.rungs[rung]
        before = self.outline.rungs[rung - 1] if rung else None
        goes_on = before is not None and before.image_size == fidelity.image_size
        epochs = fidelity.epochs - (before.epochs if before is not None and goes_on else 0)
        height, width = fidelity.image_size
        return (epochs or _UNTRAINED) * fidelity.data_share * height * width

    def _marked(self, members: tuple[Record, ...]) -> dict[int, tuple[str, ...]]:
        # The live view asks several times a second, the front changes seldom.
        if members != self._marks[0]:
            marks: dict[int, tuple[str, ...]] = {}
            knee = pareto.knee(members, self.outline.objectives)
            for word, record in (("best", self._best), ("knee", knee)):
                if record is not None:
                    marks[record.trial] = (*marks.get(record.trial, ()), word)
            self._marks = (members, marks)
        return self._marks[1]


def _not_zero(seconds: float, running: Sequence[Running]) -> float:
    """At least a second while a training runs."""
    return max(seconds, 1.0) if running else seconds
