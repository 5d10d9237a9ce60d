"""Fashion-MNIST, complete or as the embedded subset, and the idx format of its files.

Source: Xiao et al. 2017, arXiv:1708.07747; MIT licence, Zalando SE. An idx file (LeCun et al., "The
MNIST database of handwritten digits") has a header of big-endian sizes, and then bytes.
"""

import gzip
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.images import ImageSet
from spach_nas.data.split_reader import DataSource, Pictures, Split, from_memory
from spach_nas.errors import DataError, one_line
from spach_nas.space.scaling import DataShape

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MINI_FILE = Path(__file__).with_name("fashion_mini.npz")
CLASS_NAMES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_GZIP = b"\x1f\x8b"
_UNSIGNED_BYTES = 0x08
_SHAPE = DataShape(in_channels=1, num_classes=len(CLASS_NAMES))
_PREFIX = {"train": "train", "test": "t10k"}
_SUFFIX = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}


def fashion_path(folder: Path, *, split: str, kind: str) -> Path:
    """The idx file with the `images` or `labels` of a split, compressed with gzip or not.

    Raises:
        DataError: It does not exist.
    """
    plain = folder / f"{_PREFIX[split]}-{_SUFFIX[kind]}"
    packed = plain.with_name(plain.name + ".gz")
    for path in (plain, packed):
        if path.is_file():
            return path
    raise DataError(
        f"{plain}: is missing, also with .gz; expected the idx files of Fashion-MNIST "
        "(Debian and Ubuntu: apt install dataset-fashion-mnist), or set root to their folder"
    )


def _check_mini(settings: DataSettings) -> None:
    if settings.root is not None:
        raise DataError(f"root: {settings.root}; fashion-mini is embedded and takes no root")


def _check_whole(settings: DataSettings) -> None:
    for split in _PREFIX:
        for kind in _SUFFIX:
            fashion_path(settings.root or DEBIAN_FOLDER, split=split, kind=kind)


def _open_mini(
    settings: DataSettings, split: Split, *, channels: int | None = None
) -> Pictures | None:
    if split == "validation":
        return None
    with np.load(MINI_FILE, allow_pickle=False) as arrays:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    return _pictures(images, labels, channels, name=settings.name)


def _open_whole(
    settings: DataSettings, split: Split, *, channels: int | None = None
) -> Pictures | None:
    if split == "validation":
        return None
    folder = settings.root or DEBIAN_FOLDER
    path = fashion_path(folder, split=split, kind="images")
    images = read_idx(path)
    labels = read_idx(fashion_path(folder, split=split, kind="labels"))
    if images.ndim != 3 or labels.shape != images.shape[:1] or not len(labels):
        raise DataError(
            f"{path}: {images.shape} and labels of {labels.shape}; expected one label per image"
        )
    if labels.max() >= len(CLASS_NAMES):
        raise DataError(f"{path}: has label {labels.max()}; expected 0 to {len(CLASS_NAMES) - 1}")
    return _pictures(images, labels, channels, name=settings.name)


def _pictures(
    images: np.ndarray, labels: np.ndarray, channels: int | None, *, name: str
) -> Pictures:
    held = ImageSet(
        images=images[..., None], labels=labels.astype(np.int64), class_names=CLASS_NAMES
    )
    pictures = from_memory(held, name=name)
    return pictures if channels is None else replace(pictures, channels=channels)


FASHION_MINI = DataSource(check=_check_mini, shape=lambda _: _SHAPE, open=_open_mini)
FASHION_MNIST = DataSource(check=_check_whole, shape=lambda _: _SHAPE, open=_open_whole)


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """The array in an idx file of bytes, compressed with gzip or not.

    Raises:
        DataError: The file is missing, truncated, or no idx file.
    """
    return _parse(read_plain(path), path)


def read_plain(path: Path) -> bytes:
    """The content of a file, decompressed if it is compressed with gzip.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == _GZIP else raw
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(
            f"{path}: cannot be read ({one_line(problem)}); expected an idx file"
        ) from None


def _parse(data: bytes, path: Path) -> npt.NDArray[np.uint8]:
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _UNSIGNED_BYTES or data[3] == 0:
        raise DataError(f"{path}: is not an idx file of unsigned bytes")
    rank = data[3]
    if len(data) < 4 + 4 * rank:
        raise DataError(f"{path}: is truncated")
    shape = struct.unpack_from(f">{rank}I", data, 4)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank)
    if values.size != int(np.prod(shape, dtype=np.int64)):
        sides = " x ".join(map(str, shape))
        raise DataError(f"{path}: holds {values.size} bytes; expected {sides} of them")
    return values.reshape(shape)
