"""How the mixers of one stage may be arranged: as a layout, or freely block by block.

Cost depends only on how many blocks use each mixer, not on their order. So spaces are counted and
sampled by classes of arrangements with equal counts.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np

from spach_nas.errors import ArchitectureError, SpachNasError
from spach_nas.space.choices import CountsFromZero, Names
from spach_nas.validation import Settings

Value = str | int | float | bool
Mixers = tuple[str, ...]


class MixerCounts(NamedTuple):
    """Arrangements of one stage with equal counts.

    Attributes:
        counts: Mixers by name, with their number of blocks.
        number: How many distinct arrangements have these counts.
    """

    counts: tuple[tuple[str, int], ...]
    number: int

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return sum(count for _, count in self.counts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout(Settings):
    """Some blocks of one mixer, then the rest of another: how the paper's hybrids are made."""

    error: ClassVar[type[SpachNasError]] = ArchitectureError

    leading: Names
    """Choices for the mixer of the first blocks."""
    trailing: Names
    """Choices for the mixer of the last blocks."""
    trailing_depth: CountsFromZero | None = None
    """Choices for the number of last blocks, clipped to the depth. Left out: from 0 to the largest
    depth."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every mixer that may occur."""
        return tuple(dict.fromkeys((*self.leading, *self.trailing)))

    def parameters(self, depths: tuple[int, ...]) -> dict[str, tuple[Value, ...]]:
        """Choices of the encoding, by name."""
        return {
            "leading": self.leading,
            "trailing": self.trailing,
            "trailing_depth": self._trailing_depths(depths),
        }

    def arrange(self, values: Mapping[str, Value], depth: int) -> Mixers:
        """The mixers of `depth` blocks under these values."""
        last = min(int(values["trailing_depth"]), depth)
        return (str(values["leading"]),) * (depth - last) + (str(values["trailing"]),) * last

    def describe(self, mixers: Mixers, depths: tuple[int, ...]) -> dict[str, Value] | None:
        """The canonical values that arrange to `mixers`, or None."""
        return _table(self, depths).get(mixers)

    def arrangements(self, depths: tuple[int, ...]) -> Iterator[Mixers]:
        """All distinct arrangements."""
        return iter(_table(self, depths))

    def classes(self, depths: tuple[int, ...]) -> tuple[MixerCounts, ...]:
        """All distinct arrangements, by counts."""
        return tuple(
            MixerCounts(counts, len(members)) for counts, members in _members(self, depths).items()
        )

    def draw(
        self, counts: MixerCounts, depths: tuple[int, ...], rng: np.random.Generator
    ) -> Mixers:
        """One of the arrangements with these counts, uniformly."""
        members = _members(self, depths)[counts.counts]
        return members[rng.integers(len(members))]

    def _trailing_depths(self, depths: tuple[int, ...]) -> tuple[int, ...]:
        return self.trailing_depth or tuple(range(max(depths) + 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class PerBlock(Settings):
    """A free choice for each block; a single name is no choice."""

    error: ClassVar[type[SpachNasError]] = ArchitectureError

    choices: Names

    @property
    def names(self) -> tuple[str, ...]:
        """Every mixer that may occur."""
        return self.choices

    def parameters(self, depths: tuple[int, ...]) -> dict[str, tuple[Value, ...]]:
        """Choices of the encoding, by name."""
        return {f"block{i}": self.choices for i in range(1, max(depths) + 1)}

    def arrange(self, values: Mapping[str, Value], depth: int) -> Mixers:
        """The mixers of `depth` blocks under these values."""
        return tuple(str(values[f"block{i}"]) for i in range(1, depth + 1))

    def describe(self, mixers: Mixers, depths: tuple[int, ...]) -> dict[str, Value] | None:
        """The canonical values that arrange to `mixers`, or None."""
        if len(mixers) not in depths or not set(mixers) <= set(self.choices):
            return None
        # Blocks beyond the depth have no effect and hold the first choice.
        padded = mixers + (self.choices[0],) * (max(depths) - len(mixers))
        return {f"block{i}": name for i, name in enumerate(padded, 1)}

    def arrangements(self, depths: tuple[int, ...]) -> Iterator[Mixers]:
        """All distinct arrangements."""
        for depth in depths:
            yield from itertools.product(self.choices, repeat=depth)

    def classes(self, depths: tuple[int, ...]) -> tuple[MixerCounts, ...]:
        """All distinct arrangements, by counts."""
        return _multisets(self.choices, depths)

    def draw(
        self, counts: MixerCounts, depths: tuple[int, ...], rng: np.random.Generator
    ) -> Mixers:
        """One of the arrangements with these counts, uniformly."""
        blocks = [name for name, count in counts.counts for _ in range(count)]
        return tuple(blocks[i] for i in rng.permutation(len(blocks)))


@lru_cache(maxsize=256)
def _multisets(choices: tuple[str, ...], depths: tuple[int, ...]) -> tuple[MixerCounts, ...]:
    found = []
    for depth in depths:
        for mixers in itertools.combinations_with_replacement(choices, depth):
            # The multinomial coefficient: orders of these blocks.
            counts = Counter(mixers)
            number = math.factorial(depth)
            for count in counts.values():
                number //= math.factorial(count)
            found.append(MixerCounts(tuple(sorted(counts.items())), number))
    return tuple(found)


@lru_cache(maxsize=256)
def _table(layout: Layout, depths: tuple[int, ...]) -> dict[Mixers, dict[str, Value]]:
    """Every distinct arrangement with its canonical values, the first in this order that give it.

    A stage of one mixer has trailing = leading and trailing_depth 0, if these are choices.
    """
    # Tabulated, because several encodings give the same arrangement: with a trailing depth of 0 the
    # trailing mixer has no effect, and depths clip trailing depths.
    choices = layout.parameters(depths)
    encodings = [
        dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())
    ]
    encodings.sort(key=lambda e: (e["trailing_depth"], e["leading"] != e["trailing"]))
    table: dict[Mixers, dict[str, Value]] = {}
    for depth in depths:
        for encoding in encodings:
            table.setdefault(layout.arrange(encoding, depth), encoding)
    return table


@lru_cache(maxsize=256)
def _members(
    layout: Layout, depths: tuple[int, ...]
) -> dict[tuple[tuple[str, int], ...], list[Mixers]]:
    members: dict[tuple[tuple[str, int], ...], list[Mixers]] = {}
    for mixers in _table(layout, depths):
        members.setdefault(tuple(sorted(Counter(mixers).items())), []).append(mixers)
    return members
