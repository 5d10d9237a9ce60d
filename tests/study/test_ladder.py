"""Who goes on to the next rung."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from spach_nas.config.evaluation import Fidelity
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.config.search_settings import Level, Rungs
from spach_nas.study.ladder import Ladder
from spach_nas.study.records import Record
from study_factory import make_record

OBJECTIVE_PAIR = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])


def record_of(trial: int, accuracy: float, macs: int, *, rung: int = 0) -> Record:
    record = make_record(trial, accuracy)
    return replace(
        record,
        fidelity=Fidelity(epochs=1 + rung, image_size=(32, 32), data_share=1.0, rung=rung),
        target_cost=record.target_cost._replace(macs=macs),
        objectives={"accuracy": accuracy, "macs": float(macs)},
    )


def ladder(*, levels: int = 1, rank: str = "front", trials: int = 12) -> Ladder:
    rungs = Rungs(levels=tuple(Level(epochs=i + 1) for i in range(levels)), reduction=3, rank=rank)
    return Ladder(rungs, objectives=OBJECTIVE_PAIR, trials=trials)


def climb(found: Ladder, *, closing: bool = False) -> list[int]:
    """Trials that go on now, in order."""
    running: list[tuple[int, int]] = []
    while (record := found.next(running, closing=closing)) is not None:
        running.append((record.trial, record.fidelity.rung + 1))
    return [trial for trial, _ in running]


# Accuracy and MACs: 0, 3 and 5 are the front; 1 is the second best in accuracy alone.
CANDIDATES = [(0.90, 900), (0.89, 950), (0.50, 500), (0.70, 300), (0.60, 700), (0.40, 100)]


def test_one_of_so_many_goes_on_by_its_place_in_the_front() -> None:
    found = ladder()
    for trial, (accuracy, macs) in enumerate(CANDIDATES):
        found.add(record_of(trial, accuracy, macs))
        assert len(climb(found)) == (trial + 1) // 3
    # Both ends of the front, not the two most accurate.
    assert sorted(climb(found)) == [0, 5]


def test_by_one_score_the_most_accurate_go_on() -> None:
    found = ladder(rank="accuracy")
    for trial, (accuracy, macs) in enumerate(CANDIDATES):
        found.add(record_of(trial, accuracy, macs))
    assert climb(found) == [0, 1]


def test_who_went_on_does_not_go_on_again() -> None:
    found = ladder()
    for trial, (accuracy, macs) in enumerate(CANDIDATES):
        found.add(record_of(trial, accuracy, macs))
    found.add(record_of(0, 0.95, 900, rung=1))
    assert climb(found) == [5]
    assert found.next([(5, 1)], closing=False) is None


def test_a_trial_that_fails_at_a_higher_rung_is_not_tried_there_again() -> None:
    found = ladder(rank="accuracy")
    for trial, (accuracy, macs) in enumerate(CANDIDATES):
        found.add(record_of(trial, accuracy, macs))
    found.add(replace(record_of(0, 0.95, 900, rung=1), state="failed", objectives={}))
    assert climb(found) == [1]


def test_higher_rungs_are_served_first() -> None:
    found = ladder(levels=2, rank="accuracy", trials=27)
    for trial in range(9):
        found.add(record_of(trial, 0.5 + trial / 100, 100 + trial))
    for trial in (8, 7, 6):
        found.add(record_of(trial, 0.6 + trial / 100, 100 + trial, rung=1))
    for trial in range(9, 12):
        found.add(record_of(trial, 0.9, 100 + trial))
    following = found.next((), closing=False)
    assert following is not None
    assert (following.trial, following.fidelity.rung) == (8, 1)


def test_at_the_end_the_best_of_a_small_rung_goes_on() -> None:
    found = ladder(trials=2)
    found.add(record_of(0, 0.5, 100))
    found.add(record_of(1, 0.4, 200))
    assert climb(found) == []
    assert climb(found, closing=True) == [0]


def test_models_of_the_paper_always_go_on_and_take_no_place() -> None:
    found = ladder(levels=2)
    found.add(replace(record_of(0, 0.1, 9999), reference="conv_ms_s"))
    assert climb(found) == [0]
    found.add(replace(record_of(0, 0.1, 9999, rung=1), reference="conv_ms_s"))
    assert climb(found) == [0]
    found.add(replace(record_of(0, 0.1, 9999, rung=2), reference="conv_ms_s"))
    assert climb(found, closing=True) == []
    assert not found.may_go_on(replace(record_of(0, 0.1, 9999, rung=2), reference="conv_ms_s"))


@pytest.mark.parametrize("rank", ["front", "accuracy"])
def test_nobody_who_may_not_go_on_ever_does(rank: str) -> None:
    # Naively: try every prefix of a random search.
    rng = np.random.default_rng(4)
    records = [
        record_of(trial, float(rng.integers(1, 30)) / 40, int(rng.integers(1, 30)))
        for trial in range(60)
    ]
    found = ladder(rank=rank, trials=60)
    given_up: set[int] = set()
    went_on: set[int] = set()
    for record in records:
        found.add(record)
        while (following := found.next((), closing=False)) is not None:
            assert following.trial not in given_up
            went_on.add(following.trial)
            found.add(replace(following, fidelity=replace(following.fidelity, rung=1)))
        given_up |= {
            item.trial
            for item in records[: record.trial + 1]
            if item.trial not in went_on and not found.may_go_on(item)
        }
    assert len(went_on) == 20
    assert len(given_up) > 10
    assert _hopeless(records, rank) >= given_up


def _hopeless(records: Sequence[Record], rank: str) -> set[int]:
    """Trials that at least 20 others dominate."""
    chosen = OBJECTIVE_PAIR if rank == "front" else OBJECTIVE_PAIR[:1]

    def gains(record: Record) -> list[float]:
        signs = {"max": 1, "min": -1}
        return [signs[item.direction] * record.objectives[item.name] for item in chosen]

    def dominates(one: Record, other: Record) -> bool:
        pairs = list(zip(gains(one), gains(other), strict=True))
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)

    return {
        record.trial
        for record in records
        if sum(dominates(other, record) for other in records) >= 20
    }
