"""Requests of a study and the records that they become: pure functions."""

from dataclasses import dataclass, field
from pathlib import Path

from spach_nas.config.evaluation import Epoch, Evaluation, EvaluationRequest, Relative
from spach_nas.config.objectives import LATENCY, OBJECTIVES, Objective
from spach_nas.config.search_yaml import SearchConfig
from spach_nas.cost.closed_form import cost
from spach_nas.feasible import Latency
from spach_nas.machine import now
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape, scale
from spach_nas.space.stage_space import Encoding
from spach_nas.study.folder import CheckpointKey
from spach_nas.study.ladder import Step
from spach_nas.study.records import Record
from spach_nas.version import __version__

_NANOSECONDS = 1e6  # in a millisecond, the unit of records


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A request that has no record yet.

    Attributes:
        encoding: Of the target; None for a reference outside the space.
        reference: Name of the paper's model, when it is one.
        known: Number of records that existed when the trial was proposed.
        started: Seconds of the search when it was asked for.
        before: Epochs of earlier rungs that the request continues.
        losses: How many workers were lost with it.
        key: Proxy and rung. Requests with the same key are trained once.
    """

    request: EvaluationRequest
    encoding: Encoding | None
    reference: str | None
    known: int
    started: float
    before: tuple[Epoch, ...] = ()
    losses: int = 0
    key: CheckpointKey = field(init=False)

    def __post_init__(self) -> None:
        key = self.request.proxy.arch_id, self.request.fidelity.rung
        object.__setattr__(self, "key", key)

    @property
    def step(self) -> Step:
        """Trial and rung."""
        return self.request.trial, self.request.fidelity.rung


def make_request(
    config: SearchConfig,
    target: Architecture,
    *,
    trial: int,
    rung: int,
    data: DataShape,
    parent: Path | None = None,
    relative: Relative | None = None,
) -> EvaluationRequest:
    """The evaluation of a target at a rung.

    Args:
        config: The search YAML.
        target: At full size.
        trial: Its number.
        rung: 0 is the cheapest.
        data: Channels and classes of the images.
        parent: Checkpoint to continue from, or of the relative.
        relative: A trained network to begin with.
    """
    return EvaluationRequest(
        trial=trial,
        architecture=target,
        proxy=scale(target, config.proxy_at(rung), data),
        fidelity=config.fidelities[rung],
        seed=config.training_seed,
        course=config.course(rung),
        parent=parent,
        relative=relative,
    )


def to_record(
    pending: Pending,
    evaluation: Evaluation,
    *,
    config: SearchConfig,
    latency: Latency | None = None,
) -> Record:
    """The record of an evaluation, with the latency where it is known, objective or not."""
    request = pending.request
    rung = request.fidelity.rung
    objectives = tuple(dict.fromkeys(config.stand_ins(rung).values()))
    return Record(
        trial=request.trial,
        arch_id=request.architecture.arch_id,
        proxy_id=request.proxy.arch_id,
        reference=pending.reference,
        known=pending.known,
        encoding=pending.encoding,
        architecture=request.architecture,
        target_cost=cost(request.architecture),
        proxy_cost=cost(request.proxy),
        evaluator=config.evaluators[rung].label,
        fidelity=request.fidelity,
        seed=request.seed,
        objectives=_objectives(request.architecture, evaluation, objectives, latency)
        if evaluation.state == "complete"
        else {},
        curve=_whole_curve(pending, evaluation),
        validation_images=evaluation.validation_images,
        seconds=evaluation.seconds,
        started=pending.started,
        state=evaluation.state,
        reason=evaluation.reason,
        remark=evaluation.remark,
        version=__version__,
        machine=evaluation.machine,
        finished_at=now(),
    )


def to_evaluation(record: Record) -> Evaluation:
    """The outcome of a record, for another trial with the same proxy; without weights or time."""
    last = record.curve[-1] if record.curve else None
    known = {item.name: item.of(record) for item in OBJECTIVES.values() if item.source == "score"}
    return Evaluation(
        state=record.state,
        scores={"accuracy": last.accuracy, "loss": last.loss}
        if last
        else {name: figure for name, figure in known.items() if figure is not None},
        curve=record.curve,
        validation_images=record.validation_images,
        reason=record.reason,
        remark=record.remark,
        machine=record.machine,
    )


def latency_figure(target: Architecture, latency: Latency | None) -> dict[str, float]:
    """The predicted latency in milliseconds by its name, where there is one."""
    return {} if latency is None else {LATENCY.name: latency.of(target) / _NANOSECONDS}


def _objectives(
    target: Architecture,
    evaluation: Evaluation,
    objectives: tuple[Objective, ...],
    latency: Latency | None,
) -> dict[str, float]:
    figures = {
        item.name: evaluation.scores[item.name]
        if item.source == "score"
        else float(getattr(cost(target), item.name))
        for item in objectives
        if item != LATENCY
    }
    if not evaluation.curve:  # which has the other scores
        figures |= {name: value for name, value in evaluation.scores.items() if name in OBJECTIVES}
    return figures | latency_figure(target, latency)


def _whole_curve(pending: Pending, evaluation: Evaluation) -> tuple[Epoch, ...]:
    # A run that could not continue from its checkpoint has trained the earlier epochs itself.
    whole = pending.before + evaluation.curve
    return whole if len(whole) <= pending.request.fidelity.epochs else evaluation.curve
