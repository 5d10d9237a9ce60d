"""Draws architectures inside bounds uniformly, many at once and without rejection.

First a line (a row of one context) is drawn, in proportion to its number of architectures inside
the bounds; then a class of the column stage that fits with it; then one arrangement of each stage's
class.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spach_nas.cost.limits import Bound
from spach_nas.feasible.tables import ClassTables, Context, Counts, Indices
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.layouts import Mixers

_KEPT_STAGES = 65536
_KEPT_SHARES = 512
_MOST_CELLS = 4_000_000  # rows times classes that are compared at once

Floats = NDArray[np.float64]


class UniformDraws:
    """The uniform distribution over the architectures inside some bounds.

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
