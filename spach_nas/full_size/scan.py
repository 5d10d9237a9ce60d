"""One look at every file of a folder before a training: which are broken, which are in two splits.

A file is decoded at an eighth of its size where its format allows, which still reads all of it.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spach_nas.data.decoding import Stored, decode
from spach_nas.errors import DataError
from spach_nas.machine import cores

_DRAFT = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What the files of the splits are.

    Attributes:
        broken: What is wrong with each file that cannot be read, by its path.
        stored: How the others are stored.
        doubles: Validation files whose very bytes are a training file, too.
    """

    broken: Mapping[str, str]
    stored: Sequence[Stored]
    doubles: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    digest: bytes
    stored: Stored | None = None
    problem: str = ""


def scan(train: Sequence[Path], validation: Sequence[Path] = (), *, channels: int) -> Scan:
    """Read all files as they will be read, in as many threads as there are cores."""
    paths = [*train, *validation]
    with ThreadPoolExecutor(cores()) as pool:
        looks = list(pool.map(partial(_look, channels=channels), paths))
    seen = {look.digest for look in looks[: len(train)]}
    return Scan(
        broken={
            str(path): look.problem for path, look in zip(paths, looks, strict=True) if look.problem
        },
        stored=[look.stored for look in looks if look.stored is not None],
        doubles=tuple(
            path
            for path, look in zip(validation, looks[len(train) :], strict=True)
            if look.digest in seen
        ),
    )


def _look(path: Path, *, channels: int) -> _Look:
    try:
        data = path.read_bytes()
    except OSError as problem:
        return _Look(digest=str(path).encode(), problem=problem.strerror or str(problem))
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        _, stored = decode(io.BytesIO(data), channels=channels, draft=_DRAFT)
    except DataError as problem:
        return _Look(digest=digest, problem=str(problem))
    return _Look(digest=digest, stored=stored)
