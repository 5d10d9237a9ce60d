"""What a search asks of an evaluator, and what it gets back.

An evaluator is a function `(EvaluationRequest, data, checkpoint) -> Evaluation`, where `checkpoint`
are the bytes of the request's parent: a worker on another machine cannot read the study's folder.
It does not raise for what a candidate does wrong (NaN, out of memory, an exception in a user's
mixer), so that an error on Ray always means infrastructure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spach_nas.space.architecture import Architecture

State = Literal["complete", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """Effort spent on a score.

    Attributes:
        epochs: Passes over the training data so far, those of the rungs before in the same course
            included.
        image_size: Height and width of the proxy's input.
        data_share: Share of the training part that is used, in (0, 1], since the rung before.
        rung: Level; 0 is the cheapest.
    """

    epochs: int
    image_size: tuple[int, int]
    data_share: float
    rung: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Relative:
    """A trained network with whose weights the training of another one begins.

    Attributes:
        trial: Whose proxy it is.
        proxy: Its architecture.
    """

    trial: int
    proxy: Architecture


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRequest:
    """One training run that the study wants.

    Attributes:
        trial: Number of the trial.
        architecture: The target.
        proxy: What is trained.
        fidelity: How long.
        seed: Of initial weights, order of images and augmentation.
        course: All rungs of the one training that `fidelity` is a part of, cheapest first: the
            learning rate spans them all. Empty: `fidelity` is all of it.
        parent: Checkpoint of the rung before in the course, in the study's folder; None trains the
            course from its beginning, which gives the same.
        relative: Set where `parent` is a checkpoint of another network, which a new training begins
            with.
        micro_batch: Most images at once in memory; a larger batch is trained in parts whose
            gradients are summed. None: a batch at once.
    """

    trial: int
    architecture: Architecture
    proxy: Architecture
    fidelity: Fidelity
    seed: int
    course: tuple[Fidelity, ...] = ()
    parent: Path | None = None
    relative: Relative | None = None
    micro_batch: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """Figures after one epoch.

    Attributes:
        train_loss: Mean training loss over the epoch; lower is better.
        loss: Validation cross-entropy; lower is better.
        accuracy: Validation top-1 accuracy in [0, 1]; higher is better.
        seconds: Duration of training and validation.
        cpu_seconds: Processor time of them, on a CPU: unlike the duration, the same on a machine
            that has other work to do. None elsewhere.
    """

    train_loss: float
    loss: float
    accuracy: float
    seconds: float
    cpu_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What came of a request.

    Attributes:
        state: `failed` when the candidate could not be trained to the end.
        scores: Figures by objective name; empty when failed.
        curve: One entry for each epoch of this run, without those of its parent.
        validation_images: That the accuracy is a share of; None: not known.
        seconds: Duration of building, training and validating.
        reason: Why it failed.
        weights: The trained proxy as safetensors bytes; None when failed. Where the course goes on,
            the state of the optimizer is in it, too, under names that begin with `optimizer.`.
        remark: What was unusual about a run that is complete, such as smaller batches.
        machine: Where it ran, such as `Linux x86_64, 2 cores, cpu, 1 thread`.
    """

    state: State
    scores: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[Epoch, ...] = ()
    validation_images: int | None = None
    seconds: float = 0.0
    reason: str | None = None
    weights: bytes | None = None
    remark: str | None = None
    machine: str = ""
