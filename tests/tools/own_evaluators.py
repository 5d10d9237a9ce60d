"""Evaluators of a plugin: scores without training, and weights that all candidates share."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from spach_nas.config.evaluation import Evaluation, EvaluationRequest
from spach_nas.config.evaluator_registry import EVALUATORS, EvaluatorSpec
from spach_nas.cost.closed_form import cost
from spach_nas.data import DataSplits
from spach_nas.errors import ConfigError
from spach_nas.evaluators.interface import EvaluatorSetup, Preparation
from spach_nas.units import Whole
from spach_nas.validation import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeSettings(Settings):
    """Options of `size`."""

    figure: str
    """`params` or `macs`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedSettings(Settings):
    """Options of `shared`."""

    steps: Annotated[Whole, Field(ge=1)] = 3
    """Of its preparation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """The size of the proxy as its score."""

    figure: str

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, *, checkpoint: bytes | None = None
    ) -> Evaluation:
        figures = cost(request.proxy)._asdict()
        return Evaluation(state="complete", scores={"score": float(figures[self.figure])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """An accuracy that its preparation has settled."""

    steps: int

    def __call__(
        self, request: EvaluationRequest, data: DataSplits, *, checkpoint: bytes | None = None
    ) -> Evaluation:
        accuracy = self.steps / 10 + 1e-9 * cost(request.proxy).params
        return Evaluation(state="complete", scores={"accuracy": accuracy, "loss": 1.0})


def make_size(setup: EvaluatorSetup) -> Size:
    return Size(figure=setup.options.figure)


def make_shared(setup: EvaluatorSetup) -> Shared:
    return Shared(steps=int((setup.folder / "steps").read_text()))


def check_shared(setup: EvaluatorSetup) -> None:
    if setup.options.steps > 8:
        raise ConfigError(f"evaluator.steps: {setup.options.steps}; expected at most 8")


def prepare_shared(preparation: Preparation) -> float:
    """A step at a time, each of which is kept and takes a second."""
    path = preparation.setup.folder / "steps"
    done = int(path.read_text()) if path.exists() else 0
    while done < preparation.setup.options.steps and not preparation.stopped():
        done += 1
        preparation.tell(f"step {done}")
        path.write_text(str(done))
    return float(done)


def register() -> None:
    EVALUATORS.register(
        EvaluatorSpec(
            name="size",
            factory="own_evaluators:make_size",
            settings=SizeSettings,
            effort="untrained",
            scores=("score",),
            variant="figure",
        )
    )
    EVALUATORS.register(
        EvaluatorSpec(
            name="shared",
            factory="own_evaluators:make_shared",
            settings=SharedSettings,
            effort="shared",
            check="own_evaluators:check_shared",
            prepare="own_evaluators:prepare_shared",
        )
    )
