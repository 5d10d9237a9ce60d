"""An order of candidates by several objectives, for promotion and for evolution.

Non-dominated sorting, then crowding distance: Deb et al. 2002, "A fast and elitist multiobjective
genetic algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6 (2).
"""

from collections.abc import Sequence

import moocore
import numpy as np


def rank_by_front(points: np.ndarray, *, maximise: Sequence[bool]) -> np.ndarray:
    """Positions of the points, best first.

    Points of earlier fronts come first: nothing dominates front 0, only points of front 0 dominate
    front 1, and so on. Within a front, its ends come first, then less crowded points, and
    repetitions of a point last. Ties keep their order. With one objective, this is the order of the
    values.

    Args:
        points: (N, M), a column for each objective; infinite values are compared, NaN is worse
            than any other.
        maximise: For each objective, whether higher is better.

    Returns:
        (N,), each of 0 to N - 1 once.
    """
    signs = np.where(np.asarray(maximise, bool), -1.0, 1.0)
    costs = np.asarray(points, float).reshape(-1, len(signs)) * signs
    if not len(costs):
        return np.zeros(0, dtype=np.intp)
    # The rank of each value in its column: NaN comes last, after infinity, and equals itself.
    places = np.column_stack(
        [np.unique(column, return_inverse=True)[1].ravel() for column in costs.T]
    )
    _, first, which = np.unique(places, axis=0, return_index=True, return_inverse=True)
    # Dominance depends on ranks alone, and these are finite.
    fronts = moocore.pareto_rank(places[first].astype(float))
    crowding = _crowding(np.where(np.isnan(costs), np.inf, costs)[first], fronts)
    which = which.ravel()
    repeated = first[which] != np.arange(len(costs))
    return np.lexsort((-crowding[which], repeated, fronts[which]))


def _crowding(costs: np.ndarray, fronts: np.ndarray) -> np.ndarray:
    """How far each of N distinct points is from the others of its front, (N,); more is better.

    The sum over the objectives of the gap between both neighbours as a share of the front's
    spread; infinite at the ends.
    """
    total = np.zeros(len(costs))
    for column in costs.T:
        order = np.lexsort((column, fronts))
        values = column[order]
        starts = np.flatnonzero(np.diff(fronts[order], prepend=-1))
        ends = np.append(starts[1:], len(order)) - 1
        gaps = np.zeros(len(order))
        gaps[1:-1] = _difference(values[2:], values[:-2])
        spread = np.repeat(_difference(values[ends], values[starts]), ends - starts + 1)
        # An infinite gap exceeds any share; a finite one is no share of an infinite spread.
        share = np.where(np.isinf(gaps), np.inf, 0.0)
        np.divide(gaps, spread, out=share, where=np.isfinite(spread) & (spread > 0))
        share[starts] = share[ends] = np.inf
        total[order] += share
    return total


def _difference(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """`high - low`; 0 between infinite values that are equal."""
    difference = np.zeros(len(high))
    np.subtract(high, low, out=difference, where=high != low)
    return difference
