"""Images on which the forms of a bundle are compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spach_nas.cost.closed_form import cost
from spach_nas.data.fashion import MINI_FILE
from spach_nas.data.images import Normalisation, Pixels, measure_normalisation
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.data.reader import sample_validation
from spach_nas.errors import BundleError, DataError
from spach_nas.export.bundle import SAMPLES, read_samples
from spach_nas.export.choice import Choice
from spach_nas.space.architecture import Architecture

# Each is one call of the network, so a form that has the batch size as a constant fails.
BATCHES = (1, 2, 7)
_ROUNDS, _ROUNDS_IF_DEAR = 3, 1
_DEAR_MACS = 1_000_000_000
_PATCH = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Images as input of a network.

    Attributes:
        images: (N, C, H, W), float32, normalised.
        origin: Description of the images. `parity.json` stores it and `verify` compares it, so its
            wording is part of the format.
    """

    images: Tensor
    origin: str

    @property
    def batches(self) -> Iterator[Tensor]:
        """The images in batches of 1, 2 and 7, repeated."""
        sizes, start = cycle(BATCHES), 0
        while start < len(self.images):
            stop = start + next(sizes)
            yield self.images[start:stop]
            start = stop


def own_pixels(choice: Choice) -> Pixels | None:
    """A few images of a network's training data, (N, H, W, C); None if not available."""
    if choice.preprocessing is None:
        return None
    if choice.samples is not None or choice.config is None:
        return choice.samples
    architecture = choice.architecture
    try:
        found = sample_validation(
            choice.config.data, image_size=architecture.image_size, count=sum(BATCHES)
        )
    except DataError:  # a study may be on a machine that does not have its data
        return None
    return found if found.shape[-1] == architecture.in_channels else None


def bundle_sample(
    folder: Path, architecture: Architecture, preprocessing: Preprocessing | None
) -> Sample:
    """The images to compare the forms of a bundle on, the same on every machine.

    These are the images stored in the bundle, or else noise with the statistics of the training
    images. For a network that was not trained, they are the embedded Fashion-MNIST.

    Raises:
        BundleError: The stored images are damaged, or do not fit this network.
    """
    if preprocessing is None:
        return embedded_sample(architecture)
    images = read_samples(folder)
    shape = (*architecture.image_size, architecture.in_channels)
    if images is not None and images.shape[1:] != shape:
        raise BundleError(
            f"{folder / SAMPLES}: holds images of {images.shape[1:]}; expected {shape}"
        )
    kept = images is not None
    if images is None:
        images = _noise(shape, preprocessing)
    # Images are repeated, so that there are enough for every batch size.
    whole = images[np.arange(_count(architecture)) % len(images)]
    return Sample(
        images=_normalised(whole, preprocessing.normalisation),
        origin=f"the {len(images)} images in {SAMPLES}"
        if kept
        else f"{len(images)} images of noise with the mean and deviation of its training images",
    )


def _noise(shape: tuple[int, ...], preprocessing: Preprocessing) -> Pixels:
    height, width, channels = shape
    generator = np.random.default_rng(0)
    # Noise in patches: of single pixels, a network might average all images to the same features.
    sides = (-(-height // _PATCH), -(-width // _PATCH))
    coarse = generator.random((sum(BATCHES), *sides, channels)) * 2 - 1
    spread = coarse.repeat(_PATCH, axis=1).repeat(_PATCH, axis=2)[:, :height, :width]
    # The uniform distribution on [-1, 1] has a standard deviation of 1 / sqrt(3).
    levels = np.array(preprocessing.mean) + 3**0.5 * np.array(preprocessing.std) * spread
    return (levels.clip(0, 1) * 255).round().astype(np.uint8)


def embedded_sample(architecture: Architecture) -> Sample:
    """Images of the embedded Fashion-MNIST, the same on every machine.

    They are tiled to the size, since libraries round differently when they resize, and each channel
    shows another image, so that a form that confuses channels is detected.
    """
    C, (H, W) = architecture.in_channels, architecture.image_size
    count = _count(architecture)
    with np.load(MINI_FILE, allow_pickle=False) as arrays:
        whole = arrays["train_images"]
    chosen = whole[np.linspace(0, len(whole) - 1, count * C).round().astype(np.int64)]
    tiles = (-(-H // chosen.shape[1]), -(-W // chosen.shape[2]))
    tiled = np.tile(chosen, (1, *tiles))[:, :H, :W]
    pixels = tiled.reshape(count, C, H, W).transpose(0, 2, 3, 1)
    return Sample(
        images=_normalised(pixels, measure_normalisation(pixels)),
        origin=f"{count} images of the embedded Fashion-MNIST, tiled to {H}x{W}",
    )


def _normalised(pixels: Pixels, normalisation: Normalisation) -> Tensor:
    mean, std = (
        np.asarray(values, dtype=np.float32) for values in (normalisation.mean, normalisation.std)
    )
    scaled = (pixels.astype(np.float32) / 255 - mean) / std
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))


def _count(architecture: Architecture) -> int:
    dear = cost(architecture).macs > _DEAR_MACS
    return sum(BATCHES) * (_ROUNDS_IF_DEAR if dear else _ROUNDS)
