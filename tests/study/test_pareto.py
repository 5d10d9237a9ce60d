from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spach_nas.config.objectives import OBJECTIVES, Objective
from spach_nas.cost.limits import Limits
from spach_nas.errors import StudyError
from spach_nas.study.pareto import best, comparable, dominates, front, hypervolume, knee, value
from spach_nas.study.records import Record
from study_factory import make_record, make_study, with_cost

ACCURACY, MACS, PARAMS, LOSS = (OBJECTIVES[name] for name in ("accuracy", "macs", "params", "loss"))
TWO = (ACCURACY, MACS)

POINTS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12
)


def records_at(points: list[tuple[int, int, int]]) -> list[Record]:
    return [
        with_cost(make_record(trial, accuracy / 10, macs=macs * 10**9), params=params * 10**6)
        for trial, (accuracy, macs, params) in enumerate(points)
    ]


def naive_front(points: list[tuple[int, int, int]]) -> set[int]:
    """Trials that no other beats, by the definition: costs negated, so that more is better."""
    gains = [(accuracy, -macs, -params) for accuracy, macs, params in points]

    def beats(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return all(x >= y for x, y in zip(a, b, strict=True)) and a != b

    return {
        trial
        for trial, gain in enumerate(gains)
        if not any(beats(other, gain) for other in gains) and gains.index(gain) == trial
    }


@given(POINTS)
def test_front_of_three_objectives_follows_the_definition(
    points: list[tuple[int, int, int]],
) -> None:
    members = front(records_at(points), (ACCURACY, MACS, PARAMS))
    assert {record.trial for record in members} == naive_front(points)


@given(POINTS)
def test_front_of_two_objectives_ignores_the_third(points: list[tuple[int, int, int]]) -> None:
    flat = [(accuracy, macs, 1) for accuracy, macs, _ in points]
    members = front(records_at(points), TWO)
    assert {record.trial for record in members} == naive_front(flat)


@given(POINTS)
def test_dominance_agrees_with_the_front(points: list[tuple[int, int, int]]) -> None:
    records = records_at(points)
    for record in front(records, TWO):
        assert not any(dominates(other, record, objectives=TWO) for other in records)


def test_front_is_ordered_by_macs() -> None:
    members = front(make_study(), TWO)
    macs = [record.target_cost.macs for record in members]
    assert macs == sorted(macs)
    assert len(macs) > 3


def test_of_equal_points_the_earliest_trial_stays_whatever_the_order() -> None:
    records = [make_record(trial, 0.8, macs=10**9) for trial in (5, 2, 9)]
    assert [record.trial for record in front(records, TWO)] == [2]


def test_a_record_does_not_dominate_its_equal() -> None:
    first, second = (make_record(trial, 0.8, macs=10**9) for trial in (0, 1))
    assert not dominates(first, second, objectives=TWO)


def test_only_the_highest_rung_is_compared() -> None:
    low = make_record(0, 0.99, macs=1, rung=0)
    high = make_record(1, 0.50, macs=10**9, rung=1)
    assert comparable([low, high]) == (high,)
    assert front([low, high], TWO) == (high,)
    assert best([low, high]) == high


def test_a_failed_record_of_a_higher_rung_decides_nothing() -> None:
    done, failed = make_record(0, 0.5, rung=0), make_record(1, None, rung=2)
    assert comparable([done, failed]) == (done,)


def test_no_complete_record_gives_no_front() -> None:
    for records in ([], [make_record(0, None)]):
        assert front(records, TWO) == ()
        assert best(records) is None
        assert knee(records, TWO) is None
        assert hypervolume(records, TWO, reference={"accuracy": 0, "macs": 1e9}) == 0


def test_scores_that_are_not_finite_stay_out() -> None:
    broken = replace(make_record(0, 0.9, macs=1), objectives={"accuracy": float("nan"), "macs": 1})
    sound = make_record(1, 0.5, macs=10**9)
    assert front([broken, sound], TWO) == (sound,)
    assert best([broken, sound]) == sound


def test_limits_bound_both_sides() -> None:
    records = [make_record(trial, 0.5 + trial / 10, macs=trial * 10**9) for trial in (1, 2, 3, 4)]
    limits = Limits(min_macs=2 * 10**9, max_macs=3 * 10**9)
    assert [record.trial for record in front(records, TWO, limits=limits)] == [2, 3]
    assert best(records, limits=limits).trial == 3


def test_best_is_the_most_accurate_then_the_cheapest_then_the_first() -> None:
    def trials(*points: tuple[float, int]) -> list[Record]:
        return [make_record(i, accuracy, macs=macs) for i, (accuracy, macs) in enumerate(points)]

    assert best(trials((0.8, 1), (0.9, 9), (0.7, 1))).trial == 1
    assert best(trials((0.9, 9), (0.9, 3), (0.9, 5))).trial == 1
    assert best(trials((0.9, 3), (0.9, 3))).trial == 0


def test_a_study_of_the_loss_alone_still_knows_its_accuracy() -> None:
    record = replace(make_record(0, 0.83), objectives={"loss": 0.5})
    assert value(record, ACCURACY) == record.curve[-1].accuracy
    assert value(record, LOSS) == 0.5
    assert best([record]) == record


def test_knee_bulges_most_in_log_macs() -> None:
    # On the chord from 1 to 16 G: 2 G should reach 0.3, 4 G 0.5. In plain MACs it would be 3.
    figures = [(0.1, 1), (0.45, 2), (0.8, 4), (0.85, 8), (0.9, 16)]
    records = [make_record(i, y, macs=x * 10**9) for i, (y, x) in enumerate(figures)]
    assert knee(records, TWO).trial == 2


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=8, unique=True),
    st.lists(st.integers(1, 10**6), min_size=8, max_size=8, unique=True),
)
def test_knee_is_farthest_above_the_chord(macs: list[int], accuracies: list[int]) -> None:
    # Sorted alike, every point is on the front.
    pairs = list(zip(sorted(accuracies)[: len(macs)], sorted(macs), strict=True))
    records = [make_record(i, y / 10**6, macs=x) for i, (y, x) in enumerate(pairs)]
    ends = np.array([[np.log(x), y / 10**6] for y, x in (pairs[0], pairs[-1])])
    spread = np.where(np.ptp(ends, axis=0) > 0, np.ptp(ends, axis=0), 1)
    direction = (ends[1] - ends[0]) / spread
    chosen = knee(records, TWO).trial
    distances = []
    for y, x in pairs:
        along = (np.array([np.log(x), y / 10**6]) - ends[0]) / spread
        # The part of the vector along the normal that points to higher accuracy.
        normal = np.array([-direction[1], direction[0]]) / max(np.linalg.norm(direction), 1e-30)
        distances.append(float(along @ normal))
    assert distances[chosen] == pytest.approx(max(distances), abs=1e-6)


def test_a_point_below_the_chord_is_no_knee() -> None:
    # In log MACs the chord passes 0.4 at 100; 0.11 lies far below it, 0.45 slightly above.
    figures = [(0.1, 10), (0.11, 50), (0.45, 100), (0.7, 1000)]
    records = [make_record(i, y, macs=x) for i, (y, x) in enumerate(figures)]
    assert knee(records, TWO).trial == 2


def test_knee_of_one_or_two_points_is_the_cheapest() -> None:
    records = [make_record(0, 0.9, macs=9), make_record(1, 0.5, macs=4)]
    assert knee(records[:1], TWO).trial == 0
    assert knee(records, TWO).trial == 1


def test_hypervolume_of_a_staircase() -> None:
    records = [
        make_record(0, 0.5, macs=2),
        make_record(1, 0.75, macs=5),
        make_record(2, 0.6, macs=7),
    ]
    # Rectangles down to accuracy 0.25, across to 11 MACs; trial 2 is dominated.
    expected = (0.5 - 0.25) * (11 - 2) + (0.75 - 0.5) * (11 - 5)
    found = hypervolume(records, TWO, reference={"macs": 11, "accuracy": 0.25})
    assert found == pytest.approx(expected)
    swapped = hypervolume(records, (MACS, ACCURACY), reference={"accuracy": 0.25, "macs": 11})
    assert swapped == pytest.approx(expected)


def test_points_beyond_the_reference_point_count_nothing() -> None:
    record = make_record(0, 0.5, macs=20)
    assert hypervolume([record], TWO, reference={"accuracy": 0.25, "macs": 11}) == 0


def test_hypervolume_asks_for_every_coordinate_of_its_reference_point() -> None:
    with pytest.raises(StudyError, match="no value for 'macs'"):
        hypervolume([make_record(0, 0.5)], TWO, reference={"accuracy": 0.1})


def test_best_is_by_the_first_trained_objective() -> None:
    accurate = replace(make_record(0, 0.9), objectives={"loss": 0.5, "params": 5.0})
    sure = replace(make_record(1, 0.8), objectives={"loss": 0.4, "params": 5.0})
    by_loss = (PARAMS, LOSS)
    assert best([accurate, sure], by_loss) == sure
    assert best([accurate, sure], (ACCURACY, LOSS)) == accurate
    assert best([accurate, sure]) == accurate


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)), min_size=1),
    st.permutations([ACCURACY, MACS, PARAMS]),
)
def test_best_and_knee_are_on_the_front(
    figures: list[tuple[int, int, int]], objectives: list[Objective]
) -> None:
    # Whose weights alone are kept; there are many ties.
    records = [
        with_cost(make_record(trial, accuracy / 4, macs=macs), params=params)
        for trial, (accuracy, macs, params) in enumerate(figures)
    ]
    members = front(records, objectives)
    assert best(records, objectives) in members
    assert knee(records, objectives) in members


def test_the_knee_is_in_the_cost_that_the_study_optimises() -> None:
    figures = [(0.1, 1), (0.45, 2), (0.8, 4), (0.85, 8), (0.9, 16)]
    # MACs go the other way round.
    records = [
        with_cost(make_record(i, y, macs=(9 - i) * 10**9), params=x * 10**6)
        for i, (y, x) in enumerate(figures)
    ]
    assert knee(records, (ACCURACY, PARAMS)).trial == 2
