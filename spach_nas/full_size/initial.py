"""Initial weights of a training: official ones, those of a bundle, or those of a search's proxy.

Torch is imported after everything that can be checked without it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from spach_nas.data.preprocessing import Preprocessing
from spach_nas.errors import BundleError, did_you_mean, one_of
from spach_nas.export import choose
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import REFERENCES

if TYPE_CHECKING:
    from spach_nas.networks import Spach

_MOST_LISTED = 3
OFFICIAL = "official:"


def check_initial(init: str, *, source: str) -> None:
    """Check that the file or folder of `--init` exists and suits the source.

    Args:
        init: `official:PATH`, or the folder of a bundle or of a study.
        source: What is trained.

    Raises:
        BundleError: It does not.
    """
    if init.startswith(OFFICIAL):
        if source not in REFERENCES:
            raise BundleError(
                f"--init {init}: belongs to a model of the paper, which {source} is not; expected "
                f"{one_of(REFERENCES)}{did_you_mean(source, REFERENCES)}"
            )
        if not Path(init.removeprefix(OFFICIAL)).is_file():
            raise BundleError(
                f"--init {init}: no such file; expected a checkpoint of the paper's code"
            )
    elif not Path(init).is_dir():
        raise BundleError(
            f"--init {init}: is not a folder; expected official:PATH, or the folder of a bundle or "
            "of a study"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Initial:
    """A network whose weights a training begins with.

    Attributes:
        network: The network with its weights.
        name: The value of `--init`.
        preprocessing: How the images were prepared on which it was trained; None: unknown.
    """

    network: "Spach"
    name: str
    preprocessing: Preprocessing | None = None


def load_initial(init: str, *, source: str) -> Initial:
    """The network that `--init` names.

    Args:
        init: `official:PATH`, a checkpoint of the paper's code for the model that `source` names;
            the folder of a bundle; or that of a study, whose best proxy is taken.
        source: What is trained.

    Raises:
        BundleError: It does not exist, has no weights, is damaged, or would execute code.
    """
    check_initial(init, source=source)
    from spach_nas.export import load_weights
    from spach_nas.networks import build, load_official

    if init.startswith(OFFICIAL):
        return Initial(network=load_official(Path(init.removeprefix(OFFICIAL)), source), name=init)
    choice = choose(init)
    if choice.weights is None:
        raise BundleError(f"--init {init}: has no trained weights; expected a bundle with them")
    network = build(choice.architecture)
    load_weights(network, choice.weights, where=init)
    return Initial(network=network, name=init, preprocessing=choice.preprocessing)


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


def adapted_architecture(
    architecture: Architecture, *, classes: int, channels: int, image_size: tuple[int, int] | None
) -> tuple[Architecture, str]:
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
