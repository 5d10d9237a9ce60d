"""Data sets of `timm.data.create_dataset`: torchvision, Hugging Face, webdataset, TFDS.

Its own reader of folders is not offered: if the folder of a split is missing, it silently reads the
whole root, which mixes train and test. `name: folder` replaces it.
"""

import io
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.decoding import channels_of_images, evenly
from spach_nas.data.split_reader import DataSource, Pictures, Split, Stream, check_labels
from spach_nas.errors import DataError, one_line
from spach_nas.space.scaling import DataShape

PREFIXES = ("torch/", "hfds/", "hfids/", "wds/", "tfds/")
# Their libraries download whatever is not in their cache, even if not asked to.
_FETCHING = ("hfds/", "hfids/")
_FOLDER_ROUTES = ("torch/folder", "torch/image_folder")
# Each library has its own name for the split that is not for training.
_TEST_NAMES = {"torch/": ("validation",)}
_OTHER_TEST_NAMES = ("test", "validation")
# Number of images whose modes are checked before a set counts as grey; each is decoded.
_LOOKED_AT = 100


def _check(settings: DataSettings) -> None:
    name = settings.name.lower()
    if name in _FOLDER_ROUTES:
        raise DataError(f"{settings.name}: may mix train and test; expected name: folder")
    if name in PREFIXES:
        raise DataError(f"{settings.name}: is only a prefix; expected {settings.name}NAME")
    if name.startswith(_FETCHING) and not settings.download:
        raise DataError(f"{settings.name}: may have to be downloaded; expected download: true")
    if settings.root is None and not name.startswith(_FETCHING):
        raise DataError(f"root: is missing; expected the folder of {settings.name}")
    if settings.root is not None and not settings.root.is_dir() and not settings.download:
        raise DataError(f"{settings.root}: is not a folder; expected that of {settings.name}")


def _dataset(settings: DataSettings, split: Split) -> Any:
    from timm.data import create_dataset

    prefix = settings.name.lower().split("/")[0] + "/"
    names = ("train",) if split == "train" else _TEST_NAMES.get(prefix, _OTHER_TEST_NAMES)
    problems: list[Exception] = []
    for name in names:
        try:
            return create_dataset(
                settings.name,
                root=None if settings.root is None else str(settings.root),
                split=name,
                download=settings.download,
            )
        # A library may raise anything if a file, package, split or connection is missing.
        except Exception as problem:
            problems.append(problem)
    why = one_line(problems[0])
    raise DataError(f"{settings.name}: split {names[0]} cannot be opened: {why}")


def _image_at(dataset: Any, position: int) -> Image.Image:
    if not hasattr(dataset, "reader"):
        image: Image.Image = dataset[position][0]
        return image
    # Not by timm's dataset, which replaces an image that it cannot read with the next one.
    file = dataset.reader[position][0]
    with file:
        return Image.open(io.BytesIO(file.read()))


def _looked_at(dataset: Any) -> Iterator[Image.Image | None]:
    """Evenly spaced images; None for one that cannot be opened."""
    for position in evenly(len(dataset), _LOOKED_AT):
        try:
            with _image_at(dataset, position) as image:
                yield image
        except Exception:
            yield None


def _shape(settings: DataSettings) -> DataShape:
    from torch.utils.data import IterableDataset

    dataset = _dataset(settings, "train")
    stream = isinstance(dataset, IterableDataset)
    names = _class_names(dataset)
    try:
        first = itertools.islice(dataset, _LOOKED_AT) if stream else ()
        images = (image for image, _ in first) if stream else _looked_at(dataset)
        channels, classes = channels_of_images(images), len(names)
        if not names:
            # Most webdatasets have no names, so the labels have to be read.
            labels = (int(label) for _, label in dataset) if stream else _labels(dataset)
            classes = 1 + max(labels)
    except Exception as problem:
        raise DataError(f"{settings.name}: cannot be read: {one_line(problem)}") from None
    return DataShape(in_channels=channels, num_classes=classes)


def _class_names(dataset: Any) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None)
    if names is None:
        table = getattr(getattr(dataset, "reader", None), "class_to_idx", None) or {}
        names = sorted(table, key=table.__getitem__)
    return tuple(str(name) for name in names)


def _open(
    settings: DataSettings, split: Split, *, channels: int | None = None
) -> Pictures | Stream | None:
    if split == "validation":
        return None
    from torch.utils.data import IterableDataset

    shape = _shape(settings)
    dataset = _dataset(settings, split)
    names = _class_names(dataset) or tuple(map(str, range(shape.num_classes)))
    channels = channels or shape.in_channels
    if isinstance(dataset, IterableDataset):
        return Stream(name=settings.name, class_names=names, channels=channels, dataset=dataset)
    try:
        labels = np.array(_labels(dataset), dtype=np.int64)
    # A library may raise anything if a file is missing or damaged.
    except Exception as problem:
        raise DataError(f"{settings.name}: cannot be read: {one_line(problem)}") from None
    check_labels(labels, classes=shape.num_classes, name=settings.name)
    return Pictures(
        name=settings.name,
        class_names=names,
        labels=labels,
        opener=partial(_image_at, dataset),
        channels=channels,
    )


def _labels(dataset: Any) -> list[int]:
    for name in ("targets", "_labels", "labels"):
        if hasattr(dataset, name):
            return [int(label) for label in getattr(dataset, name)]
    # Of Hugging Face: reads no images.
    if hasattr(getattr(dataset, "reader", None), "iter_targets"):
        return [int(label) for label in dataset.reader.iter_targets()]
    if hasattr(dataset, "reader"):
        return [_label_of(dataset.reader[position]) for position in range(len(dataset))]
    return [int(dataset[position][1]) for position in range(len(dataset))]


def _label_of(item: Any) -> int:
    file, label = item[:2]
    if hasattr(file, "close"):
        file.close()
    return int(label)


def _has_test(settings: DataSettings) -> bool:
    # No library says whether a split exists without opening it.
    try:
        _dataset(settings, "test")
    except DataError:
        return False
    return True


TIMM = DataSource(check=_check, shape=_shape, open=_open, has_test=_has_test)
