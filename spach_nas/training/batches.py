"""Batches from images in memory: gathered, augmented and normalised in a few array operations.

Letters: N images, B images of a batch, H and W height and width, C channels.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from spach_nas.config.training_settings import Augmentation
from spach_nas.data import ImageSet, Normalisation
from spach_nas.training.device import Runtime, fits


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSet:
    """An image set as tensors.

    Attributes:
        images: (N, H, W, C), uint8; on the device, or on the host if they are too large for it.
        labels: (N,), int64, where the images are.
        scale: (C,), factor for a pixel in [0, 255], on the device.
        offset: (C,), added after the factor.
        device: Where batches are needed.
    """

    images: Tensor
    labels: Tensor
    scale: Tensor
    offset: Tensor
    device: torch.device


@dataclass(frozen=True, kw_only=True, slots=True)
class Moves:
    """How each image of a batch is cropped and mirrored.

    Attributes:
        top: (B,), first row of the crop in the padded image.
        left: (B,), first column of the crop.
        flip: (B,), whether the image is mirrored left to right.
        padding: Zeros on each side, in pixels.
        any: False where no image is changed. Tensors on a GPU cannot say so without a wait.
    """

    top: Tensor
    left: Tensor
    flip: Tensor
    padding: int
    any: bool = True

    def on(self, device: torch.device) -> "Moves":
        """The same moves on a device."""
        return Moves(
            top=self.top.to(device),
            left=self.left.to(device),
            flip=self.flip.to(device),
            padding=self.padding,
            any=self.any,
        )

    def of(self, indices: slice | Tensor) -> "Moves":
        """The moves of some of the images."""
        return Moves(
            top=self.top[indices],
            left=self.left[indices],
            flip=self.flip[indices],
            padding=self.padding,
            any=self.any,
        )


def load(data: ImageSet, normalisation: Normalisation, *, runtime: Runtime) -> LoadedSet:
    """An image set as tensors; on a CPU they share its memory."""
    with warnings.catch_warnings():
        # Arrays shared by Ray are read-only, and nothing here writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    if fits(images, runtime):
        images, labels = images.to(runtime.device), labels.to(runtime.device)
    std = torch.tensor(normalisation.std)
    mean = torch.tensor(normalisation.mean)
    return LoadedSet(
        images=images,
        labels=labels,
        scale=(1 / (255 * std)).to(runtime.device),
        offset=(-mean / std).to(runtime.device),
        device=runtime.device,
    )


def draw_moves(count: int, augmentation: Augmentation, *, generator: torch.Generator) -> Moves:
    """Random moves of `count` images."""
    padding = augmentation.crop_padding
    top, left = torch.randint(0, 2 * padding + 1, (2, count), generator=generator)
    flip = torch.rand(count, generator=generator) < (0.5 if augmentation.flip else 0.0)
    some = padding > 0 or augmentation.flip
    return Moves(top=top, left=left, flip=flip, padding=padding, any=some)


def apply_moves(images: Tensor, moves: Moves) -> Tensor:
    """Pad `images` (B, H, W, C) with zeros, crop each at its place and mirror some."""
    if not moves.any:
        return images
    B, H, W, _ = images.shape
    p = moves.padding
    padded = F.pad(images, (0, 0, p, p, p, p)) if p else images
    rows = moves.top[:, None] + torch.arange(H, device=images.device)
    across = torch.arange(W, device=images.device)
    columns = moves.left[:, None] + torch.where(moves.flip[:, None], W - 1 - across, across)
    batch = torch.arange(B, device=images.device)
    return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


def batch(data: LoadedSet, indices: Tensor, moves: Moves | None = None) -> tuple[Tensor, Tensor]:
    """Normalised images (B, C, H, W), channels last in memory, and labels (B,), on the device."""
    indices = indices.to(data.images.device)
    images = data.images[indices].to(data.device, non_blocking=True)
    labels = data.labels[indices].to(data.device, non_blocking=True)
    if moves is not None:
        images = apply_moves(images, moves)
    pixels = torch.addcmul(data.offset, images.float(), data.scale)
    return pixels.permute(0, 3, 1, 2), labels


def in_order(data: LoadedSet, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in their order, unchanged, in batches of `size` and a last smaller one."""
    for first in range(0, len(data.labels), size):
        yield batch(data, torch.arange(first, min(first + size, len(data.labels))))
