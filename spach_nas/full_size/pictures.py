"""One split of a data set, image by image: from files, from memory, or from timm's sets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spach_nas.data.decoding import upright, why_unreadable
from spach_nas.data.folder import class_folders, labelled_files
from spach_nas.data.images import ImageSet, Labels, all_to_size, stack, to_size
from spach_nas.data.splits import Indices
from spach_nas.data.timm_sets import open_at, timm_channels
from spach_nas.errors import DataError

Opener = Callable[[int], Image.Image]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Images that are opened one by one. Sent to workers by pickle.

    Attributes:
        name: For messages.
        class_names: One for each class.
        labels: (N,), indices into `class_names`.
        opener: The image at a position, in whatever mode it has.
        files: Where it lies, for messages; empty where the images are no files.
        channels: 1 or 3, which `image` gives.
        held: All images, where they are in memory already.
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
        """The image at a position, upright, grey or RGB by `channels`.

        Raises:
            DataError: It cannot be read.
        """
        try:
            with self.opener(position) as image:
                return upright(image, channels=self.channels)
        # A decoder may raise anything over bytes that it did not expect.
        except Exception as problem:
            place = self.files[position] if self.files else f"{self.name}: image {position}"
            why = why_unreadable(problem)
            raise DataError(
                f"{place}: cannot be read as an image ({why}); expected it whole or away; "
                "data.check_images finds all such files, data.skip_broken leaves them out"
            ) from None

    def take(self, positions: Indices) -> "Pictures":
        """Some of the images, in this order."""
        return replace(
            self,
            labels=self.labels[positions],
            opener=partial(_at, self.opener, positions),
            files=[self.files[i] for i in positions] if self.files else (),
            held=None if self.held is None else self.held.take(positions),
        )

    def in_memory(self, size: tuple[int, int]) -> ImageSet:
        """All of them at `size` (H, W), padded or shrunk as a search does.

        Raises:
            DataError: One cannot be read, or there is not memory enough.
        """
        if self.held is not None:
            images = all_to_size(self.held.images, size, name=self.name)
        else:
            images = stack(
                range(len(self)),
                lambda position: to_size(self._pixels(position), size),
                shape=(len(self), *size, self.channels),
                name=self.name,
            )
        return ImageSet(images=images, labels=self.labels, class_names=self.class_names)

    def _pixels(self, position: int) -> np.ndarray:
        pixels = np.asarray(self.image(position))
        return pixels.reshape(*pixels.shape[:2], self.channels)


def from_folder(folder: Path, *, without: frozenset[str] = frozenset()) -> Pictures:
    """The images of a split's folder.

    Args:
        folder: With a folder for each class.
        without: Paths to leave out.
    """
    files = [(path, label) for path, label in labelled_files(folder) if str(path) not in without]
    paths = [path for path, _ in files]
    return Pictures(
        name=str(folder),
        class_names=class_folders(folder),
        labels=np.array([label for _, label in files], dtype=np.int64),
        opener=partial(_open_file, paths),
        files=paths,
    )


def from_memory(images: ImageSet, *, name: str) -> Pictures:
    """Images that are in memory."""
    return Pictures(
        name=name,
        class_names=images.class_names,
        labels=images.labels,
        opener=partial(_open_array, images.images),
        channels=images.images.shape[-1],
        held=images,
    )


def from_timm(dataset: Any, *, name: str, class_names: tuple[str, ...]) -> Pictures:
    """A data set of `timm.data.create_dataset` with access by position."""
    labels = np.array(_labels(dataset), dtype=np.int64)
    names = class_names or tuple(map(str, range(int(labels.max()) + 1)))
    return Pictures(
        name=name,
        class_names=names,
        labels=labels,
        opener=partial(open_at, dataset),
        channels=timm_channels(dataset),
    )


def _flat(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.shape[-1] == 1 else image


def _at(opener: Opener, positions: Indices, position: int) -> Image.Image:
    return opener(int(positions[position]))


def _open_file(paths: Sequence[Path], position: int) -> Image.Image:
    return Image.open(paths[position])


def _open_array(images: np.ndarray, position: int) -> Image.Image:
    return Image.fromarray(_flat(images[position]))


def _labels(dataset: Any) -> list[int]:
    for name in ("targets", "_labels"):
        if hasattr(dataset, name):
            return [int(label) for label in getattr(dataset, name)]
    if hasattr(dataset, "reader"):
        return [int(dataset.reader[position][1]) for position in range(len(dataset))]
    return [int(dataset[position][1]) for position in range(len(dataset))]
