"""A repair of timm's augmentation, on the objects that a training uses."""

from collections.abc import Iterator
from typing import Any

from PIL import Image
from timm.data import auto_augment


def mend_posterize(transform: Any) -> None:
    """Let `posterize` keep 0 bits, which is black, where Pillow 12 and later raise.

    `rand-m9-mstd0.5-inc1` asks for it whenever it draws a magnitude of 10: one image in 700, so
    that a training by the paper's recipe would end within its first steps.
    """
    for operation in _operations(transform):
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = _posterize


def _posterize(image: Image.Image, bits: int, **options: Any) -> Image.Image:
    if bits < 1:
        return Image.new(image.mode, image.size)
    posterized: Image.Image = auto_augment.posterize(image, bits, **options)
    return posterized


def _operations(part: Any) -> Iterator[Any]:
    if hasattr(part, "aug_fn"):
        yield part
    for inner in (*_listed(part, "transforms"), *_listed(part, "ops"), *_listed(part, "policy")):
        yield from _operations(inner)
    if isinstance(part, list | tuple):
        for inner in part:
            yield from _operations(inner)


def _listed(part: Any, name: str) -> list[Any]:
    found = getattr(part, name, None)
    return list(found) if isinstance(found, list | tuple) else []
