"""The state of a search: what is known, what is running and what comes next. Free of Ray.

`next()` says what to evaluate, `tell()` takes the outcome. The study depends on nothing but the
order of these calls, so that a replay or a simulation drives it as Ray Tune does, and a search that
was killed continues from its records.
"""

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from enum import Enum
from pathlib import Path

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.errors import StudyError
from spach_nas.evaluators.heartbeat import Pulse, Running
from spach_nas.feasible import Feasible, Latency
from spach_nas.samplers.feasible_sampler import SpaceExhausted
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import reference_target
from spach_nas.space.scaling import DataShape
from spach_nas.space.stage_space import Encoding
from spach_nas.study.ending import Why
from spach_nas.study.folder import Archive, CheckpointKey, FolderArchive, checkpoint_file
from spach_nas.study.journal import Foreseen
from spach_nas.study.ladder import Ladder, Step
from spach_nas.study.pareto import GrowingFront
from spach_nas.study.proposals import Proposer
from spach_nas.study.records import Record
from spach_nas.study.relatives import nearest_relative
from spach_nas.study.requests import Pending, make_request, to_evaluation, to_record
from spach_nas.study.results import Study

# A trial that loses this many workers is the likely cause: it fails. Its last attempt uses smaller
# batches, since the host may have run out of memory.
_MOST_LOSSES = 3
_SMALLER = 4
# A longer wait than this was for the worker to start; a shorter one is Ray's part of every trial.
_WAITED_SECONDS = 0.5
# Between two journal lines about one training.
_NOTE_SECONDS = 10.0


class Signal(Enum):
    """The answer of `next()` when there is nothing to evaluate now."""

    WAIT = "wait"
    DONE = "done"


class StudyDriver(Study):
    """A study that is being searched: it asks for evaluations and learns from them.

    It alone holds the state of a search, in two parts:

    - What is known follows from the records: scores, front, ladder, proposer and which weights are
      needed. `_learn` adds one record to all of them and is the only way to change them.
    - What is under way: a step (trial and rung) from its request to its record. It is running, lost
      and to be asked for again, or waiting for the score of an equal proxy, which is trained once.

    Trials are numbered: those of a warm start, then the references, then the proposals.

    Attributes:
        foreseen: The estimate made before the search; None without one.
        concluded: Whether all trainings are over.
        ladder: Who is on which rung.
        proposer: The sampler and what it has learned.
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
        """A study that begins, or continues.

        Args:
            config: The search YAML.
            folder: Made by `create_folder`.
            data: Channels and classes of the images.
            feasible: The architectures inside the limits.
            records: Those in the folder, oldest first.
            mirrored: Whether `study.db` mirrors the records.
            archive: Replaces the folder, which then need not exist.
            latency: Predicts that of the targets, for the records.
            clock: Seconds.
        """
        known = tuple(records)
        super().__init__(config, folder=folder)
        self.foreseen: Foreseen | None = None
        self.concluded = False
        self._data, self._latency = data, latency
        self._clock, self._start = clock, clock() - _own_seconds(known)
        self._stopped = False
        self._failures = 0.0  # until the first complete trial

        # What is known, from records alone.
        warm = len({record.trial for record in known if record.origin is not None})
        self.ladder = Ladder(
            config.rungs,
            objectives=config.objective_list,
            trials=warm + config.search.trials,
            stand_ins=[config.stand_ins(rung) for rung in range(len(config.rungs.levels))],
        )
        self.proposer = Proposer(config, feasible, warm=warm)
        self._records: list[Record] = []
        self._seen: set[int] = set()  # trials with a record
        self._front = GrowingFront(config.objective_list)
        self._scores: dict[CheckpointKey, Evaluation] = {}
        self._trained: defaultdict[CheckpointKey, list[Record]] = defaultdict(list)
        # Rungs from which the next one continues; one of another image size begins afresh.
        self._continued = {
            fidelity.rung
            for fidelity in config.fidelities[:-1]
            if fidelity in config.course(fidelity.rung + 1)
        }
        # Weights that may have become useless since that was last asked.
        self._unchecked: set[CheckpointKey] = set()

        # What is under way.
        self._under_way: set[Step] = set()
        self._running: dict[Step, Pending] = {}
        self._lost: deque[Pending] = deque()
        # By proxy and rung, from the request to the record: the others that wait for its score.
        self._waiting: dict[CheckpointKey, list[Pending]] = {}
        self._pulses: dict[Step, Pulse] = {}
        self._noted: dict[Step, float] = {}  # seconds of the search at the last journal line

        # What may still begin. Not a queue of all numbers: the budget may be a billion.
        self._first = warm + len(config.paper_models)
        self._number, self._end = self._first, self._first + config.search.trials
        self._replay(known)
        self._references = deque(
            (number, name)
            for number, name in enumerate(config.paper_models, warm)
            if number not in self._seen
        )
        self._archive = archive or FolderArchive(folder, config, records=known, mirrored=mirrored)
        self._unchecked.update(self._archive.kept())
        self._forget_checkpoints()

    @property
    def records(self) -> Sequence[Record]:
        """Everything finished, oldest first."""
        return self._records

    @property
    def total(self) -> int:
        """Trials that the budget asks for, references included."""
        return self._first + self.config.search.trials

    @property
    def done(self) -> int:
        """Trials that have a record."""
        return len(self._seen)

    @property
    def elapsed(self) -> float:
        """Seconds since the study began, those before a resume included."""
        return self._clock() - self._start

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop before its budget was spent."""
        return self._stopped

    @property
    def spent(self) -> bool:
        """Whether nothing is left to evaluate, now and later, unless the budget grows."""
        return self._is_late or not self._has_work

    @property
    def running(self) -> tuple[EvaluationRequest, ...]:
        """Requests that a worker has."""
        return tuple(pending.request for pending in list(self._running.values()))

    @property
    def under_way(self) -> tuple[Running, ...]:
        """The same with the latest progress of each."""
        # A list first: the live view asks from another thread while requests come and go.
        return tuple(
            Running(
                trial=step[0], rung=step[1], since=pending.started, pulse=self._pulses.get(step)
            )
            for step, pending in list(self._running.items())
        )

    def front(self) -> tuple[Record, ...]:
        """Records of the highest rung that no other dominates, cheapest target first."""
        return self._front.members

    def needs(self, key: CheckpointKey) -> bool:
        """Whether the weights of a proxy after a rung are of use: to export or to continue from."""
        _, rung = key
        return any(
            record in self._front or (rung in self._continued and self.ladder.may_go_on(record))
            for record in self._trained[key]
        )

    def begin(self, foreseen: Foreseen | None = None) -> None:
        """Note that the search begins, or continues, and its estimate."""
        own = any(record.origin is None for record in self.records)
        fields = {} if foreseen is None else {"foreseen": foreseen.to_dict()}
        self.foreseen = foreseen
        self._log("resumed" if own else "begun", fields=fields)

    def prepared(self, seconds: float) -> None:
        """Note that its evaluators are prepared, which took so long in all sessions."""
        # Until there are records, the time of earlier sessions is not in the clock.
        self._start = min(self._start, self._clock() - seconds)
        self._log("prepared", fields={"seconds": round(seconds, 3)})

    def propose_first(self, encodings: Sequence[Encoding]) -> None:
        """Propose these before the sampler's own, in this order."""
        self.proposer.first = tuple(encodings)

    def conclude(self) -> None:
        """Note that all trainings are over, and why; the report comes next."""
        warm = self._first - len(self.config.paper_models)
        counts = {"planned": self.total - warm, "done": self.done - warm}
        self.concluded = True
        self._log("concluded", fields={"why": self._why(), **counts})

    def end(self) -> None:
        """Note that the search is over, its report written."""
        self._log("ended")

    def stop(self, reason: str = "") -> None:
        """Ask for nothing more; running requests may still be told.

        Args:
            reason: Why, unless the user wants it.
        """
        self._stopped = True
        self._log("stopped", outcome=reason or None)

    def hear(self, pulse: Pulse) -> None:
        """Note the progress of a training, for the live view; from any thread."""
        step = pulse.trial, pulse.rung
        if step not in self._running:
            return
        self._pulses[step] = pulse
        # The first one, and then few enough for the journal to stay small.
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
            if pending.key in self._scores:
                self._finish(pending, self._scores[pending.key])
            elif pending.key in self._waiting and not pending.losses:
                self._waiting[pending.key].append(pending)
            else:
                self._waiting.setdefault(pending.key, [])
                self._running[pending.step] = pending
                self._log("asked", pending)
                return pending.request
        # A running request may be lost and asked again, or its trial be promoted.
        return Signal.WAIT if self._running else Signal.DONE

    def tell(self, request: EvaluationRequest, evaluation: Evaluation) -> Record:
        """Take the outcome of a request, write it down and learn from it.

        Raises:
            StudyError: The first trials all failed.
        """
        pending = self._take_back(request)
        waited = self.elapsed - evaluation.seconds - pending.started
        if evaluation.seconds and waited > _WAITED_SECONDS:
            # The first requests wait for their workers to start.
            pending = replace(pending, started=pending.started + waited)
        record = self._finish(pending, evaluation)
        for waiting in self._waiting.pop(pending.key):
            self._finish(waiting, self._scores[pending.key])
        # Only now: the trials that share the score may need the weights.
        self._forget_checkpoints()
        self._check_failures(record)
        return record

    def lose(self, request: EvaluationRequest, reason: str) -> None:
        """A worker was lost with this request: it is asked again, a few times at most."""
        pending = self._running[request.trial, request.fidelity.rung]
        losses = pending.losses + 1
        if losses == _MOST_LOSSES:
            self.tell(request, Evaluation(state="failed", reason=f"{reason} ({losses} times)"))
            return
        self._log("lost", pending, reason)
        self._take_back(request)
        if losses == _MOST_LOSSES - 1:
            batch = max(1, self.config.training.batch_size // _SMALLER)
            request = replace(request, micro_batch=batch)
        self._lost.append(replace(pending, request=request, losses=losses))

    def close(self) -> None:
        """Close all files and threads."""
        self.proposer.close()
        self._archive.close()

    # What comes next.

    @property
    def _is_late(self) -> bool:
        limit = self.config.search.max_duration
        return limit is not None and self.elapsed >= limit

    def _may_begin(self) -> bool:
        """Whether a trial may begin; moves on to the first number without a record."""
        while self._number < self._end and self._number in self._seen:
            self._number += 1
        return bool(self._references) or self._number < self._end

    @property
    def _has_work(self) -> bool:
        """Whether anything is left of the budget, whatever the time."""
        waiting = self._running or self._lost or self._may_begin()
        return bool(waiting) or self.ladder.next((), closing=True) is not None

    def _why(self) -> Why:
        if self._stopped:
            return "stopped"
        if self._has_work:
            return "max_duration"
        return "done" if self.done >= self.total else "exhausted"

    def _next_pending(self) -> Pending | None:
        if self._stopped or self._is_late:
            return None
        if self._lost:
            return self._lost.popleft()
        closing = not (self._under_way or self._may_begin())
        record = self.ladder.next(self._under_way, closing=closing)
        if record is not None:
            return self._promote(record)
        return self._begin_trial() if self._may_begin() else None

    def _begin_trial(self) -> Pending | None:
        """The next trial: the references first, then the sampler's proposals."""
        space = self.config.space
        if self._references:
            trial, name = self._references.popleft()
            target = reference_target(name, space.shape)
            self.proposer.take(target)
            encoding = space.encode(target) if space.contains(target) else None
            return self._pend(trial, target, encoding=encoding, reference=name)
        trial = self._number
        try:
            encoding = self.proposer.propose(trial - self._first)
        except SpaceExhausted:
            self._end = trial
            return None
        self._number += 1
        return self._pend(trial, space.decode(encoding), encoding=encoding)

    def _promote(self, record: Record) -> Pending:
        """The record's trial at the next rung."""
        rung, key = record.fidelity.rung + 1, (record.proxy_id, record.fidelity.rung)
        goes_on = record.fidelity in self.config.course(rung)
        return self._pend(
            record.trial,
            record.architecture,
            rung=rung,
            encoding=None if record.encoding is None else dict(record.encoding),
            reference=record.reference,
            known=record.known,
            parent=record if goes_on and self._archive.holds(key) else None,
        )

    def _pend(
        self,
        trial: int,
        target: Architecture,
        *,
        encoding: Encoding | None,
        reference: str | None = None,
        rung: int = 0,
        known: int | None = None,
        parent: Record | None = None,
    ) -> Pending:
        relative = None
        source = parent
        if parent is None and self.config.evaluators[rung].spec.inherits and not self.config.init:
            found = nearest_relative(
                target,
                rung,
                config=self.config,
                data=self._data,
                records=self._records,
                holds=self._archive.holds,
            )
            source, relative = found or (None, None)
        checkpoint = None
        if source is not None:
            checkpoint = checkpoint_file(self.folder, (source.proxy_id, source.fidelity.rung))
        pending = Pending(
            request=make_request(
                self.config,
                target,
                trial=trial,
                rung=rung,
                data=self._data,
                parent=checkpoint,
                relative=relative,
            ),
            encoding=encoding,
            reference=reference,
            known=len(self._records) if known is None else known,
            started=self.elapsed,
            before=parent.curve if parent else (),
        )
        self._under_way.add(pending.step)
        return pending

    # What is known.

    def _take_back(self, request: EvaluationRequest) -> Pending:
        """Take a request from its worker."""
        pending = self._running.pop((request.trial, request.fidelity.rung))
        self._pulses.pop(pending.step, None)
        self._noted.pop(pending.step, None)
        return pending

    def _finish(self, pending: Pending, evaluation: Evaluation) -> Record:
        record = to_record(pending, evaluation, config=self.config, latency=self._latency)
        self._archive.save(record, evaluation.weights)
        self._learn(record)
        self._under_way.discard(pending.step)
        self._archive.mirror(record)
        self._log("finished", pending, record)
        return record

    def _learn(self, record: Record) -> None:
        """Add a record to everything that follows from the records."""
        key = record.proxy_id, record.fidelity.rung
        self._records.append(record)
        self._seen.add(record.trial)
        self._front.add(record)
        for other in (record, *self._front.left, *self.ladder.add(record)):
            self._unchecked.add((other.proxy_id, other.fidelity.rung))
        if record.reference is None:
            number = record.trial - (self._first if record.origin is None else 0)
            self.proposer.learn(record, number=number)
        self._trained[key].append(record)
        if record.seed == self.config.training_seed:
            self._scores.setdefault(key, to_evaluation(record))

    def _replay(self, records: Sequence[Record]) -> None:
        """Restore the state in which an earlier run of the study was after these records."""
        firsts: dict[int, Record] = {}
        for record in records:
            firsts.setdefault(record.trial, record)
        proposed = [record for trial, record in firsts.items() if trial >= self._first]
        asked = deque(sorted(proposed, key=lambda record: (record.known, record.trial)))
        for count, record in enumerate(records):
            while asked and asked[0].known <= count:
                first = asked.popleft()
                self.proposer.repeat(first.trial - self._first, dict(first.encoding or {}))
            if record.trial < self._first:
                self.proposer.take(record.architecture)
            self._learn(record)

    def _forget_checkpoints(self) -> None:
        """Remove weights that can no longer be needed."""
        decided = {
            (proxy_id, rung)
            for proxy_id, rung in self._unchecked
            # A request for the next rung continues from these weights.
            if (proxy_id, rung + 1) not in self._waiting
        }
        self._archive.forget({key for key in decided if not self.needs(key)})
        self._unchecked -= decided

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
        line: dict[str, object] = {"elapsed": round(self.elapsed, 3)}
        if pending is not None:
            line |= {
                "trial": pending.request.trial,
                "rung": pending.request.fidelity.rung,
                "arch_id": pending.request.architecture.arch_id,
            }
        if isinstance(outcome, Record):
            line |= {"state": outcome.state, "seconds": round(outcome.seconds, 3)}
            outcome = outcome.reason
        if outcome is not None:
            line["reason"] = outcome
        self._archive.log(event, {**line, **(fields or {})})


def _own_seconds(records: Sequence[Record]) -> float:
    """Seconds of the search until the last of its own records; a warm start has others."""
    own = [record.started + record.seconds for record in records if record.origin is None]
    return max(own, default=0.0)
