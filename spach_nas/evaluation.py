"""What a search asks of an evaluator, and what it gets back.

An evaluator is a function `(EvaluationRequest, data) -> Evaluation`. It does not raise for what a
candidate does wrong (NaN, out of memory, an exception in a user's mixer), so that an error on Ray
always means infrastructure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spach_nas.architecture import Architecture

State = Literal["complete", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """Effort spent on a score.

    Attributes:
        epochs: Passes over the share of the training data.
        image_size: Height and width of the proxy's input.
        data_share: Share of the training part that is used, in (0, 1].
        rung: Level; 0 is the cheapest.
    """

    epochs: int
    image_size: tuple[int, int]
    data_share: float
    rung: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRequest:
    """One training run that the study wants.

    Attributes:
        trial: Number of the trial.
        architecture: The target.
        proxy: What is trained.
        fidelity: How long.
        seed: Of initial weights, order of images and augmentation.
        parent: Checkpoint to go on from; None starts afresh.
    """

    trial: int
    architecture: Architecture
    proxy: Architecture
    fidelity: Fidelity
    seed: int
    parent: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """Figures after one epoch.

    Attributes:
        train_loss: Mean training loss over the epoch; lower is better.
        loss: Validation cross-entropy; lower is better.
        accuracy: Validation top-1 accuracy in [0, 1]; higher is better.
        seconds: Duration of training and validation.
    """

    train_loss: float
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What came of a request.

    Attributes:
        state: `failed` when the candidate could not be trained to the end.
        scores: Figures by objective name; empty when failed.
        curve: One entry an epoch.
        seconds: Duration of building, training and validating.
        reason: Why it failed.
        weights: The trained proxy as safetensors bytes; None when failed.
        device: Where it was trained, such as `cpu` or `cuda`.
        threads: Threads of the host that it used.
    """

    state: State
    scores: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Epoch, ...] = ()
    seconds: float = 0.0
    reason: str | None = None
    weights: bytes | None = None
    device: str = "cpu"
    threads: int = 1
