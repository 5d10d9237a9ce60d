"""Reads one split of a data set: from files, from memory, or from the data set of a library.

Every kind of data set is a `DataSource`, which opens its splits.

Letters: N images, H and W height and width, C channels.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image

from spach_nas.config.training_settings import DataSettings
from spach_nas.data.decoding import Stored, decode, pixels, stored, upright, why_unreadable
from spach_nas.data.held_out import Indices
from spach_nas.data.images import (
    THREADS,
    ImageSet,
    Labels,
    Pixels,
    all_to_size,
    require_memory,
    to_size,
)
from spach_nas.errors import DataError, one_line
from spach_nas.machine import cores
from spach_nas.space.scaling import DataShape

Split = Literal["train", "validation", "test"]
Opener = Callable[[int], Image.Image]
_DRAFT = 8
_MOST_LISTED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """The images of a split that were read into memory.

    Attributes:
        pixels: The intact images in their order, (N, H, W, C).
        labels: Their labels, (N,).
        stored: Numbers of images by how their file stores them; empty if that is not known.
        broken: What is wrong with each of the other images, by its path or position.
    """

    pixels: Pixels
    labels: Labels
    stored: Counter[Stored] = field(default_factory=Counter)
    broken: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Images that are opened by their position. They are sent to workers by pickle.

    Attributes:
        name: Name of the split in messages.
        class_names: One name for each class.
        labels: Indices into `class_names`, (N,).
        opener: Opens the image at a position, in any mode.
        files: Paths of the images; empty if they are not files.
        channels: Channels of the images that `image` returns: 1 or 3.
        held: All images, if they are in memory already.
    """

    name: str
    class_names: tuple[str, ...]
    labels: Labels
    opener: Opener
    files: Sequence[Path] = ()
    channels: int = 3
    held: ImageSet | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, position: int) -> Image.Image:
        """The image at a position, rotated as its EXIF says, grey or RGB by `channels`.

        Raises:
            DataError: It cannot be read.
        """
        try:
            with self.opener(position) as image:
                return upright(image, channels=self.channels)
        # A decoder may raise anything if it meets unexpected bytes.
        except Exception as problem:
            raise _unreadable(self._place(position), why_unreadable(problem)) from None

    def take(self, positions: Indices) -> "Pictures":
        """The images at these positions, in this order."""
        return replace(
            self,
            labels=self.labels[positions],
            opener=partial(_at, self.opener, positions),
            files=[self.files[i] for i in positions] if self.files else (),
            held=None if self.held is None else self.held.take(positions),
        )

    def without(self, paths: frozenset[str]) -> "Pictures":
        """All images except those with these paths."""
        if not paths:
            return self
        kept = [i for i, path in enumerate(self.files) if str(path) not in paths]
        return self.take(np.array(kept, dtype=np.int64))

    def read(self, size: tuple[int, int]) -> Decoded:
        """Read all images at `size` (H, W), padded or shrunk. Broken ones are left out and named.

        Raises:
            DataError: There is not enough memory.
        """
        if self.held is not None:
            held = all_to_size(self.held.images, size, name=self.name)
            return Decoded(pixels=held, labels=self.labels, broken={})
        shape = (len(self), *size, self.channels)
        require_memory(shape, name=self.name)
        images = np.empty(shape, dtype=np.uint8)

        def read(position: int) -> Stored | str:
            try:
                with self.opener(position) as image:
                    found = pixels(image, channels=self.channels)
                    images[position] = to_size(found, size)
                    return stored(image)
            except Exception as problem:  # see `image`
                return why_unreadable(problem)

        with ThreadPoolExecutor(THREADS) as pool:
            # Decoding and resizing release the interpreter's lock.
            found = list(pool.map(read, range(len(self))))
        whole = [i for i, item in enumerate(found) if isinstance(item, Stored)]
        return Decoded(
            pixels=images if len(whole) == len(self) else images[whole],
            labels=self.labels[whole],
            stored=Counter(item for item in found if isinstance(item, Stored)),
            broken={self._place(i): item for i, item in enumerate(found) if isinstance(item, str)},
        )

    def in_memory(self, size: tuple[int, int]) -> ImageSet:
        """Read all images at `size` (H, W), padded or shrunk.

        Raises:
            DataError: An image cannot be read, or there is not enough memory.
        """
        decoded = self.read(size)
        for place, why in decoded.broken.items():
            raise _unreadable(place, why)
        return ImageSet(images=decoded.pixels, labels=decoded.labels, class_names=self.class_names)

    def _place(self, position: int) -> str:
        return str(self.files[position]) if self.files else f"{self.name}: image {position}"


def _unreadable(place: str, why: str) -> DataError:
    return DataError(
        f"{place}: cannot be read as an image ({why}); expected an intact image; data.check_images "
        "finds all broken files, data.skip_broken leaves them out"
    )


def _at(opener: Opener, positions: Indices, position: int) -> Image.Image:
    return opener(int(positions[position]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """A split that can only be read from beginning to end, such as a webdataset.

    Attributes:
        name: Name of the data set.
        class_names: One name for each class.
        channels: Channels of the images that `read` returns: 1 or 3.
        dataset: Iterates over pairs of an image and its label.
    """

    name: str
    class_names: tuple[str, ...]
    channels: int
    dataset: Any

    def read(self, size: tuple[int, int]) -> Decoded:
        """Read all images at `size` (H, W). Broken ones are left out and named.

        Raises:
            DataError: Reading fails midway, labels are missing, or there is not enough memory.
        """
        count = len(self.dataset)
        require_memory((count, *size, self.channels), name=self.name)
        images, labels = [], []
        found: Counter[Stored] = Counter()
        broken: dict[str, str] = {}
        number = -1
        try:
            for number, (image, label) in enumerate(self.dataset):
                try:
                    images.append(to_size(pixels(image, channels=self.channels), size))
                # A decoder may raise anything if it meets unexpected bytes.
                except Exception as problem:
                    broken[f"{self.name}: image {number}"] = why_unreadable(problem)
                    continue
                found[stored(image)] += 1
                labels.append(int(label))
        except Exception as problem:
            where = f"{self.name}: image {number + 1} of {count}"
            raise DataError(f"{where} cannot be read: {one_line(problem)}") from None
        whole = np.array(labels, dtype=np.int64)
        check_labels(whole, classes=len(self.class_names), name=self.name)
        return Decoded(pixels=np.stack(images), labels=whole, stored=found, broken=broken)


def labelled_as(pictures: Pictures, names: Sequence[str], *, source: str) -> Pictures:
    """The images with labels in the order of a network's outputs.

    Args:
        pictures: The images.
        names: The network's classes.
        source: Names the network in messages.

    Raises:
        DataError: There are classes that the network does not have.
    """
    own = pictures.class_names
    if len(own) > len(names):
        raise DataError(
            f"{pictures.name}: has {len(own)} classes; expected at most the {len(names)} of "
            f"{source}"
        )
    unknown = [name for name in own if name not in names]
    if unknown:
        listed = ", ".join(map(repr, unknown[:_MOST_LISTED]))
        raise DataError(
            f"{pictures.name}: {source} does not know {len(unknown)} of its {len(own)} classes: "
            f"{listed}; expected classes such as {', '.join(map(repr, names[:_MOST_LISTED]))}"
        )
    places = np.array([list(names).index(name) for name in own], dtype=np.int64)
    return replace(pictures, labels=places[pictures.labels], class_names=tuple(names))


def check_labels(labels: Labels, *, classes: int, name: str) -> None:
    """Check that a split has labels, all from 0 to `classes` - 1.

    Raises:
        DataError: It does not.
    """
    if not len(labels) or labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{name}: has no labels from 0 to {classes - 1}")


def from_memory(images: ImageSet, *, name: str) -> Pictures:
    """A split of images that are in memory."""
    return Pictures(
        name=name,
        class_names=images.class_names,
        labels=images.labels,
        opener=partial(_open_array, images.images),
        channels=images.images.shape[-1],
        held=images,
    )


def _open_array(images: Pixels, position: int) -> Image.Image:
    image = images[position]
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


class Open(Protocol):
    """Opens a split."""

    def __call__(
        self, settings: DataSettings, split: Split, *, channels: int | None = None
    ) -> Pictures | Stream | None:
        """The split with these channels or those of train; None if there is no such split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSource:
    """One kind of data set, as functions that raise DataError.

    Attributes:
        check: Checks that the files are there and in order, without decoding an image.
        shape: Number of channels and classes, without decoding the whole set.
        open: Opens a split. If there is no validation split, a share of train is held out.
        has_test: Whether there is a test split. Called after `check`.
        notes: Remarks about the whole set for users, without decoding an image.
    """

    check: Callable[[DataSettings], None]
    shape: Callable[[DataSettings], DataShape]
    open: Open
    has_test: Callable[[DataSettings], bool] = lambda _: True
    notes: Callable[[DataSettings], tuple[str, ...]] = lambda _: ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """The result of reading every file of the splits once.

    Attributes:
        broken: What is wrong with each file that cannot be decoded, by its path.
        stored: Numbers of the other files by how they store their images.
        doubles: Validation files with the same bytes as a training file.
    """

    broken: Mapping[str, str]
    stored: Counter[Stored]
    doubles: tuple[Path, ...]


def scan(train: Sequence[Path], validation: Sequence[Path] = (), *, channels: int) -> Scan:
    """Read all files once, in as many threads as there are cores.

    If the format allows, a file is decoded at an eighth of its size, which still reads all of it.
    """
    paths = [*train, *validation]
    with ThreadPoolExecutor(cores()) as pool:
        looks = list(pool.map(partial(_look, channels=channels), paths))
    digests = [digest for digest, _ in looks]
    trained_on = set(digests[: len(train)])
    found = dict(zip(paths, (result for _, result in looks), strict=True))
    return Scan(
        broken={str(path): item for path, item in found.items() if isinstance(item, str)},
        stored=Counter(item for item in found.values() if isinstance(item, Stored)),
        doubles=tuple(
            path
            for path, digest in zip(validation, digests[len(train) :], strict=True)
            if digest in trained_on
        ),
    )


def _look(path: Path, *, channels: int) -> tuple[bytes, Stored | str]:
    """A checksum of a file, and how it stores its image or what is wrong with it."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        return str(path).encode(), problem.strerror or str(problem)
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        return digest, decode(io.BytesIO(data), channels=channels, draft=_DRAFT)[1]
    except DataError as problem:
        return digest, str(problem)
