"""A space as tables of costs, by which architectures inside bounds are counted and drawn exactly.

Cost depends only on how many blocks of a stage use each mixer; stages with equal numbers form a
class. For each combination of the other choices (stem, widths, ratios ...), the classes of all
stages but the largest are combined into rows. Which classes of the largest stage fit together with
a row is then a single comparison of arrays.

Letters: R rows, K classes of one stage, F measures.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spach_nas.cost.limits import Bound, ProxyLimits
from spach_nas.errors import SearchSpaceError
from spach_nas.feasible.measures import Frame, Latency, Measures, Resolution
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.layouts import MixerCounts, Mixers
from spach_nas.space.search_space import SearchSpace, contexts, effect_names, required_effects
from spach_nas.space.stage_space import Encoding, StageSizes, effects, own_choices
from spach_nas.units import format_count

# With more comparisons (about 10 s) than this, or more rows or combinations to hold in memory,
# architectures are not counted.
MOST_PAIRS = 4_000_000_000
MOST_ROWS = 4_000_000
MOST_CONTEXTS = 50_000
_KEPT_CONTEXTS = 512
_KEPT_STAGES = 65536
_KEPT_SHARES = 512
_MOST_CELLS = 4_000_000  # rows times classes that are compared at once while drawing
_MOST = int(np.iinfo(np.int64).max)

Ints = NDArray[np.int64]
Counts = NDArray[np.object_]  # Python integers: numbers of architectures exceed 64 bits
Indices = NDArray[np.intp]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class CostTable:
    """Classes of arrangements with their cost, for one stage or for several combined.

    Attributes:
        costs: (K, F), one column for each measure.
        numbers: (K,), number of arrangements in each class.
        active: (K,), bits of the global parameters that affect the class.
    """

    costs: Ints
    numbers: Counts
    active: Ints

    def combined(self, other: "CostTable") -> "CostTable":
        """Every class of this table combined with every class of `other`, in row-major order."""
        lines = len(self.costs) * len(other.costs)
        costs = self.costs[:, None] + other.costs[None]
        return CostTable(
            costs=costs.reshape(lines, self.costs.shape[1]),
            numbers=np.multiply.outer(self.numbers, other.numbers).ravel(),
            active=np.bitwise_or.outer(self.active, other.active).ravel(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """The tables for one combination of all choices except depths and mixers.

    Attributes:
        frame: The choices that are fixed.
        classes: For each stage, the class of each line of its table.
        column: Index of the stage with most classes.
        rows: Table of the other stages and the rest of the network, combined.
        columns: Table of the stage with most classes.
        required: Bits of parameters that must have an effect. Without it, the architecture equals
            one of another context and must not be counted twice.
    """

    frame: Frame
    classes: tuple[tuple[MixerCounts, ...], ...]
    column: int
    rows: CostTable
    columns: CostTable
    required: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """The least and the most of each measure, both (F,) and inclusive."""

    low: Ints
    high: Ints

    def ways(self, context: Context) -> Counts:
        """For each row, the number of arrangements of the column stage that fit with it, (R,)."""
        rows, columns = context.rows, context.columns
        ways = np.zeros(len(rows.costs), dtype=object)
        if not ways.size or not len(columns.costs):
            return ways
        # Most rows fit with all classes or with none, as comparing the extremes shows.
        nearest, farthest = rows.costs + columns.costs.min(0), rows.costs + columns.costs.max(0)
        possible = ((nearest <= self.high) & (farthest >= self.low)).all(1)
        certain = ((farthest <= self.high) & (nearest >= self.low)).all(1)
        certain &= (rows.active & context.required) == context.required
        ways[certain] = int(columns.numbers.sum())
        open_ = np.flatnonzero(possible & ~certain)
        # Floats hold whole numbers below 2**53 exactly, and multiply matrices much faster.
        kind = float if int(columns.numbers.sum()) < 2**53 else object
        numbers = columns.numbers.astype(kind)
        # In parts, because a matrix of all rows and classes may exceed memory.
        for part in np.array_split(open_, max(1, len(open_) // 4096)):
            found = self.fits(context, part).astype(kind) @ numbers
            ways[part] = found.astype(np.int64) if kind is float else found
        return ways

    def fits(self, context: Context, rows: Indices) -> NDArray[np.bool_]:
        """Which classes of the column stage fit with which rows, (len(rows), K)."""
        fits = np.ones((len(rows), len(context.columns.costs)), dtype=np.bool_)
        for row, column, low, high in zip(
            context.rows.costs[rows].T, context.columns.costs.T, self.low, self.high, strict=True
        ):
            # The rows' costs are moved to the side of the bound: no array of sums is needed.
            if high < _MOST:
                fits &= column <= (high - row)[:, None]
            if low > 0:
                fits &= column >= (low - row)[:, None]
        # Bits that no stage of a row has must come from the column stage. Rows that lack the same
        # bits share one comparison.
        missing = context.required & ~context.rows.active[rows]
        for bits in set(missing.tolist()) - {0}:
            fits[missing == bits] &= (context.columns.active & bits) == bits
        return fits


class ClassTables:
    """The tables of all contexts of a space, built on first use.

    Attributes:
        space: The search space.
        measures: The measures in the columns of the tables.
        countable: Whether there are few enough architectures to compare them all.
    """

    def __init__(
        self,
        space: SearchSpace,
        bounds: Sequence[Bound],
        *,
        proxy: ProxyLimits | None = None,
        latency: Latency | None = None,
    ) -> None:
        """Prepare the tables for some bounds.

        Raises:
            SearchSpaceError: A cost exceeds a machine word, or no network has the scaled sizes of a
                proxy.
        """
        self.space = space
        self.measures = Measures(space, bounds, proxy=proxy, latency=latency)
        self._effects = effect_names(space)
        self.context = lru_cache(maxsize=_KEPT_CONTEXTS)(self._build)
        self._stage_table = lru_cache(maxsize=None)(self._build_stage_table)
        fixed = (space.parameters.get(name, ()) for name in self.measures.fixed)
        few = math.prod(len(choices) or 1 for choices in fixed) <= MOST_CONTEXTS
        # Contexts are listed in memory, so a space with too many of them is not counted.
        self._contexts: list[Encoding] = list(contexts(space)) if few else []
        self.countable = few and self._few_pairs()

    def __len__(self) -> int:
        return len(self._contexts)

    def box(self, bounds: Iterable[Bound]) -> Box:
        """The bounds, whose measures must be those of the tables, as arrays."""
        low = dict.fromkeys(self.measures.names, 0)
        high = dict.fromkeys(self.measures.names, _MOST)
        for bound in bounds:
            (low if bound.side == "min" else high)[bound.measure] = min(bound.value, _MOST)
        return Box(
            low=np.array([*low.values()], dtype=np.int64),
            high=np.array([*high.values()], dtype=np.int64),
        )

    def count(self, bounds: Iterable[Bound]) -> int:
        """The number of architectures that meet all these bounds."""
        box = self.box(bounds)
        total = 0
        for index in range(len(self)):
            context = self.context(index)
            total += int((box.ways(context) * context.rows.numbers).sum())
        return total

    def _few_pairs(self) -> bool:
        numbers = [len(table.costs) for _, table in self._stage_tables(self._contexts[0])]
        pairs = math.prod(numbers)
        rows = pairs // max(1, *numbers)
        return rows <= MOST_ROWS and len(self._contexts) * pairs <= MOST_PAIRS

    def _build(self, index: int) -> Context:
        values = self._contexts[index]
        frame = self.measures.frame(values)
        stages = self._stage_tables(values)
        # The stage with most classes becomes the columns, which keeps the number of rows small.
        column = max(range(len(stages)), key=lambda i: len(stages[i][0]))
        rows = CostTable(
            costs=self._costs([frame.costs]),
            numbers=np.array([1], dtype=object),
            active=np.zeros(1, dtype=np.int64),
        )
        for i, (_, table) in enumerate(stages):
            rows = rows if i == column else rows.combined(table)
        return Context(
            frame=frame,
            classes=tuple(classes for classes, _ in stages),
            column=column,
            rows=rows,
            columns=stages[column][1],
            required=self._bits(required_effects(self.space, values)),
        )

    def _stage_tables(self, values: Encoding) -> list[tuple[tuple[MixerCounts, ...], CostTable]]:
        frame = self.measures.frame(values)
        return [
            self._stage_table(
                i, sizes, resolutions, required_effects(self.space, values, f"stage{i + 1}.")
            )
            for i, (sizes, resolutions) in enumerate(
                zip(frame.sizes, frame.resolutions, strict=True)
            )
        ]

    def _build_stage_table(
        self,
        i: int,
        sizes: StageSizes,
        resolutions: tuple[Resolution, Resolution],
        required: frozenset[str],
    ) -> tuple[tuple[MixerCounts, ...], CostTable]:
        stage = self.space.stages[i]
        classes = tuple(
            mixers for mixers in stage.mixers.classes(stage.depth) if required <= effects(mixers)
        )
        costs = [
            self.measures.blocks(
                sizes, resolutions, tuple(name for name, n in item.counts for _ in range(n))
            )
            for item in classes
        ]
        # A stage with its own ratio or sharing is not affected by the one for all stages.
        own = {name for name, given in own_choices(stage).items() if given is not None}
        table = CostTable(
            costs=self._costs(costs),
            numbers=np.array([mixers.number for mixers in classes], dtype=object),
            active=np.array(
                [self._bits(effects(mixers) - own) for mixers in classes], dtype=np.int64
            ),
        )
        return classes, table

    def _bits(self, names: frozenset[str]) -> int:
        return sum(1 << i for i, name in enumerate(self._effects) if name in names)

    def _costs(self, costs: Sequence[tuple[int, ...]]) -> Ints:
        most = _MOST // (len(self.space.stages) + 1)  # no sum of these overflows
        if any(value > most for row in costs for value in row):
            raise SearchSpaceError(
                f"limits: a choice of the space costs more than {format_count(most)}; expected "
                "smaller widths, depths or images"
            )
        return np.array(costs, dtype=np.int64).reshape(len(costs), len(self.measures.names))


class UniformDraws:
    """The uniform distribution over the architectures inside some bounds, without rejection.

    First a line (a row of one context) is drawn, in proportion to its number of architectures
    inside the bounds; then a class of the column stage that fits with it; then one arrangement of
    each stage's class.

    Attributes:
        count: Number of architectures. If it is 0, nothing can be drawn.
    """

    def __init__(self, tables: ClassTables, bounds: Sequence[Bound]) -> None:
        self._tables = tables
        self._box = tables.box(bounds)
        self._stage = lru_cache(maxsize=_KEPT_STAGES)(self._build_stage)
        self._column_shares = lru_cache(maxsize=_KEPT_SHARES)(self._find_column_shares)
        indices, rows, weights = [], [], []
        for index in range(len(tables)):
            context = tables.context(index)
            ways = self._box.ways(context) * context.rows.numbers
            kept = np.flatnonzero(ways)
            indices.append(np.full(len(kept), index))
            rows.append(kept)
            weights.append(ways[kept])
        self._context_of, self._row_of = np.concatenate(indices), np.concatenate(rows)
        every = np.concatenate(weights)
        self.count = int(every.sum())
        self._cumulated = np.cumsum(_shares(every))

    def draw(self, number: int, rng: np.random.Generator) -> list[Architecture]:
        """`number` architectures, independent of each other."""
        # Random numbers for all draws come first, so that the grouping below does not affect them.
        lines = _first_above(self._cumulated[None], rng.random(number))
        place = rng.random(number)
        indices, rows = self._context_of[lines], self._row_of[lines]
        columns = np.zeros(number, dtype=np.intp)
        classes = np.zeros((number, len(self._tables.space.stages)), dtype=np.intp)
        # Draws from one context share its tables, which may have to be built.
        for index in np.unique(indices).tolist():
            context = self._tables.context(index)
            own = np.flatnonzero(indices == index)
            for part in np.array_split(
                own, 1 + len(own) * len(context.columns.costs) // _MOST_CELLS
            ):
                fits = self._box.fits(context, rows[part])
                cumulated = np.cumsum(fits * self._column_shares(index), axis=1)
                columns[part] = _first_above(cumulated, place[part])
            classes[own] = _classes(context, rows[own], columns[own])
        return [
            self._build(index, own, rng)
            for index, own in zip(indices.tolist(), classes.tolist(), strict=True)
        ]

    def _find_column_shares(self, index: int) -> Floats:
        return _shares(self._tables.context(index).columns.numbers)

    def _build(self, index: int, classes: Sequence[int], rng: np.random.Generator) -> Architecture:
        context = self._tables.context(index)
        stages = []
        for i, (space, chosen) in enumerate(zip(self._tables.space.stages, classes, strict=True)):
            mixers = space.mixers.draw(context.classes[i][chosen], space.depth, rng)
            stages.append(self._stage(index, i, mixers))
        return replace(context.frame.skeleton, stages=tuple(stages))

    def _build_stage(self, index: int, i: int, mixers: Mixers) -> Stage:
        return self._tables.context(index).frame.sizes[i].with_mixers(mixers)


def _shares(numbers: Counts) -> Floats:
    """Numbers divided by their sum. Numbers of architectures can exceed a float, shares cannot."""
    total = int(numbers.sum()) or 1
    return np.asarray(numbers / total, dtype=np.float64)


def _first_above(cumulated: Floats, place: Floats) -> Indices:
    """Index in each row of the share that a place in [0, 1) falls into.

    Args:
        cumulated: (1, K) for all places, or (len(place), K).
        place: (N,), as fractions of the last entry of a row.
    """
    # Strictly above, so that a share of 0 is never chosen.
    if len(cumulated) == 1:
        return np.asarray(
            np.searchsorted(cumulated[0], place * cumulated[0, -1], side="right"), dtype=np.intp
        )
    return np.asarray((cumulated <= (place * cumulated[:, -1])[:, None]).sum(axis=1), dtype=np.intp)


def _classes(context: Context, rows: Indices, columns: Indices) -> NDArray[np.intp]:
    """The classes of all stages for each drawn line, (N, S)."""
    others = [i for i in range(len(context.classes)) if i != context.column]
    found = np.zeros((len(rows), len(context.classes)), dtype=np.intp)
    found[:, context.column] = columns
    if others:
        shape = [len(context.classes[i]) for i in others]
        found[:, others] = np.stack(np.unravel_index(rows, shape), axis=1)
    return found
