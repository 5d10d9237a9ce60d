"""Closed-form cost of many architectures at once, without torch.

Architectures of a search space repeat the same parts. One pass in Python numbers the distinct
parts, the closed forms run once for each of them, and numpy sums up.

Letters: A architectures, S stages of all of them together, M mixers, U distinct parts.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spach_nas.cost.closed_form import (
    Cost,
    blocks_cost,
    cost,
    downsample_cost,
    head_cost,
    stem_cost,
)
from spach_nas.space.architecture import Architecture
from spach_nas.space.mixers import MixerSite, mixer_cost

Integers = NDArray[np.int64]
Part = tuple[Any, ...]

# Stem and head depend on these and on widths; the blocks of a stage depend on these and on mixers.
_FRAME = attrgetter("stem", "stem_width", "patch_size", "image_size", "in_channels", "num_classes")
_SIZES = attrgetter("width", "heads", "expansion_ratio", "token_ratio", "shared", "options")
_PARAMS = Cost._fields.index("params")
_MOST = int(np.iinfo(np.int64).max)


def costs(architectures: Sequence[Architecture]) -> Integers:
    """Cost of each architecture, the same as from `cost`: plain counts, lower is better.

    Args:
        architectures: A architectures with any shapes and mixers.

    Returns:
        (A, 4) counts, the columns in the order of `Cost`'s fields.

    Raises:
        OverflowError: A count exceeds 64 bits.
    """
    if not architectures:
        return np.zeros((0, len(Cost._fields)), dtype=np.int64)
    batch = _read(architectures)
    try:
        total = _ends(batch)
        _add_blocks(total, batch)
    except OverflowError:
        # Python integers have any size. `_table` is cautious, so the sums may still fit; if they
        # do not, numpy raises.
        return np.array([cost(architecture) for architecture in architectures], dtype=np.int64)
    return np.add.reduceat(total, batch.starts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """The distinct parts, and the parts of which each of the S stages consists.

    Attributes:
        starts: Index of the first stage of each architecture, (A,).
        position: Number of a stage within its architecture, (S,).
        last: Whether it is the last one of its architecture, (S,).
        frames: Distinct values of `_FRAME`; `frame` numbers them, (S,).
        sizes: Distinct values of `_SIZES`; `size` numbers them, (S,).
        mixers: Distinct sequences of mixers; `mixer` numbers them, (S,).
    """

    starts: Integers
    position: Integers
    last: Integers
    frames: Sequence[Part]
    frame: Integers
    sizes: Sequence[Part]
    size: Integers
    mixers: Sequence[Part]
    mixer: Integers

    def resolution(self, index: int) -> tuple[int, int]:
        """Height and width of the feature map of one stage."""
        _, _, patch_size, (height, width), _, _ = self.frames[self.frame[index]]
        position = int(self.position[index])
        return (height // patch_size) >> position, (width // patch_size) >> position


def _read(architectures: Sequence[Architecture]) -> _Batch:
    rows = [architecture.stages for architecture in architectures]
    stages = list(chain.from_iterable(rows))
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    last = np.zeros(len(stages), dtype=np.int64)
    last[ends - 1] = 1
    frames, frame = _number(map(_FRAME, architectures), len(rows))
    sizes, size = _number(map(_SIZES, stages), len(stages))
    mixers, mixer = _number((stage.mixers for stage in stages), len(stages))
    return _Batch(
        starts=starts,
        position=np.arange(len(stages)) - np.repeat(starts, lengths),
        last=last,
        frames=frames,
        frame=np.repeat(frame, lengths),
        sizes=sizes,
        size=size,
        mixers=mixers,
        mixer=mixer,
    )


def _ends(batch: _Batch) -> Integers:
    """Cost of the stem or downsampling before each stage, and of the head, (S, 4)."""
    widths, numbers = _number((size[0] for size in batch.sizes), len(batch.sizes))
    width = numbers[batch.size]
    before = np.where(batch.position > 0, np.roll(width, 1), 0)
    first, part = _distinct(batch.frame, batch.position, before, width, batch.last)
    found = [
        _end(batch, int(index), before=widths[before[index]], width=widths[width[index]])
        for index in first
    ]
    return _table(found, most=2 * int(batch.position.max() + 1))[part]


def _end(batch: _Batch, index: int, *, before: Any, width: Any) -> Cost:
    stem, stem_width, patch_size, image_size, in_channels, classes = batch.frames[
        batch.frame[index]
    ]
    resolution = batch.resolution(index)
    if batch.position[index]:
        found = downsample_cost(before, width, resolution)
    else:
        found = stem_cost(
            stem,
            width=width,
            stem_width=stem_width,
            patch_size=patch_size,
            image_size=image_size,
            in_channels=in_channels,
        )
    return found.plus(head_cost(width, resolution, classes)) if batch.last[index] else found


def _add_blocks(total: Integers, batch: _Batch) -> None:
    """Add the cost of all blocks, mixer by mixer, to (S, 4) counts."""
    first, site_of = _distinct(batch.frame, batch.position, batch.size)
    shared = np.array([size[4] for size in batch.sizes])[batch.size]
    most = 2 * int(batch.position.max() + 1) * max(map(len, batch.mixers))
    for name in dict.fromkeys(chain.from_iterable(batch.mixers)):
        repeats = np.array([mixers.count(name) for mixers in batch.mixers])[batch.mixer]
        here = np.flatnonzero(repeats)
        repeats = repeats[here]
        # Only sites that use the mixer: its closed form may not accept others.
        sites, part = np.unique(site_of[here], return_inverse=True)
        found = [_block(batch, int(first[site]), name) for site in sites]
        total[here] += repeats[:, None] * _table([block for block, _ in found], most=most)[part]
        # In a sharing stage all blocks of a mixer have one mixer function between them.
        owned = np.array([params for _, params in found], dtype=np.int64)[part]
        total[here, _PARAMS] -= np.where(shared[here], repeats - 1, 0) * owned


def _block(batch: _Batch, index: int, name: str) -> tuple[Cost, int]:
    """One block of a mixer at the site of a stage, and the mixer function's own parameters."""
    width, heads, expansion_ratio, token_ratio, _, options = batch.sizes[batch.size[index]]
    site = MixerSite(width, batch.resolution(index), heads, token_ratio, options)
    block = blocks_cost({name: 1}, site=site, expansion_ratio=expansion_ratio, shared=False)
    return block, mixer_cost(name, site).params


def _table(found: Sequence[Cost], *, most: int) -> Integers:
    """(U, 4) counts, checked so that the sum of any `most` of them cannot wrap around."""
    if max(map(max, found)) * most > _MOST:
        raise OverflowError("counts beyond 64 bits")
    return np.array(found, dtype=np.int64)


def _number(values: Iterable[Any], length: int) -> tuple[list[Any], Integers]:
    """Distinct values in order of appearance, and the index of each value in them, (length,)."""
    numbers: defaultdict[Any, int] = defaultdict(count().__next__)
    return_numbers = np.fromiter(map(numbers.__getitem__, values), dtype=np.int64, count=length)
    return list(numbers), return_numbers


def _distinct(*columns: Integers) -> tuple[Integers, Integers]:
    """Where each of U distinct rows of small numbers first occurs, (U,), and its index, (S,)."""
    key = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        radix = int(column.max()) + 1
        # A key in mixed radix is faster to compare than rows; it is renumbered before it overflows.
        if (int(key.max()) + 1) * radix > _MOST:
            key = np.unique(key, return_inverse=True)[1]
        key = key * radix + column
    _, first, numbers = np.unique(key, return_index=True, return_inverse=True)
    return first, numbers
