"""Images on which the forms of a bundle are compared."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from spach_nas.architecture import Architecture
from spach_nas.cost import cost
from spach_nas.data.fashion import MINI_FILE
from spach_nas.data.images import Normalisation, Pixels, measure_normalisation
from spach_nas.data.preprocessing import Preprocessing
from spach_nas.data.sampling import sample_validation
from spach_nas.errors import DataError
from spach_nas.export.source import Choice

# Each is one call of the network: a form that took the batch for a constant fails.
BATCHES = (1, 2, 7)
_ROUNDS, _ROUNDS_IF_DEAR = 3, 1
_DEAR_MACS = 1_000_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Images as a network takes them.

    Attributes:
        images: (N, C, H, W), float32, normalised.
        origin: Where they are from, for a person.
    """

    images: Tensor
    origin: str

    @property
    def batches(self) -> Iterator[Tensor]:
        """The images in batches of 1, 2 and 7, again and again."""
        sizes, start = cycle(BATCHES), 0
        while start < len(self.images):
            stop = start + next(sizes)
            yield self.images[start:stop]
            start = stop


def study_sample(choice: Choice) -> Sample:
    """Validation images of the study that a choice comes from; embedded ones where there are none.

    What nobody trained on Fashion-MNIST is compared on it all the same: parity asks for images with
    structure, not for the right ones.
    """
    architecture, config = choice.architecture, choice.config
    if config is None or choice.preprocessing is None:
        return embedded_sample(architecture, choice.preprocessing)
    try:
        pixels = sample_validation(
            config.data, image_size=architecture.image_size, count=_count(architecture)
        )
    except DataError as problem:
        sample = embedded_sample(architecture, choice.preprocessing)
        return Sample(
            images=sample.images, origin=f"{sample.origin}, for want of its own: {problem}"
        )
    if pixels.shape[-1] != architecture.in_channels:
        return embedded_sample(architecture, choice.preprocessing)
    # A small set comes round again, so that every batch size is met.
    whole = pixels[np.arange(_count(architecture)) % len(pixels)]
    return Sample(
        images=_normalised(whole, choice.preprocessing.normalisation),
        origin=f"{len(pixels)} validation images of {config.data.name}",
    )


def embedded_sample(
    architecture: Architecture, preprocessing: Preprocessing | None = None
) -> Sample:
    """Images of the embedded Fashion-MNIST, the same on every machine.

    They are tiled to the size, which no library rounds in its own way, and each channel is another
    picture, so that a form that mixes up channels shows.
    """
    C, (H, W) = architecture.in_channels, architecture.image_size
    count = _count(architecture)
    with np.load(MINI_FILE, allow_pickle=False) as arrays:
        whole = arrays["train_images"]
    chosen = whole[np.linspace(0, len(whole) - 1, count * C).round().astype(np.int64)]
    tiles = (-(-H // chosen.shape[1]), -(-W // chosen.shape[2]))
    tiled = np.tile(chosen, (1, *tiles))[:, :H, :W]
    pixels = tiled.reshape(count, C, H, W).transpose(0, 2, 3, 1)
    normalisation = (
        measure_normalisation(pixels) if preprocessing is None else preprocessing.normalisation
    )
    return Sample(
        images=_normalised(pixels, normalisation),
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
