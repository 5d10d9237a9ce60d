"""Folders of images as people have them."""

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
