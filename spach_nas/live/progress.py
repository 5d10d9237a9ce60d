"""How far a search is: one value, the same for the live view and for whoever watches a folder.

A `Tally` takes records one by one and keeps what they add up to, so that a look at a study of
thousands of trials costs no more than at a small one.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from spach_nas import pareto
from spach_nas.config import SearchConfig
from spach_nas.evaluation import Fidelity, State
from spach_nas.hypervolume import (
    Corners,
    GrowingHypervolume,
    HypervolumeData,
    finished_after,
    study_corners,
)
from spach_nas.limits import Limits
from spach_nas.objectives import Objective
from spach_nas.records import Record
from spach_nas.study_folder import class_count

Phase = Literal["running", "stopping", "stopped", "ended", "silent"]
# The pace is that of so many evaluations.
_LATELY = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What a search set out to do.

    Attributes:
        name: Of the study.
        folder: Of the study.
        objectives: What is optimised.
        limits: On the target.
        corners: The box that hypervolumes are shares of.
        rungs: Fidelities, cheapest first.
        trials: The budget, without references.
        references: How many of the paper's models.
        reduction: One of so many trials goes on to the next rung.
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
        phase: `running`; `stopping`, when running trials are finished; `stopped` before the budget
            was spent; `ended`; `silent`, when the process that drove it is gone.
        finished: Evaluations by rung and state, without those of an earlier study.
        running: Evaluations on their way, by rung.
        elapsed: Seconds of the search.
        pace: Evaluations a second, lately; None before there is one.
        time_left: Seconds until the budget is spent; None when unknown.
        trials: Trials with a record.
        front: Records that no other dominates, cheapest target first.
        marks: Words for members of the front by trial: `best`, `knee`.
        hypervolume: Its growth; None before the first trial, or where no box is known.
        last_failure: The last record that failed; None when none did.
        last_sign: When the search was last heard of; None for a search of this process.
    """

    outline: Outline
    wanted: tuple[int, ...]
    phase: Phase
    finished: Mapping[tuple[int, State], int]
    running: Mapping[int, int]
    elapsed: float
    pace: float | None
    time_left: float | None
    trials: int
    front: tuple[Record, ...]
    marks: Mapping[int, tuple[str, ...]]
    hypervolume: HypervolumeData | None
    last_failure: Record | None
    last_sign: datetime | None = None

    @property
    def done(self) -> int:
        """Evaluations that are over."""
        return sum(self.finished.values())

    @property
    def total(self) -> int:
        """Evaluations in all. More may go on than were wanted, since nobody waits for all ranks."""
        return sum(max(number, self.started(rung)) for rung, number in enumerate(self.wanted))

    def started(self, rung: int) -> int:
        """Evaluations of a rung that are over or on their way."""
        over = sum(number for (other, _), number in self.finished.items() if other == rung)
        return over + self.running.get(rung, 0)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.phase in ("stopped", "ended", "silent")

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
    """

    def __init__(self, outline: Outline) -> None:
        self.outline = outline
        self._finished: Counter[tuple[int, State]] = Counter()
        self._seconds: defaultdict[int, float] = defaultdict(float)
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
        else:
            self._warm[rung] += 1
        if record.state == "failed":
            self._last_failure = record
        elif self.outline.limits.allow(record.target_cost):
            self._front.add(record)
            # Of two records, the one at the higher rung, then the one with the better score.
            two = [item for item in (self._best, record) if item is not None]
            self._best = pareto.best(two, self.outline.objectives)
        self._growth.add(record)

    def progress(
        self,
        *,
        running: Mapping[int, int],
        elapsed: float,
        phase: Phase = "running",
        last_sign: datetime | None = None,
    ) -> Progress:
        """The sum, with what the records do not say.

        Args:
            running: Evaluations on their way, by rung.
            elapsed: Seconds of the search.
            phase: Of the search.
            last_sign: When it was last heard of.
        """
        over = phase in ("stopped", "ended", "silent")
        members = self._front.members
        return Progress(
            outline=self.outline,
            wanted=self._wanted(),
            phase=phase,
            finished=dict(self._finished),
            running={} if over else {rung: number for rung, number in running.items() if number},
            elapsed=elapsed,
            pace=self._pace(elapsed),
            time_left=None if over else self._time_left(elapsed),
            trials=len(self._trials),
            front=members,
            marks=self._marked(members),
            hypervolume=self._growth.data(),
            last_failure=self._last_failure,
            last_sign=last_sign,
        )

    def _wanted(self) -> tuple[int, ...]:
        """Of the trials one part goes on to the next rung, of the paper's models all do."""
        places = [self.outline.trials + self._warm[0]]
        for _ in self.outline.rungs[1:]:
            places.append(max(1, places[-1] // self.outline.reduction))
        return tuple(
            max(0, number - self._warm[rung]) + self.outline.references
            for rung, number in enumerate(places)
        )

    def _pace(self, elapsed: float) -> float | None:
        done = len(self._ends) - 1
        duration = max(elapsed, self._ends[-1]) - self._ends[0]
        return done / duration if done and duration > 0 else None

    def _time_left(self, elapsed: float) -> float | None:
        """Work that is left, by what it took so far, at the rate of work so far."""
        spent = sum(self._seconds.values())
        limit = self.outline.max_duration
        if not spent or not elapsed:
            return None
        left = sum(
            max(0, wanted - self._done(rung)) * self._seconds_of_one(rung)
            for rung, wanted in enumerate(self._wanted())
        )
        seconds = left * elapsed / spent
        return seconds if limit is None else min(seconds, max(0.0, limit - elapsed))

    def _done(self, rung: int) -> int:
        return self._finished[rung, "complete"] + self._finished[rung, "failed"]

    def _seconds_of_one(self, rung: int) -> float:
        """An evaluation at a rung; where there was none, by the images that it will see."""
        if self._seconds.get(rung):
            return self._seconds[rung] / self._done(rung)
        known = max(other for other, seconds in self._seconds.items() if seconds)
        scale = self._effort(rung) / self._effort(known)
        return scale * self._seconds[known] / self._done(known)

    def _effort(self, rung: int) -> float:
        fidelity = self.outline.rungs[rung]
        before = self.outline.rungs[rung - 1] if rung else None
        goes_on = before is not None and before.image_size == fidelity.image_size
        epochs = fidelity.epochs - (before.epochs if before is not None and goes_on else 0)
        height, width = fidelity.image_size
        return epochs * fidelity.data_share * height * width

    def _marked(self, members: tuple[Record, ...]) -> dict[int, tuple[str, ...]]:
        if members != self._marks[0]:
            marks: dict[int, tuple[str, ...]] = {}
            knee = pareto.knee(members, self.outline.objectives)
            for word, record in (("best", self._best), ("knee", knee)):
                if record is not None:
                    marks[record.trial] = (*marks.get(record.trial, ()), word)
            self._marks = (members, marks)
        return self._marks[1]
