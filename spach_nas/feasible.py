"""The architectures inside the limits: counted and sampled exactly, and the way back into them.

Cost depends only on how many blocks of a stage use each mixer. For each combination of the other
choices (stem, widths, ratios ...) all stages but the largest are combined into rows; which classes
of the largest stage fit beside a row is then one comparison of arrays. So sampling rejects nothing,
however tight the limits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from spach_nas.architecture import Architecture
from spach_nas.cost import Cost, blocks_cost, cost, downsample_cost, head_cost, stem_cost
from spach_nas.errors import SearchSpaceError
from spach_nas.layouts import MixerCounts
from spach_nas.limits import Limits
from spach_nas.mixers import MixerSite
from spach_nas.search_space import (
    SearchSpace,
    contexts,
    effect_names,
    required_effects,
    stage_sizes,
)
from spach_nas.stage_space import (
    PER_STAGE,
    Encoding,
    StageSizes,
    effects,
    own_choices,
    pick,
)
from spach_nas.units import format_count

# Above so many comparisons (about 10 s), or combinations to hold in memory, architectures are drawn
# and rejected instead.
_MOST_PAIRS = 4_000_000_000
_MOST_CONTEXTS = 50_000
# Parameters that a context fixes: all but depths and mixers.
_FIXED = ("image_size", "patch_size", "stem", "stem_width", "width", *PER_STAGE)
_MOST_DRAWS = 100_000
_KEPT_CONTEXTS = 512
_DONORS = 4
_SEEN = 500

Ints = NDArray[np.int64]
Counts = NDArray[np.object_]  # Python integers: numbers of architectures outgrow 64 bits


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """Classes of arrangements with their cost; for one stage, or for several combined.

    Attributes:
        costs: (K, F), one column for each bounded field.
        numbers: (K,), how many arrangements each class has.
        felt: (K,), bits of the global parameters that the class feels.
    """

    costs: Ints
    numbers: Counts
    felt: Ints

    def beside(self, other: "_Table") -> "_Table":
        """Every class of this combined with every class of the other, this one first."""
        lines = len(self.costs) * len(other.costs)
        costs = self.costs[:, None] + other.costs[None]
        return _Table(
            costs=costs.reshape(lines, self.costs.shape[1]),
            numbers=np.multiply.outer(self.numbers, other.numbers).ravel(),
            felt=np.bitwise_or.outer(self.felt, other.felt).ravel(),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Context:
    """All choices but depths and mixers fixed: rows of all stages but one, beside that stage.

    Attributes:
        values: The fixed choices.
        classes: For each stage, what the lines of its table stand for.
        column: Index of the stage with most classes.
        rows: The other stages and the rest of the network, combined.
        columns: The stage with most classes.
        required: Bits that must be felt.
    """

    values: Encoding
    classes: tuple[tuple[MixerCounts, ...], ...]
    column: int
    rows: _Table
    columns: _Table
    required: int


class FeasibleSet:
    """The distinct architectures of a space inside the limits.

    Attributes:
        space: The space.
        limits: Bounds on the cost of the target.
        count: How many there are; None where there are too many combinations to compare them all
            and architectures are drawn from the whole space and rejected.

    Raises:
        SearchSpaceError: There are none.
    """

    def __init__(self, space: SearchSpace, limits: Limits) -> None:
        self.space = space
        self.limits = limits
        bounds = [bound for bound in limits.bounds if bound[1:] != (None, None)]
        self._fields = tuple(name for name, _, _ in bounds)
        self._effects = effect_names(space)
        self._most = int(np.iinfo(np.int64).max)
        self._low = np.array([min(low or 0, self._most) for _, low, _ in bounds], dtype=np.int64)
        self._high = np.array(
            [self._most if h is None else min(h, self._most) for _, _, h in bounds], dtype=np.int64
        )
        self._contexts = list(contexts(space)) if _few_contexts(space) else []
        self._context = lru_cache(maxsize=_KEPT_CONTEXTS)(self._build)
        self._stage_table = lru_cache(maxsize=None)(self._build_stage_table)
        self.count: int | None = None
        if self._contexts and self._pairs() <= _MOST_PAIRS:
            self._count()
        elif self._rejected(np.random.default_rng(0)) is None:
            raise self._empty(f"none of {_MOST_DRAWS} drawn meets them")

    def sample(self, seed: int | np.random.Generator) -> Architecture:
        """One architecture, uniformly over all feasible ones."""
        rng = np.random.default_rng(seed)
        if self.count is None:
            found = self._rejected(rng)
            assert found is not None, "feasible architectures were seen before"
            return found
        line = int(np.searchsorted(self._cumulated, rng.random() * self._cumulated[-1], "right"))
        context = self._context(int(self._context_of[line]))
        row = int(self._row_of[line])
        fits = self._fits(context, np.array([row]))[0]
        column = pick(np.where(fits, context.columns.numbers, 0).tolist(), rng)
        return self.space.decode(self._encode(context, row, column, rng))

    def near(self, encoding: Encoding, rng: np.random.Generator) -> Architecture:
        """A feasible architecture near a proposal; the proposal itself when it is feasible.

        From the proposal, one parameter after another is set to that of a feasible architecture
        until the limits are met, then every change that was not needed is taken back. The nearest
        of several such is kept.

        Args:
            encoding: A value for each parameter of the space.
            rng: Source of the order and of the feasible architectures.
        """
        proposed = self.space.decode(encoding)
        if self.limits.allow(cost(proposed)):
            return proposed
        found = [self._towards(encoding, rng) for _ in range(_DONORS)]
        nearest = min(found, key=lambda repaired: self._distance(encoding, repaired))
        return self.space.decode(nearest)

    def _pairs(self) -> int:
        first = self._context(0)
        return len(self._contexts) * len(first.rows.costs) * len(first.columns.costs)

    def _towards(self, encoding: Encoding, rng: np.random.Generator) -> Encoding:
        goal = self.space.encode(self.sample(rng))
        names = [name for name in self.space.parameters if goal[name] != encoding[name]]
        changed = dict(encoding)
        steps = []
        for i in rng.permutation(len(names)):
            changed[names[i]] = goal[names[i]]
            steps.append(names[i])
            if self._allows(changed):
                break
        # Taking one change back may make room for another: until none can be taken back.
        taken_back = True
        while taken_back:
            taken_back = False
            for name in list(steps):
                kept = {**changed, name: encoding[name]}
                if self._allows(kept):
                    changed, taken_back = kept, True
                    steps.remove(name)
        return changed

    def _allows(self, encoding: Encoding) -> bool:
        return self.limits.allow(cost(self.space.decode(encoding)))

    def _distance(self, one: Encoding, other: Encoding) -> float:
        """Sum over the parameters: ordered choices by steps over all steps, others 0 or 1."""
        total = 0.0
        for name, choices in self.space.parameters.items():
            if isinstance(choices[0], str | bool):
                total += one[name] != other[name]
            else:
                steps = abs(choices.index(one[name]) - choices.index(other[name]))
                total += steps / (len(choices) - 1)
        return total

    def _count(self) -> None:
        contexts_, rows, weights, total = [], [], [], 0
        for index in range(len(self._contexts)):
            context = self._context(index)
            ways = self._ways(context) * context.rows.numbers
            kept = np.flatnonzero(ways)
            total += int(ways.sum())
            contexts_.append(np.full(len(kept), index))
            rows.append(kept)
            weights.append(ways[kept])
        if not total:
            raise self._empty("no architecture of the space meets them")
        self.count = total
        self._context_of, self._row_of = np.concatenate(contexts_), np.concatenate(rows)
        # Shares, since the numbers themselves may outgrow a float.
        self._cumulated = np.cumsum((np.concatenate(weights) / total).astype(float))

    def _ways(self, context: _Context) -> Counts:
        """For each row, how many arrangements of the column stage fit beside it."""
        rows, columns = context.rows, context.columns
        nearest, farthest = rows.costs + columns.costs.min(0), rows.costs + columns.costs.max(0)
        ways = np.zeros(len(rows.costs), dtype=object)
        possible = ((nearest <= self._high) & (farthest >= self._low)).all(1)
        certain = ((farthest <= self._high) & (nearest >= self._low)).all(1)
        certain &= (rows.felt & context.required) == context.required
        ways[certain] = int(columns.numbers.sum())
        open_ = np.flatnonzero(possible & ~certain)
        # Floats hold whole numbers below 2**53 exactly, and multiply matrices much faster.
        kind = float if int(columns.numbers.sum()) < 2**53 else object
        numbers = columns.numbers.astype(kind)
        for part in np.array_split(open_, max(1, len(open_) // 4096)):
            found = self._fits(context, part).astype(kind) @ numbers
            ways[part] = found.astype(np.int64) if kind is float else found
        return ways

    def _fits(self, context: _Context, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which classes of the column stage fit beside which rows, (R, K)."""
        fits = np.ones((len(rows), len(context.columns.costs)), dtype=np.bool_)
        for row, column, low, high in zip(
            context.rows.costs[rows].T, context.columns.costs.T, self._low, self._high, strict=True
        ):
            # Bounds moved to the other side: no array of sums is made.
            fits &= column <= (high - row)[:, None]
            fits &= column >= (low - row)[:, None]
        missing = context.required & ~context.rows.felt[rows]
        for bits in set(missing.tolist()) - {0}:
            fits[missing == bits] &= (context.columns.felt & bits) == bits
        return fits

    def _build(self, index: int) -> _Context:
        values = self._contexts[index]
        sizes = stage_sizes(self.space, values)
        side = int(values["image_size"])
        resolutions = [
            (side // int(values["patch_size"]) >> i,) * 2 for i in range(len(self.space.stages))
        ]
        ends = stem_cost(
            str(values["stem"]),
            width=sizes[0].width,
            stem_width=int(values["stem_width"]),
            patch_size=int(values["patch_size"]),
            image_size=(side, side),
            in_channels=self.space.in_channels,
        ).plus(head_cost(sizes[-1].width, resolutions[-1], self.space.num_classes))
        for before, after, resolution in zip(sizes, sizes[1:], resolutions[1:], strict=False):
            ends = ends.plus(downsample_cost(before.width, after.width, resolution))
        stages = [
            self._stage_table(
                i, size, resolution, required_effects(self.space, values, f"stage{i + 1}.")
            )
            for i, (size, resolution) in enumerate(zip(sizes, resolutions, strict=True))
        ]
        column = max(range(len(stages)), key=lambda i: len(stages[i][0]))
        rows = _Table(
            costs=self._columns([ends]),
            numbers=np.array([1], dtype=object),
            felt=np.zeros(1, dtype=np.int64),
        )
        for i, (_, table) in enumerate(stages):
            rows = rows if i == column else rows.beside(table)
        return _Context(
            values=values,
            classes=tuple(classes for classes, _ in stages),
            column=column,
            rows=rows,
            columns=stages[column][1],
            required=self._bits(required_effects(self.space, values)),
        )

    def _build_stage_table(
        self, i: int, size: StageSizes, resolution: tuple[int, int], required: frozenset[str]
    ) -> tuple[tuple[MixerCounts, ...], _Table]:
        stage = self.space.stages[i]
        classes = tuple(
            mixers for mixers in stage.mixers.classes(stage.depth) if required <= effects(mixers)
        )
        costs = [
            blocks_cost(
                dict(mixers.counts),
                site=MixerSite(size.width, resolution, size.heads, size.token_ratio, size.options),
                expansion_ratio=size.expansion_ratio,
                shared=size.shared,
            )
            for mixers in classes
        ]
        # A stage with its own ratio or sharing does not feel the one that all stages share.
        own = {name for name, given in own_choices(stage).items() if given is not None}
        table = _Table(
            costs=self._columns(costs),
            numbers=np.array([mixers.number for mixers in classes], dtype=object),
            felt=np.array(
                [self._bits(effects(mixers) - own) for mixers in classes], dtype=np.int64
            ),
        )
        return classes, table

    def _bits(self, names: frozenset[str]) -> int:
        return sum(1 << i for i, name in enumerate(self._effects) if name in names)

    def _columns(self, costs: Sequence[Cost]) -> Ints:
        rows = [[getattr(item, name) for name in self._fields] for item in costs]
        most = self._most // (len(self.space.stages) + 1)  # no sum of these overflows
        if any(value > most for row in rows for value in row):
            raise SearchSpaceError(
                f"limits: a choice of the space costs more than {format_count(most)}; expected "
                "smaller widths, depths or images"
            )
        return np.array(rows, dtype=np.int64).reshape(len(costs), len(self._fields))

    def _encode(
        self, context: _Context, row: int, column: int, rng: np.random.Generator
    ) -> Encoding:
        """Values for a row and a class of the column stage, arrangements drawn uniformly."""
        others = [i for i in range(len(context.classes)) if i != context.column]
        shape = [len(context.classes[i]) for i in others]
        picked = dict(zip(others, np.unravel_index(row, shape) if shape else (), strict=True))
        picked[context.column] = np.intp(column)
        encoding = dict(context.values)
        for i, stage in enumerate(self.space.stages):
            counts = context.classes[i][int(picked[i])]
            mixers = stage.mixers.draw(counts, stage.depth, rng)
            described = stage.mixers.describe(mixers, stage.depth)
            assert described is not None, "drawn from the same choices"
            encoding |= {f"stage{i + 1}.{name}": value for name, value in described.items()}
            encoding[f"stage{i + 1}.depth"] = counts.depth
        return encoding

    def _rejected(self, rng: np.random.Generator) -> Architecture | None:
        for _ in range(_MOST_DRAWS):
            found = self.space.sample(rng)
            if self.limits.allow(cost(found)):
                return found
        return None

    def _empty(self, what: str) -> SearchSpaceError:
        seen = [cost(self.space.sample(seed)) for seed in range(_SEEN)]
        ranges = ", ".join(
            f"{name} {format_count(min(getattr(item, name) for item in seen))} to "
            f"{format_count(max(getattr(item, name) for item in seen))}"
            for name in ("macs", "params", "activations")
        )
        return SearchSpaceError(
            f"limits: {what} ({self.limits}); a sample of the space has {ranges}"
        )


def _few_contexts(space: SearchSpace) -> bool:
    choices = space.parameters.items()
    fixed = {*_FIXED, *effect_names(space)}
    numbers = (len(values) for name, values in choices if name.rpartition(".")[2] in fixed)
    return math.prod(numbers) <= _MOST_CONTEXTS
