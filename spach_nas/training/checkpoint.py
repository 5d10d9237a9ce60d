"""A trained network as one safetensors file, from which its training can go on.

Of a proxy, as bytes for its study (`pack`, `unpack`):

    the weights, under their plain names
    optimizer.*     the optimizer's state by the names of the parameters, where the course goes on
    __metadata__    `spach_nas`: JSON of the epochs done, the origin and a sha256

Of a training at full size, as a file (`save_state`, `load_state`): `network.*`, `ema.*` where there
is an average, `optimizer.*`, and its position in the header. It is written under another name,
brought to the disk and only then renamed: whatever happens, the older one stays whole.

The origin says what training the weights belong to: architecture of the network, seed, course,
protocol, number of images. A checkpoint of another one would go on wrongly and is refused, as is
one of which a bit has changed. Nothing in the file is executed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
from spach_nas.training.loop import TrainingState
from spach_nas.training.optimizer import STEP

LAST = "last.safetensors"
BEST = "best.safetensors"
NETWORK, EMA, OPTIMIZER = "network.", "ema.", "optimizer."
_KEY = "spach_nas"
_BAD = "is damaged"
# These parts of the protocol change no figure that a study compares, or are the rungs' to say.
_APART = ("epochs", "data_share", "compile", "device")


class CheckpointError(ValueError):
    """A checkpoint from which this training cannot go on; the message says what it is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What a checkpoint and the training that goes on from it must agree in.

    Attributes:
        architecture: `arch_id` of the network.
        seed: Of the training.
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
        protocol = asdict(self.settings)
        return {
            "architecture": self.architecture,
            "seed": self.seed,
            "course": [[rung.epochs, rung.data_share] for rung in self.course],
            "protocol": {key: protocol[key] for key in protocol if key not in _APART},
            "number of images": self.images,
        }


def pack(network: nn.Module, *, state: TrainingState, origin: Origin) -> bytes:
    """A checkpoint; it holds the optimizer's state where the course goes on after `state`."""
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
    """Fill a network from a checkpoint, wholly or not at all; the training goes on from the result.

    Args:
        checkpoint: What `pack` gave.
        network: Of the origin's architecture.
        origin: Of the training that is to go on.
        epochs: At which the training is to end.

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
    """The weights of a checkpoint alone, as a plain safetensors file.

    Raises:
        CheckpointError: It is no safetensors file.
    """
    tensors = _load(checkpoint)
    return save({name: value for name, value in tensors.items() if not name.startswith(OPTIMIZER)})


def _load(checkpoint: bytes) -> dict[str, Tensor]:
    try:
        return load(checkpoint)
    except (SafetensorError, ValueError, KeyError, TypeError):
        raise CheckpointError(_BAD) from None


def unseal(checkpoint: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `seal` was given.

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
    # A mixer of a user's may have changed since, under the same name.
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
        top1: On the validation images, in [0, 1].
        epoch: After so many.
        averaged: Whether they are the moving average.
    """

    top1: float
    epoch: int
    averaged: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a training stands. All random numbers follow from it and the seed.

    Attributes:
        epoch: Epochs done.
        step: Steps done of the next one.
        loss: Sum over these steps.
        seconds: Spent in training, all in all.
        best: The best weights so far; None before the first.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    seconds: float = 0.0
    best: Best | None = None


def save_state(path: Path, tensors: Mapping[str, Tensor], position: Position) -> None:
    """Write a checkpoint: whole or not at all.

    Raises:
        OSError: The disk is full; the file is what it was.
    """
    write_durably(path, seal(tensors, {"position": asdict(position)}))


def load_state(path: Path) -> tuple[dict[str, Tensor], Position]:
    """What `save_state` was given.

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
