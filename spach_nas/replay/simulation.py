"""Searches in virtual time: scores come from a table; no training, no Ray, no waiting."""

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from spach_nas.config.evaluation import Epoch, Evaluation, EvaluationRequest
from spach_nas.replay.table import Entry, Table

if TYPE_CHECKING:
    from spach_nas.study.driver import StudyDriver

Task = TypeVar("Task")


@dataclass(kw_only=True, slots=True)
class VirtualClock:
    """A clock that stands still until it is set; what a `StudyDriver` takes for its clock.

    Attributes:
        now: Seconds.
    """

    now: float = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@dataclass(kw_only=True, slots=True)
class Workers(Generic[Task]):
    """A number of workers, each with one task at a time.

    Tasks that end at the same moment come back in the order in which they were given, so that a
    simulation is the same every time.

    Attributes:
        clock: Set to the end of each task that comes back.
        busy: Seconds that tasks took, summed over the workers.
    """

    number: int
    clock: VirtualClock = field(default_factory=VirtualClock)
    busy: float = 0.0
    _tasks: list[tuple[float, int, Task]] = field(default_factory=list)
    _given: int = 0

    @property
    def idle(self) -> int:
        """Workers without a task."""
        return self.number - len(self._tasks)

    def give(self, task: Task, seconds: float) -> None:
        """An idle worker begins a task now."""
        assert self.idle
        heapq.heappush(self._tasks, (self.clock.now + seconds, self._given, task))
        self._given += 1
        self.busy += seconds

    def wait(self) -> Task | None:
        """The next task to end, at the time when it does; None when none is running."""
        if not self._tasks:
            return None
        self.clock.now, _, task = heapq.heappop(self._tasks)
        return task


@dataclass(frozen=True, kw_only=True, slots=True)
class TabularEvaluator:
    """Answers with figures of a table.

    Attributes:
        seed: Of the replay: where an architecture was trained with several seeds, one is drawn.
    """

    table: Table
    seed: int

    def __call__(self, request: EvaluationRequest) -> Evaluation:
        """The figures after the epochs that are asked for; only new epochs take time."""
        done = 0
        if request.parent is not None:
            done = request.course[request.course.index(request.fidelity) - 1].epochs
        whole = self.curve(self.table.entries[request.architecture.arch_id])
        curve = whole[done : request.fidelity.epochs]
        return Evaluation(
            state="complete",
            scores={"accuracy": curve[-1].accuracy, "loss": curve[-1].loss},
            curve=curve,
            seconds=sum(epoch.seconds for epoch in curve),
            weights=b"",
        )

    def curve(self, entry: Entry) -> tuple[Epoch, ...]:
        """The training of an architecture that this replay meets, always the same."""
        curves = list(entry.curves.values())
        # Not Python's own hash, which differs between processes.
        text = f"{self.seed} {entry.architecture.arch_id}"
        draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
        return curves[draw % len(curves)]


def simulate(
    study: "StudyDriver",
    evaluator: Callable[[EvaluationRequest], Evaluation],
    *,
    workers: Workers[tuple[EvaluationRequest, Evaluation]],
) -> None:
    """Run a study to its end.

    Args:
        study: Its clock is that of the workers.
        evaluator: Answers at once; the `seconds` of the answer pass in virtual time.
        workers: Idle ones.
    """
    while True:
        while workers.idle and isinstance(request := study.next(), EvaluationRequest):
            evaluation = evaluator(request)
            workers.give((request, evaluation), evaluation.seconds)
        task = workers.wait()
        if task is None:
            return
        study.tell(*task)
