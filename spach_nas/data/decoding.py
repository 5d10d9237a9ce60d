"""One image file as pixels of 8 bits: every mode by one rule, upright, its faults named.

The rule goes by how a file stores its values, never by what a single image holds, so that it is the
same for all images of a set and keeps the order of values:

- 8 bits: as they are; palettes and CMYK are looked up, transparency is dropped;
- 16 bits, 0 to 65,535: the upper 8 bits;
- floats: 0 is black and 1 is white, and an image with other values is refused;
- 32-bit integers have no white and are refused.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from spach_nas.data.images import Pixels
from spach_nas.errors import DataError, one_line

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_COMMON = "RGB"
_WORDS = {
    "RGB": "colour",
    "L": "grey",
    "1": "black and white",
    "LA": "grey with transparency",
    "RGBA": "colour with transparency",
    "P": "palette",
    "I;16": "16 bit",
    "I;16L": "16 bit",
    "I;16B": "16 bit",
    "I": "16 bit",
    "F": "float",
}
# Formats whose 16 bits Pillow hands over as 32.
_OF_16_BITS = frozenset({"PNG", "PPM"})
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Half a step of 8 bits: what resampling may overshoot.
_TOLERANCE = 0.5 / 255
# Images whose modes are looked at before a set is called grey.
_LOOKED_AT = 2_000
# 16-bit images that stay below keep less than 6 bits.
_LEAST_TOP = 1 << 14
_MOST_LISTED = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """How a file stores its image.

    Attributes:
        mode: Pillow's.
        top: Highest value of an image of 16 bits; 0 of all others.
    """

    mode: str
    top: int = 0

    @property
    def word(self) -> str:
        """The mode in plain English: `colour`, `grey`, `palette`."""
        return _WORDS.get(self.mode, self.mode)


class BrokenImagesError(DataError):
    """Files that are not whole images.

    Attributes:
        files: What is wrong with each, by its path.
    """

    def __init__(self, files: Mapping[str, str], *, name: str) -> None:
        """Names the first ones and counts the others.

        Args:
            files: What is wrong with each, by its path.
            name: Of the set.
        """
        self.files, self._name = files, name
        listed = [f"{path}: {problem}" for path, problem in list(files.items())[:_MOST_LISTED]]
        if len(files) > len(listed):
            listed.append(f"and {len(files) - len(listed):,} more")
        count = f"{len(files):,} broken image file{'' if len(files) == 1 else 's'}"
        super().__init__(
            "\n".join(
                [
                    *listed,
                    f"{name}: {count}; expected whole ones, or data.skip_broken: true, which "
                    "leaves them out",
                ]
            )
        )

    def with_files_of(self, others: Iterable["BrokenImagesError"]) -> "BrokenImagesError":
        """The same about the files of the others, too."""
        files = dict(self.files)
        for other in others:
            files |= other.files
        return BrokenImagesError(files, name=self._name)


def decode(
    file: Path | IO[bytes], *, channels: int, draft: int | None = None
) -> tuple[Image.Image, Stored]:
    """An image as grey or RGB by `channels`, 1 or 3, upright as its camera says.

    Args:
        file: Its path or bytes.
        channels: 1 or 3.
        draft: Read it at a fraction of its size, where its format allows that; all of it is read
            even so.

    Raises:
        DataError: It is not a whole image; the message says why, not which file.
    """
    try:
        with Image.open(file) as image:
            if draft is not None:
                image.draft(_COMMON, (image.width // draft, image.height // draft))
            return upright(image, channels=channels), stored(image)
    # A decoder may raise anything over bytes that it did not expect.
    except Exception as problem:
        raise DataError(why_unreadable(problem)) from None


def why_unreadable(problem: Exception) -> str:
    """What a decoder raised, as a user should read it."""
    # Pillow names its own buffer, which means nothing to a user.
    return "no image" if isinstance(problem, UnidentifiedImageError) else one_line(problem)


def stored(image: Image.Image) -> Stored:
    """How an image is stored that is loaded already."""
    wide = image.mode.startswith("I")
    return _stored(image.mode, int(np.asarray(image).max()) if wide else 0)


@lru_cache(maxsize=4096)
def _stored(mode: str, top: int) -> Stored:
    # One value for the many images that are alike: a set may have millions.
    return Stored(mode=mode, top=top)


def upright(image: Image.Image, *, channels: int) -> Image.Image:
    """An image of any mode as grey or RGB by `channels`, 1 or 3, upright as its camera says.

    Raises:
        ValueError: Its values have no rule; and whatever its decoder raises.
    """
    image.load()
    turn = _TURNS.get(_orientation(image))
    image = _of_8_bits(image)
    if image.mode == "P":
        # A palette with transparency converts cleanly by way of RGBA only.
        image = image.convert("RGBA")
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    return image if turn is None else image.transpose(turn)


def pixels(image: Image.Image, *, channels: int) -> Pixels:
    """An image of any mode as (H, W, C) with C = `channels`, 1 or 3, upright as its camera says.

    Raises:
        ValueError: See `upright`.
    """
    converted = np.asarray(upright(image, channels=channels))
    return converted.reshape(*converted.shape[:2], channels)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    # The pixels are whole: damaged metadata does not matter.
    except Exception:
        return 1


def _of_8_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _OF_16_BITS):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "I":
        raise ValueError("32-bit integers, which have no white; expected 8 or 16 bits a pixel")
    if image.mode != "F":
        return image
    values = np.asarray(image)
    # NaN compares as neither.
    if not (values.min() >= -_TOLERANCE and values.max() <= 1 + _TOLERANCE):
        raise ValueError(
            f"floats from {values.min():g} to {values.max():g}; expected floats in [0, 1], where 1 "
            "is white"
        )
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))


def is_grey(image: Image.Image) -> bool:
    """Whether the image has no colours by its mode."""
    return image.mode in _GREY_MODES


def channels_of(files: Sequence[Path]) -> int:
    """1 where no file has colours by its mode, else 3; of many files, 2,000 evenly spaced ones.

    Files that cannot be opened do not count.
    """
    return channels_of_images(_opened(files[i]) for i in evenly(len(files), _LOOKED_AT))


def channels_of_images(images: Iterable[Image.Image | None]) -> int:
    """1 where no image has colours by its mode, else 3."""
    votes = {is_grey(image) for image in images if image is not None}
    return 1 if votes == {True} else 3


def _opened(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            return image
    except Exception:  # see `decode`
        return None


def evenly(length: int, most: int) -> list[int]:
    """At most so many indices below `length`, evenly spaced."""
    spaced = np.linspace(0, length - 1, min(length, most)).round().astype(int)
    return [int(index) for index in spaced]


def conversions(found: Iterable[Stored], *, channels: int) -> str | None:
    """A note on what was converted; None: nothing was."""
    usual = "grey" if channels == 1 else "colour"
    counts = Counter(item.word for item in found)
    others = [f"{number:,} {word}" for word, number in counts.items() if word != usual]
    target = "grey" if channels == 1 else "RGB"
    return f"converted to {target}: {', '.join(others)}" if others else None


def check_range(found: Iterable[Stored], *, name: str) -> None:
    """Whether images of 16 bits use them: of 12 bits, 16 levels would be left.

    Raises:
        DataError: None of the set does.
    """
    tops = [item.top for item in found if item.top]
    top = max(tops, default=_LEAST_TOP)
    if top < _LEAST_TOP:
        raise DataError(
            f"{name}: its {len(tops):,} images of 16 bits go up to {top:,} of 65,535, which leaves "
            f"{(top >> 8) + 1} of 256 levels; expected values that use 16 bits (multiply all by "
            f"{65_535 // top}), or images of 8 bits"
        )
