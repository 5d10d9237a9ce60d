"""Trained networks that a user names, to begin with or to learn from.

They are official ones, those of bundles, the best proxies of searches, or models of timm.

Torch is imported after everything that can be checked without it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spach_nas.config.search_settings import OFFICIAL
from spach_nas.config.training_settings import TeacherSettings
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.errors import (
    ArchitectureError,
    BundleError,
    ConfigError,
    SpachNasError,
    did_you_mean,
    one_of,
)
from spach_nas.export.bundle import load_weights
from spach_nas.export.choice import choose
from spach_nas.space.references import REFERENCES
from spach_nas.space.scaling import DataShape, shape_of
from spach_nas.space.timm_reference import TIMM, is_timm, timm_name

if TYPE_CHECKING:
    from spach_nas.networks import Spach

_MOST_LISTED = 3


def check_initial(init: str, *, model: str, key: str = "--init") -> None:
    """Check that a network exists that a user names to begin with.

    Args:
        init: `official:PATH`, or the folder of a bundle or of a study.
        model: Of an official checkpoint: the name of a model of the paper.
        key: Where `init` was given, for messages.

    Raises:
        BundleError: It does not.
    """
    if init.startswith(OFFICIAL):
        if model not in REFERENCES:
            raise BundleError(
                f"{key} {init}: belongs to a model of the paper, which {model} is not; expected "
                f"{one_of(REFERENCES)}{did_you_mean(model, REFERENCES)}"
            )
        if not Path(init.removeprefix(OFFICIAL)).is_file():
            raise BundleError(
                f"{key} {init}: no such file; expected a checkpoint of the paper's code"
            )
    elif not Path(init).is_dir():
        raise BundleError(
            f"{key} {init}: is not a folder; expected official:PATH, or the folder of a bundle or "
            "of a study"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Initial:
    """A network to begin with.

    Attributes:
        network: The network with its weights.
        name: As the user names it.
        preprocessing: How the images were prepared on which it was trained; None: unknown.
    """

    network: "Spach"
    name: str
    preprocessing: Preprocessing | None = None


def load_initial(init: str, *, model: str, key: str = "--init") -> Initial:
    """The network that a user names.

    Args:
        init: `official:PATH`, a checkpoint of the paper's code of `model`;
            the folder of a bundle; or that of a study, whose best proxy is taken.
        model: Of an official checkpoint: the name of a model of the paper.
        key: Where `init` was given, for messages.

    Raises:
        BundleError: It does not exist, has no weights, is damaged, or would execute code.
    """
    check_initial(init, model=model, key=key)
    from spach_nas.networks import build, load_official

    if init.startswith(OFFICIAL):
        return Initial(network=load_official(Path(init.removeprefix(OFFICIAL)), model), name=init)
    try:
        choice = choose(init)
        if choice.weights is None:
            raise BundleError(f"{init}: has no trained weights; expected a bundle with them")
        network = build(choice.architecture)
        load_weights(network, choice.weights, where=init)
    except SpachNasError as problem:
        raise BundleError(f"{key} {problem}") from None
    return Initial(network=network, name=init, preprocessing=choice.preprocessing)


def load_teacher(settings: TeacherSettings, *, data: DataShape, key: str) -> bytes:
    """A network with weights as bytes, for `open_teacher`.

    Args:
        settings: What the file says.
        data: Channels and classes of the images.
        key: Place of the settings in the file, for messages.

    Raises:
        ConfigError: There is no such network, it has no weights, or other channels or classes.
    """
    try:
        if is_timm(settings.network):
            return _of_timm(settings, data=data, key=key)
        return _of_bundle(settings.network, data=data, key=key)
    except BundleError as problem:
        raise ConfigError(str(problem)) from None
    except ArchitectureError as problem:
        raise ConfigError(f"{key}.network: {problem}") from None


def _of_bundle(source: str, *, data: DataShape, key: str) -> bytes:
    if not Path(source).is_dir():
        raise ConfigError(
            f"{key}.network: {source}: is not a folder; expected that of a bundle or of a study, "
            f"or {TIMM}NAME"
        )
    from spach_nas.training.sealed_networks import seal_network

    initial = load_initial(source, model="", key=f"{key}.network:")
    found = shape_of(initial.network.architecture)
    if found != data:
        raise ConfigError(
            f"{key}.network: {source}: takes and gives {found}; expected {data}, as the data have"
        )
    images = initial.preprocessing
    return seal_network(
        initial.network, normalisation=None if images is None else images.normalisation
    )


def _of_timm(settings: TeacherSettings, *, data: DataShape, key: str) -> bytes:
    import timm

    from spach_nas.export.timm_bundle import timm_normalisation
    from spach_nas.networks.official_checkpoints import read_checkpoint
    from spach_nas.training.sealed_networks import seal_timm

    name = timm_name(settings.network)
    if settings.weights is None:
        raise ConfigError(
            f"{key}.weights: is missing; expected a file with the weights of {settings.network}, "
            f"for {data}"
        )
    args = {"num_classes": data.num_classes, "in_chans": data.in_channels}
    network = timm.create_model(name, **args)
    try:
        state = read_checkpoint(Path(settings.weights))
    except BundleError as problem:
        raise ConfigError(f"{key}.weights: {problem}") from None
    wanted = network.state_dict()
    shapes = {item: value.shape for item, value in state.items()}
    wrong = [item for item, value in wanted.items() if shapes.get(item) != value.shape]
    wrong += [item for item in state if item not in wanted]
    if wrong:
        raise ConfigError(
            f"{key}.weights: {settings.weights}: belongs to another network: {len(wrong)} of "
            f"{len(wanted)} tensors do not fit, such as {', '.join(wrong[:_MOST_LISTED])}; "
            f"expected those of {name} with {data}"
        )
    network.load_state_dict(state)
    return seal_timm(
        name,
        network,
        args=args,
        normalisation=timm_normalisation(network.pretrained_cfg, channels=data.in_channels),
    )
