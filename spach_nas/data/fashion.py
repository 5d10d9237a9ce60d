"""Fashion-MNIST, whole or as the embedded small set.

Source: Xiao et al. 2017, arXiv:1708.07747; MIT, Zalando SE.
"""

from pathlib import Path

import numpy as np

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.idx import read_idx
from spach_nas.data.images import ImageSet, all_to_size
from spach_nas.data.source import DataSource, Split
from spach_nas.errors import DataError
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
_SHAPE = DataShape(in_channels=1, num_classes=len(CLASS_NAMES))
_PREFIX = {"train": "train", "test": "t10k"}
_SUFFIX = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}


def fashion_path(folder: Path, *, split: str, kind: str) -> Path:
    """The idx file of one split's `images` or `labels`, with gzip or without.

    Raises:
        DataError: It is not there.
    """
    plain = folder / f"{_PREFIX[split]}-{_SUFFIX[kind]}"
    packed = plain.with_name(plain.name + ".gz")
    for path in (plain, packed):
        if path.is_file():
            return path
    raise DataError(
        f"{plain}: is missing, with .gz and without; expected the idx files of Fashion-MNIST "
        "(Debian and Ubuntu: apt install dataset-fashion-mnist), or set root to their folder"
    )


def _check_mini(settings: DataSettings) -> None:
    if settings.root is not None:
        raise DataError(f"root: {settings.root}; fashion-mini is embedded and takes no root")


def _check_whole(settings: DataSettings) -> None:
    for split in _PREFIX:
        for kind in _SUFFIX:
            fashion_path(settings.root or DEBIAN_FOLDER, split=split, kind=kind)


def _load_mini(
    settings: DataSettings, split: Split, image_size: tuple[int, int]
) -> ImageSet | None:
    if split == "validation":
        return None
    with np.load(MINI_FILE, allow_pickle=False) as arrays:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    return _image_set(images, labels, image_size, settings.name)


def _load_whole(
    settings: DataSettings, split: Split, image_size: tuple[int, int]
) -> ImageSet | None:
    if split == "validation":
        return None
    folder = settings.root or DEBIAN_FOLDER
    path = fashion_path(folder, split=split, kind="images")
    images = read_idx(path)
    labels = read_idx(fashion_path(folder, split=split, kind="labels"))
    if images.ndim != 3 or labels.shape != images.shape[:1] or not len(labels):
        raise DataError(
            f"{path}: {images.shape} beside labels of {labels.shape}; expected a label an image"
        )
    if labels.max() >= len(CLASS_NAMES):
        raise DataError(f"{path}: has label {labels.max()}; expected 0 to {len(CLASS_NAMES) - 1}")
    return _image_set(images, labels, image_size, settings.name)


def _image_set(
    images: np.ndarray, labels: np.ndarray, image_size: tuple[int, int], name: str
) -> ImageSet:
    return ImageSet(
        images=all_to_size(images[..., None], image_size, name=name),
        labels=labels.astype(np.int64),
        class_names=CLASS_NAMES,
    )


FASHION_MINI = DataSource(check=_check_mini, shape=lambda _: _SHAPE, load=_load_mini)
FASHION_MNIST = DataSource(check=_check_whole, shape=lambda _: _SHAPE, load=_load_whole)
