"""A bundle: one network in a folder, in the layout that timm loads.

    architecture.yaml   the architecture
    config.json         timm's: `timm.create_model("local-dir:BUNDLE", pretrained=True)`
    model.safetensors   the weights, where there are any
    README.md           what it is, what it costs, how it was found

A target without trained weights has no file that pretends to hold some.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from spach_nas.architecture import Architecture
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.errors import BundleError
from spach_nas.networks import Spach, build, model_config
from spach_nas.validation import read_yaml

ARCHITECTURE = "architecture.yaml"
WEIGHTS = "model.safetensors"


def write_bundle(
    out: Path,
    *,
    architecture: Architecture,
    card: str,
    weights: bytes | None = None,
    preprocessing: Preprocessing | None = None,
) -> Path:
    """Write a bundle: whole or not at all.

    Args:
        out: A folder that does not exist yet.
        architecture: What the weights belong to.
        card: Text of its README.md.
        weights: safetensors; None where nothing was trained.
        preprocessing: Of the images that the weights were trained on.

    Returns:
        The folder.

    Raises:
        BundleError: The folder exists already or cannot be written.
    """
    if out.exists():
        raise BundleError(f"{out}: exists already and is never overwritten; expected a new folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as problem:
        raise BundleError(f"{out}: {problem.strerror}; expected a writable place") from None
    try:
        (temporary / ARCHITECTURE).write_text(architecture.to_yaml(), encoding="utf-8")
        config = json.dumps(_config(architecture, preprocessing), indent=2)
        (temporary / "config.json").write_text(config + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")
        if weights is not None:
            (temporary / WEIGHTS).write_bytes(weights)
        temporary.chmod(0o755)  # mkdtemp keeps others out
        temporary.rename(out)
    except OSError as problem:
        raise BundleError(f"{out}: {problem.strerror}; nothing was written") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def load_model(folder: str | Path) -> Spach:
    """The network of a bundle, with its weights where it has any, in evaluation mode.

    Raises:
        BundleError: A file is missing or damaged, or the weights are those of another network.
    """
    folder = Path(folder)
    if not (folder / ARCHITECTURE).is_file():
        raise BundleError(f"{folder}: holds no {ARCHITECTURE}; expected a bundle")
    architecture = Architecture.from_dict(
        read_yaml(folder / ARCHITECTURE, error=BundleError), where=str(folder / ARCHITECTURE)
    )
    network = build(architecture)
    path = folder / WEIGHTS
    if path.is_file():
        load_weights(network, path.read_bytes(), where=str(path))
    return network.eval()


def load_weights(network: Spach, weights: bytes, *, where: str) -> None:
    """Fill a network from safetensors; nothing in them is executed.

    Raises:
        BundleError: The file is damaged, or belongs to another network.
    """
    try:
        state = load(weights)
        network.load_state_dict(state)
    except SafetensorError as problem:
        raise BundleError(f"{where}: is no safetensors file: {problem}") from None
    except RuntimeError as problem:
        text = " ".join(str(problem).split())
        raise BundleError(f"{where}: belongs to another network: {text}") from None


def _config(architecture: Architecture, preprocessing: Preprocessing | None) -> dict[str, Any]:
    with torch.device("meta"):
        config = model_config(build(architecture))
    if preprocessing is not None:
        config["pretrained_cfg"] |= {
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            # Images are padded to the input size, never cropped.
            "crop_pct": 1.0,
        }
        config["label_names"] = list(preprocessing.class_names)
    return config
