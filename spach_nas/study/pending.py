"""A request on its way, and the record that it becomes."""

from dataclasses import dataclass, field

from spach_nas.config.evaluation import Epoch, Evaluation, EvaluationRequest
from spach_nas.config.objectives import LATENCY, Objective
from spach_nas.cost.closed_form import cost
from spach_nas.feasible import Latency
from spach_nas.machine import now
from spach_nas.space.architecture import Architecture
from spach_nas.space.stage_space import Encoding
from spach_nas.study.folder import CheckpointKey
from spach_nas.study.ladder import Step
from spach_nas.study.records import Record
from spach_nas.version import __version__

_NANOSECONDS = 1e6  # in a millisecond, the unit of records
EVALUATOR = "proxy"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pending:
    """A request that is asked for and not told.

    Attributes:
        request: What is evaluated.
        encoding: Of the target; None for a reference outside the space.
        reference: Name of the paper's model, when it is one.
        known: Records that existed when the trial was proposed.
        started: Seconds of the search when it was asked.
        before: Epochs of the rungs before, which the request goes on from.
        losses: How often the infrastructure lost it.
        key: Proxy and rung: what has the same key is trained once.
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


def to_record(
    pending: Pending,
    evaluation: Evaluation,
    *,
    objectives: tuple[Objective, ...],
    latency: Latency | None = None,
) -> Record:
    """What is written about an evaluation; a latency that is known, even if it is no objective."""
    request = pending.request
    target_cost = cost(request.architecture)
    return Record(
        trial=request.trial,
        arch_id=request.architecture.arch_id,
        proxy_id=request.proxy.arch_id,
        reference=pending.reference,
        known=pending.known,
        encoding=pending.encoding,
        architecture=request.architecture,
        target_cost=target_cost,
        proxy_cost=cost(request.proxy),
        evaluator=EVALUATOR,
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
    return figures | latency_figure(target, latency)


def latency_figure(target: Architecture, latency: Latency | None) -> dict[str, float]:
    """The predicted latency in milliseconds by its name, where there is one."""
    return {} if latency is None else {LATENCY.name: latency.of(target) / _NANOSECONDS}


def journal_fields(pending: Pending | None, outcome: Record | str | None) -> dict[str, object]:
    """What the journal says about a request, and about its record or why it has none."""
    fields: dict[str, object] = {}
    if pending is not None:
        fields |= {
            "trial": pending.request.trial,
            "rung": pending.request.fidelity.rung,
            "arch_id": pending.request.architecture.arch_id,
        }
    if isinstance(outcome, Record):
        fields |= {"state": outcome.state, "seconds": round(outcome.seconds, 3)}
        outcome = outcome.reason
    return fields if outcome is None else fields | {"reason": outcome}


def _whole_curve(pending: Pending, evaluation: Evaluation) -> tuple[Epoch, ...]:
    # A run that could not go on from its checkpoint has trained the earlier epochs itself.
    whole = pending.before + evaluation.curve
    return whole if len(whole) <= pending.request.fidelity.epochs else evaluation.curve
