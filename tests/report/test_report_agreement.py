"""The report shows scores without training next to those of the trainings that followed."""

import random
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from report_tools import view_of
from spach_nas.report.agreement import agreement_section, agreements, correlation
from spach_nas.study.records import Record
from study_factory import make_architecture, make_record


def study(*, trained: int, score: str = "accuracy", sign: int = 1) -> list[Record]:
    """Thirty trials scored by a supernet, of which the first are also trained."""
    rng = random.Random(3)
    records = []
    for trial in range(30):
        architecture = make_architecture(rng)
        cheap = replace(
            make_record(trial, 0.5, architecture=architecture),
            evaluator="supernet",
            curve=(),
            objectives={score: sign * (0.5 + 0.01 * (trial % 7))},
        )
        records.append(cheap)
        if trial < trained:
            accuracy = 0.7 + 0.01 * (trial % 7) + 0.001 * trial
            records.append(make_record(trial, accuracy, architecture=architecture, rung=1))
    return records


def test_both_scores_stand_side_by_side_with_their_correlation() -> None:
    (found,) = agreements(view_of(study(trained=12)))
    assert (found.evaluator, found.scored, len(found.pairs)) == ("supernet", 30, 12)
    low = [0.01 * (trial % 7) for trial in range(12)]
    high = [0.01 * (trial % 7) + 0.001 * trial for trial in range(12)]
    assert found.tau == pytest.approx(naive_tau_b(low, high))
    assert found.interval is not None and found.interval.low < found.tau <= found.interval.high
    section = agreement_section(view_of(study(trained=12)))
    (figure,) = section.figures.values()
    assert list(figure.data[0].customdata) == list(range(12))
    assert figure.data[0].x[3] == pytest.approx(0.53)
    assert figure.data[0].y[3] == pytest.approx(0.733)
    assert "12 of them" in section.note and f"{found.tau:.2f}" in section.note


def naive_tau_b(first: list[float], second: list[float]) -> float:
    signs = [
        (np.sign(first[i] - first[j]), np.sign(second[i] - second[j]))
        for i, j in combinations(range(len(first)), 2)
    ]
    apart = [sum(sign[i] != 0 for sign in signs) for i in (0, 1)]
    return float(sum(a * b for a, b in signs) / (apart[0] * apart[1]) ** 0.5)


def test_a_score_to_be_minimised_is_turned_round() -> None:
    (found,) = agreements(view_of(study(trained=12, score="loss", sign=-1)))
    assert found.objective.name == "loss"
    assert found.tau is not None and found.tau > 0.5


def test_few_pairs_have_no_correlation() -> None:
    (found,) = agreements(view_of(study(trained=4)))
    assert found.tau is None
    assert "too few" in agreement_section(view_of(study(trained=4))).note
    assert correlation(np.ones(6), np.arange(6.0)) == (None, None)


def test_rungs_of_one_evaluator_are_not_compared() -> None:
    records = [
        make_record(trial, 0.5 + 0.01 * trial, rung=rung) for trial in range(8) for rung in (0, 1)
    ]
    section = agreement_section(view_of(records))
    assert not section.figures and not section.note
