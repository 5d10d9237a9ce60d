"""The first lines of a page: which network to take, and whether the search was worth it."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from report_tools import view_of
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.paths import shell_word
from spach_nas.report import StudyFacts
from spach_nas.report.front_figure import pareto_data, pareto_figure
from spach_nas.report.page import page_header
from spach_nas.report.summary import picks, worth_words
from spach_nas.report.trial_table import export_command, table_rows
from spach_nas.report.view import study_view
from spach_nas.study.records import Record
from study_factory import make_record

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
FACTS = StudyFacts(
    name="a study", objectives=TWO, corners={"accuracy": (0.1, 1), "macs": (1e10, 0)}
)


def scored(trial: int, accuracy: float, gmacs: float, *, images: int | None = 1600) -> Record:
    record = make_record(trial, accuracy, macs=round(gmacs * 1e9))
    ids = {"arch_id": f"a{trial}", "proxy_id": f"p{trial}"}
    return replace(record, validation_images=images, **ids)


# The knee is trial 1; trial 2 is the cheapest inside of 83.0 - 1.9 %.
FRONT = (scored(0, 0.50, 0.1), scored(1, 0.78, 0.5), scored(2, 0.815, 3), scored(3, 0.83, 9))


def roles(records: Sequence[Record], facts: StudyFacts = FACTS) -> dict[int, tuple[str, ...]]:
    return {pick.trained.record.trial: pick.roles for pick in picks(study_view(records, facts))}


def answer(records: Sequence[Record], facts: StudyFacts = FACTS) -> str:
    return page_header(study_view(records, facts), folder=Path("x"))


def worth(facts: StudyFacts) -> str:
    return worth_words(study_view(FRONT, facts))


def test_best_knee_and_the_cheapest_within_the_noise_of_the_best_are_picked() -> None:
    assert roles(FRONT) == {2: ("when in doubt",), 3: ("best",), 1: ("knee",)}


def test_with_more_images_the_noise_is_smaller() -> None:
    many = [replace(record, validation_images=10**6) for record in FRONT]
    assert roles(many) == {3: ("when in doubt", "best"), 1: ("knee",)}


def test_without_a_known_noise_nobody_is_taken_for_as_good_as_the_best() -> None:
    unknown = [replace(record, validation_images=None) for record in FRONT]
    assert roles(unknown) == {3: ("best",), 1: ("knee",)}


def test_trainings_that_lie_far_apart_widen_the_noise() -> None:
    loud = [replace(scored(4 + i, 0.2 + i / 50, 9.5), arch_id="x", seed=i) for i in range(4)]
    assert roles([*FRONT, *loud])[1] == ("when in doubt", "knee")


def test_a_study_of_the_loss_is_answered_by_the_loss() -> None:
    facts = replace(FACTS, objectives=(OBJECTIVES["loss"], OBJECTIVES["params"]), corners={})
    records = [
        replace(record, objectives={"loss": loss})
        for record, loss in zip(FRONT, (0.2, 0.5, 0.9, 0.7), strict=True)
    ]
    assert roles(records, facts)[0][0] == "best"
    assert "<strong>0.2</strong>" in answer(records, facts)


@pytest.mark.parametrize("name", ["it's", "a b", "$(x)", "-x", "ä#?&"])
def test_commands_are_quoted_for_a_shell(name: str) -> None:
    command = export_command(shell_word(Path(name)), FRONT[0], kept=True)
    words = shlex.split(command)
    assert Path(words[2]) == Path(name)
    assert not words[2].startswith("-")
    assert words[3:] == ["--pick", "a0", "--out", "bundle-a0"]


def test_a_command_without_weights_says_what_it_writes_instead() -> None:
    kept = {("p1", 0), ("p3", 0)}
    facts = replace(FACTS, kept=kept)
    html = answer(FRONT, facts)
    assert "--pick a2 --scale target --out bundle-a2" in html
    assert "--pick a3 --out bundle-a3" in html
    rows = table_rows(study_view(FRONT, facts))
    assert [row.get("kept", False) for row in rows] == [False, True, False, True]
    nothing = answer(FRONT, replace(FACTS, kept=frozenset()))
    assert "are not in the study's folder" in nothing


def test_one_number_has_one_text() -> None:
    # 0.8325 is a half between two texts of one digit.
    records = [scored(0, 0.8325, 1)]
    row = table_rows(view_of(records))[0]
    assert row["text"]["accuracy"] == "83.3 \N{PLUS-MINUS SIGN} 1.8 %"
    assert row["text"]["accuracy"] in answer(records)


def test_the_search_stands_beside_as_many_uniform_architectures() -> None:
    facts = replace(FACTS, sampler="surrogate", startup_trials=2)
    words = worth(facts)
    assert "The 2 uniform random architectures that the search began with" in words
    # Alone, trials 0 and 1 dominate 0.4 * 9.9 + 0.28 * 9.5 of a box of 0.9 * 10.
    assert "accuracy 78.0 \N{PLUS-MINUS SIGN} 2.0 % at best and a hypervolume of 73.6%" in words
    # Trials 2 and 3: 0.715 * 7 + 0.015 * 1.
    assert "the last 2 that it proposed" in words
    assert "a hypervolume of 55.8%" in words
    assert "--baseline" in worth(replace(facts, startup_trials=3))
    assert "is what chance gives" in worth(replace(facts, sampler="random"))


def test_bars_are_on_the_front_and_axes_show_nearly_all_trials() -> None:
    # One member of the front, far above all others.
    others = [scored(1 + i, 0.3 + i / 100, 5 + i / 10) for i in range(8)]
    data = pareto_data(view_of([scored(0, 0.9, 1), *others]))
    (member,) = data.front
    assert member.low < 0.9 < member.high
    assert all(point.low == point.high for point in data.others)
    low, high = pareto_figure(data).layout.yaxis.range
    assert low < 0.3 < member.high < high
    # Of many, a tenth may be left out.
    many = [scored(20 + i, 0.85 + i / 1000, 5) for i in range(30)]
    low, _ = pareto_figure(
        pareto_data(view_of([scored(0, 0.9, 1), *others[:2], *many]))
    ).layout.yaxis.range
    assert low > 0.5
