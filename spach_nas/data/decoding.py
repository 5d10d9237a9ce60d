"""Decodes an image file to 8-bit pixels, upright, by one rule for each way of storing values.

The rule depends on how a file stores its values, never on the content of a single image, so that it
is the same for all images of a set and preserves the order of values:

- 8 bits: unchanged; palettes and CMYK are converted, transparency is dropped;
- 16 bits, 0 to 65,535: the upper 8 bits;
- floats: 0 is black and 1 is white; an image with other values is refused;
- 32-bit integers: refused, because no value of them means white.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from spach_nas.data.images import Pixels
from spach_nas.errors import DataError, one_line
from spach_nas.units import plural

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
# Formats whose 16 bits Pillow returns as 32.
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
# Half a step of 8 bits: resampling may overshoot by this much.
_TOLERANCE = 0.5 / 255
# Number of images whose modes are checked before a set counts as grey.
_LOOKED_AT = 2_000
# 16-bit images whose values stay below this keep less than 6 bits.
_LEAST_TOP = 1 << 14
_MOST_LISTED = 8


class Stored(NamedTuple):
    """How a file stores its image.

    Attributes:
        mode: Pillow's name of the mode.
        top: Highest value of a 16-bit image; 0 for all others.
    """

    mode: str
    top: int = 0


def broken_images(files: Mapping[str, str], *, name: str) -> DataError:
    """An error that lists the first files that cannot be decoded, and counts the others.

    Args:
        files: What is wrong with each, by its path.
        name: Name of the data set.
    """
    lines = [f"{path}: {problem}" for path, problem in list(files.items())[:_MOST_LISTED]]
    if len(files) > len(lines):
        lines.append(f"and {len(files) - len(lines):,} more")
    lines.append(
        f"{name}: {plural(len(files), 'broken image file')}; expected intact files, or "
        "data.skip_broken: true to leave them out"
    )
    return DataError("\n".join(lines))


def decode(
    file: Path | IO[bytes], *, channels: int, draft: int | None = None
) -> tuple[Image.Image, Stored]:
    """Decode an image, rotated as its EXIF says.

    Args:
        file: Path of the file, or its bytes.
        channels: 1 for grey, 3 for RGB.
        draft: Divide the size by this, if the format can be decoded at a smaller size. The whole
            file is read in any case.

    Returns:
        The image, and how the file stores it.

    Raises:
        DataError: It cannot be decoded. The message says why, but not which file it is.
    """
    try:
        with Image.open(file) as image:
            if draft is not None:
                image.draft(_COMMON, (image.width // draft, image.height // draft))
            return upright(image, channels=channels), stored(image)
    # A decoder may raise anything if it meets unexpected bytes.
    except Exception as problem:
        raise DataError(why_unreadable(problem)) from None


def why_unreadable(problem: Exception) -> str:
    """The reason why an image cannot be decoded, in the words of a user."""
    # Pillow names its own buffer, which means nothing to a user.
    return "no image" if isinstance(problem, UnidentifiedImageError) else one_line(problem)


def stored(image: Image.Image) -> Stored:
    """How the file of a loaded image stores it."""
    wide = image.mode.startswith("I")
    return Stored(image.mode, int(np.asarray(image).max()) if wide else 0)


def upright(image: Image.Image, *, channels: int) -> Image.Image:
    """Convert an image of any mode to grey (1 channel) or RGB (3), rotated as its EXIF says.

    The decoder may raise anything.

    Raises:
        ValueError: There is no rule for its values.
    """
    image.load()
    turn = _TURNS.get(_orientation(image))
    image = _of_8_bits(image)
    if image.mode == "P":
        # A palette with transparency is converted correctly only by way of RGBA.
        image = image.convert("RGBA")
    mode = "L" if channels == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    return image if turn is None else image.transpose(turn)


def pixels(image: Image.Image, *, channels: int) -> Pixels:
    """An image of any mode as an array (H, W, C); C is `channels`, 1 or 3.

    Raises:
        ValueError: See `upright`.
    """
    converted = np.asarray(upright(image, channels=channels))
    return converted.reshape(*converted.shape[:2], channels)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    # The pixels are intact, so damaged metadata does not matter.
    except Exception:
        return 1


def _of_8_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _OF_16_BITS):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "I":
        raise ValueError("32-bit integers, of which none means white; expected 8 or 16 bits")
    if image.mode != "F":
        return image
    values = np.asarray(image)
    # Written such that NaN is refused, too.
    if not (values.min() >= -_TOLERANCE and values.max() <= 1 + _TOLERANCE):
        raise ValueError(
            f"floats from {values.min():g} to {values.max():g}; expected floats in [0, 1], where 1 "
            "is white"
        )
    return Image.fromarray((values.clip(0, 1) * 255).round().astype(np.uint8))


def is_grey(image: Image.Image) -> bool:
    """Whether the mode of an image has no colours."""
    return image.mode in _GREY_MODES


def channels_of(files: Sequence[Path]) -> int:
    """1 if no file has a colour mode, otherwise 3. At most 2,000 files are checked, evenly spaced.

    Files that cannot be opened do not count.
    """
    return channels_of_images(_opened(files[i]) for i in evenly(len(files), _LOOKED_AT))


def channels_of_images(images: Iterable[Image.Image | None]) -> int:
    """1 if no image has a colour mode, otherwise 3."""
    votes = {is_grey(image) for image in images if image is not None}
    return 1 if votes == {True} else 3


def _opened(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            return image
    except Exception:  # see `decode`
        return None


def evenly(length: int, most: int) -> list[int]:
    """Up to `most` indices below `length`, evenly spaced."""
    spaced = np.linspace(0, length - 1, min(length, most)).round().astype(int)
    return [int(index) for index in spaced]


def conversions(found: Counter[Stored], *, channels: int) -> str | None:
    """A note on the images that were converted; None if there are none."""
    usual, target = ("grey", "grey") if channels == 1 else ("colour", "RGB")
    counts: Counter[str] = Counter()
    for item, number in found.items():
        counts[_WORDS.get(item.mode, item.mode)] += number
    others = [f"{number:,} {word}" for word, number in counts.items() if word != usual]
    return f"converted to {target}: {', '.join(others)}" if others else None


def check_range(found: Counter[Stored], *, name: str) -> None:
    """Check that 16-bit images use their range: 12-bit data would keep only 16 levels.

    Raises:
        DataError: No image of the set does.
    """
    tops = {item.top: number for item, number in found.items() if item.top}
    top = max(tops, default=_LEAST_TOP)
    if top < _LEAST_TOP:
        raise DataError(
            f"{name}: its {sum(tops.values()):,} 16-bit images go up to {top:,} of 65,535, which "
            f"leaves {(top >> 8) + 1} of 256 levels; expected values that use 16 bits (multiply "
            f"all by {65_535 // top}), or 8-bit images"
        )
