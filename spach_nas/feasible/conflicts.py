"""Explains why no architecture meets the limits: which limit or which pair is impossible."""

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from spach_nas.cost.limits import Bound, Measure, measure_words
from spach_nas.feasible.tables import ClassTables, Ints

# Costs of rows (R, F) and of the classes that go with them (K, F): every sum is an architecture.
Parts = Iterable[tuple[Ints, Ints]]


def conflicts(
    bounds: Sequence[Bound], measures: Sequence[Measure], parts: Callable[[], Parts]
) -> list[str]:
    """A phrase for each limit that excludes everything, or else for each pair that does.

    Args:
        bounds: The limits that are set.
        measures: The measure in each column of the costs.
        parts: All architectures, or a sample of them, as sums.
    """
    costs = _Costs(measures, parts)
    # A limit that is impossible by itself would also appear in pairs, which explain less.
    alone = [phrase for bound in bounds if (phrase := costs.alone(bound))]
    return alone or [
        phrase
        for one, other in itertools.combinations(bounds, 2)
        if (phrase := costs.pair(one, other))
    ]


def every_architecture(tables: ClassTables) -> Parts:
    """All architectures of countable tables. Some occur twice, which does not change extremes."""
    for index in range(len(tables)):
        context = tables.context(index)
        if len(context.rows.costs) and len(context.columns.costs):
            yield context.rows.costs, context.columns.costs


def smallest_conflict(bounds: Sequence[Bound], tables: ClassTables) -> str:
    """A set of limits that excludes everything, but without any one of them does not."""
    kept = list(bounds)
    # Drop each limit without which the others still exclude everything.
    for bound in bounds:
        fewer = [other for other in kept if other != bound]
        if not tables.count(fewer):
            kept = fewer
    without = ", ".join(
        f"{tables.count(other for other in kept if other != bound):,} without {bound.name}"
        for bound in kept
    )
    return f"{_listed(kept)} together exclude everything: there are {without}"


class _Costs:
    """The extremes of the costs of all architectures, or of those that meet a limit."""

    def __init__(self, measures: Sequence[Measure], parts: Callable[[], Parts]) -> None:
        self._column = {measure: i for i, measure in enumerate(measures)}
        self._parts = parts

    def alone(self, bound: Bound) -> str | None:
        """Why a limit excludes everything by itself."""
        low = self._extreme(bound.measure, -1, None)
        high = self._extreme(bound.measure, 1, None)
        assert low is not None and high is not None, "no space is empty"
        if bound.holds(high if bound.side == "min" else low):
            return None
        low_words, high_words = (measure_words(bound.measure.field, end) for end in (low, high))
        what = f"{low_words} to {high_words} {_noun(bound.measure)}"
        return f"{_value(bound)} excludes everything: architectures have {what}"

    def pair(self, one: Bound, other: Bound) -> str | None:
        """Why two limits exclude each other."""
        # Of the architectures that meet one limit, the one nearest to the other, and conversely.
        best = self._extreme(other.measure, _wanted(other), one)
        if best is None or other.holds(best):
            return None
        back = self._extreme(one.measure, _wanted(one), other)
        assert back is not None, "no limit excludes everything by itself"
        both = f"{_value(one)} and {_value(other)} exclude each other"
        if one.measure == other.measure:
            low, high = sorted((best, back))
            return f"{both}: the nearest have {low:,} and {high:,} {_noun(one.measure)}"
        return (
            f"{both}: {_phrase(one)} come with {_phrase(other._replace(value=best), turned=True)}, "
            f"{_phrase(other)} with {_phrase(one._replace(value=back), turned=True)}"
        )

    def _extreme(self, measure: Measure, sign: int, given: Bound | None) -> int | None:
        """The most (sign 1) or least (sign -1) of a measure, of all architectures in a limit."""
        column = self._column[measure]
        found: int | None = None
        for rows, columns in self._parts():
            best = _most(
                sign * rows[:, column],
                sign * columns[:, column],
                *self._slack(rows, columns, given),
            )
            if best is not None and (found is None or best > found):
                found = best
        return None if found is None else sign * found

    def _slack(self, rows: Ints, columns: Ints, given: Bound | None) -> tuple[Ints, Ints]:
        """Row and column parts of a number that is at least 0 if a limit is met."""
        if given is None:
            return np.zeros(len(rows), np.int64), np.zeros(len(columns), np.int64)
        i, sign = self._column[given.measure], 1 if given.side == "min" else -1
        value = min(given.value, int(np.iinfo(np.int64).max))  # a limit may exceed 64 bits
        return sign * (rows[:, i] - value), sign * columns[:, i]


def _most(rows: Ints, columns: Ints, row_slack: Ints, column_slack: Ints) -> int | None:
    """The largest row + column of those whose slacks sum to at least 0."""
    order = np.argsort(column_slack)
    # The classes that are possible with a row are those from some place in this order on. Their
    # largest values, one per place, avoid comparing all pairs.
    largest = np.maximum.accumulate(columns[order][::-1])[::-1]
    places = np.searchsorted(column_slack[order], -row_slack)
    some = places < len(order)
    if not some.any():
        return None
    return int((rows[some] + largest[places[some]]).max())


def _wanted(bound: Bound) -> int:
    return 1 if bound.side == "min" else -1


def _noun(measure: Measure) -> str:
    noun = {"macs": "MACs", "latency": "of latency"}.get(measure.field, measure.field)
    return noun if measure.of == "limits" else f"{noun} of the proxy"


def _phrase(bound: Bound, *, turned: bool = False) -> str:
    """`at least 12G MACs`, or if turned, `at most 12G MACs`."""
    least = (bound.side == "min") != turned
    return f"at {'least' if least else 'most'} {bound.words} {_noun(bound.measure)}"


def _value(bound: Bound) -> str:
    return f"{bound.name} {bound.words}"


def _listed(bounds: Sequence[Bound]) -> str:
    names = [_value(bound) for bound in bounds]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
