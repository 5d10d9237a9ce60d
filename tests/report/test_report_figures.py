import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from plotly import graph_objects as go

from report_tools import view_of
from spach_nas.config.objectives import OBJECTIVES, Direction, Objective
from spach_nas.cost.limits import Limits
from spach_nas.report.curves import curves_data, curves_figure
from spach_nas.report.front_figure import (
    COSTS,
    pareto_data,
    pareto_figure,
    place_labels,
    study_axes,
)
from spach_nas.report.growth import box_words, hypervolume_figure
from spach_nas.report.page import spent, spent_section
from spach_nas.report.shares import shares_data, shares_figure
from spach_nas.report.summary import conclusion, meaning, paper_models
from spach_nas.report.trial_table import failures, table_rows
from spach_nas.space.architecture import Architecture, Stage
from spach_nas.space.references import REFERENCES
from spach_nas.study.hypervolume import hypervolume_data
from spach_nas.study.pareto import front, hypervolume
from spach_nas.study.records import Record
from study_factory import make_record, make_study

TWO = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
STUDY = make_study(30)
LIMITS = Limits(max_macs=9 * 10**9)


def traces(figure: go.Figure) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for trace in figure.to_plotly_json()["data"] if trace.get("name")}


@pytest.mark.parametrize("axis", COSTS, ids=lambda axis: axis.name)
def test_every_complete_trial_is_in_the_picture_once(axis: Objective) -> None:
    data = pareto_data(view_of(STUDY, limits=LIMITS), axis)
    found = [point.trial for group in (data.front, data.others, data.beyond) for point in group]
    paper = [point.trial for point in data.references]
    complete = {record.trial for record in STUDY if record.state == "complete"}
    assert sorted({*found, *paper}) == sorted(complete)
    assert len(found) + len(paper) == len(complete)


@pytest.mark.parametrize("axis", COSTS, ids=lambda axis: axis.name)
def test_the_line_is_the_front_of_the_two_figures_shown(axis: Objective) -> None:
    data = pareto_data(view_of(STUDY), axis)
    expected = front(STUDY, (TWO[0], axis))
    assert {point.trial for point in data.front} == {record.trial for record in expected}
    xs, ys = [point.x for point in data.front], [point.y for point in data.front]
    assert xs == sorted(xs)
    assert ys == sorted(ys)


def test_points_over_a_limit_are_apart_and_off_the_front() -> None:
    data = pareto_data(view_of(STUDY, limits=LIMITS))
    assert data.beyond
    assert all(point.x > LIMITS.max_macs for point in data.beyond)
    assert all(point.x <= LIMITS.max_macs for point in (*data.front, *data.others))
    stars = {point.name: point.within for point in data.references}
    assert stars == {"conv_ms_s": True, "trans_ms_s": True, "mlp_ms_s": True, "hybrid_ms_s": False}
    assert data.limits == (("max_macs", 9 * 10**9),)


def test_a_study_of_the_loss_is_drawn_with_the_loss() -> None:
    data = pareto_data(view_of(STUDY, (OBJECTIVES["loss"], OBJECTIVES["macs"])))
    ys = [point.y for point in data.front]
    assert ys == sorted(ys, reverse=True)
    assert pareto_figure(data).layout.yaxis.title.text == "validation loss"


@pytest.mark.parametrize("axis", COSTS, ids=lambda axis: axis.name)
def test_the_view_holds_front_paper_models_and_near_limits(axis: Objective) -> None:
    limits = Limits(max_macs=12_300_000_000, max_params=70_000_000)
    data = pareto_data(view_of(STUDY, limits=limits), axis)
    layout = pareto_figure(data).layout
    low, high = (10**end for end in layout.xaxis.range)
    bottom, top = layout.yaxis.range
    for point in (*data.front, *data.references):
        assert low < point.x < high
        assert bottom < point.y < top
    assert all(low < bound < high for _, bound in data.limits)
    assert len(layout.shapes) == len(data.limits)


def test_a_limit_line_and_its_words_stand_at_the_same_place() -> None:
    layout = pareto_figure(pareto_data(view_of(STUDY, limits=LIMITS))).layout
    words = next(note for note in layout.annotations if "max_macs" in note.text)
    assert words.text == "max_macs 9G"
    assert 10**words.x == pytest.approx(layout.shapes[0].x0)


def test_diverged_trials_do_not_squeeze_the_front() -> None:
    low = [make_record(100 + i, 0.1 + i / 100, macs=5 * 10**9) for i in range(3)]
    data = pareto_data(view_of((*STUDY, *low)))
    layout = pareto_figure(data).layout
    assert layout.yaxis.range[0] > 0.5
    assert any(note.text.startswith("3 worse points outside") for note in layout.annotations)


def test_one_trial_makes_a_picture() -> None:
    data = pareto_data(view_of([make_record(0, 0.5)]))
    low, high = pareto_figure(data).layout.xaxis.range
    assert low < math.log10(data.front[0].x) < high


def test_names_of_neighbours_do_not_cover_each_other() -> None:
    points = np.array([(x, 0.5) for x in (0.48, 0.49, 0.50)])
    sides = place_labels(points, ["conv_ms_s", "mlp_ms_s", "trans_ms_s"], markers=points)
    assert len(set(sides)) == 3


def test_names_stay_inside_the_picture() -> None:
    at_left, at_right = place_labels(
        np.array([(0.0, 0.5), (1.0, 0.5)]), ["conv_ms_s"] * 2, markers=np.empty((0, 2))
    )
    assert at_left[0] == 1
    assert at_right[0] == -1


def test_a_name_covers_a_line_sooner_than_a_marker() -> None:
    point = np.array([(0.5, 0.5)])
    around = np.array([(x, y) for x in (0.45, 0.5, 0.55) for y in (0.45, 0.5, 0.55)])
    right = around[:, 0] > 0.5
    (side,) = place_labels(point, ["best"], markers=around[~right], lines=around[right])
    assert side == (1, 0)


def test_hypervolume_grows_to_that_of_what_was_found() -> None:
    data = hypervolume_data(STUDY, TWO)
    found = [record for record in STUDY if record.reference is None]
    box = math.prod(abs(data.ideal[name] - data.reference[name]) for name in data.reference)
    complete = [record for record in found if record.state == "complete"]
    expected = hypervolume(complete, TWO, reference=data.reference) / box
    assert data.shares[-1] == pytest.approx(expected)
    assert list(data.shares) == sorted(data.shares)
    assert data.trials == tuple(range(len(found) + 1))
    assert 0 < data.paper < 1


def test_hypervolume_after_each_trial_is_that_of_the_trials_so_far() -> None:
    data = hypervolume_data(STUDY, TWO)
    box = math.prod(abs(data.ideal[name] - data.reference[name]) for name in data.reference)
    found = [record for record in STUDY if record.reference is None]
    for done in (1, 7, 19):
        so_far = [record for record in found[:done] if record.state == "complete"]
        expected = hypervolume(so_far, TWO, reference=data.reference) / box
        assert data.shares[done] == pytest.approx(expected)


def test_the_reference_point_is_the_worst_and_is_written() -> None:
    records = [make_record(0, 0.5, macs=2 * 10**9), make_record(1, 0.75, macs=7 * 10**9)]
    data = hypervolume_data(records, TWO)
    assert data.reference == {"accuracy": 0.5, "macs": 7e9}
    assert data.ideal == {"accuracy": 0.75, "macs": 2e9}
    words = box_words(data, fixed=False)
    assert "50.0%, target MACs 7G (the worst found" in words
    assert "Ideal: validation accuracy 75.0%, target MACs 2G." in words


@pytest.mark.parametrize("accuracies", [[], [None], [0.5]])
def test_without_two_points_there_is_no_hypervolume(accuracies: list[float | None]) -> None:
    records = [make_record(i, accuracy) for i, accuracy in enumerate(accuracies)]
    assert hypervolume_data(records, TWO) is None


def test_curves_are_those_of_the_front() -> None:
    data = curves_data(view_of(STUDY))
    members = front(STUDY, TWO)
    assert [curve.member for curve in data] == list(members)
    for curve, record in zip(data, members, strict=True):
        assert curve.accuracy == tuple(epoch.accuracy for epoch in record.curve)
    assert len(traces(curves_figure(data))) == 0  # named by the colour bar, not a legend


def test_the_curve_of_a_promoted_trial_joins_its_rungs() -> None:
    first = make_record(0, 0.5, rung=0, epochs=2)
    rest = make_record(0, 0.8, rung=1, epochs=5)
    short = rest.curve[2:]
    object.__setattr__(rest, "curve", short)
    (curve,) = curves_data(view_of([first, rest]))
    assert curves_figure([curve]).data[0].x == (1, 2, 3, 4, 5)
    assert curve.accuracy == tuple(epoch.accuracy for epoch in (*first.curve, *short))


def test_shares_are_means_over_architectures() -> None:
    def record(trial: int, *layouts: tuple[str, ...], accuracy: float) -> Record:
        stages = tuple(
            Stage(mixers=mixers, width=32 * 2**i, heads=1, expansion_ratio=2)
            for i, mixers in enumerate(layouts)
        )
        architecture = Architecture(stem="conv1", patch_size=4, stages=stages)
        return make_record(trial, accuracy, macs=10**9, architecture=architecture)

    records = [
        record(0, ("conv",), ("conv",) * 3 + ("mlp",), accuracy=0.9),
        record(1, ("conv",), ("attention",), accuracy=0.5),
    ]
    data = shares_data(view_of(records))
    groups = {group.name: group for group in data}
    assert groups["front"].title == "front (1)"
    assert groups["front"].shares[1] == {"conv": 0.75, "mlp": 0.25}
    assert groups["all evaluated"].shares[1] == {"conv": 0.375, "mlp": 0.125, "attention": 0.5}
    bars = traces(shares_figure(data))
    assert list(bars) == ["conv", "attention", "mlp"]
    # The first stage, with one mixer everywhere, says nothing.
    assert list(bars["mlp"]["x"]) == [0.25, 0.125]


@pytest.mark.parametrize("study", [STUDY, make_study(3, references=())])
def test_shares_of_a_stage_add_up(study: tuple[Record, ...]) -> None:
    for group in shares_data(view_of(study)):
        for shares in group.shares:
            assert sum(shares.values()) == pytest.approx(1)


def test_figures_of_an_empty_study_are_empty() -> None:
    assert not pareto_figure(pareto_data(view_of([]))).data
    assert not curves_figure(curves_data(view_of([]))).data
    assert not shares_figure(shares_data(view_of([]))).data
    assert hypervolume_figure(hypervolume_data(STUDY, TWO)).data


def test_rows_keep_the_highest_rung_and_all_the_time() -> None:
    records = [
        make_record(0, 0.5, rung=0),
        make_record(0, 0.7, rung=1),
        make_record(1, None),
        make_record(2, 0.4, rung=0),
    ]
    first, failed, stopped = table_rows(view_of(records))
    assert (first["accuracy"], first["front"]) == (0.7, True)
    assert first["note"] == "front · best, knee"
    assert first["seconds"] == pytest.approx(2 * records[0].seconds, abs=0.02)
    assert (failed["failed"], failed["accuracy"]) == (True, None)
    assert (stopped["accuracy"], "front" in stopped) == (0.4, False)


def scored(
    trial: int, accuracy: float, *, macs: int, images: int = 1600, reference: str | None = None
) -> Record:
    record = make_record(trial, accuracy, macs=macs, reference=reference)
    return replace(record, validation_images=images)


def test_conclusion_counts_what_the_search_dominates_beyond_chance() -> None:
    paper = [
        scored(0, 0.60, macs=5 * 10**9, reference="conv_ms_s"),
        scored(1, 0.69, macs=5 * 10**9, reference="trans_ms_s"),
        scored(2, 0.80, macs=5 * 10**9, reference="mlp_ms_s"),
    ]
    found, lost = scored(3, 0.70, macs=4 * 10**9), make_record(4, None)
    assert conclusion(view_of([*paper, found, lost])) == (
        "2 trials done (1 failed), 2 on the front; best accuracy 80.0 \N{PLUS-MINUS SIGN} 2.0 % at "
        "5G MACs (paper model mlp_ms_s). Of 3 paper models trained by the same protocol, the "
        "search dominates 1, is level with 1 and falls short of 1. Level means: a better accuracy "
        "at no higher cost, but within what chance explains with 1,600 validation images."
    )
    better = scored(3, 0.95, macs=2 * 10**9)
    assert conclusion(view_of([*paper, better])).endswith(
        "The search dominates all 3 paper models trained by the same protocol, with 40% of their "
        "MACs or less."
    )
    level = scored(3, 0.805, macs=5 * 10**9)
    assert "is level with the paper model" in conclusion(view_of([paper[2], level]))
    assert "dominates none of the 3" in conclusion(view_of(paper))


def test_without_counted_images_nothing_is_dominated_for_sure() -> None:
    model = make_record(0, 0.5, macs=5 * 10**9, reference="conv_ms_s")
    words = conclusion(view_of([model, make_record(1, 0.9, macs=10**9)]))
    assert "is level with the paper model" in words
    assert "the number of validation images is not" in words


def test_a_difference_has_to_be_beyond_the_spread_of_trainings_too() -> None:
    model = scored(0, 0.800, macs=5 * 10**9, images=10**6, reference="conv_ms_s")
    found = scored(1, 0.805, macs=4 * 10**9, images=10**6)
    assert paper_models(view_of([model, found])).beaten == 1
    # Two trainings of one network that lie a point apart.
    loud = [
        replace(
            scored(2 + seed, 0.6 + seed / 100, macs=10**9, images=10**6), arch_id="x", seed=seed
        )
        for seed in (0, 1)
    ]
    assert paper_models(view_of([model, found, *loud]))[:2] == (0, 1)


def test_a_paper_model_over_the_limits_beats_nobody_but_can_be_beaten() -> None:
    model = scored(0, 0.9, macs=20 * 10**9, reference="hybrid_ms_s")
    records = [model, scored(1, 0.95, macs=3 * 10**9)]
    view = view_of(records, limits=Limits(max_macs=12 * 10**9))
    assert (len(view.paper), paper_models(view).beaten, len(view.front)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], "No trial is finished yet."),
        ([make_record(0, None)], "none is complete; see Failures for the reasons"),
        ([make_record(0, 0.5, macs=20 * 10**9)], "none is complete within the limits"),
        ([make_record(0, math.nan)], "none has a finite score"),
    ],
    ids=["none", "failed", "over the limits", "not finite"],
)
def test_conclusion_of_nothing_says_so(records: list[Record], expected: str) -> None:
    limits = Limits(max_macs=12 * 10**9)
    assert expected in conclusion(view_of(records, limits=limits))


def test_meaning_says_whether_proxies_were_trained() -> None:
    proxies = meaning(view_of(STUDY))
    assert "small proxies" in proxies
    assert "not the ImageNet accuracy" in proxies
    record = make_record(0, 0.5)
    object.__setattr__(record, "proxy_id", record.arch_id)
    assert "the targets themselves" in meaning(view_of([record]))


def test_meaning_says_how_many_seeds() -> None:
    assert "trained once" in meaning(view_of(STUDY))
    seeds = [make_record(0, 0.5, seed=0), make_record(0, 0.6, seed=1)]
    assert "several seeds" in meaning(view_of(seeds))


def trained(trial: int, accuracies: dict[int, float], *, macs: int, stem: str) -> list[Record]:
    """An architecture trained with several seeds."""
    plain = REFERENCES["conv_ms_xxs"].architecture
    return [
        make_record(
            trial, accuracy, macs=macs, architecture=replace(plain, stem=stem), seed=seed, epochs=2
        )
        for seed, accuracy in accuracies.items()
    ]


# Its best training beats the other architecture, its mean does not.
LUCKY = trained(0, {3: 0.50, 5: 0.90, 8: 0.58}, macs=3 * 10**9, stem="conv1")
STEADY = trained(1, {3: 0.70, 5: 0.74}, macs=2 * 10**9, stem="conv4")


def test_an_architecture_of_several_seeds_stands_at_their_mean() -> None:
    data = pareto_data(view_of([*LUCKY, *STEADY]))
    assert [point.trial for point in data.front] == [1]
    (steady,), (lucky,) = data.front, data.others
    assert (lucky.y, lucky.low, lucky.high) == (pytest.approx(0.66), 0.50, 0.90)
    assert (steady.y, steady.low, steady.high) == (pytest.approx(0.72), 0.70, 0.74)
    drawn = traces(pareto_figure(data))
    ends = [drawn[name]["error_y"] for name in ("Pareto front", "dominated")]
    assert [bar["array"][0] for bar in ends] == pytest.approx([0.02, 0.24])
    assert [bar["arrayminus"][0] for bar in ends] == pytest.approx([0.02, 0.16])
    assert lucky.trained.seed_words == "mean of seeds 3, 5, 8"


def test_table_and_summary_count_means_too() -> None:
    view = view_of([*LUCKY, *STEADY])
    rows = table_rows(view)
    assert [row.get("front", False) for row in rows] == [False, True]
    assert rows[0]["accuracy"] == pytest.approx(0.66)
    assert "mean of 3 seeds, 50.00% to 90.00%" in rows[0]["note"]
    assert "mean of seeds 3, 5, 8" in rows[0]["words"]
    # What the study keeps the weights of is the front of its records.
    assert [row["kept"] for row in rows] == [True, True]
    assert conclusion(view).startswith("2 trials done, 1 on the front")
    assert view.best.trial == 1
    assert view.marks == {1: ("best", "knee")}


def test_one_seed_twice_is_no_repetition() -> None:
    twice = [*LUCKY[:1], replace(LUCKY[0], trial=7, objectives={"accuracy": 0.8, "macs": 3e9})]
    data = pareto_data(view_of(twice))
    assert sorted(point.trial for point in data.points) == [0, 7]
    assert not any("error_y" in trace for trace in traces(pareto_figure(data)).values())


@pytest.mark.parametrize("direction", ["min", "max"])
def test_whatever_was_measured_is_an_axis(
    direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Objective(name="speed", label="speed", direction=direction, source="measured")
    monkeypatch.setitem(OBJECTIVES.known, "speed", measured)
    values = {0: (0.5, 0.4), 1: (0.6, 0.2), 2: (0.7, 0.3), 3: (0.65, None)}
    records = [
        replace(
            make_record(trial, accuracy, macs=(trial + 1) * 10**9),
            objectives={"accuracy": accuracy} | ({} if speed is None else {"speed": speed}),
        )
        for trial, (accuracy, speed) in values.items()
    ]
    view = view_of(records)
    assert list(study_axes(view.trained, TWO).values())[-1] == measured
    assert measured not in study_axes(view.trained[3:], TWO).values()
    optimised = (OBJECTIVES["accuracy"], measured)
    assert next(iter(study_axes(view.trained, optimised).values())) == measured
    data = pareto_data(view, measured)
    # In both figures: less (more) speed, more accuracy.
    assert [point.trial for point in data.front] == ([1, 2] if direction == "min" else [2, 0])
    figure = pareto_figure(data)
    assert "less is" in figure.layout.xaxis.title.text or direction == "max"
    low, high = (10**end for end in figure.layout.xaxis.range)
    assert low < 0.2 < 0.4 < high
    line = traces(figure)["Pareto front"]["line"]
    assert line["shape"] == ("hv" if direction == "min" else "vh")


def test_an_axis_that_reaches_zero_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Objective(name="energy", label="energy", direction="min", source="measured")
    monkeypatch.setitem(OBJECTIVES.known, "energy", measured)
    records = [
        replace(make_record(i, 0.5 + i / 9), objectives={"accuracy": 0.5 + i / 9, "energy": x})
        for i, x in enumerate((0.0, 4.0))
    ]
    axis = pareto_figure(pareto_data(view_of(records), measured)).layout.xaxis
    assert axis.type == "linear"
    assert axis.range[0] < 0 < 4 < axis.range[1]
    assert "log" not in axis.title.text


def test_reasons_that_differ_in_numbers_alone_are_one() -> None:
    reasons = [
        "the loss is not finite after epoch 1",
        "out of memory: 12.5 GB wanted",
        "the loss is not finite after epoch 17",
    ]
    records = [make_record(i, None, reason=reason) for i, reason in enumerate(reasons)]
    found = failures(view_of([*records, make_record(9, 0.5)]))
    assert [item.trials for item in found] == [(0, 2), (1,)]
    assert found[0].reason == reasons[0]
    # What the table is filtered by finds each of them.
    assert all(word in reasons[2] for word in found[0].words.split())


def test_time_is_divided_into_training_and_waiting() -> None:
    spans = [(2.0, 5.0), (4.0, 6.0), (12.0, 3.0)]
    records = [
        replace(make_record(i, 0.5), started=started, seconds=seconds)
        for i, (started, seconds) in enumerate(spans)
    ]
    earlier = replace(make_record(3, 0.6), origin="old/3", started=500.0, seconds=90.0)
    found = spent([*records, earlier])
    # Busy from 2 to 10 and from 12 to 15.
    assert (found.search_s, found.training_s, found.idle_s) == (15.0, 14.0, pytest.approx(4.0))
    assert found.shared == 0


def test_time_and_trials_stand_by_rung() -> None:
    low = [replace(make_record(i, 0.5, epochs=1), seconds=2.0) for i in range(4)]
    high = [replace(make_record(i, 0.6, epochs=3, rung=1), seconds=5.0) for i in range(2)]
    words = spent_section(view_of([*low, *high])).body
    assert "<dt>Rung 0</dt><dd>4 trials, to epoch 1 on 50%" in words
    assert "px, 10s of training</dd>" in words
    assert "Rung" not in spent_section(view_of(low)).body
