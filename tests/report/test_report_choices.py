"""What each choice did: shares and effects, and the growth."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from feasible_tools import DISTINCT, MULTI_STAGE, costs
from report_tools import view_of
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.cost.limits import Limits
from spach_nas.report import StudyFacts
from spach_nas.report.effects import (
    FEWEST,
    EffectsData,
    choices_table,
    difference,
    effects_data,
    effects_figure,
    effects_section,
)
from spach_nas.report.hypervolume import hypervolume_figure, hypervolume_section
from spach_nas.report.shares import draw_feasible, shares_data, shares_figure, shares_section
from spach_nas.report.view import study_view
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.references import REFERENCES
from spach_nas.space.search_space import SearchSpace
from spach_nas.study.hypervolume import hypervolume_data
from spach_nas.study.records import Record
from study_factory import make_record, make_study

if TYPE_CHECKING:
    pass

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
PLAIN = REFERENCES["conv_ms_xxs"].architecture


def record_of(trial: int, accuracy: float, macs: float, **encoding: Any) -> Record:
    """A trial of its own proxy with just these choices."""
    record = make_record(trial, accuracy, macs=round(macs))
    ids = {"arch_id": f"a{trial}", "proxy_id": f"p{trial}"}
    return replace(record, encoding={k.replace("__", "."): v for k, v in encoding.items()}, **ids)


@cache
def study(
    number: int, seed: int = 0, *, gain: float = 0.0, slope: float = 0.05
) -> tuple[Record, ...]:
    """Deep stages cost twice as much and score as their MACs do; a stem adds `gain`."""
    rng = np.random.default_rng(seed)
    found = []
    for trial in range(number):
        depth, stem = int(rng.integers(1, 3)), str(rng.choice(["conv1", "conv4"]))
        macs = math.exp(rng.normal(21 + 0.7 * depth, 0.5))
        accuracy = 0.5 + slope * (math.log(macs) - 22) + gain * (stem == "conv4")
        noise = float(rng.normal(0, 0.01))
        found.append(
            record_of(trial, accuracy + noise, macs, stage1__depth=depth, stem=stem, shared=False)
        )
    return tuple(found)


def effect_of(data: EffectsData, name: str) -> tuple[float, float, float]:
    (effect,) = (item for item in data.effects if item.choice == name)
    assert effect.change is not None
    # Whichever value most have, the effect is that of the last one.
    sign = 1 if effect.reference < effect.level else -1
    low, high = sorted(sign * end for end in effect.change[1:])
    return sign * effect.change.estimate, low, high


# The estimator


def test_the_interval_is_that_of_the_matrices_written_out() -> None:
    rng = np.random.default_rng(3)
    x, second = rng.normal(22, 1, 30), np.arange(30) < 9
    company = rng.integers(0, 3, 30)
    y = rng.normal(0, 1 + second, 30) + 0.3 * x
    given = [np.ones(30), x - 22, (x - 22) ** 2, company == 1, company == 2, second]
    X = np.column_stack(given).astype(float)
    inverse = np.linalg.inv(X.T @ X)
    M = np.eye(30) - X @ inverse @ X.T
    beta, left = inverse @ X.T @ y, M @ y
    row = (inverse @ X.T)[-1]
    variance = sum(row[i] ** 2 * left[i] ** 2 / M[i, i] for i in range(30))
    G = np.column_stack([M[:, i] * row[i] / math.sqrt(M[i, i]) for i in range(30)])
    eigenvalues = np.linalg.eigvalsh(G.T @ G)
    degrees = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    found = difference(y, x, second=second, classes=company)
    assert found is not None
    assert found.estimate == pytest.approx(beta[-1])
    from scipy.stats import t as student

    assert found.high - found.estimate == pytest.approx(
        student.ppf(0.975, degrees) * math.sqrt(variance)
    )
    assert found.estimate - found.low == pytest.approx(found.high - found.estimate)


@pytest.mark.parametrize(
    ("first", "second", "louder"), [(5, 60, 1), (12, 30, 3), (80, 40, 1)], ids=str
)
def test_intervals_hold_the_truth_nineteen_times_of_twenty(
    first: int, second: int, louder: float
) -> None:
    rng, times = np.random.default_rng(0), 600
    inside = 0
    who = np.arange(first + second) >= first
    for _ in range(times):
        # The second group is dearer, and dearer is better: what a plain mean would confuse.
        x = rng.normal(22 + 0.8 * who, 1)
        y = 0.05 * x - 0.01 * (x - 22) ** 2 + 0.02 * who
        y = y + rng.normal(0, np.where(who, 0.01, 0.01 * louder))
        found = difference(y, x, second=who)
        assert found is not None
        inside += found.low <= 0.02 <= found.high
    assert inside / times == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / times))


def test_groups_that_never_cost_the_same_are_not_compared() -> None:
    x = np.array([1.0] * 10 + [2.0] * 10)
    assert difference(x * 0.1, x, second=x == 2) is None


def test_an_effect_is_found_and_costs_are_not_taken_for_one() -> None:
    data = effects_data(view_of(study(300, gain=0.02)))
    estimate, low, high = effect_of(data, "stem")
    assert low < 0.02 < high
    assert low > 0
    # Deep networks score 3.5 points more, all of it by their MACs.
    estimate, low, high = effect_of(data, "stage1.depth")
    assert low < 0 < high
    assert abs(estimate) < 0.01


def shuffled(records: Sequence[Record], seed: int) -> list[Record]:
    """The same trials with their scores dealt out anew: nothing has an effect."""
    scores = [record.objectives["accuracy"] for record in records]
    random.Random(seed).shuffle(scores)
    return [
        replace(record, objectives={"accuracy": score}, curve=())
        for record, score in zip(records, scores, strict=True)
    ]


def test_where_there_is_no_effect_none_is_found_more_often_than_chance_finds_one() -> None:
    records = study(60, gain=0.02)
    found = [effect_of(effects_data(view_of(shuffled(records, i))), "stem") for i in range(150)]
    missed = sum(not low <= 0 <= high for _, low, high in found)
    assert missed <= 15  # 7.5 are expected


def test_a_loss_falls_where_it_gets_better() -> None:
    records = [
        replace(record, objectives={"loss": 1 - record.objectives["accuracy"]})
        for record in study(200, gain=0.05)
    ]
    data = effects_data(view_of(records, (OBJECTIVES["loss"], TWO[1])))
    _, _, high = effect_of(data, "stem")
    assert high < 0
    names = {trace.name for trace in effects_figure(data).data}
    reference = next(item.reference for item in data.effects if item.choice == "stem")
    assert ("better" if reference == "conv1" else "worse") in names


def test_effects_lead_with_what_was_found() -> None:
    clear = effects_section(view_of(study(200, gain=0.03))).lead
    assert clear.startswith("What changed accuracy beyond chance: stem conv")
    assert "depth" not in clear
    assert "tells a choice from chance" in effects_section(view_of(study(60, seed=3))).lead


def test_values_with_too_few_trials_are_named_and_not_shown() -> None:
    records = study(60, gain=0.02)
    rare = [replace(record, encoding={**record.encoding, "stem": "x"}) for record in records[:4]]
    view = view_of([*rare, *records[4:]])
    effects = {one.level: one for one in effects_data(view).effects if one.choice == "stem"}
    assert effects["x"].trials[0] == FEWEST - 1
    assert effects["x"].change is None
    assert "stem x" in effects_section(view).note
    assert sum(one.change is not None for one in effects.values()) == 1


def test_values_are_compared_where_both_have_been() -> None:
    cheap = [record_of(i, 0.5 + i / 100, 1e9 + i * 1e7, stem="conv1") for i in range(20)]
    dear = [record_of(30 + i, 0.7 + i / 100, 1.15e9 + i * 1e7, stem="conv4") for i in range(25)]
    (effect,) = effects_data(view_of([*cheap, *dear])).effects
    assert (effect.reference, effect.level) == ("conv4", "conv1")
    assert (effect.trials, effect.compared) == ((20, 25), (5, 5))


def test_a_mixer_is_judged_with_its_partner_held_equal() -> None:
    # A stage of one mixer is one architecture whatever its trailing mixer is called, so that the
    # leading mixer tells something about the trailing one, which alone matters here.
    rng, records = np.random.default_rng(0), []
    for trial in range(400):
        leading, trailing = rng.choice(["conv", "mlp"], 2)
        if leading == "mlp" and rng.random() < 0.6:
            trailing = "mlp"
        accuracy = 0.5 + 0.05 * (trailing == "mlp") + rng.normal(0, 0.01)
        mixers = {"stage2__leading": str(leading), "stage2__trailing": str(trailing)}
        records.append(record_of(trial, accuracy, rng.uniform(1e9, 5e9), **mixers))
    data = effects_data(view_of(records))
    leading, low, high = effect_of(data, "stage2.leading")
    assert low < 0 < high
    assert abs(leading) < 0.005
    assert effect_of(data, "stage2.trailing")[0] == pytest.approx(0.05, abs=0.005)


def test_architectures_that_share_a_training_count_once() -> None:
    records = study(40, gain=0.02)
    copies = [
        replace(record, trial=100 + i, arch_id=f"copy{i}") for i, record in enumerate(records)
    ]
    once, twice = effects_data(view_of(records)), effects_data(view_of([*records, *copies]))
    assert effect_of(twice, "stem") == pytest.approx(effect_of(once, "stem"))


def test_seeds_of_an_architecture_are_one_observation() -> None:
    records = study(30)
    again = [
        replace(
            record,
            seed=1,
            trial=100 + record.trial,
            objectives={"accuracy": record.objectives["accuracy"] + 0.02},
        )
        for record in records
    ]
    table = choices_table(view_of([*records, *again]))
    assert table.scores == pytest.approx([r.objectives["accuracy"] + 0.01 for r in records])


def test_a_choice_counts_only_where_it_has_an_effect() -> None:
    stage = Stage(mixers=("conv", "conv"), width=32, heads=1, expansion_ratio=2)
    short = Architecture(stem="conv1", patch_size=4, stages=(stage,))
    longer = replace(short, stem="conv4", stages=(replace(stage, mixers=("mlp",) * 3),))
    encodings = [
        {
            "stem": architecture.stem,
            "stem_width": 64,
            "token_ratio": 0.5,
            "stage1.depth": architecture.stages[0].depth,
            **{f"stage1.block{i}": mixer for i, mixer in enumerate(blocks, 1)},
        }
        for architecture, blocks in ((short, ["conv"] * 3), (longer, ["mlp"] * 3))
    ]
    records = [
        replace(record_of(i, 0.5, 1e9), architecture=architecture, encoding=encoding)
        for i, (architecture, encoding) in enumerate(zip((short, longer), encodings, strict=True))
    ]
    # Another value for what the short one does not feel makes no difference.
    records[0] = replace(
        records[0], encoding={**encodings[0], "stem_width": 32, "token_ratio": 0.25}
    )
    names = {choice.name for choice in choices_table(view_of(records)).choices}
    assert names == {"stem", "stage1.depth", "stage1.block1", "stage1.block2"}


def test_many_numbers_become_ranges_that_hold_them_all() -> None:
    records = [record_of(i, 0.5, 1e9, stage3__depth=4 + i % 13) for i in range(130)]
    (choice,) = choices_table(view_of(records)).choices
    assert choice.levels[0].startswith("4\N{EN DASH}")
    assert choice.levels[-1].endswith("16")
    for level, words in enumerate(choice.levels):
        low, high = map(int, words.split("\N{EN DASH}"))
        values = {4 + i % 13 for i in range(130) if choice.level[i] == level}
        assert values == set(range(low, high + 1))


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
    "one value of everything": [
        replace(record, encoding=study(1)[0].encoding) for record in study(60)
    ],
    "no encoding": [replace(record, encoding=None) for record in study(60)],
    "equal scores": [replace(r, objectives={"accuracy": 0.5}, curve=()) for r in study(60)],
    "equal costs": [replace(r, target_cost=study(1)[0].target_cost) for r in study(60)],
    "names from elsewhere": [
        replace(record, encoding={"stage9.x": i % 2, "stage.": "a", "block1": i, ".": True})
        for i, record in enumerate(study(60))
    ],
    "words and numbers mixed": [
        replace(record, encoding={"stem": ("conv1", 3, True, 2.5)[i % 4]})
        for i, record in enumerate(study(60))
    ],
}


def test_values_of_choices_are_text() -> None:
    hostile = "</b><img src=x>"
    records = [
        replace(record, encoding={"stem": hostile if i % 2 else "conv1"})
        for i, record in enumerate(study(60))
    ]
    figure = str(effects_figure(effects_data(view_of(records))).to_dict())
    assert "&lt;/b&gt;&lt;img" in figure
    assert "<img" not in figure


@pytest.mark.parametrize("case", CASES)
def test_bad_input_makes_words_or_pictures_with_something_in_them(case: str) -> None:
    facts = replace(WITHOUT_SPACE, limits=Limits(max_macs=10**12))
    view = study_view(CASES[case], facts)
    sections = [make(view) for make in (hypervolume_section, shares_section, effects_section)]
    for section in sections:
        assert section.figures or section.missing or section.hidden
        for figure in section.figures.values():
            assert figure.data
            assert "NaN" not in figure.to_json()
    if case in ("one trial", "one value of everything", "no encoding"):
        assert next(section for section in sections if section.id == "effects").hidden


@pytest.mark.parametrize("case", CASES)
def test_figures_of_bad_input_are_made(case: str) -> None:
    view = view_of(CASES[case])
    for figure in (effects_figure(effects_data(view)), shares_figure(shares_data(view))):
        assert figure.to_json()
