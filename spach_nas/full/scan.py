"""One look at every file of a folder before a training: which are broken, which are in two splits.

A file is decoded at an eighth of its size where its format allows, which still reads all of it.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from spach_nas.data.folder import is_grey
from spach_nas.machine import cores

_COMMON = "RGB"
_WORDS = {
    "L": "grey",
    "1": "black and white",
    "LA": "grey with transparency",
    "RGBA": "colour with transparency",
    "P": "palette",
    "CMYK": "CMYK",
    "I;16": "16 bit",
    "I;16B": "16 bit",
    "I": "32 bit",
    "F": "float",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What the files of the splits are.

    Attributes:
        broken: What is wrong with each file that cannot be read, by its path.
        modes: Number of images by mode, in words; RGB is `colour`.
        doubles: Validation files whose very bytes are a training file, too.
        grey: Whether no image has colours.
    """

    broken: Mapping[str, str]
    modes: Mapping[str, int]
    doubles: tuple[Path, ...]
    grey: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    digest: bytes
    mode: str = ""
    grey: bool = True
    problem: str = ""


def scan(train: Sequence[Path], validation: Sequence[Path] = ()) -> Scan:
    """Read all files, in as many threads as there are cores."""
    paths = [*train, *validation]
    with ThreadPoolExecutor(cores()) as pool:
        looks = list(pool.map(_look, paths))
    seen = {look.digest for look in looks[: len(train)]}
    whole = [look for look in looks if not look.problem]
    return Scan(
        broken={
            str(path): look.problem for path, look in zip(paths, looks, strict=True) if look.problem
        },
        modes=Counter(_WORDS.get(look.mode, look.mode) for look in whole),
        doubles=tuple(
            path
            for path, look in zip(validation, looks[len(train) :], strict=True)
            if look.digest in seen
        ),
        grey=bool(whole) and all(look.grey for look in whole),
    )


def _look(path: Path) -> _Look:
    try:
        data = path.read_bytes()
    except OSError as problem:
        return _Look(digest=str(path).encode(), problem=problem.strerror or str(problem))
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        with Image.open(io.BytesIO(data)) as image:
            mode, grey = image.mode, is_grey(image)
            image.draft(_COMMON, (image.width // 8, image.height // 8))
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        # Pillow tells of the buffer, which nobody knows.
        text = "no image" if "identify image" in str(problem) else str(problem)
        return _Look(digest=digest, problem=text)
    return _Look(digest=digest, mode="colour" if mode == _COMMON else mode, grey=grey)
