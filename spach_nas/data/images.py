"""Sets of images in memory, as uint8 at the size of the network's input.

Letters: N images, H and W height and width, C channels.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from spach_nas.errors import DataError
from spach_nas.machine import available_memory

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
THREADS = 8  # for decoding and resizing
_MAX_MEMORY_SHARE = 0.8
# With fewer validation images, the uncertainty of an accuracy exceeds 6 points.
_FEW = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSet:
    """Images with one label each.

    Attributes:
        images: Pixels, (N, H, W, C).
        labels: Indices into `class_names`, (N,).
        class_names: One name for each class.
        notes: Remarks for users about reading the images.
    """

    images: Pixels
    labels: Labels
    class_names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: npt.NDArray[np.int64]) -> "ImageSet":
        """A copy of the images at `indices`, in that order."""
        return ImageSet(
            images=self.images[indices], labels=self.labels[indices], class_names=self.class_names
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """A part of a train split that is used for validation, not for training.

    Attributes:
        share: Share of each class, in (0, 1).
        seed: Determines which images are held out.
    """

    share: float
    seed: int

    def __str__(self) -> str:
        """`0.2 of each class by seed 0`."""
        return f"{self.share:g} of each class by seed {self.seed}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalisation:
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSplits:
    """The images that a search uses: a train and a validation part without a common image.

    Attributes:
        train: Images to train candidates on.
        validation: Images to score candidates on.
        normalisation: Statistics of the train part.
        held_out: The part of the train split that is used for validation. None if validation has a
            split of its own.
        notes: Remarks for users.
    """

    train: ImageSet
    validation: ImageSet
    normalisation: Normalisation
    held_out: HeldOut | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Size of images and labels in bytes."""
        parts = (self.train, self.validation)
        return sum(part.images.nbytes + part.labels.nbytes for part in parts)


def few_scored(images: int) -> str | None:
    """A warning that an accuracy on so few images is uncertain; None if there are enough."""
    if images >= _FEW:
        return None
    # The normal confidence interval of a share of one half, for which it is widest.
    points = 100 * 1.96 * 0.5 / images**0.5
    return (
        f"only {images:,} images score a network: accuracies are known to +- {points:.0f} points "
        "(95 %), and smaller differences are chance; expected some hundreds, by more images or a "
        "larger data.validation"
    )


def measure_normalisation(images: Pixels) -> Normalisation:
    """Statistics of `images` (N, H, W, C), from at most 10,000 evenly spaced ones."""
    sample = images[:: -(-len(images) // 10_000)]
    levels = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[-1]):
        # A histogram of the 256 levels gives both exactly, without a copy in floats.
        share = np.bincount(sample[..., channel].ravel(), minlength=256) / sample[..., 0].size
        mean = float(share @ levels)
        means.append(mean)
        # Images are divided by this, and a channel may have no contrast.
        stds.append(max(float(share @ (levels - mean) ** 2) ** 0.5, 1 / 255))
    return Normalisation(mean=tuple(means), std=tuple(stds))


def to_size(image: Pixels, size: tuple[int, int]) -> Pixels:
    """An image (h, w, C) at `size` (H, W): shrunk if it is larger, padded if it is smaller.

    Nothing is enlarged. An image that exceeds the size on both sides is shrunk (bicubic,
    antialiased) until it just covers it, and its centre is cut out. A side that is too short is
    padded with zeros on both ends.
    """
    ratio = max(size[0] / image.shape[0], size[1] / image.shape[1])
    if ratio < 1:
        shape = (round(image.shape[1] * ratio), round(image.shape[0] * ratio))
        grey = image.shape[2] == 1
        resized = Image.fromarray(image[..., 0] if grey else image).resize(
            shape, Image.Resampling.BICUBIC
        )
        image = np.asarray(resized).reshape(shape[1], shape[0], -1)
    for axis in (0, 1):
        excess = image.shape[axis] - size[axis]
        if excess > 0:
            image = np.take(image, np.arange(size[axis]) + excess // 2, axis=axis)
    missing = [size[axis] - image.shape[axis] for axis in (0, 1)]
    return np.pad(image, [(m // 2, m - m // 2) for m in missing] + [(0, 0)])


def all_to_size(images: Pixels, size: tuple[int, int], *, name: str) -> Pixels:
    """`to_size` for images (N, h, w, C) of equal size, as (N, H, W, C).

    Raises:
        DataError: There is not enough memory.
    """
    shape = (len(images), *size, images.shape[3])
    require_memory(shape, name=name)
    if images.shape[1] <= size[0] and images.shape[2] <= size[1]:
        missing = [size[axis] - images.shape[axis + 1] for axis in (0, 1)]
        return np.pad(images, [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)])
    found = np.empty(shape, dtype=np.uint8)
    with ThreadPoolExecutor(THREADS) as pool:
        # Resizing releases the interpreter's lock.
        for row, image in zip(found, pool.map(lambda i: to_size(i, size), images), strict=True):
            row[...] = image
    return found


def require_memory(shape: tuple[int, ...], *, name: str) -> None:
    """Check that uint8 images of `shape` (N, H, W, C) fit into memory.

    Raises:
        DataError: They do not.
    """
    needed, available = int(np.prod(shape, dtype=np.int64)), available_memory()
    if available is not None and needed > _MAX_MEMORY_SHARE * available:
        sides = " x ".join(map(str, shape[1:]))
        raise DataError(
            f"{name}: {shape[0]:,} images of {sides} need {needed / 1e9:.1f} GB of memory and "
            f"{available / 1e9:.1f} GB are free; expected a smaller image_size or fewer images"
        )
