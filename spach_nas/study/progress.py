"""How far a search is: one value, for the live view and for watching a folder alike.

A `Tally` takes records one by one and keeps what they add up to, so that a look at a study of
thousands of trials costs no more than at a small one.
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
# The estimate before the search weighs as much as this many evaluations.
_TRUST = 2
# A score without training takes as long as a training of so many epochs, until it is known.
_UNTRAINED = 0.05
# An evaluation without news is assumed to be at most this far.
_UNHEARD = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What a search set out to do.

    Attributes:
        corners: The box that hypervolumes are shares of.
        rungs: Fidelities, cheapest first.
        trials: The budget, without references.
        references: How many of the paper's models.
        reduction: One of this many trials goes on to the next rung.
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
    """How far a search is.

    Attributes:
        outline: What it set out to do.
        wanted: Evaluations at each rung, should no trial fail; at the higher ones at least.
        phase: `running`; `stopping`, when running trials are finished; `finishing`, when the report
            is written; `stopped` before the budget was spent; `ended`; `silent`, when the process
            that drove it is gone.
        finished: Evaluations by rung and state, without those of an earlier study.
        running: Evaluations on their way, oldest first.
        elapsed: Seconds of the search.
        pace: Evaluations a second, lately; None before there is one.
        time_left: Seconds until all trainings are over, more than 0 while one runs; None when
            unknown.
        front: Records that no other dominates, cheapest target first.
        marks: Words for members of the front by trial: `best`, `knee`.
        hypervolume: Its growth; None before the first trial, or where no box is known.
        last_failure: The last record that failed; None when none did.
        last_sign: When the search was last heard of; None for a search of this process.
        ending: How it ended; None while it has not, or where it is not known.
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
        """Evaluations that are over."""
        return sum(self.finished.values())

    @property
    def total(self) -> int:
        """Evaluations in all. Promotion waits for no one, so more may go on than were wanted."""
        return sum(max(number, self.started(rung)) for rung, number in enumerate(self.wanted))

    def started(self, rung: int) -> int:
        """Evaluations of a rung that are over or on their way."""
        over = sum(number for (other, _), number in self.finished.items() if other == rung)
        return over + self.running_at(rung)

    def running_at(self, rung: int) -> int:
        """Evaluations of a rung that are on their way."""
        return sum(item.rung == rung for item in self.running)

    @property
    def starting(self) -> bool:
        """Whether no training has said or come to anything yet."""
        return not self.trials and not any(item.pulse for item in self.running)

    @property
    def late(self) -> bool:
        """Whether `max_duration` is over, so that nothing new starts."""
        limit = self.outline.max_duration
        return limit is not None and self.elapsed >= limit

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in _OVER

    def count(self, state: State) -> int:
        """Evaluations of all rungs that ended so."""
        return sum(number for (_, other), number in self.finished.items() if other == state)


def outline(config: SearchConfig, folder: Path) -> Outline:
    """What a search sets out to do."""
    return Outline(
        name=config.study,
        folder=folder,
        objectives=config.objective_list,
        limits=config.limits,
        corners=study_corners(config, classes=class_count(folder)),
        rungs=config.fidelities,
        trials=config.search.trials,
        references=len(config.references),
        reduction=config.rungs.reduction,
        max_duration=config.search.max_duration,
    )


class Tally:
    """What the records of a search add up to.

    Attributes:
        outline: What it set out to do.
        foreseen: What it was estimated to take, from which the time left starts; None: nothing.
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
        """Seconds of the search when the last evaluation was finished."""
        return self._ends[-1]

    def add(self, record: Record) -> None:
        """Take a finished record, in their order."""
        rung = record.fidelity.rung
        self._trials.add(record.trial)
        if record.origin is None:
            self._finished[rung, record.state] += 1
            self._seconds[rung] += record.seconds
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
        """The sum, with what the records do not say.

        Args:
            running: Evaluations on their way.
            elapsed: Seconds of the search.
            phase: Of the search.
            last_sign: When it was last heard of.
            ending: How it ended.
        """
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
        """Of the trials one part goes on to the next rung, of the paper's models all do."""
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
        """Work that is left at the rate of work so far; at first both are as estimated."""
        if phase in (*_OVER, "finishing") or not self._known:
            return None
        shares = [self._share(item, elapsed) for item in running]
        rests = [
            (1 - share) * self._seconds_of_one(item.rung)
            for item, share in zip(running, shares, strict=True)
        ]
        # Those that run are finished, whatever else is not begun any more.
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
        # What runs when the time is up is finished: half of it on average.
        cut = until + self._seconds_of_one(0) / 2 if waiting else math.inf
        return _not_zero(max(min(seconds, cut), last), running)

    def work_left(self, running: Sequence[Running]) -> float:
        """Seconds of the evaluations that have not begun, one after the other."""
        return sum(
            max(0, wanted - self._done(rung) - sum(item.rung == rung for item in running))
            * self._seconds_of_one(rung)
            for rung, wanted in enumerate(self._wanted())
        )

    @property
    def _known(self) -> bool:
        """Whether anything is known of how long an evaluation takes."""
        return self.foreseen is not None or any(self._seconds.values())

    def _rate(
        self, running: Sequence[Running], shares: Sequence[float], elapsed: float
    ) -> float | None:
        """Seconds of evaluations that are done in a second; None before there is a first one."""
        done = sum(self._seconds.values()) + sum(
            share * self._seconds_of_one(item.rung)
            for item, share in zip(running, shares, strict=True)
        )
        begun = [self._first_start] if self._first_start is not None else []
        begun += [item.since for item in running if item.pulse is not None]
        busy = max(0.0, elapsed - min(begun, default=elapsed))
        if self.foreseen is not None:
            before = _TRUST * self.foreseen.evaluation_seconds[0]
            done, busy = done + before * self.foreseen.at_once, busy + before
        return done / busy if done and busy else None

    def _share(self, item: Running, elapsed: float) -> float:
        """Of a running evaluation that is done: as it says, else by the clock."""
        if item.pulse is not None:
            return item.pulse.share
        if not self._trials:
            return 0.0  # its worker starts
        one = self._seconds_of_one(item.rung)
        return min(_UNHEARD, max(0.0, elapsed - item.since) / one) if one else 0.0

    def _done(self, rung: int) -> int:
        return self._finished[rung, "complete"] + self._finished[rung, "failed"]

    def _seconds_of_one(self, rung: int) -> float:
        """An evaluation at a rung: as it was so far, and as it was foreseen.

        Where there was none, what was foreseen is corrected as at the other rungs; without an
        estimate, by the images that it will see.
        """
        done, seconds = self._done(rung), self._seconds[rung]
        if self.foreseen is not None and rung < len(self.foreseen.evaluation_seconds):
            foreseen = self.foreseen.evaluation_seconds
            expected = sum(foreseen[other] * self._done(other) for other in range(len(foreseen)))
            trust = _TRUST * foreseen[0]
            factor = (sum(self._seconds.values()) + trust) / (expected + trust) if trust else 1.0
            return (seconds + _TRUST * factor * foreseen[rung]) / (done + _TRUST)
        if seconds:
            return seconds / done
        known = max(other for other, spent in self._seconds.items() if spent)
        scale = self._effort(rung) / self._effort(known)
        return scale * self._seconds[known] / self._done(known)

    def _effort(self, rung: int) -> float:
        fidelity = self.outline.rungs[rung]
        before = self.outline.rungs[rung - 1] if rung else None
        goes_on = before is not None and before.image_size == fidelity.image_size
        epochs = fidelity.epochs - (before.epochs if before is not None and goes_on else 0)
        height, width = fidelity.image_size
        return (epochs or _UNTRAINED) * fidelity.data_share * height * width

    def _marked(self, members: tuple[Record, ...]) -> dict[int, tuple[str, ...]]:
        if members != self._marks[0]:
            marks: dict[int, tuple[str, ...]] = {}
            knee = pareto.knee(members, self.outline.objectives)
            for word, record in (("best", self._best), ("knee", knee)):
                if record is not None:
                    marks[record.trial] = (*marks.get(record.trial, ()), word)
            self._marks = (members, marks)
        return self._marks[1]


def _not_zero(seconds: float, running: Sequence[Running]) -> float:
    """A training that runs is not over before it says so."""
    return max(seconds, 1.0) if running else seconds
