"""A study: it asks for evaluations and learns from them, free of Ray.

`next()` says what to evaluate, `tell()` takes what came of it. The order of calls is all that a
study depends on, so that a replay or a simulation drives it as Ray Tune does.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import optuna

from spach_nas import pareto
from spach_nas.architecture import Architecture
from spach_nas.config import SearchConfig
from spach_nas.cost import cost
from spach_nas.engine.mirror import OPTUNA_DIRECTIONS, StudyMirror
from spach_nas.engine.samplers import (
    FeasibleSampler,
    SpaceExhausted,
    distributions,
    make_factory,
)
from spach_nas.evaluation import Evaluation, EvaluationRequest
from spach_nas.feasible import FeasibleSet
from spach_nas.objectives import Objective
from spach_nas.records import Record, machine, now
from spach_nas.references import get_reference
from spach_nas.scaling import DataShape, scale
from spach_nas.stage_space import Encoding
from spach_nas.study_folder import prune_checkpoints, write_checkpoint, write_record
from spach_nas.version import __version__

EVALUATOR = "proxy"
# A worker that is lost so often with the same trial is lost because of it.
_MOST_LOSSES = 3


class Signal(Enum):
    """What `next()` says when there is nothing to evaluate now."""

    WAIT = "wait"
    DONE = "done"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pending:
    """A request on its way."""

    request: EvaluationRequest
    reference: str | None
    encoding: Encoding | None
    optuna_trial: optuna.Trial | None
    started: float
    losses: int = 0


class Study:
    """One search.

    Attributes:
        config: The search YAML.
        folder: Where records are written.
        records: Everything finished, oldest first.
    """

    def __init__(
        self,
        config: SearchConfig,
        *,
        folder: Path,
        data: DataShape,
        feasible: FeasibleSet,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.folder = folder
        self.records: list[Record] = []
        self._data = data
        self._clock = clock
        self._start = clock()
        self._stopped = False
        self._next_trial = 0
        self._references = deque(config.references)
        self._proposed = 0
        self._pending: dict[int, _Pending] = {}
        self._lost: deque[_Pending] = deque()
        # Trials whose proxy is being trained for another trial: they share its score.
        self._sharing: dict[str, list[_Pending]] = {}
        self._scores: dict[str, Evaluation] = {}
        settings = config.search
        self._sampler = FeasibleSampler(
            make_factory(settings),
            feasible=feasible,
            startup=settings.startup,
            seed=settings.seed,
        )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = optuna.create_study(
            directions=[OPTUNA_DIRECTIONS[item.direction] for item in config.objective_list],
            sampler=self._sampler,
        )
        self._mirror = StudyMirror(
            folder,
            name=config.study,
            objectives=config.objective_list,
            distributions=distributions(config.space),
        )

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimised."""
        return self.config.objective_list

    @property
    def total(self) -> int:
        """Evaluations that the budget asks for, references included."""
        return self.config.search.trials + len(self.config.references)

    @property
    def elapsed(self) -> float:
        """Seconds since the study began."""
        return self._clock() - self._start

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop before its budget was spent."""
        return self._stopped

    @property
    def running(self) -> int:
        """Evaluations that are asked for and not told."""
        return len(self._pending)

    @property
    def time_left(self) -> float | None:
        """Seconds until the budget is spent, at the pace so far; None before there is a pace."""
        done = len(self.records)
        if not done:
            return None
        left = (self.total - done) * self.elapsed / done
        limit = self.config.search.max_duration
        return left if limit is None else min(left, max(0.0, limit - self.elapsed))

    def front(self) -> tuple[Record, ...]:
        """Records that no other dominates, cheapest target first."""
        return pareto.front(self.records, self.objectives)

    def best(self) -> Record | None:
        """The most accurate record, ties to fewer target MACs; None when none is complete."""
        return pareto.best(self.records)

    def stop(self) -> None:
        """Ask for nothing more; what runs may still be told."""
        self._stopped = True

    def next(self) -> EvaluationRequest | Signal:
        """What to evaluate now.

        Returns:
            A request; `WAIT` when nothing can be asked before something is told; `DONE` when
            nothing more will be asked.
        """
        while (pending := self._next_pending()) is not None:
            proxy_id = pending.request.proxy.arch_id
            if proxy_id in self._scores:
                self._finish(pending, replace(self._scores[proxy_id], seconds=0.0))
            elif any(item.request.proxy.arch_id == proxy_id for item in self._pending.values()):
                self._sharing.setdefault(proxy_id, []).append(pending)
            else:
                self._pending[pending.request.trial] = pending
                return pending.request
        # What is on its way may be lost, and has to be asked again then.
        return Signal.WAIT if self._pending else Signal.DONE

    def tell(self, request: EvaluationRequest, evaluation: Evaluation) -> Record:
        """Take what came of a request, write it down and learn from it."""
        pending = self._pending.pop(request.trial)
        proxy_id = request.proxy.arch_id
        record = self._finish(pending, evaluation)
        self._scores[proxy_id] = replace(evaluation, weights=None)
        for sharing in self._sharing.pop(proxy_id, []):
            self._finish(sharing, replace(evaluation, seconds=0.0))
        return record

    def lose(self, request: EvaluationRequest, reason: str) -> None:
        """The infrastructure lost a request: it is asked again, but not for ever."""
        pending = self._pending.pop(request.trial)
        if pending.losses + 1 < _MOST_LOSSES:
            self._lost.append(replace(pending, losses=pending.losses + 1))
            return
        self._pending[request.trial] = pending
        self.tell(request, Evaluation(state="failed", reason=f"{reason} ({_MOST_LOSSES} times)"))

    def close(self) -> None:
        """Let go of all files."""
        self._mirror.close()

    def _is_over(self) -> bool:
        limit = self.config.search.max_duration
        return self._stopped or (limit is not None and self.elapsed >= limit)

    def _next_pending(self) -> _Pending | None:
        if self._is_over():
            return None
        return self._lost.popleft() if self._lost else self._create()

    def _create(self) -> _Pending | None:
        """The next trial: the references first, then what the sampler proposes."""
        if self._references:
            name = self._references.popleft()
            target = get_reference(name).architecture
            if not self.config.space.contains(target):
                return self._pend(target, reference=name, encoding=None)
            self._sampler.taken.add(target.arch_id)
            encoding = self.config.space.encode(target)
            return self._pend(target, reference=name, encoding=encoding)
        if self._proposed == self.config.search.trials:
            return None
        try:
            trial = self._optuna.ask(distributions(self.config.space))
        except SpaceExhausted:
            return None
        self._proposed += 1
        target = self.config.space.decode(trial.params)
        return self._pend(target, encoding=trial.params, optuna_trial=trial)

    def _pend(
        self,
        target: Architecture,
        *,
        encoding: Encoding | None,
        reference: str | None = None,
        optuna_trial: optuna.Trial | None = None,
    ) -> _Pending:
        assert self.config.limits.allow(cost(target)), "only feasible targets are proposed"
        request = EvaluationRequest(
            trial=self._next_trial,
            architecture=target,
            proxy=scale(target, self.config.proxy, self._data),
            fidelity=self.config.fidelity,
            seed=self.config.search.seed,
        )
        self._next_trial += 1
        return _Pending(
            request=request,
            reference=reference,
            encoding=encoding,
            optuna_trial=optuna_trial,
            started=self.elapsed,
        )

    def _finish(self, pending: _Pending, evaluation: Evaluation) -> Record:
        record = self._record(pending, evaluation)
        write_record(self.folder, record)
        self.records.append(record)
        self._mirror.add(record)
        if pending.optuna_trial is not None:
            complete = record.state == "complete"
            self._optuna.tell(
                pending.optuna_trial,
                [record.objectives[item.name] for item in self.objectives] if complete else None,
                state=None if complete else optuna.trial.TrialState.FAIL,
            )
        self._keep_weights(record, evaluation.weights)
        return record

    def _record(self, pending: _Pending, evaluation: Evaluation) -> Record:
        request = pending.request
        target_cost = cost(request.architecture)
        objectives = {
            item.name: evaluation.scores[item.name]
            if item.source == "score"
            else float(getattr(target_cost, item.name))
            for item in self.objectives
            if evaluation.state == "complete"
        }
        return Record(
            trial=request.trial,
            arch_id=request.architecture.arch_id,
            proxy_id=request.proxy.arch_id,
            reference=pending.reference,
            encoding=pending.encoding,
            architecture=request.architecture,
            target_cost=target_cost,
            proxy_cost=cost(request.proxy),
            evaluator=EVALUATOR,
            fidelity=request.fidelity,
            seed=request.seed,
            objectives=objectives,
            curve=evaluation.curve,
            seconds=evaluation.seconds,
            started=pending.started,
            state=evaluation.state,
            reason=evaluation.reason,
            version=__version__,
            machine=f"{machine()}, {evaluation.device}, {evaluation.threads} threads a trial",
            finished_at=now(),
        )

    def _keep_weights(self, record: Record, weights: bytes | None) -> None:
        """Weights stay for the front, from which networks are exported; others fill the disk."""
        if weights is None:
            return
        members = {member.proxy_id for member in self.front()}
        if record.proxy_id in members:
            write_checkpoint(self.folder, record.proxy_id, weights)
            prune_checkpoints(self.folder, members)
