"""The teacher that `training.teacher` or a recipe names, checked before anything is trained."""

from pathlib import Path

from spach_nas.config.training_settings import TIMM, TeacherSettings
from spach_nas.errors import BundleError, ConfigError, did_you_mean
from spach_nas.export.bundle import load_weights
from spach_nas.export.choice import choose
from spach_nas.space.scaling import DataShape

_MOST_LISTED = 3


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
        if settings.network.startswith(TIMM):
            return _of_timm(settings, data=data, key=key)
        return _of_bundle(settings.network, data=data, key=key)
    except BundleError as problem:
        raise ConfigError(f"{key}: {problem}") from None


def _of_bundle(source: str, *, data: DataShape, key: str) -> bytes:
    if not Path(source).is_dir():
        raise ConfigError(
            f"{key}.network: {source}: is not a folder; expected that of a bundle or of a study, "
            f"or {TIMM}NAME"
        )
    from spach_nas.networks import build
    from spach_nas.training.sealed_networks import seal_network

    choice = choose(source)
    if choice.weights is None:
        raise ConfigError(
            f"{key}.network: {source}: has no trained weights; expected a bundle with them"
        )
    own = choice.architecture
    found = DataShape(in_channels=own.in_channels, num_classes=own.num_classes)
    if found != data:
        raise ConfigError(
            f"{key}.network: {source}: takes and gives {found}; expected {data}, as the data have"
        )
    network = build(own)
    load_weights(network, choice.weights, where=source)
    images = choice.preprocessing
    return seal_network(network, normalisation=None if images is None else images.normalisation)


def _of_timm(settings: TeacherSettings, *, data: DataShape, key: str) -> bytes:
    import timm

    from spach_nas.data import Normalisation
    from spach_nas.networks.official_checkpoints import read_checkpoint
    from spach_nas.training.sealed_networks import seal_timm

    name = settings.network.removeprefix(TIMM)
    if not timm.is_model(name):
        nearest = did_you_mean(name, timm.list_models())
        raise ConfigError(f"{key}.network: {settings.network}: no such model of timm{nearest}")
    if settings.weights is None:
        raise ConfigError(
            f"{key}.weights: is missing; expected a file with the weights of {settings.network}, "
            f"for {data}"
        )
    args = {"num_classes": data.num_classes, "in_chans": data.in_channels}
    network = timm.create_model(name, **args)
    state, wanted = read_checkpoint(Path(settings.weights)), network.state_dict()
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
    mean, std = (_channels(network.pretrained_cfg[item], data) for item in ("mean", "std"))
    return seal_timm(name, network, args=args, normalisation=Normalisation(mean=mean, std=std))


def _channels(figures: tuple[float, ...], data: DataShape) -> tuple[float, ...]:
    """As many as the data have; of grey images, the mean of those of the colours."""
    if len(figures) == data.in_channels:
        return tuple(figures)
    return (sum(figures) / len(figures),) * data.in_channels
