"""Trained networks as bytes with what makes them: to begin from, and to learn from."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import nn

from spach_nas.data import Normalisation
from spach_nas.networks import Spach, build
from spach_nas.space.architecture import Architecture
from spach_nas.training.checkpoint import CheckpointError, seal, unseal
from spach_nas.training.device import Runtime, move
from spach_nas.training.distillation import Teacher


def seal_network(network: Spach, *, normalisation: Normalisation | None = None) -> bytes:
    """A network with its architecture, for `open_network`."""
    info = {"architecture": network.architecture.to_dict()}
    return seal(network.state_dict(), {**info, **_plain(normalisation)})


def seal_timm(
    name: str, network: nn.Module, *, args: Mapping[str, int], normalisation: Normalisation
) -> bytes:
    """A model of timm with the arguments that make it, for `open_teacher`."""
    info = {"timm": name, "args": dict(args)}
    return seal(network.state_dict(), {**info, **_plain(normalisation)})


def open_network(sealed: bytes) -> Spach:
    """The network that `seal_network` was given.

    Raises:
        CheckpointError: It is damaged.
    """
    tensors, info = unseal(sealed)
    network = build(Architecture.from_dict(info["architecture"]))
    network.load_state_dict(tensors)
    return network


def open_teacher(
    sealed: bytes,
    *,
    student: Normalisation,
    temperature: float,
    share: float,
    runtime: Runtime,
) -> Teacher:
    """A sealed network as the teacher of students.

    Args:
        sealed: What `seal_network` or `seal_timm` gave.
        student: Normalisation of the images that students see.
        temperature: See `Teacher`.
        share: See `Teacher`.
        runtime: Where students are trained.

    Raises:
        CheckpointError: It is damaged.
    """
    tensors, info = unseal(sealed)
    network: nn.Module
    if "timm" in info:
        network = timm.create_model(info["timm"], **info["args"])
        network.load_state_dict(tensors)
        config: Any = network.pretrained_cfg
        size = config["input_size"][1:]
    elif "architecture" in info:
        network = open_network(sealed)
        size = network.architecture.image_size
    else:
        raise CheckpointError("holds no network")
    own = info.get("normalisation")
    mean, std = torch.tensor(student.mean), torch.tensor(student.std)
    own_mean, own_std = (mean, std) if own is None else map(torch.tensor, own)
    shape = (-1, 1, 1)
    return Teacher(
        network=move(network, runtime).eval().requires_grad_(False),
        runtime=runtime,
        scale=(std / own_std).view(shape).to(runtime.device),
        offset=((mean - own_mean) / own_std).view(shape).to(runtime.device),
        image_size=size,
        temperature=temperature,
        share=share,
    )


def _plain(normalisation: Normalisation | None) -> dict[str, Any]:
    if normalisation is None:
        return {}
    return {"normalisation": [list(normalisation.mean), list(normalisation.std)]}
