"""Data sets that `timm.data.create_dataset` takes: torchvision, Hugging Face, webdataset, TFDS.

Its plain folder route is left out: where a split's folder is missing it silently reads the whole
root, and train and test mix. `name: folder` serves instead.
"""

import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.decoding import (
    BrokenImagesError,
    Stored,
    channels_of_images,
    check_range,
    conversions,
    evenly,
    pixels,
    stored,
    why_unreadable,
)
from spach_nas.data.folder import broken_note
from spach_nas.data.images import ImageSet, require_memory, to_size
from spach_nas.data.source import DataSource, Split
from spach_nas.errors import DataError, one_line
from spach_nas.space.scaling import DataShape

PREFIXES = ("torch/", "hfds/", "hfids/", "wds/", "tfds/")
# Their libraries fetch whatever is not in their cache, whether asked to or not.
_FETCHING = ("hfds/", "hfids/")
_FOLDER_ROUTES = ("torch/folder", "torch/image_folder")
# Each library has its own name for the split that nothing is trained on.
_TEST_NAMES = {"torch/": ("validation",)}
_OTHER_TEST_NAMES = ("test", "validation")
# Images whose modes are looked at before a set is called grey: each has to be decoded.
_LOOKED_AT = 100


def _check(settings: DataSettings) -> None:
    name = settings.name.lower()
    if name in _FOLDER_ROUTES:
        raise DataError(f"{settings.name}: may mix train and test; expected name: folder")
    if name in PREFIXES:
        raise DataError(f"{settings.name}: names no data set; expected {settings.name}NAME")
    if name.startswith(_FETCHING) and not settings.download:
        raise DataError(
            f"{settings.name}: may be fetched from the network; expected download: true"
        )
    if settings.root is None and not name.startswith(_FETCHING):
        raise DataError(f"root: is missing; expected the folder of {settings.name}")
    if settings.root is not None and not settings.root.is_dir() and not settings.download:
        raise DataError(f"{settings.root}: is no folder; expected that of {settings.name}")


def _open(settings: DataSettings, split: Split) -> Any:
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
        # Whatever a foreign library raises over a missing file, package, split or connection.
        except Exception as problem:
            problems.append(problem)
    why = one_line(problems[0])
    raise DataError(f"{settings.name}: split {names[0]} cannot be opened: {why}")


def _pairs(dataset: Any) -> Iterator[tuple[Image.Image, int] | Exception]:
    """Images with their labels; in place of one that cannot be opened, why."""
    from torch.utils.data import IterableDataset

    if isinstance(dataset, IterableDataset):
        yield from ((image, int(label)) for image, label in dataset)
        return
    for index in range(len(dataset)):
        try:
            image, label = _at(dataset, index)
        # Whatever a foreign library raises over a missing file or a damaged one.
        except Exception as problem:
            yield problem
            continue
        with image:
            yield image, int(label)


def _at(dataset: Any, index: int) -> tuple[Image.Image, int]:
    if not hasattr(dataset, "reader"):
        image, label = dataset[index]
        return image, label
    # Past timm's dataset, which replaces an image that it cannot read by the next one.
    file, label = dataset.reader[index][:2]
    with file:
        return Image.open(io.BytesIO(file.read())), label


def timm_channels(images: Sequence[Any]) -> int:
    """1 where no image of a set with positions has colours, else 3; of 100 evenly spaced ones.

    Args:
        images: What `create_dataset` gives.
    """
    return channels_of_images(_opened(images, index) for index in evenly(len(images), _LOOKED_AT))


def _opened(images: Sequence[Any], index: int) -> Image.Image | None:
    try:
        with open_at(images, index) as image:
            return image
    # It has no say; whoever reads it says what is wrong.
    except Exception:
        return None


def open_at(dataset: Any, index: int) -> Image.Image:
    """The image at a position."""
    return _at(dataset, index)[0]


def _shape(settings: DataSettings) -> DataShape:
    from torch.utils.data import IterableDataset

    dataset = _open(settings, "train")
    names = _class_names(dataset)
    try:
        if isinstance(dataset, IterableDataset):
            first = itertools.islice(_pairs(dataset), _LOOKED_AT)
            channels = channels_of_images(
                None if isinstance(pair, Exception) else pair[0] for pair in first
            )
        else:
            channels = timm_channels(dataset)
        # Without names, as in most webdatasets, the labels have to be counted.
        classes = len(names) or 1 + max(
            pair[1] for pair in _pairs(dataset) if not isinstance(pair, Exception)
        )
    except Exception as problem:
        raise DataError(f"{settings.name}: cannot be read: {one_line(problem)}") from None
    return DataShape(in_channels=channels, num_classes=classes)


def _class_names(dataset: Any) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None)
    if names is None:
        table = getattr(getattr(dataset, "reader", None), "class_to_idx", None) or {}
        names = sorted(table, key=table.__getitem__)
    return tuple(str(name) for name in names)


def _load(settings: DataSettings, split: Split, image_size: tuple[int, int]) -> ImageSet | None:
    if split == "validation":
        return None
    shape = _shape(settings)
    dataset = _open(settings, split)
    count = len(dataset)
    require_memory((count, *image_size, shape.in_channels), name=settings.name)
    images, labels = [], []
    found: list[Stored] = []
    broken: dict[str, str] = {}
    number = -1
    try:
        for number, pair in enumerate(_pairs(dataset)):
            try:
                if isinstance(pair, Exception):
                    raise pair
                images.append(to_size(pixels(pair[0], channels=shape.in_channels), image_size))
            # A decoder may raise anything over bytes that it did not expect.
            except Exception as problem:
                broken[f"{settings.name}: image {number}"] = why_unreadable(problem)
                continue
            found.append(stored(pair[0]))
            labels.append(pair[1])
    except Exception as problem:
        where = f"{settings.name}: image {number + 1} of {count}"
        raise DataError(f"{where} cannot be read: {one_line(problem)}") from None
    if broken and not settings.skip_broken:
        raise BrokenImagesError(broken, name=settings.name, remedy="data.skip_broken: true")
    check_range(found, name=settings.name)
    notes = [conversions(found, channels=shape.in_channels), broken and broken_note(broken)]
    if not labels or min(labels) < 0 or max(labels) >= shape.num_classes:
        raise DataError(f"{settings.name}: has no labels from 0 to {shape.num_classes - 1}")
    names = _class_names(dataset) or tuple(map(str, range(shape.num_classes)))
    return ImageSet(
        images=np.stack(images),
        labels=np.array(labels, dtype=np.int64),
        class_names=names,
        notes=tuple(note for note in notes if note),
    )


TIMM = DataSource(check=_check, shape=_shape, load=_load)
