"""Networks that timm builds, next to our own: checked without weights, and their traced cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from spach_nas.cost.closed_form import Cost
from spach_nas.errors import ArchitectureError, BundleError, one_line
from spach_nas.networks.spach import build
from spach_nas.networks.traced_cost import trace_cost
from spach_nas.space.architecture import Architecture
from spach_nas.space.scaling import DataShape
from spach_nas.space.timm_reference import TimmModel, timm_name

_ONE_SIZE = "img_size"


def named_timm(
    source: str, *, shape: DataShape | None = None, image_size: tuple[int, int] | None = None
) -> TimmModel:
    """The model of timm that a user names, checked without weights.

    Args:
        source: Its name, after `timm/`.
        shape: Channels and classes; None: those of timm's weights.
        image_size: Height and width; None: those of timm's weights.

    Raises:
        ArchitectureError: There is no such model, or it cannot take this input.
    """
    name = timm_name(source)
    config = _config(name, source)
    channels, *sides = config["input_size"]
    shape = shape or DataShape(in_channels=channels, num_classes=config["num_classes"])
    model = TimmModel(
        name=name,
        image_size=image_size or (sides[0], sides[1]),
        in_channels=shape.in_channels,
        num_classes=shape.num_classes,
    )
    check_timm(model)
    return model


def check_timm(model: TimmModel) -> None:
    """Check that a model of timm takes its input; neither memory nor time for its weights.

    Raises:
        ArchitectureError: It does not.
    """
    with torch.device("meta"):
        network = _build(model).eval()
        images = torch.empty(1, model.in_channels, *model.image_size)
        expected = (1, model.num_classes)
        try:
            with torch.inference_mode():
                found = tuple(network(images).shape)
        except Exception as problem:  # whatever its layers say of a shape
            sides = "x".join(map(str, _config(model.name, model.label)["input_size"][1:]))
            raise ArchitectureError(
                f"{model.label}: cannot take images of {model.sides} px "
                f"({one_line(problem, first=True)}); its own size is {sides}"
            ) from None
    if found != expected:
        raise ArchitectureError(f"{model.label}: gives {found}; expected logits {expected}")


def build_any(network: Architecture | TimmModel, *, drop_path_rate: float = 0.0) -> nn.Module:
    """A network of either kind with new weights.

    Args:
        network: What to build.
        drop_path_rate: See `build`; left out where a model of timm drops no paths.
    """
    if isinstance(network, Architecture):
        return build(network, drop_path_rate=drop_path_rate)
    return _build(network, drop_path_rate=drop_path_rate)


def pretrained_timm(model: TimmModel, *, file: Path | None = None) -> nn.Module:
    """A model with trained weights, which timm adapts to other channels, classes and sizes.

    Args:
        model: What to build.
        file: With the weights of 1000 classes; None: those that timm downloads or has kept.

    Raises:
        BundleError: There are no such weights, or they belong to another model.
    """
    overlay = None if file is None else {"file": str(file)}
    try:
        return _build(model, pretrained=True, pretrained_cfg_overlay=overlay)
    # timm, the hub and torch have no common class for what may be wrong with weights.
    except Exception as problem:
        source = "timm's weights" if file is None else str(file)
        raise BundleError(
            f"{model.label}: {source} cannot be loaded ({one_line(problem, named=True)}); expected "
            "weights of this model, in a file or from the Hugging Face hub"
        ) from None


def load_timm(folder: Path) -> nn.Module:
    """The model in a folder in timm's layout, with its weights."""
    made: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return made


def timm_config(model: TimmModel) -> Mapping[str, Any]:
    """What timm says of a model's images: `mean`, `std`, `crop_pct`, `input_size`, ..."""
    return _config(model.name, model.label)


def timm_cost(model: TimmModel) -> Cost:
    """The cost of one image, traced, with the rule for fused attention; takes seconds."""
    return trace_cost(_build(model), model.image_size, in_channels=model.in_channels)


def _config(name: str, source: str) -> Mapping[str, Any]:
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as problem:
        raise ArchitectureError(f"{source}: {one_line(problem)}") from None
    found: dict[str, Any] = config.to_dict()
    return found


def _build(
    model: TimmModel,
    *,
    drop_path_rate: float = 0.0,
    pretrained: bool = False,
    pretrained_cfg_overlay: Mapping[str, str] | None = None,
) -> nn.Module:
    # timm's models differ in the arguments that they know: those that one does not are left out.
    wishes: dict[str, Any] = {}
    if tuple(timm_config(model)["input_size"][1:]) != model.image_size:
        wishes[_ONE_SIZE] = model.image_size
    if drop_path_rate:
        wishes["drop_path_rate"] = drop_path_rate
    while True:
        try:
            made: nn.Module = timm.create_model(
                model.name,
                pretrained=pretrained,
                pretrained_cfg_overlay=pretrained_cfg_overlay,
                num_classes=model.num_classes,
                in_chans=model.in_channels,
                **wishes,
            )
            return made
        except TypeError as problem:
            unknown = [name for name in wishes if name in str(problem)]
            if not unknown:
                raise
            del wishes[unknown[0]]
