"""Folders of images as people have them."""

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat", "dog")


def write_folder(
    root: Path,
    *,
    splits: Sequence[str] = ("train",),
    count: int = 6,
    classes: Sequence[str] = CLASSES,
    mode: str = "RGB",
    side: int = 12,
) -> Path:
    """Small images of noise around a colour of their class; `""` is a folder without splits."""
    generator = np.random.default_rng(7)
    for split in splits:
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                noise = generator.integers(0, 120, (side, side, 3))
                noise[..., label % 3] += 30 * (1 + label)
                picture = Image.fromarray(noise.astype(np.uint8)).convert(mode)
                picture.save(folder / f"{number}.png")
    return root


def idx(array: np.ndarray) -> bytes:
    return (
        b"\0\0\x08"
        + bytes([array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


def write_set(folder: Path, *, train: int, test: int, side: int = 28, packed: bool = False) -> None:
    rng = np.random.default_rng(5)
    for prefix, count in (("train", train), ("t10k", test)):
        images = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for suffix, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            path = folder / f"{prefix}-{suffix}{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
