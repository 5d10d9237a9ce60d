"""A bundle: one network in a folder, in the layout that timm and the Hugging Face hub load.

    architecture.yaml    the architecture
    config.json          timm's: `timm.create_model("local-dir:BUNDLE", pretrained=True)`
    model.safetensors    the weights, if there are any
    model.onnx           for ONNX Runtime and others, if requested
    model.pt2            for PyTorch without this package, if requested
    model_fp16.onnx      smaller, in float16, if requested
    model_int8.onnx      smaller, in INT8, if requested
    preprocessing.json   how images become its input, if there are weights
    samples.npz          a few images of the data to compare forms on, if there are weights
    README.md            what it is, what it costs, how it was found
    architecture.svg     a drawing
    parity.json          how closely the forms agree
    manifest.json        sha256 of every file

A target without trained weights has none of the files that need weights.
"""

import hashlib
import json
import zlib
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from spach_nas.data.images import Pixels
from spach_nas.data.preprocessing import Preprocessing, from_json
from spach_nas.errors import BundleError, did_you_mean, one_line, one_of
from spach_nas.space.architecture import Architecture
from spach_nas.space.timm_reference import TimmModel
from spach_nas.validation import read_document

if TYPE_CHECKING:
    from spach_nas.networks import Spach

ARCHITECTURE = "architecture.yaml"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREPROCESSING = "preprocessing.json"
README = "README.md"
SAMPLES = "samples.npz"
MANIFEST = "manifest.json"
# Added to a folder by git and the Hugging Face hub, and not read when a network is loaded.
_BOOKKEEPING = frozenset({".git", ".gitattributes", ".cache"})

# The forms that have their own file of weights: what `--formats` accepts.
FORMATS = ("safetensors", "onnx", "pt2")
# Those whose outputs differ, so that they are only made when they are named.
SMALL_FORMATS = ("onnx_fp16", "onnx_int8")


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats in text such as `onnx,pt2`; `safetensors` is always included.

    `all` means those whose outputs are the network's.

    Raises:
        BundleError: A name is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return FORMATS
    known = (*FORMATS, *SMALL_FORMATS)
    for name in names:
        if name not in known:
            raise BundleError(
                f"--formats: {name!r}; expected {one_of([*known, 'all'])}"
                f"{did_you_mean(name, known)}"
            )
    return tuple(name for name in known if name in {"safetensors", *names})


def write_core(
    folder: Path,
    *,
    architecture: Architecture,
    weights: bytes | None,
    preprocessing: Preprocessing | None,
) -> None:
    """Write the files that describe a network, and its weights, into an existing folder.

    Args:
        folder: The bundle, which other files and the manifest will complete.
        architecture: The network.
        weights: Its weights as safetensors; None if it was not trained.
        preprocessing: Preprocessing of the images that the weights were trained on.
    """
    (folder / ARCHITECTURE).write_text(architecture.to_yaml(), encoding="utf-8")
    _write_json(folder / CONFIG, _config(architecture, preprocessing))
    if weights is not None:
        (folder / WEIGHTS).write_bytes(weights)
    if preprocessing is not None:
        write_preprocessing(folder, architecture, preprocessing)


def write_preprocessing(
    folder: Path, network: Architecture | TimmModel, preprocessing: Preprocessing
) -> None:
    """Write how images become the input of a network."""
    _write_json(folder / PREPROCESSING, _preprocessing(network, preprocessing))


def load_model(folder: str | Path) -> "Spach":
    """The network of a bundle, with its weights if it has any, in evaluation mode.

    Raises:
        BundleError: A file is missing or damaged, or the weights are those of another network.
    """
    if not isinstance(folder, str | Path):
        raise BundleError(f"{folder!r}: not a path; expected the folder of a bundle")
    folder = Path(folder)
    architecture = load_architecture(folder)
    from spach_nas.networks import build

    network = build(architecture)
    path = folder / WEIGHTS
    if path.is_file():
        load_weights(network, path.read_bytes(), where=str(path))
    return network.eval()


def load_architecture(folder: Path) -> Architecture:
    """The architecture of a bundle.

    Raises:
        BundleError: The file is missing.
        ArchitectureError: The file does not hold a valid architecture.
    """
    path = folder / ARCHITECTURE
    if not path.is_file():
        raise BundleError(f"{folder}: holds no {ARCHITECTURE}; expected a bundle")
    document = read_document(path, error=BundleError)
    return Architecture.from_dict(document.data, where=document)


def load_preprocessing(folder: Path) -> Preprocessing | None:
    """How images become the input of a bundle's network; None if it was not trained.

    Raises:
        BundleError: The file is damaged.
    """
    path = folder / PREPROCESSING
    if not path.is_file():
        return None
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError):
        raise BundleError(f"{path}: is damaged; expected the file as exported") from None


def write_samples(folder: Path, images: Pixels) -> None:
    """Store images in a bundle, for `read_samples`."""
    buffer = BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, images=images)
    (folder / SAMPLES).write_bytes(buffer.getvalue())


def read_samples(folder: Path) -> Pixels | None:
    """The images stored in a bundle, (N, H, W, C), or None.

    Raises:
        BundleError: The file is damaged.
    """
    path = folder / SAMPLES
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images: Pixels = arrays["images"]
        if images.dtype == np.uint8 and images.ndim == 4 and len(images):
            return images
    except (OSError, EOFError, LookupError, TypeError, ValueError, zlib.error, BadZipFile):
        pass
    raise BundleError(f"{path}: is damaged; expected the file as exported")


def load_weights(network: "Spach", weights: bytes, *, where: str) -> None:
    """Load weights from safetensors into a network. Nothing in them is executed.

    Raises:
        BundleError: The file is damaged, or belongs to another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = load(weights)
        network.load_state_dict(state)
    except SafetensorError as problem:
        raise BundleError(f"{where}: not a safetensors file: {one_line(problem)}") from None
    except RuntimeError as problem:
        raise BundleError(f"{where}: belongs to another network: {one_line(problem)}") from None


def _config(architecture: Architecture, preprocessing: Preprocessing | None) -> dict[str, Any]:
    import torch

    from spach_nas.networks import build, model_config

    with torch.device("meta"):  # the config needs names and sizes, no weights
        config = model_config(build(architecture))
    if preprocessing is not None:
        config["pretrained_cfg"] |= {
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            # Images that are not resized are padded and used whole.
            "crop_pct": preprocessing.crop_share or 1.0,
        }
        config["label_names"] = list(preprocessing.class_names)
    return config


def _preprocessing(
    architecture: Architecture | TimmModel, preprocessing: Preprocessing
) -> dict[str, Any]:
    """Everything needed to prepare images without this package, in the order of the steps."""
    height, width = architecture.image_size
    return {
        "channels": architecture.in_channels,
        "height": height,
        "width": width,
        **_steps(preprocessing),
        "pixels": "divide by 255",
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "layout": "batch, channels, height, width; float32",
        "class_names": list(preprocessing.class_names),
        # The part of the train split that was used for validation. With share and seed, anyone who
        # has the images can reproduce it.
        "held_out": None if preprocessing.held_out is None else asdict(preprocessing.held_out),
    }


def _steps(preprocessing: Preprocessing) -> dict[str, Any]:
    if preprocessing.crop_share is None:
        return {
            "larger_images": "shrink (bicubic, antialiased) until they just cover it, cut the "
            "centre",
            "smaller_images": "pad with zeros on all sides, never enlarge",
        }
    return {
        "images": "resize (bicubic, antialiased) the shorter side to that of the input divided by "
        "crop_share, rounded down, cut the centre",
        "crop_share": preprocessing.crop_share,
    }


def _write_json(path: Path, plain: dict[str, Any]) -> None:
    path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


# The manifest has one canonical form, so that any changed byte is detected: in a file by its
# checksum, in the manifest by its own `bundle` checksum or its form.


def write_manifest(folder: Path) -> str:
    """Write the manifest of all files in a folder; returns the checksum of the whole bundle."""
    files = {name: _sum(folder / name) for name in _names(folder)}
    text = _canonical(files)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return bundle_sum(files)


def check_manifest(folder: Path) -> tuple[str, list[str]]:
    """The checksum of a bundle, and a line for each missing, unexpected or changed file.

    Raises:
        BundleError: There is no manifest, or it is damaged.
    """
    path = folder / MANIFEST
    files = read_manifest(folder)
    found = _names(folder)
    problems = [f"{path.parent / name}: is missing" for name in sorted(set(files) - set(found))]
    problems += [
        f"{path.parent / name}: is not in the manifest" for name in sorted(set(found) - set(files))
    ]
    problems += [
        f"{path.parent / name}: was changed; expected sha256 {files[name]}"
        for name in sorted(set(files) & set(found))
        if not (folder / name).is_file() or _sum(folder / name) != files[name]
    ]
    return bundle_sum(files), problems


def is_timm_bundle(folder: str | Path) -> bool:
    """Whether a folder holds a model of timm that `train` wrote."""
    return (Path(folder) / CONFIG).is_file() and not (Path(folder) / ARCHITECTURE).is_file()


def read_manifest(folder: Path) -> dict[str, str]:
    """The checksum of each file, by its name.

    Raises:
        BundleError: There is no manifest, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder}: holds no {MANIFEST}; expected a bundle of `spach-nas export`")
    try:
        text = path.read_bytes().decode()
        files = json.loads(text)["files"]
        intact = text == _canonical(files)
    except (ValueError, KeyError, TypeError, AttributeError):
        intact = False
    if not intact:
        raise BundleError(f"{path}: was changed or damaged; expected the file as exported")
    return dict(files)


def bundle_sum(files: dict[str, str]) -> str:
    """One sha256 for all files with their names."""
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _canonical(files: dict[str, str]) -> str:
    plain = {"version": 1, "bundle": bundle_sum(files), "files": dict(sorted(files.items()))}
    return json.dumps(plain, indent=2) + "\n"


def _names(folder: Path) -> list[str]:
    # Bundles have no folders in them, so a folder is listed by its name and thus unexpected.
    return sorted(
        path.name for path in folder.iterdir() if path.name not in {MANIFEST, *_BOOKKEEPING}
    )


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
