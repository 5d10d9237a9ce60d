"""Weights of a trained network as a training at full size takes them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from spach_nas.errors import BundleError
from spach_nas.export.named_networks import Initial
from spach_nas.space.architecture import Architecture
from spach_nas.space.timm_reference import TimmModel

_MOST_LISTED = 3
# For `--init`: the weights that timm downloads.
PRETRAINED = "pretrained"
Adapted = TypeVar("Adapted", Architecture, TimmModel)


def fitted(
    initial: Initial, architecture: Architecture, *, resample_tokens: bool
) -> tuple[bytes, str]:
    """The weights in the shapes of `architecture`, and a note on what was changed.

    Another image size needs `resample_tokens` if there are token-MLPs; another number of classes
    gets a new head.

    Raises:
        ArchitectureError: The image size differs, and the weights fit only their own.
        BundleError: The weights belong to another network; the message names tensors.
    """
    import torch
    from safetensors.torch import save

    from spach_nas.networks import build, resize

    network, before = initial.network, initial.network.architecture
    notes = [f"begins with the weights of {initial.name}"]
    if architecture.image_size != before.image_size:
        network = resize(network, architecture.image_size, resample_tokens=resample_tokens)
        sides = ["x".join(map(str, size)) for size in (before.image_size, architecture.image_size)]
        notes.append(f"image size {sides[1]} instead of {sides[0]}")
    if architecture.num_classes != before.num_classes:
        network.reset_classifier(architecture.num_classes)
        notes.append(
            f"a new head of {architecture.num_classes} classes instead of {before.num_classes}"
        )
    state = network.state_dict()
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in build(architecture).state_dict().items()}
    wrong = [name for name in wanted if name not in state or state[name].shape != wanted[name]]
    wrong += [name for name in state if name not in wanted]
    if wrong:
        raise BundleError(
            f"--init {initial.name}: belongs to another network: {len(wrong)} of {len(wanted)} "
            f"tensors do not fit, such as {', '.join(wrong[:_MOST_LISTED])}; expected weights of "
            f"{architecture}"
        )
    tensors = {name: value.contiguous().clone() for name, value in state.items()}
    return save(tensors), ", ".join(notes)


def check_timm_init(init: str | None) -> None:
    """Check what a model of timm is to begin with.

    Raises:
        BundleError: It is neither `pretrained` nor a file.
    """
    if init not in (None, PRETRAINED) and not Path(init).is_file():
        raise BundleError(
            f"--init {init}: no such file; expected {PRETRAINED}, for the weights that timm "
            "downloads, or a file with weights of the model for ImageNet's 1000 classes"
        )


def begin_timm(
    source: str, init: str | None, data: Mapping[str, Any]
) -> tuple[TimmModel, str, bytes | None, list[str]]:
    """A model of timm for the data.

    Args:
        source: Its name.
        init: `pretrained`, a file of weights, or None for new weights.
        data: Arguments of `adapted_architecture`.

    Returns:
        The model, a note on what was changed, its initial weights, and remarks on them.

    Raises:
        ArchitectureError: It cannot take the images.
        BundleError: The weights cannot be loaded.
    """
    from safetensors.torch import save

    from spach_nas.networks.timm_networks import check_timm, named_timm, pretrained_timm

    model, changed = adapted_architecture(named_timm(source), **data)
    check_timm(model)
    if init is None:
        return model, changed, None, []
    network = pretrained_timm(model, file=None if init == PRETRAINED else Path(init))
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    return model, changed, save(state), [f"begins with the weights of {init}"]


def adapted_architecture(
    architecture: Adapted, *, classes: int, channels: int, image_size: tuple[int, int] | None
) -> tuple[Adapted, str]:
    """The architecture for the data, and a note on what was changed.

    Raises:
        ArchitectureError: It cannot take the image size.
    """
    changes = []
    if architecture.num_classes != classes:
        changes.append(f"{classes} classes instead of {architecture.num_classes}")
    if architecture.in_channels != channels:
        changes.append(f"{channels} channels instead of {architecture.in_channels}")
    size = image_size or architecture.image_size
    if size != architecture.image_size:
        sides = ["x".join(map(str, pair)) for pair in (size, architecture.image_size)]
        changes.append(f"{sides[0]} px instead of {sides[1]}")
    adapted = replace(architecture, num_classes=classes, in_channels=channels, image_size=size)
    return adapted, ", ".join(changes)
