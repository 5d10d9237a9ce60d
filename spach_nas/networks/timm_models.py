"""SPACH networks as timm models: `spach` for any architecture, `spach_NAME` for the paper's.

Importing this module registers them. timm's keyword arguments (`num_classes`, `in_chans`,
`img_size`, `drop_path_rate`, `features_only`, `pretrained_cfg`, ...) work as for timm's own models.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor

from spach_nas.errors import ArchitectureError
from spach_nas.networks.spach import Spach
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import get_mixer
from spach_nas.space.read_architecture import as_architecture
from spach_nas.space.references import REFERENCES

PREFIX = "spach_"


def pretrained_cfg(architecture: Architecture) -> dict[str, Any]:
    """What timm needs to know about a network's data and layers, without the place of weights."""
    mixers = {name for stage in architecture.stages for name in stage.mixers}
    return {
        "input_size": (architecture.in_channels, *architecture.image_size),
        "fixed_input_size": any(get_mixer(name).fixed_resolution for name in mixers),
        "pool_size": architecture.resolutions[-1],
        "num_classes": architecture.num_classes,
        # The paper evaluates a centre crop of 224 from 256.
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        # timm adapts this layer to other numbers of channels.
        "first_conv": "stem.conv" if architecture.stem == "conv1" else "stem.conv1",
        "classifier": "head",
        "paper_ids": "arXiv:2108.13002",
        "paper_name": "A Battle of Network Structures",
    }


def model_config(network: Spach) -> dict[str, Any]:
    """The `config.json` of a folder that `timm.create_model("local-dir:FOLDER")` reads.

    The weights are next to it in `model.safetensors`, under the names of `network.state_dict()`.
    """
    architecture = network.architecture
    plain = pretrained_cfg(architecture)
    return {
        "architecture": "spach",
        "num_classes": architecture.num_classes,
        "num_features": network.num_features,
        "model_args": {
            "architecture": architecture.to_dict(),
            "img_size": list(architecture.image_size),
            "in_chans": architecture.in_channels,
            "num_classes": architecture.num_classes,
        },
        "pretrained_cfg": {
            key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()
        },
    }


default_cfgs = generate_default_cfgs(
    {"spach": {}}
    | {PREFIX + name: pretrained_cfg(model.architecture) for name, model in REFERENCES.items()}
)


def spach(pretrained: bool = False, **kwargs: Any) -> Spach:
    """The network of any architecture.

    Args:
        pretrained: Load weights from the place that timm's `pretrained_cfg` names.
        **kwargs: `architecture` (an `Architecture`, its `to_dict()` or the path of its YAML file)
            and timm's arguments.

    Raises:
        ArchitectureError: `architecture` is missing or malformed.
    """
    architecture = as_architecture(kwargs.pop("architecture", None))
    return _create("spach", architecture, pretrained=pretrained, **kwargs)


register_model(spach)


def _create(variant: str, architecture: Architecture, **kwargs: Any) -> Spach:
    if variant == "spach" and not kwargs.get("pretrained_cfg"):
        kwargs["pretrained_cfg"] = {"architecture": variant, **pretrained_cfg(architecture)}
    # Otherwise timm would fill these from `pretrained_cfg`, which describes the training data.
    kwargs.setdefault("num_classes", architecture.num_classes)
    kwargs.setdefault("in_chans", architecture.in_channels)
    kwargs.setdefault("img_size", architecture.image_size)
    network: Spach = build_model_with_cfg(
        _network,
        variant,
        kwargs.pop("pretrained", False),
        model_cfg=architecture,
        feature_cfg={
            "out_indices": tuple(range(len(architecture.stages))),
            "feature_cls": "getter",  # timm then calls `forward_intermediates`
        },
        pretrained_filter_fn=_checked,
        **kwargs,
    )
    return network


def _network(
    *,
    cfg: Architecture,
    num_classes: int,
    in_chans: int,
    img_size: int | Sequence[int],
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
) -> Spach:
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    # timm's num_classes=0 means no head, but an architecture has at least one class.
    network = Spach(
        replace(
            cfg, num_classes=max(1, num_classes), in_channels=in_chans, image_size=(height, width)
        ),
        global_pool=global_pool,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
    )
    if num_classes == 0:
        network.reset_classifier(0)
    return network


def _checked(state_dict: dict[str, Tensor], network: Spach) -> dict[str, Tensor]:
    # timm adapts stem and head. A different shape anywhere else means another network.
    adapted = ("stem.", "head.")
    for name, own in network.state_dict().items():
        given = state_dict.get(name)
        if given is not None and given.shape != own.shape and not name.startswith(adapted):
            raise ArchitectureError(
                f"{name}: shape {tuple(given.shape)}; expected {tuple(own.shape)}. "
                "Token-MLP weights fit one image size only"
            )
    return state_dict


def _register(name: str, architecture: Architecture) -> None:
    def create(pretrained: bool = False, **kwargs: Any) -> Spach:
        return _create(PREFIX + name, architecture, pretrained=pretrained, **kwargs)

    # timm registers a function under its own `__name__`, and finds it in its module.
    create.__name__ = create.__qualname__ = PREFIX + name
    create.__doc__ = f"{name} of Zhao et al. 2021, arXiv:2108.13002: {architecture}."
    globals()[PREFIX + name] = register_model(create)


for _name, _reference in REFERENCES.items():
    _register(_name, _reference.architecture)
