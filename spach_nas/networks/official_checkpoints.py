"""Reads and writes checkpoints of the paper's official code (microsoft/SPACH).

Its names differ from ours, its gamma_1 has the shape (1, 1, C), and if blocks share a mixer
function, its tensors are repeated under every block. Files wrap the state dict as `{"model": ...}`.
"""

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from spach_nas.errors import BundleError
from spach_nas.networks.resizing import resize
from spach_nas.networks.spach import Spach
from spach_nas.space.architecture import Architecture
from spach_nas.space.references import get_reference

# Prefixes of our names and of the official ones, outside blocks, in blocks, and in downsampling.
_OUTER = {
    "stem.conv1.": "stem.proj.0.",
    "stem.bn1.": "stem.proj.1.",
    "stem.conv2.": "stem.proj.3.",
    "stem.bn2.": "stem.proj.4.",
    "stem.conv3.": "stem.proj.6.",
    "stem.bn3.": "stem.proj.7.",
    "norm.": "norm1.",
    "head_norm.": "norm2.",
}
_IN_BLOCK = {"mixer.": "spatial_func.", "mlp.": "channel_func.", "dwconv.": "cpe_net.net.1."}
_IN_DOWNSAMPLE = {"conv.": "net.1.0.", "norm.": "net.1.1."}
_LONGEST_LIST = 8  # names in one message


def load_official(
    path: str | Path,
    name: str,
    *,
    image_size: tuple[int, int] | None = None,
    resample_tokens: bool = False,
) -> Spach:
    """The paper's model `name` with the weights of an official checkpoint, in float32.

    Args:
        path: A file of `torch.save`, read with `weights_only=True`, or of safetensors.
        name: A model in `spach_nas.space.references`, such as `hybrid_ms_s_plus`.
        image_size: Height and width in pixels. None means 224 x 224.
        resample_tokens: Interpolate token-MLP weights if the size differs; see `resize`.

    Raises:
        ArchitectureError: There is no such model, or it does not work at the image size.
        BundleError: The file is missing or damaged, would execute code, or holds another model; the
            message names the tensors.
    """
    network = Spach(get_reference(name).architecture)
    _load(network, read_checkpoint(Path(path)), where=str(path), name=name)
    if image_size is None:
        return network
    return resize(network, image_size, resample_tokens=resample_tokens)


def official_state_dict(network: Spach) -> dict[str, Tensor]:
    """The state dict with the official names and shapes."""
    own = network.state_dict()
    official = {}
    for theirs, ours in official_names(network.architecture, own):
        value = own[ours]
        official[theirs] = value.reshape(1, 1, -1) if theirs.endswith("gamma_1") else value
    return official


def save_official(network: Spach, path: Path) -> None:
    """Write a checkpoint that the official code reads, as safetensors if the suffix says so."""
    state = {name: value.contiguous() for name, value in official_state_dict(network).items()}
    if path.suffix == ".safetensors":
        # Shared mixer functions appear under several names, and safetensors refuses aliases.
        save_file({name: value.clone() for name, value in state.items()}, path)
    else:
        torch.save({"model": state}, path)


def official_names(
    architecture: Architecture, own: Mapping[str, Tensor]
) -> Iterator[tuple[str, str]]:
    """Pairs of official and own name. A shared tensor occurs once for each block that uses it."""
    for name in own:
        match = re.fullmatch(r"stages\.(\d+)\.(blocks|shared|downsample)\.(.+)", name)
        if match is None:
            table = {"stem.conv.": _last_stem_convolution(architecture), **_OUTER}
            yield _renamed(name, table), name
            continue
        stage, part, rest = int(match[1]), match[2], match[3]
        if part == "downsample":
            yield f"layer{stage + 1}.0.{_renamed(rest, _IN_DOWNSAMPLE)}", name
            continue
        key, rest = rest.split(".", 1)
        if part == "blocks":
            yield _block(architecture, stage, int(key)) + _renamed(rest, _IN_BLOCK), name
            continue
        for block, mixer in enumerate(architecture.stages[stage].mixers):
            if mixer == key:
                yield f"{_block(architecture, stage, block)}spatial_func.{rest}", name


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint file by name. Nothing in the file is executed.

    Raises:
        BundleError: The file is missing or damaged, would execute code, or holds no tensors.
    """
    if not path.is_file():
        raise BundleError(f"{path}: not a file; expected a checkpoint")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # The warning about the pickle protocol is useless: the file loads or is refused below.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as problem:
        raise BundleError(f"{path}: {problem.strerror or problem}; expected a checkpoint") from None
    except pickle.UnpicklingError as problem:
        # torch's message names the function that the file would call.
        what = re.search(r"GLOBAL (\S+)", str(problem))
        reason = f"it would execute {what[1]}" if what else "it is damaged or not a checkpoint"
        raise BundleError(f"{path}: refused, because {reason}; expected tensors only") from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as problem:
        reason = re.split(r"\. |\n", str(problem))[0] or type(problem).__name__
        raise BundleError(f"{path}: damaged ({reason}); expected a checkpoint") from None
    # Files of the official code wrap the state dict; a bare one is accepted, too.
    state = loaded.get("model", loaded) if isinstance(loaded, dict) else loaded
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise BundleError(f"{path}: holds no tensors by name; expected {{'model': state dict}}")
    return dict(state)


def _load(network: Spach, given: dict[str, Tensor], *, where: str, name: str) -> None:
    expected = official_state_dict(network)
    problems = [
        _listed("is missing", [key for key in expected if key not in given]),
        _listed("is unexpected", [key for key in given if key not in expected]),
        _listed(
            "has another shape",
            [
                f"{key} {tuple(given[key].shape)} instead of {tuple(value.shape)}"
                for key, value in expected.items()
                if key in given and given[key].shape != value.shape
            ],
        ),
    ]
    if any(problems):
        lines = "\n".join(f"{where}: {problem}" for problem in problems if problem)
        raise BundleError(f"{lines}\n{where}: expected the tensors of {name}")
    # A shared tensor occurs under several official names, which all have to agree.
    own = network.state_dict()
    source: dict[str, str] = {}
    for theirs, ours in official_names(network.architecture, own):
        first = source.setdefault(ours, theirs)
        if not torch.equal(given[first], given[theirs]):
            raise BundleError(f"{where}: {theirs} differs from {first}, but {name} shares them")
        own[ours].copy_(given[theirs].reshape(own[ours].shape))


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _LONGEST_LIST} more" if len(names) > _LONGEST_LIST else ""
    return f"{what}: {', '.join(names[:_LONGEST_LIST])}{more}"


def _renamed(name: str, table: Mapping[str, str]) -> str:
    for ours, theirs in table.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _last_stem_convolution(architecture: Architecture) -> str:
    return "stem.proj." if architecture.stem == "conv1" else "stem.proj.9."


def _block(architecture: Architecture, stage: int, block: int) -> str:
    if len(architecture.stages) == 1:
        return f"blocks.{block}."
    # Index 0 of layers 2-4 is the downsampling.
    return f"layer{stage + 1}.{block + (stage > 0)}."
