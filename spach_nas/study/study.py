"""A study: it asks for evaluations and learns from them, free of Ray.

`next()` says what to evaluate, `tell()` takes what came of it. The order of calls is all that a
study depends on, so that a replay or a simulation drives it as Ray Tune does, and a search that was
killed goes on from its records.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.errors import StudyError
from spach_nas.evaluators.pulse import Pulse, Running
from spach_nas.feasible import Feasible, Latency
from spach_nas.space.scaling import DataShape
from spach_nas.study.archive import Archive, FolderArchive
from spach_nas.study.ending import Why
from spach_nas.study.folder import CheckpointKey
from spach_nas.study.foreseen import Foreseen
from spach_nas.study.knowledge import Knowledge
from spach_nas.study.ladder import Step
from spach_nas.study.pending import Pending, journal_fields, to_record
from spach_nas.study.records import Record
from spach_nas.study.results import Study as OpenStudy
from spach_nas.study.trials import Trials

# A worker that is lost so often with the same trial is lost because of it. The last time it is
# asked for in smaller batches, since the host may have run out of memory.
_MOST_LOSSES = 3
_SMALLER = 4
# From when on an evaluation has waited for its worker; what is less is Ray's own part of a trial.
_WAITED_SECONDS = 0.5
# Between two lines of the journal about one training.
_NOTE_SECONDS = 10.0


class Signal(Enum):
    """What `next()` says when there is nothing to evaluate now."""

    WAIT = "wait"
    DONE = "done"


class Study(OpenStudy):
    """One search: what it has found, and what it asks next.

    Attributes:
        config: The search YAML.
        folder: Where records are written.
        foreseen: What it was estimated to take; None: it was not.
        concluded: Whether all trainings are over.
    """

    def __init__(
        self,
        config: SearchConfig,
        *,
        folder: Path,
        data: DataShape,
        feasible: Feasible,
        records: Iterable[Record] = (),
        mirrored: bool = True,
        archive: Archive | None = None,
        latency: Latency | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A study that begins, or goes on.

        Args:
            config: The search YAML.
            folder: Made by `create_folder`.
            data: Channels and classes of the images.
            feasible: The architectures inside the limits.
            records: What the folder holds already, oldest first.
            mirrored: Whether `study.db` mirrors the records.
            archive: Takes the place of the folder, which then need not exist.
            latency: Predicts that of the targets, for the records.
            clock: Seconds.
        """
        known = tuple(records)
        super().__init__(config, folder=folder)
        self.foreseen: Foreseen | None = None
        self.concluded = False
        self._latency = latency
        start = clock() - _elapsed(known)
        self._elapsed: Callable[[], float] = lambda: clock() - start
        self._stopped = False
        self._pending: dict[Step, Pending] = {}
        self._pulses: dict[Step, Pulse] = {}
        self._noted: dict[Step, float] = {}  # when the journal had one of its pulses
        self._training: set[CheckpointKey] = set()  # keys of what is pending
        self._lost: deque[Pending] = deque()
        # What is on its way: pending, lost, or sharing the score of a pending one.
        self._under_way: set[Step] = set()
        # Trials whose proxy is being trained for another trial: they share its score.
        self._sharing: dict[CheckpointKey, list[Pending]] = {}
        self._failures = 0.0  # until the first complete trial
        warm = len({record.trial for record in known if record.origin is not None})
        self._knowledge = Knowledge(config, feasible, warm=warm)
        self._knowledge.replay(known)
        self._seen = {record.trial for record in known}
        self._archive = archive or FolderArchive(folder, config, records=known, mirrored=mirrored)
        self._knowledge.doubtful.update(self._archive.kept())
        self._forget_checkpoints()
        self._trials = Trials(
            config,
            self._knowledge,
            archive=self._archive,
            folder=folder,
            data=data,
            seen=self._seen,
            elapsed=self._elapsed,
        )

    @property
    def records(self) -> Sequence[Record]:
        """Everything finished, oldest first."""
        return self._knowledge.records

    @property
    def total(self) -> int:
        """Trials that the budget asks for, references included."""
        return self._knowledge.first + self.config.search.trials

    @property
    def done(self) -> int:
        """Trials that have a record."""
        return len(self._seen)

    @property
    def elapsed(self) -> float:
        """Seconds since the study began, those before a resume included."""
        return self._elapsed()

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop before its budget was spent."""
        return self._stopped

    @property
    def spent(self) -> bool:
        """Whether there is nothing to evaluate, now and later, unless the budget grows."""
        waiting = self._pending or self._lost or self._trials.left
        return self._is_late() or not (waiting or self._knowledge.ladder.next((), closing=True))

    @property
    def running(self) -> tuple[EvaluationRequest, ...]:
        """What is asked for and not told."""
        return tuple(pending.request for pending in list(self._pending.values()))

    @property
    def under_way(self) -> tuple[Running, ...]:
        """The same for those who watch, with what was heard of it."""
        # A list first: the live view asks from a thread of its own while requests come and go.
        return tuple(
            Running(
                trial=step[0], rung=step[1], since=pending.started, pulse=self._pulses.get(step)
            )
            for step, pending in list(self._pending.items())
        )

    def front(self) -> tuple[Record, ...]:
        """Records of the highest rung that no other dominates, cheapest target first."""
        return self._knowledge.front.members

    def begin(self, foreseen: Foreseen | None = None) -> None:
        """Note that the search begins, or goes on, and what it was estimated to take."""
        own = any(record.origin is None for record in self.records)
        fields = {} if foreseen is None else {"foreseen": foreseen.to_dict()}
        self.foreseen = foreseen
        self._log("resumed" if own else "begun", fields=fields)

    def conclude(self) -> None:
        """Note that all trainings are over, and why; the report comes next."""
        warm = len({record.trial for record in self.records if record.origin is not None})
        counts = {"planned": self.total - warm, "done": self.done - warm}
        self.concluded = True
        self._log("concluded", fields={"why": self._why(), **counts})

    def end(self) -> None:
        """Note that the search is over, its report written."""
        self._log("ended")

    def stop(self, reason: str = "") -> None:
        """Ask for nothing more; what runs may still be told.

        Args:
            reason: Why, unless somebody wants it.
        """
        self._stopped = True
        self._log("stopped", outcome=reason or None)

    def hear(self, pulse: Pulse) -> None:
        """Take note of how far a training is, for those who watch; from any thread."""
        step = pulse.trial, pulse.rung
        if step not in self._pending:
            return
        self._pulses[step] = pulse
        # The first one, and then so seldom that the journal stays small.
        if self.elapsed - self._noted.get(step, -math.inf) >= _NOTE_SECONDS:
            self._noted[step] = self.elapsed
            self._log("progress", fields=asdict(pulse))

    def next(self) -> EvaluationRequest | Signal:
        """What to evaluate now.

        Returns:
            A request; `WAIT` when nothing can be asked before something is told; `DONE` when
            nothing more will be asked.
        """
        while (pending := self._next_pending()) is not None:
            if pending.key in self._knowledge.scores:
                self._finish(pending, _shared(self._knowledge.scores[pending.key]))
            elif pending.key in self._training:
                self._sharing.setdefault(pending.key, []).append(pending)
            else:
                self._pending[pending.step] = pending
                self._training.add(pending.key)
                self._log("asked", pending)
                return pending.request
        # What is on its way may be lost and asked again, or may be promoted.
        return Signal.WAIT if self._pending else Signal.DONE

    def tell(self, request: EvaluationRequest, evaluation: Evaluation) -> Record:
        """Take what came of a request, write it down and learn from it.

        Raises:
            StudyError: The first trials all failed.
        """
        pending = self._pending.pop((request.trial, request.fidelity.rung))
        waited = self.elapsed - evaluation.seconds - pending.started
        if evaluation.seconds and waited > _WAITED_SECONDS:
            # The first ones wait for their workers to start.
            pending = replace(pending, started=pending.started + waited)
        self._forget_pulses(pending)
        self._training.discard(pending.key)
        record = self._finish(pending, evaluation)
        for sharing in self._sharing.pop(pending.key, []):
            self._finish(sharing, _shared(self._knowledge.scores[pending.key]))
        # Now that all who share the score had their say about its weights.
        self._forget_checkpoints()
        self._check_failures(record)
        return record

    def lose(self, request: EvaluationRequest, reason: str) -> None:
        """The infrastructure lost a request: it is asked again, but not for ever."""
        pending = self._pending[request.trial, request.fidelity.rung]
        losses = pending.losses + 1
        if losses == _MOST_LOSSES:
            self.tell(request, Evaluation(state="failed", reason=f"{reason} ({losses} times)"))
            return
        self._log("lost", pending, reason)
        if losses == _MOST_LOSSES - 1:
            batch = max(1, self.config.training.batch_size // _SMALLER)
            request = replace(request, micro_batch=batch)
        del self._pending[pending.step]
        self._forget_pulses(pending)
        self._training.discard(pending.key)
        self._lost.append(replace(pending, request=request, losses=losses))

    def close(self) -> None:
        """Let go of all files."""
        self._knowledge.proposer.close()
        self._archive.close()

    def _next_pending(self) -> Pending | None:
        if self._stopped or self._is_late():
            return None
        if self._lost:
            return self._lost.popleft()
        closing = not (self._under_way or self._trials.left)
        record = self._knowledge.ladder.next(self._under_way, closing=closing)
        pending = self._trials.begin() if record is None else self._trials.promote(record)
        if pending is not None:
            self._under_way.add(pending.step)
        return pending

    def _forget_pulses(self, pending: Pending) -> None:
        self._pulses.pop(pending.step, None)
        self._noted.pop(pending.step, None)

    def _why(self) -> Why:
        if self._stopped:
            return "stopped"
        waiting = self._pending or self._lost or self._trials.left
        if waiting or self._knowledge.ladder.next((), closing=True):
            return "max_duration"
        return "done" if self.done >= self.total else "exhausted"

    def _is_late(self) -> bool:
        limit = self.config.search.max_duration
        return limit is not None and self.elapsed >= limit

    def _finish(self, pending: Pending, evaluation: Evaluation) -> Record:
        record = to_record(pending, evaluation, objectives=self.objectives, latency=self._latency)
        self._archive.save(record, evaluation.weights)
        self._knowledge.take(record)
        self._seen.add(record.trial)
        self._under_way.discard(pending.step)
        self._archive.mirror(record)
        self._log("finished", pending, record)
        return record

    def _forget_checkpoints(self) -> None:
        """Remove weights that nothing can need any more."""
        doubtful, lost = self._knowledge.doubtful, {pending.key for pending in self._lost}
        decided = {
            (proxy_id, rung)
            for proxy_id, rung in doubtful
            # Whoever is under way to the next rung goes on from these weights.
            if (proxy_id, rung + 1) not in self._training and (proxy_id, rung + 1) not in lost
        }
        self._archive.forget({key for key in decided if not self._knowledge.needs(key)})
        doubtful -= decided

    def _check_failures(self, record: Record) -> None:
        self._failures += math.inf if record.state == "complete" else 1
        if self._failures == self.config.search.stop_after_failures:
            self.stop(f"the first {self._failures:.0f} trials all failed")
            raise StudyError(
                f"{self.folder}: the first {self._failures:.0f} trials all failed, the last one: "
                f"{record.reason}; expected one that can be trained: mend what is wrong and begin "
                "anew in another folder, or set search.stop_after_failures"
            )

    def _log(
        self,
        event: str,
        pending: Pending | None = None,
        outcome: Record | str | None = None,
        *,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        elapsed = round(self.elapsed, 3)
        known = {"elapsed": elapsed, **journal_fields(pending, outcome), **(fields or {})}
        self._archive.log(event, known)


def _shared(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, weights=None, seconds=0.0)


def _elapsed(records: Sequence[Record]) -> float:
    """Seconds of the search until the last of its own records."""
    own = [record.started + record.seconds for record in records if record.origin is None]
    return max(own, default=0.0)
