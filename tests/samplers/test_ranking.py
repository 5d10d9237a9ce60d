import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spach_nas.samplers.ranking import rank_by_front

INF = math.inf


def naive(points: Sequence[Sequence[float]], maximise: Sequence[bool]) -> list[int]:
    """Front after front by comparing all pairs, each by crowding distance as in the paper."""
    costs = [
        tuple(-x if up else x for x, up in zip(point, maximise, strict=True)) for point in points
    ]

    def dominates(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    left, order = set(range(len(costs))), []
    while left:
        front = {i for i in left if not any(dominates(costs[j], costs[i]) for j in left)}
        left -= front
        distinct = sorted({costs[i] for i in front})
        crowding = dict.fromkeys(distinct, 0.0)
        for m in range(len(maximise)):
            line = sorted(distinct, key=lambda cost: (cost[m], cost))
            crowding[line[0]] = crowding[line[-1]] = INF
            spread = line[-1][m] - line[0][m]
            for before, here, after in zip(line, line[1:], line[2:], strict=False):
                if spread > 0:
                    crowding[here] += (after[m] - before[m]) / spread
        seen: set[tuple[float, ...]] = set()
        keys = []
        for i in sorted(front):
            keys.append((costs[i] in seen, -crowding[costs[i]], i))
            seen.add(costs[i])
        order += [i for _, _, i in sorted(keys)]
    return order


# Few values, so that many are equal; of different scales, so that their shares matter.
COLUMNS = [st.integers(0, 9).map(lambda k, s=s: s * k**2) for s in (1.0, 0.125, 1024.0)]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_order_is_that_of_comparing_all_pairs(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 3))
    points = data.draw(st.lists(st.tuples(*COLUMNS[:size]), max_size=25))
    maximise = data.draw(st.lists(st.booleans(), min_size=size, max_size=size))
    found = rank_by_front(np.array(points, float).reshape(-1, size), maximise=maximise)
    assert found.tolist() == naive(points, maximise)


@pytest.mark.parametrize("maximise", [(True, False), (False, False), (True, True)])
def test_many_random_points_are_ordered_as_by_comparing_all_pairs(maximise: list[bool]) -> None:
    # Rounding may break ties between two sums of the same shares: none is a tie here.
    points = np.random.default_rng(7).random((300, 2)) * (0.3, 5e8)
    assert rank_by_front(points, maximise=maximise).tolist() == naive(points.tolist(), maximise)


def test_the_least_crowded_comes_first_by_hand() -> None:
    # accuracy up, macs down; macs spread over 100, accuracy over 0.5.
    points = np.array(
        [
            [0.50, 10.0],  # an end
            [0.85, 80.0],  # (0.20 / 0.5) + (55 / 100) = 0.95
            [0.80, 55.0],  # (0.25 / 0.5) + (50 / 100) = 1.0
            [0.60, 30.0],  # (0.30 / 0.5) + (45 / 100) = 1.05
            [0.55, 40.0],  # dominated
            [1.00, 110.0],  # an end
        ]
    )
    assert rank_by_front(points, maximise=[True, False]).tolist() == [0, 5, 3, 2, 1, 4]


def test_one_objective_is_ordered_by_its_values() -> None:
    points = np.array([[3.0], [7.0], [3.0], [INF], [3.0], [-INF], [7.0], [math.nan]])
    up = rank_by_front(points, maximise=[True]).tolist()
    down = rank_by_front(points, maximise=[False]).tolist()
    assert up == [3, 1, 6, 0, 2, 4, 5, 7]
    assert down == [5, 0, 2, 4, 1, 6, 3, 7]


def test_a_repeated_point_comes_after_its_front() -> None:
    points = np.array([[1.0, 9.0], [1.0, 9.0], [2.0, 5.0], [4.0, 1.0], [9.0, 9.0], [4.0, 1.0]])
    order = rank_by_front(points, maximise=[False, False]).tolist()
    assert order == [0, 3, 2, 1, 5, 4]


def test_infinite_values_are_compared_and_make_no_noise() -> None:
    # Of an infinite spread a finite gap is nothing, and an infinite one all.
    points = np.array(
        [
            [0.90, INF],  # an end
            [0.85, 9.0],  # beside infinity
            [0.80, 6.0],  # (0.85 - 0.60) / 0.7
            [0.60, 5.0],  # (0.80 - 0.30) / 0.7
            [0.30, 4.0],  # beside infinity
            [0.20, -INF],  # an end
            [-INF, -INF],  # dominated
            [0.80, math.nan],  # dominated by what is infinite, too
            [0.80, INF],
        ]
    )
    order = rank_by_front(points, maximise=[True, False]).tolist()
    assert order[:6] == [0, 1, 4, 5, 3, 2]
    assert sorted(order[6:8]) == [6, 8] and order[8] == 7


def test_nothing_and_one_are_in_order() -> None:
    assert rank_by_front(np.zeros((0, 2)), maximise=[True, False]).tolist() == []
    assert rank_by_front(np.array([[math.nan, 1.0]]), maximise=[True, False]).tolist() == [0]


def test_the_order_of_twenty_thousand_follows_their_dominance() -> None:
    rng = np.random.default_rng(3)
    points = rng.random((20_000, 3))
    points[:, 2] = np.round(points[:, 0] + rng.random(20_000), 2)
    order = rank_by_front(points, maximise=[False, False, False])
    assert sorted(order.tolist()) == list(range(20_000))
    place = np.empty(20_000, int)
    place[order] = np.arange(20_000)
    for i in rng.integers(20_000, size=200):
        worse = (points >= points[i]).all(1) & (points > points[i]).any(1)
        assert (place[worse] > place[i]).all()
