import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import run_main
from effort import slow, some_or_all, thorough
from own_mixer import forget, write_example
from search_tools import DATA, SPACE, write_search
from small_spaces import PLAIN, SPACES, enumerate_space
from spach_nas.config.search_settings import Resources
from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.closed_form import cost
from spach_nas.cost.limits import Limits, ProxyLimits
from spach_nas.errors import ConfigError, SearchSpaceError, StudyError
from spach_nas.feasible import FeasibleSet
from spach_nas.search import estimate as time_estimate
from spach_nas.search import space_report
from spach_nas.search.estimate import (
    Timed,
    added_epochs,
    candidates_at,
    cut_by,
    estimate_search,
)
from spach_nas.search.plan import Plan, plan_search, read_space_source
from spach_nas.search.proxy_timing import THOROUGH, time_search, trials_at_once
from spach_nas.search.space_report import (
    Hidden,
    describe_space,
    every_architecture,
    hidden_changes,
)
from spach_nas.space.references import REFERENCES
from spach_nas.space.scaling import ProxyRule, scale
from spach_nas.space.search_space import SearchSpace

SMALL = SearchSpace.from_dict(SPACE)
MS = SearchSpace.from_yaml(shipped_folder() / "spach_ms.yaml")
LIMITS = Limits(max_macs=1_200_000, min_params=9_000)
FEW = [name for name, space in SPACES.items() if space.size() < 1000]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small samples and short timings, where their figures are not looked at."""
    monkeypatch.setattr(space_report, "SAMPLED", 100)
    monkeypatch.setattr(space_report, "PROXIES", 50)
    monkeypatch.setattr(space_report, "CHANGED", 5)
    brief = replace(THOROUGH, timed_seconds=0.02)
    monkeypatch.setitem(time_search.__kwdefaults__, "care", brief)


@pytest.mark.parametrize("name", FEW)
def test_a_small_space_is_gone_through(name: str) -> None:
    found = every_architecture(SPACES[name])
    assert found is not None and found.exact
    assert set(found.architectures) == set(enumerate_space(SPACES[name]))
    assert len(found.architectures) == SPACES[name].size()


def test_a_report_of_a_sample_agrees_with_every_architecture() -> None:
    every = [(item, cost(item)) for item in enumerate_space(SMALL)]
    inside = [(item, figures) for item, figures in every if LIMITS.allow(figures)]
    report = describe_space(FeasibleSet(SMALL, LIMITS))
    assert report.sampled, "too many encodings to go through"
    assert (report.architectures, report.feasible) == (len(every), len(inside))
    assert report.feasible_share == pytest.approx(len(inside) / len(every))
    assert_agrees(report.quantities[0].everywhere, [figures.macs for _, figures in every])
    assert_agrees(report.quantities[1].feasible, [figures.params for _, figures in inside])
    for stage, shares in enumerate(report.stages):
        for group, found in ((every, shares.everywhere), (inside, shares.feasible)):
            for mixer, share in found.items():
                stages = [item.stages[stage] for item, _ in group]
                mean = np.mean([part.mixers.count(mixer) / part.depth for part in stages])
                assert share == pytest.approx(mean, abs=0.04)


def assert_agrees(spread: object, figures: list[int]) -> None:
    """Ends and percentiles against all figures; those of a sample of 4,000 are a bit off."""
    ends = (min(figures), max(figures))
    found = (spread.low, spread.high)  # type: ignore[attr-defined]
    assert ends[0] <= found[0] and found[1] <= ends[1]
    for value, percent in ((spread.p5, 5), (spread.median, 50), (spread.p95, 95)):  # type: ignore[attr-defined]
        below = np.mean(np.array(figures) < value), np.mean(np.array(figures) <= value)
        assert below[0] - 0.04 <= percent / 100 <= below[1] + 0.04


def test_what_each_limit_excludes_is_counted() -> None:
    every = [cost(item) for item in enumerate_space(SMALL)]
    report = describe_space(FeasibleSet(SMALL, LIMITS))
    few, many = (
        sum(item.macs <= 1_200_000 for item in every),
        sum(item.params >= 9_000 for item in every),
    )
    found = {item.limit: item for item in report.binding}
    assert found["max_macs"].met_by_others == many
    assert found["min_params"].met_by_others == few
    assert report.feasible is not None
    for item in found.values():
        assert item.excluded == item.met_by_others - report.feasible  # type: ignore[operator]
    assert [item.limit for item in report.binding if item.binds_most] == [
        "max_macs" if many > few else "min_params"
    ]


def test_a_change_that_a_proxy_lacks_is_hidden() -> None:
    # At half the depth, stages of 1 and 2 blocks have one, and those of 3 and 4 have two.
    space = SearchSpace.from_dict(
        {
            "patch_size": 4,
            "stem_width": 8,
            "expansion_ratio": 2,
            "heads": 2,
            "stages": [{"depth": [1, 2, 3, 4], "width": [8, 16], "mixers": "conv"}],
        }
    )
    proxy = ProxyLimits(rule=ProxyRule(depth_scale=0.5), data=DATA)
    targets = enumerate_space(space)
    assert len(targets) == 8
    found = hidden_changes(targets, FeasibleSet(space, Limits(), proxy=proxy), proxy=proxy)
    # Of three other depths and one other width, one depth.
    assert found.share == 1 / 4
    assert len(found.choices) == 1 and "depth" in found.choices[0]
    # Only one target is outside: the deepest and widest. Its three changes of depth and one of
    # width are no longer made.
    limits = Limits(max_macs=sorted(cost(item).macs for item in targets)[-2])
    inside = [item for item in targets if limits.allow(cost(item))]
    feasible = FeasibleSet(space, limits, proxy=proxy)
    assert hidden_changes(inside, feasible, proxy=proxy).share == 6 / (7 * 4 - 4)


def test_a_rule_that_keeps_all_choices_hides_nothing(quick: None) -> None:
    rule = ProxyRule(image_size=(32, 32), patch_size=2, width_scale=0.125)
    report = describe_space(FeasibleSet(MS, Limits(), proxy=ProxyLimits(rule=rule, data=DATA)))
    assert report.proxies is not None
    assert report.proxies.hidden == Hidden(share=0.0, choices=())


@slow
@thorough
def test_models_of_the_paper_are_found_in_their_space(monkeypatch: pytest.MonkeyPatch) -> None:
    number, tolerance = some_or_all((1000, 0.08), (4000, 0.04))
    monkeypatch.setattr(space_report, "SAMPLED", number)
    limits = Limits(min_macs=11_700_000_000, max_macs=12_300_000_000, max_params=63_200_000)
    feasible = FeasibleSet(MS, limits)
    report = describe_space(feasible)
    for model in report.paper:
        architecture = REFERENCES[model.name].architecture
        assert (model.macs, model.params) == (cost(architecture).macs, cost(architecture).params)
        assert model.violations == limits.violations(cost(architecture))
        if len(architecture.stages) == 4:
            assert model.encoding is not None and model.outside is None
            assert MS.decode(model.encoding) == architecture
        else:
            assert (model.encoding, model.outside) == (None, "1 stages; expected 4")
    paper = {model.name: model for model in report.paper}
    below = [
        cost(item).macs <= paper["hybrid_ms_s_plus"].macs for item in feasible.samples(number, 9)
    ]
    assert paper["hybrid_ms_s_plus"].macs_rank == pytest.approx(np.mean(below), abs=tolerance)
    assert paper["conv_ms_xxs"].macs_rank == 0


def test_limits_on_proxies_count_as_limits(quick: None) -> None:
    limits = Limits(max_macs=150_000)
    proxy = ProxyLimits(limits=limits, rule=ProxyRule(patch_size=8), data=DATA)
    every = enumerate_space(SMALL)
    inside = [item for item in every if limits.allow(cost(scale(item, proxy.rule, DATA)))]
    report = describe_space(FeasibleSet(SMALL, Limits(), proxy=proxy))
    assert 0 < len(inside) < len(every)
    assert report.feasible == len(inside)
    assert report.proxies is not None and report.proxies.macs.high <= 150_000
    assert [item.limit for item in report.binding] == ["proxy_limits.max_macs"]
    assert report.binding[0].excluded == len(every) - len(inside)


def test_what_cannot_be_counted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks are free and runs shrink: the proxy's cost depends on the order of the mixers.
    space = SPACES["global ratio and sharing"]
    limits = Limits(max_macs=30_000)
    proxy = ProxyLimits(limits=limits, rule=ProxyRule(depth_scale=0.5), data=DATA)
    monkeypatch.setattr(space_report, "MOST_ENCODINGS", 1)
    monkeypatch.setattr(space_report, "SAMPLED", 800)
    every = enumerate_space(space)
    inside = [item for item in every if proxy.allow(item)]
    report = describe_space(FeasibleSet(space, Limits(), proxy=proxy))
    assert report.feasible is None
    assert 0 < len(inside) < len(every)
    assert report.feasible_share == pytest.approx(len(inside) / len(every), abs=0.08)


def make_plan(folder: Path, **changes: object) -> Plan:
    return plan_search(write_search(folder, **changes))


RUNGS = {"levels": [{"epochs": 1, "data_share": 0.01}, {"epochs": 3}], "reduction": 3}


@pytest.mark.parametrize(("size", "epochs"), [(None, [1, 2, 2]), (16, [1, 3, 2])])
def test_rungs_add_epochs_unless_the_images_change(
    tmp_path: Path, size: int | None, epochs: list[int]
) -> None:
    rungs = {**RUNGS, "levels": [{"epochs": 1, "image_size": size}, {"epochs": 3}]}
    config = make_plan(
        tmp_path, rungs=rungs, training__epochs=5, search__trials=20, proxy__patch_size=4
    ).config
    assert [added_epochs(config, rung) for rung in range(3)] == epochs
    assert [candidates_at(config, rung, feasible=None) for rung in range(3)] == [20, 6, 2]
    assert candidates_at(config, 1, feasible=7) == 2


def test_the_estimate_adds_up_images_and_trials(tmp_path: Path) -> None:
    # One architecture, so that the mean is its cost.
    plan = make_plan(
        tmp_path,
        space=PLAIN["no choice"] | {"image_size": 32},
        limits={},
        proxy={"width_scale": 2},
        rungs=RUNGS,
        training={"epochs": 5, "data_share": 0.02, "batch_size": 30},
        search={"trials": 9},
    )
    targets = plan.feasible.samples(3, 0)
    macs = cost(scale(targets[0], plan.config.proxy, DATA)).macs
    timed = [
        Timed(
            macs=size,
            train_seconds=1e-3 + 2e-9 * size,
            validate_seconds=1e-4 + 1e-9 * size,
            build_seconds=0.5,
        )
        for size in (macs // 2, 3 * macs)
    ]
    found = estimate_search(plan, targets, timed, device="cpu", concurrent=4, slowdown=1.5)
    train, validate = 1e-3 + 2e-9 * macs, 1e-4 + 1e-9 * macs
    fixed = 0.5
    # 6,400 images to train on: 64 are two batches of 30, 128 are four.
    alone = [
        60 * train + 1600 * validate + fixed,
        2 * 120 * train + 2 * 1600 * validate + fixed,
        2 * 120 * train + 2 * 1600 * validate + fixed,
    ]
    seconds = [1.5 * item + time_estimate._TRIAL_SECONDS for item in alone]
    assert [rung.seconds for rung in found.rungs] == pytest.approx(seconds)
    assert [rung.evaluations for rung in found.rungs] == [1, 1, 1]
    assert found.seconds == pytest.approx(found.start_seconds + sum(seconds))
    assert found.scatter == pytest.approx(0)
    assert found.checkpoint_bytes == 4 * cost(scale(targets[0], plan.config.proxy, DATA)).params


def test_max_duration_ends_an_estimate(tmp_path: Path) -> None:
    timed = [Timed(macs=10**6, train_seconds=1.0, validate_seconds=0.0, build_seconds=0.0)]
    plan = make_plan(tmp_path, search__max_duration="1m")
    found = estimate_search(plan, plan.feasible.samples(9, 0), timed, device="cpu", concurrent=2)
    assert found.limited and found.unlimited > found.seconds
    # Ray's start is part of the minute.
    ends = 60 + found.rungs[0].seconds / 2 + time_estimate._FINISH_SECONDS
    assert found.seconds == pytest.approx(ends, rel=1e-6)
    # Two by two, as long as the minute lasts.
    waves = math.ceil((60 - time_estimate._START_SECONDS) / found.rungs[0].seconds)
    assert found.cut == 12 - 2 * waves > 0


@pytest.mark.parametrize(
    ("left", "cut"), [(100.0, 0), (99.0, 0), (80.0, 2), (79.0, 2), (41.0, 4), (39.0, 6), (0.0, 10)]
)
def test_what_max_duration_cuts_is_what_has_not_begun(left: float, cut: int) -> None:
    # Ten of 20 s, two at a time: they begin at 0, 20, 40, 60 and 80 s.
    assert cut_by(left, 100.0, evaluations=10, at_once=2) == cut


def test_the_line_never_falls_nor_begins_below_zero() -> None:
    falling = time_estimate.fit_line([(10, 3.0), (20, 2.0)])
    assert falling.per_mac == 0 and falling.fixed == pytest.approx(2.5)
    steep = time_estimate.fit_line([(10, 1.0), (20, 3.0)])
    assert steep.fixed == 0 and 0.1 < steep.per_mac < 0.15


def test_no_proxy_that_trains_is_told(tmp_path: Path) -> None:
    timed = [
        Timed(
            macs=1, train_seconds=0.0, validate_seconds=0.0, build_seconds=0.0, failure="no memory"
        )
    ]
    plan = make_plan(tmp_path)
    with pytest.raises(StudyError, match="no proxy can be trained here: no memory"):
        estimate_search(plan, plan.feasible.samples(1, 0), timed, device="cpu", concurrent=1)


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), 8),
        (Resources(cpus_per_trial=3), 2),
        (Resources(cpus_per_trial=0.5), 16),
        (Resources(max_concurrent=3), 3),
        (Resources(cpus_per_trial=99), 1),
    ],
)
def test_trials_at_once_follow_the_cores(
    resources: Resources, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spach_nas.search.proxy_timing.cores", lambda: 8)
    assert trials_at_once(resources, device="cpu") == expected


def run_space(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    code, errors = run_main("space", *map(str, arguments))
    assert (code, errors) == (0, [])
    return capsys.readouterr().out


def test_a_search_is_described_and_timed(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(run_space(capsys, write_search(tmp_path), "--json"))
    feasible = FeasibleSet(SMALL, Limits(max_macs=1_200_000))
    assert (found["name"], found["feasible"]) == ("small", feasible.count)
    assert found["encodings"] == SMALL.encodings()
    estimate = found["estimate"]
    assert estimate["rungs"][0]["evaluations"] == 12
    assert len(estimate["timed"]) == 5
    assert all(item["failure"] is None for item in estimate["timed"])
    assert all(item["train_seconds"] > 0 for item in estimate["timed"])
    assert estimate["seconds"] > estimate["start_seconds"]


def test_text_is_readable_in_100_columns(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rungs = {"levels": [{"epochs": 1}], "reduction": 2}
    path = write_search(tmp_path, rungs=rungs, training__epochs=2, proxy__depth_scale=0.5)
    monkeypatch.setattr("spach_nas.search.proxy_timing.PLACES", (0.5,))
    text = run_space(capsys, path)
    assert max(map(len, text.splitlines())) <= 100
    for words in (
        "binds most",
        "a search cannot distinguish",
        "1 epoch,",
        "at most",
        "about",
    ):
        assert words in " ".join(text.split())
    assert "…" not in text, "nothing is cut off"
    assert "\x1b" not in text


def test_a_bare_space_has_no_limits_and_no_proxies(
    quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    text = run_space(capsys, "spach_tiny")
    assert "limits: none" in text and "hidden changes" not in text
    assert "outside the space" in text and "whole search" not in text


def test_one_architecture_is_a_space(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(yaml.safe_dump(PLAIN["no choice"]))
    found = json.loads(run_space(capsys, path, "--json"))
    figures = cost(enumerate_space(SPACES["no choice"])[0])
    assert (found["architectures"], found["encodings"], found["feasible"]) == (1, 1, 1)
    for quantity in found["quantities"]:
        expected = getattr(figures, quantity["name"])
        assert {expected} == set(quantity["everywhere"].values()) - {True}


def test_limits_that_nothing_meets_are_told(tmp_path: Path) -> None:
    path = write_search(tmp_path, limits={"max_macs": 10})
    for options in ([], ["--no-timing"]):
        code, lines = run_main("space", str(path), *options)
        assert code == 2
        assert lines[0].startswith(f"{path}: limits: ") and "max_macs" in lines[0]


def test_nothing_is_loaded_or_trained_without_timing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spach_nas.search.plan.plan_search", None)
    found = json.loads(run_space(capsys, write_search(tmp_path), "--no-timing", "--json"))
    assert found["estimate"] is None and found["proxies"]["hidden"]["share"] == 0


def test_a_mixer_of_a_plugin_takes_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_example(tmp_path)
    arguments = ("pooled.yaml", "--no-timing", "--json", "--plugin", "my_mixers")
    found = json.loads(run_space(capsys, *arguments))
    assert set(found["stages"][0]["everywhere"]) == {"pool", "conv"}
    assert found["architectures"] == found["feasible"] > 1


def test_a_file_that_is_neither_is_told(tmp_path: Path) -> None:
    path = tmp_path / "neither.yaml"
    path.write_text("trials: 3")
    with pytest.raises(ConfigError, match="trials: unknown key"):
        read_space_source(path, images=False)
    path.write_text("stages: []")
    with pytest.raises(SearchSpaceError, match="patch_size: is missing"):
        read_space_source(path, images=False)
