"""Checkpoints of a training that survive `kill -9`, a power cut and a full disk.

A checkpoint is one safetensors file with plain values in its header and a sha256 of all of it. It
is written under another name, brought to the disk and only then renamed: whatever happens, the
older one stays whole. Nothing in it is executed.

    network.*     the weights
    ema.*         their moving average, where there is one
    optimizer.*   its state by the names of the parameters
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from spach_nas.errors import BundleError
from spach_nas.files import write_durably
from spach_nas.training import CheckpointError
from spach_nas.training.checkpoint import seal, unseal

LAST = "last.safetensors"
BEST = "best.safetensors"
NETWORK, EMA, OPTIMIZER = "network.", "ema.", "optimizer."


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
    """The tensors under this prefix, by the names behind it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _position(plain: Mapping[str, Any]) -> Position:
    best = plain["best"]
    return Position(**{**plain, "best": None if best is None else Best(**best)})
