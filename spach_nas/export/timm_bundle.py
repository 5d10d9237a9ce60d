"""A trained model of timm in a folder that timm loads, and `spach-nas evaluate`.

config.json          timm's: `timm.create_model("local-dir:FOLDER", pretrained=True)`
model.safetensors    the weights
preprocessing.json   how images become its input
README.md            how it was trained
manifest.json        sha256 of every file
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from spach_nas.data.images import Normalisation
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.errors import BundleError, one_line
from spach_nas.export.bundle import (
    CONFIG,
    README,
    check_manifest,
    load_preprocessing,
    write_manifest,
    write_preprocessing,
)
from spach_nas.files import staged
from spach_nas.networks.timm_networks import build_any, load_timm
from spach_nas.space.timm_reference import TimmModel


def write_timm_bundle(
    out: Path, model: TimmModel, *, weights: bytes, preprocessing: Preprocessing, training: str
) -> Path:
    """Write the folder completely or not at all.

    Args:
        out: The new folder.
        model: The network.
        weights: Its weights as safetensors.
        preprocessing: Of the images that they were trained on.
        training: How they were trained, a section of Markdown.

    Raises:
        BundleError: It cannot be written.
    """
    from safetensors.torch import load
    from timm.models import save_for_hf

    network = build_any(model)
    network.load_state_dict(load(weights))
    described = {
        "pretrained_cfg": {
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "crop_pct": preprocessing.crop_share or 1.0,
            "input_size": [model.in_channels, *model.image_size],
            "num_classes": model.num_classes,
        },
        "label_names": list(preprocessing.class_names),
    }
    with staged(out) as folder:
        save_for_hf(network, str(folder), model_config=described, safe_serialization=True)
        write_preprocessing(folder, model, preprocessing)
        text = f"# {model.label}\n\n{model}, trained by spach-nas.\n\n{training}\n"
        (folder / README).write_text(text, encoding="utf-8")
        write_manifest(folder)
    return out


def read_timm_bundle(folder: Path) -> tuple[nn.Module, TimmModel, Preprocessing]:
    """The network with its weights, and how images become its input.

    Raises:
        BundleError: Files are missing or were changed, or timm cannot load them.
    """
    _, problems = check_manifest(folder)
    preprocessing = load_preprocessing(folder)
    if preprocessing is None:
        problems.append(f"{folder}: has no trained weights; expected what `spach-nas train` wrote")
    if problems or preprocessing is None:
        raise BundleError("\n".join(problems))
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    channels, height, width = config["pretrained_cfg"]["input_size"]
    model = TimmModel(
        name=config["architecture"],
        image_size=(height, width),
        in_channels=channels,
        num_classes=len(preprocessing.class_names),
    )
    try:
        return load_timm(folder), model, preprocessing
    except (RuntimeError, TypeError, ValueError) as problem:
        raise BundleError(f"{folder}: timm cannot load it: {one_line(problem)}") from None


def timm_normalisation(config: Mapping[str, Any], *, channels: int) -> Normalisation:
    """Mean and deviation of the pixels that weights of timm expect.

    Args:
        config: What timm says of the weights.
        channels: Of the images; grey ones have the mean of those of the colours.
    """

    def fitted(figures: Sequence[float]) -> tuple[float, ...]:
        if len(figures) == channels:
            return tuple(figures)
        return (sum(figures) / len(figures),) * channels

    return Normalisation(mean=fitted(config["mean"]), std=fitted(config["std"]))
