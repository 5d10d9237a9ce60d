"""Checkpoints: a network and its training as one safetensors file. Nothing in it is executed.

The checkpoint of a proxy is bytes for its study (`pack`, `unpack`):

    the weights, under their plain names
    optimizer.*     the optimizer's state by the names of the parameters, unless the course is done
    __metadata__    `spach_nas`: JSON of the epochs done, the origin and a sha256

The checkpoint of a training at full size is a file (`save_state`, `load_state`): `network.*`,
`optimizer.*`, `ema.*` if there is an average, and its position in the header. It is written under
another name, flushed to the disk and then renamed, so that the older one remains intact until then.

The origin says to which training a proxy's checkpoint belongs: architecture of the network, seed,
course, protocol, number of images. The checkpoint of another training is refused, as is one in
which a bit has changed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from spach_nas.config.evaluation import Fidelity
from spach_nas.config.training_settings import TrainingSettings
from spach_nas.errors import BundleError
from spach_nas.files import write_durably
from spach_nas.training.learner import Learner
from spach_nas.training.optimizer import STEP, optimizer_state, restore_optimizer

LAST = "last.safetensors"
BEST = "best.safetensors"
NETWORK, EMA, OPTIMIZER = "network.", "ema.", "optimizer."
_KEY = "spach_nas"
_BAD = "is damaged"
# These parts of the protocol change no figure that a study compares, or belong to the rungs.
_APART = ("epochs", "data_share", "compile", "device")


class CheckpointError(ValueError):
    """A checkpoint from which this training cannot continue; the message completes "it ..."."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """Progress of a proxy's training, without the weights of its network.

    Attributes:
        epochs: Epochs done.
        optimizer: Its state by names, as `optimizer_state` gives it.
    """

    epochs: int = 0
    optimizer: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What must be the same in a checkpoint and in the training that continues from it.

    Attributes:
        architecture: `arch_id` of the network.
        seed: Seed of the training.
        course: Its rungs, cheapest first.
        settings: The protocol.
        images: Number of images in the train part.
    """

    architecture: str
    seed: int
    course: tuple[Fidelity, ...]
    settings: TrainingSettings
    images: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the keys are those that an error names."""
        protocol = {k: v for k, v in asdict(self.settings).items() if k not in _APART}
        if self.settings.teacher is None:
            del protocol["teacher"]  # which checkpoints of earlier versions do not know
        return {
            "architecture": self.architecture,
            "seed": self.seed,
            "course": [[rung.epochs, rung.data_share] for rung in self.course],
            "protocol": protocol,
            "number of images": self.images,
        }


def pack(network: nn.Module, *, state: TrainingState, origin: Origin) -> bytes:
    """A checkpoint; it holds the optimizer's state unless the course ends with `state`."""
    tensors = dict(network.state_dict())
    if state.epochs < origin.course[-1].epochs:
        tensors |= {OPTIMIZER + name: tensor for name, tensor in state.optimizer.items()}
    return seal(tensors, {"epochs": state.epochs, **origin.as_dict()})


def seal(tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> bytes:
    """Tensors and plain values as safetensors, with a sha256 of both."""
    # Contiguous, on the CPU, without shared memory.
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    # A single entry: safetensors writes several in no fixed order.
    sealed = json.dumps({**info, "sha256": _digest(info, tensors)}, sort_keys=True)
    return save(tensors, metadata={_KEY: sealed})


def unpack(checkpoint: bytes, *, network: nn.Module, origin: Origin, epochs: int) -> TrainingState:
    """Load a checkpoint into a network, wholly or not at all.

    Args:
        checkpoint: What `pack` returned.
        network: A network of the origin's architecture.
        origin: Origin of the training that is to continue.
        epochs: Epochs after which that training is to end.

    Returns:
        From where the training continues.

    Raises:
        CheckpointError: It is damaged, or of another training, or later than `epochs`.
    """
    tensors, info = unseal(checkpoint)
    for key, value in origin.as_dict().items():
        if info.get(key) != value:
            raise CheckpointError(f"is of another {key}")
    weights = {name: value for name, value in tensors.items() if not name.startswith(OPTIMIZER)}
    state = TrainingState(
        epochs=info["epochs"],
        optimizer=with_prefix(tensors, OPTIMIZER),
    )
    if state.epochs > epochs:
        raise CheckpointError(f"is {state.epochs} epochs old already")
    if state.epochs < origin.course[-1].epochs and not state.optimizer:
        raise CheckpointError("has no state of the optimizer")
    _check_shapes(weights, state.optimizer, network)
    network.load_state_dict(weights)
    return state


def network_weights(checkpoint: bytes) -> bytes:
    """Only the weights of a checkpoint, as a plain safetensors file.

    Raises:
        CheckpointError: It is not a safetensors file.
    """
    tensors = _load(checkpoint)
    return save({name: value for name, value in tensors.items() if not name.startswith(OPTIMIZER)})


def _load(checkpoint: bytes) -> dict[str, Tensor]:
    try:
        return load(checkpoint)
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise CheckpointError(_BAD) from None


def unseal(checkpoint: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arguments of `seal`.

    Raises:
        CheckpointError: It is damaged, or was not written by `seal`.
    """
    tensors = _load(checkpoint)
    try:
        # A header that safetensors has read: 8 bytes of length, then JSON.
        header = json.loads(checkpoint[8 : 8 + int.from_bytes(checkpoint[:8], "little")])
        info = json.loads(header.get("__metadata__", {}).get(_KEY, "null"))
    except (ValueError, RecursionError):
        raise CheckpointError(_BAD) from None
    if not isinstance(info, dict):
        raise CheckpointError("was not written by spach-nas")
    digest = info.pop("sha256", None)
    if digest != _digest(info, tensors):
        raise CheckpointError(_BAD)
    return tensors, info


def _digest(info: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(info, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_shapes(
    weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], network: nn.Module
) -> None:
    # A user's own mixer may have changed since, under the same name.
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    if {name: value.shape for name, value in weights.items()} != shapes:
        raise CheckpointError("has other weights than the network")
    for name, value in optimizer.items():
        key, _, parameter = name.partition(".")
        expected = torch.Size() if key == STEP else shapes.get(parameter)
        if value.shape != expected:
            raise CheckpointError("has another optimizer's state")


@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """The best weights so far.

    Attributes:
        top1: Validation accuracy, in [0, 1].
        epoch: Epochs after which they were reached.
        averaged: Whether they are the moving average.
    """

    top1: float
    epoch: int
    averaged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Progress of a training. All random numbers follow from it and the seed.

    Attributes:
        epoch: Epochs done.
        step: Steps done in the next one.
        loss: Sum of the losses of these steps, over all workers.
        seconds: Duration of the training so far.
        best: The best weights so far; None before the first.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    best: Best | None = None


def learner_tensors(learner: Learner) -> dict[str, Tensor]:
    """Everything of a learner that a checkpoint holds, by its name there."""
    parts: dict[str, Mapping[str, Tensor]] = {
        NETWORK: learner.network.state_dict(),
        OPTIMIZER: optimizer_state(learner.optimizer, learner.network),
        EMA: {} if learner.ema is None else learner.ema.module.state_dict(),
    }
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}


def restore_learner(learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    """Give a fresh learner what `learner_tensors` took."""
    learner.network.load_state_dict(with_prefix(tensors, NETWORK))
    state = with_prefix(tensors, OPTIMIZER)
    restore_optimizer(learner.optimizer, learner.network, state=state)
    if learner.ema is not None:
        learner.ema.module.load_state_dict(with_prefix(tensors, EMA))


def save_state(path: Path, tensors: Mapping[str, Tensor], position: Position) -> None:
    """Write a checkpoint in one step.

    Raises:
        OSError: The disk is full; the file is unchanged.
    """
    write_durably(path, seal(tensors, {"position": asdict(position)}))


def load_state(path: Path) -> tuple[dict[str, Tensor], Position]:
    """The tensors and the position that `save_state` wrote.

    Raises:
        BundleError: It is damaged.
    """
    try:
        tensors, info = unseal(path.read_bytes())
        return tensors, _position(info["position"])
    except (CheckpointError, KeyError, TypeError, OSError) as problem:
        raise BundleError(
            f"{path}: {problem or 'is damaged'}; expected a checkpoint of this training"
        ) from None


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors with this prefix, under their names without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _position(plain: Mapping[str, Any]) -> Position:
    best = plain["best"]
    return Position(**{**plain, "best": None if best is None else Best(**best)})
