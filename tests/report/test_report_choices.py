"""Shares of the mixers and the growth, and both of bad input."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from feasible_tools import DISTINCT, MULTI_STAGE, costs
from report_tools import view_of
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.cost.limits import Limits
from spach_nas.report import StudyFacts
from spach_nas.report.growth import hypervolume_figure, hypervolume_section
from spach_nas.report.shares import draw_feasible, shares_data, shares_figure, shares_section
from spach_nas.report.view import study_view
from spach_nas.space.references import REFERENCES
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.hypervolume import hypervolume_data
from spach_nas.study.records import Record
from study_factory import make_record, make_study

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
PLAIN = REFERENCES["conv_ms_xxs"].architecture


def record_of(trial: int, accuracy: float, macs: float) -> Record:
    """A trial of its own proxy."""
    record = make_record(trial, accuracy, macs=round(macs))
    return replace(record, arch_id=f"a{trial}", proxy_id=f"p{trial}")


@cache
def study(number: int) -> tuple[Record, ...]:
    """Trials that score as their MACs do."""
    rng = np.random.default_rng(0)
    costs = np.exp(rng.normal(22, 0.8, number))
    scores = 0.5 + 0.05 * (np.log(costs) - 22) + rng.normal(0, 0.01, number)
    return tuple(record_of(i, float(scores[i]), float(costs[i])) for i in range(number))


# Shares


def test_shares_are_means_over_the_architectures_that_have_the_stage() -> None:
    rng = random.Random(0)
    layouts = [
        tuple(rng.choice(["conv", "attention", "mlp"]) for _ in range(rng.randint(1, 17)))
        for _ in range(30)
    ]
    records = [
        replace(
            record_of(i, 0.5, 1e9),
            architecture=replace(
                PLAIN, stages=(replace(PLAIN.stages[0], mixers=layout), PLAIN.stages[1])
            ),
        )
        for i, layout in enumerate(layouts)
    ]
    group = {g.name: g for g in shares_data(view_of(records))}["all evaluated"]
    blocks = [Counter(layout) for layout in layouts]
    for name, share in group.shares[0].items():
        expected_share = np.mean([b[name] / b.total() for b in blocks])
        assert share == pytest.approx(expected_share)


def test_groups_stand_in_the_order_of_reading() -> None:
    data = shares_data(view_of(make_study(20)), feasible=draw_feasible(MULTI_STAGE, Limits()))
    names = [group.name for group in data]
    assert names == ["front", "all feasible", "all evaluated", "paper models"]
    for group in data:
        for shares in group.shares:
            assert sum(shares.values()) == pytest.approx(1)
    assert "drawn" in data[1].title
    drawn = shares_figure(data)
    assert len(drawn.data) == 3
    # All have convolutions alone in the first stage, which then says nothing.
    heads = [note.text for note in drawn.layout.annotations]
    assert heads == [f"<b>stage {number}</b>" for number in (2, 3, 4)]


@pytest.mark.parametrize("tight", [False, True], ids=["most are feasible", "few are feasible"])
def test_drawn_architectures_are_uniform_over_the_feasible(tight: bool) -> None:
    every = costs(DISTINCT)
    ordered = sorted(cost.macs for cost in every.values())
    limits = Limits(max_macs=ordered[len(ordered) // (10 if tight else 2)])
    feasible = {a for a, cost in every.items() if limits.allow(cost)}
    drawn = draw_feasible(DISTINCT, limits, seed=1)
    assert set(drawn) <= feasible
    counts = np.array([Counter(drawn)[architecture] for architecture in feasible])
    expected = len(drawn) / len(feasible)
    statistic = ((counts - expected) ** 2 / expected).sum()
    degrees = len(feasible) - 1
    assert abs(statistic - degrees) < 4 * math.sqrt(2 * degrees)


def test_where_nothing_can_be_drawn_nothing_is_shown() -> None:
    assert draw_feasible(MULTI_STAGE, Limits(max_macs=1000)) == ()
    assert draw_feasible(MULTI_STAGE, Limits(max_latency=10**6)) == ()
    blocks = {"depth": {"from": 20, "to": 40}, "width": 64, "mixers": ["conv", "attention", "mlp"]}
    large = SearchSpace.from_dict(
        {"patch_size": 4, "expansion_ratio": [2, 3], "stages": [blocks, blocks, blocks]}
    )
    # Exact tables would take hours, and the time limit of a test would say so.
    assert draw_feasible(large, Limits(max_macs=10**9)) == ()


# Hypervolume


def test_time_is_that_of_all_trainings_of_the_search() -> None:
    records = make_study(10, failed=2)
    data = hypervolume_data(records, TWO)
    assert data is not None
    found = [record for record in records if record.reference is None]
    assert data.training[-1] == pytest.approx(sum(record.seconds for record in found))
    assert len(data.training) == len(data.trials)
    figure = hypervolume_figure(data, against="training")
    assert figure.data[0].x[-1] == pytest.approx(data.training[-1], abs=1e-4)
    assert "(seconds)" in figure.layout.xaxis.title.text


# Bad input

WITHOUT_SPACE = StudyFacts(name="a study")
CASES: dict[str, Sequence[Record]] = {
    "no trial": [],
    "one trial": study(1),
    "all infeasible": [
        replace(r, target_cost=r.target_cost._replace(macs=10**13)) for r in study(9)
    ],
    "all failed": [make_record(i, None) for i in range(4)],
    "no finite score": [
        replace(record, objectives={"accuracy": math.nan}, curve=()) for record in study(9)
    ],
    "equal scores": [replace(r, objectives={"accuracy": 0.5}, curve=()) for r in study(60)],
    "equal costs": [replace(r, target_cost=study(1)[0].target_cost) for r in study(60)],
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_makes_words_or_pictures_with_something_in_them(case: str) -> None:
    facts = replace(WITHOUT_SPACE, limits=Limits(max_macs=10**12))
    view = study_view(CASES[case], facts)
    sections = [make(view) for make in (hypervolume_section, shares_section)]
    for section in sections:
        assert section.figures or section.missing or section.hidden
        for figure in section.figures.values():
            assert figure.data
            assert "NaN" not in figure.to_json()


@pytest.mark.parametrize("case", CASES)
def test_figures_of_bad_input_are_made(case: str) -> None:
    assert shares_figure(shares_data(view_of(CASES[case]))).to_json()
