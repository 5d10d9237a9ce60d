import json
import math
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from conftest import run_main
from search_tools import write_search
from spach_nas.config.study_files import RECORDS_FILE, SEARCH_YAML
from spach_nas.cost.limits import Limits
from spach_nas.errors import StudyError
from spach_nas.report.comparison import (
    ComparedStudy,
    StudyGroup,
    differences,
    folder_labels,
    group_studies,
    protocol_differences,
    read_studies,
)
from spach_nas.report.comparison_figures import (
    Growth,
    bands,
    fronts_figure,
    growth_data,
    growth_figure,
    repeats,
    spread,
    styles,
)
from spach_nas.report.comparison_page import (
    render_comparison,
    study_figures,
    wins,
    write_comparison,
)
from spach_nas.space.references import REFERENCES
from spach_nas.study.hypervolume import HypervolumeData
from spach_nas.study.records import Record
from study_factory import make_record, make_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = "<img src=x onerror='window.hacked=1'><b>"
LIMITS = {"max_macs": "20G"}
Change = Callable[[Path], object]


def study(label: str, *points: tuple[float | None, int], seed: int = 0) -> ComparedStudy:
    """A study whose trials have these accuracies and MACs."""
    records = tuple(
        make_record(trial, accuracy, macs=macs, seed=seed)
        for trial, (accuracy, macs) in enumerate(points)
    )
    # Ten seconds a trial, whatever its network.
    records = tuple(replace(record, seconds=10.0) for record in records)
    return ComparedStudy(label=label, records=records, settings={"search.seed": str(seed)})


def folder(place: Path, name: str, records: Sequence[Record] = (), **changes: object) -> Path:
    """The folder of a study with these records; `changes` as `write_search` takes them."""
    home = place / name
    home.mkdir()
    write_search(home, **{"limits": LIMITS, **changes}).rename(home / SEARCH_YAML)
    write_records(home, records)
    return home


def write_records(place: Path, records: Iterable[Record]) -> None:
    lines = [json.dumps(record.to_dict()) + "\n" for record in records]
    (place / RECORDS_FILE).write_text("".join(lines))


def seeded(place: Path, name: str, seed: int, **changes: object) -> Path:
    records = [replace(one, seed=seed) for one in make_study(8, failed=1, seed=seed)]
    return folder(place, name, records, search__seed=seed, **changes)


def data_of(page: str) -> dict[str, dict[str, dict[str, list[dict[str, object]]]]]:
    text = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    return json.loads(text)["figures"]


def text_of(page: str, section: str) -> str:
    return page.split(f'<section id="{section}"')[1].split("</section>")[0]


def cautions(studies: Sequence[ComparedStudy]) -> list[str]:
    """What the page says before its pictures, a sentence or two each."""
    header = render_comparison(studies).split('<div class="meaning">')[1].split("</div>")[0]
    return [part.split("</p>")[0] for part in header.split("<p>")[1:]]


# Fronts


def test_fronts_hold_what_the_search_found_without_the_paper_models() -> None:
    plain = REFERENCES["conv_ms_s"].architecture
    paper = make_record(5, 0.9, architecture=plain, reference="conv_ms_s")
    studies = [
        replace(one, records=(*one.records, paper))
        for one in (study("a", (0.5, 100)), study("b", (0.6, 200), (0.4, 300), seed=1))
    ]
    first, second = fronts_figure(group_studies(studies)).data
    assert (first.x, first.y) == ((100,), (0.5,))
    assert (second.x, second.y) == ((200,), (0.6,))


# Hypervolume


# The box: accuracy from 0.2 to 1.0, MACs from 500 down to 100; its area is 320.
FAST = study("fast", (0.2, 500), (0.6, 200), (1.0, 300), (0.3, 400))
SLOW = study("slow", (None, 300), (0.4, 100), (0.3, 450), seed=1)


def test_hypervolumes_are_shares_of_the_box_of_all_studies() -> None:
    data = growth_data(group_studies([FAST, SLOW]))
    assert data is not None
    fast, slow = (curve.data for curve in data.curves)
    assert fast.reference == slow.reference == {"accuracy": 0.2, "macs": 500}
    assert fast.ideal == slow.ideal == {"accuracy": 1.0, "macs": 100}
    # (0.6 - 0.2) * 300 = 120, then 0.8 * 200 + 0.4 * 100 = 200 of 320.
    assert fast.shares == pytest.approx((0, 0, 120 / 320, 200 / 320, 200 / 320))
    # (0.4 - 0.2) * 400 = 80; what failed is a trial, too.
    assert slow.shares == pytest.approx((0, 0, 80 / 320, 80 / 320))
    assert (fast.trials, slow.trials) == ((0, 1, 2, 3, 4), (0, 1, 2, 3))
    assert slow.training == (0, 10, 20, 30)


def test_equal_effort_is_what_the_shortest_study_has() -> None:
    growth = growth_data(group_studies([FAST, SLOW]))
    assert growth is not None
    assert (growth.equal_trials, growth.equal_seconds) == (3, 30)
    figures = study_figures(FAST, growth)
    assert (figures["trials"], figures["front"]) == (4, 2)
    assert (figures["best"], figures["seconds"]) == (1.0, 40)
    assert figures["at_trials"] == pytest.approx(200 / 320)
    assert "3, 1 failed" in text_of(render_comparison([FAST, SLOW]), "table")
    fast = growth.curves[0]
    assert fast.at(29.9, axis="training") == pytest.approx(120 / 320)
    assert fast.at(0, axis="trials") == 0


def test_a_group_s_band_ends_with_its_shortest_study() -> None:
    studies = [replace(one, settings={}) for one in (FAST, SLOW)]
    growth = growth_data(group_studies(studies))
    assert growth is not None
    (band,) = bands(growth, axis="trials")
    assert band.x == (0, 1, 2, 3)
    assert band.median == pytest.approx((0, 0, 100 / 320, 140 / 320))
    assert band.low == pytest.approx((0, 0, 80 / 320, 80 / 320))
    assert band.high == pytest.approx((0, 0, 120 / 320, 200 / 320))


def test_the_spread_of_twenty_leaves_out_the_most_extreme() -> None:
    assert spread([0.0, 5.0, 1.0]) == (0, 1, 5)
    assert spread([float(n) for n in range(21)]) == (1, 10, 19)


GROWN = HypervolumeData(
    objectives=(),
    reference={},
    ideal={},
    trials=(),
    seconds=(),
    shares=(),
    paper=None,
)


@settings(max_examples=50)
@given(
    ours=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    theirs=st.lists(st.integers(0, 5), min_size=1, max_size=6),
)
def test_pairs_won_are_the_statistic_of_mann_and_whitney(
    ours: list[int], theirs: list[int]
) -> None:
    sides = [
        [Growth("g", "s", replace(GROWN, trials=(0, 1), shares=(0.5, share))) for share in side]
        for side in (ours, theirs)
    ]
    won, pairs = wins(*sides, trials=1)
    expected = mannwhitneyu(ours, theirs, method="asymptotic").statistic
    assert (won, pairs) == (expected, len(ours) * len(theirs))


# Noise


def trained(label: str, seed: int, scores: Mapping[str, float]) -> ComparedStudy:
    records = [
        make_record(trial, score, architecture=REFERENCES[name].architecture, seed=seed)
        for trial, (name, score) in enumerate(scores.items())
    ]
    return ComparedStudy(label=label, records=tuple(records), settings={"seed": str(seed)})


def test_the_noise_is_pooled_over_architectures_with_several_seeds() -> None:
    first = trained("a", 0, {"conv_ms_s": 0.80, "trans_ms_s": 0.70, "mlp_ms_s": 0.5})
    second = trained("b", 1, {"conv_ms_s": 0.83, "trans_ms_s": 0.76})
    third = trained("c", 2, {"conv_ms_s": 0.87})
    groups = group_studies([first, second, third])
    scores, noise = repeats(groups)
    assert noise is not None
    assert [len(some) for some in scores] == [3, 2]
    variances = statistics.variance([0.80, 0.83, 0.87]), statistics.variance([0.70, 0.76])
    assert noise.deviation == pytest.approx(math.sqrt((2 * variances[0] + variances[1]) / 3))
    assert noise.freedom == 3
    page = render_comparison([first, second, third])
    assert f"{100 * noise.deviation:.2f} points" in text_of(page, "noise")


def test_the_same_seed_twice_is_no_repetition() -> None:
    first, second = (trained(name, 7, {"conv_ms_s": 0.8}) for name in ("a", "b"))
    assert repeats(group_studies([first, second])) == ([], None)
    third = trained("c", 8, {"conv_ms_s": 0.9})
    scores, noise = repeats(group_studies([first, second, third]))
    assert scores == [(0.8, 0.9)]
    assert noise == (pytest.approx(statistics.stdev([0.8, 0.9])), 1)


def test_trainings_by_another_protocol_are_no_repetition() -> None:
    first, second = (
        replace(trained(str(seed), seed, {"conv_ms_s": 0.8}), settings={"training.epochs": epochs})
        for seed, epochs in enumerate(("1", "2"))
    )
    assert repeats(group_studies([first, second])) == ([], None)


def test_scores_of_another_evaluator_are_another_protocol() -> None:
    first, second = (trained(name, 7, {"conv_ms_s": 0.8}) for name in ("a", "b"))
    assert protocol_differences([first, second]) == ()
    others = tuple(replace(record, evaluator="supernet") for record in second.records)
    assert len(protocol_differences([first, replace(second, records=others)])) == 1


# Groups, settings, protocols


def test_studies_that_differ_in_seed_and_name_alone_are_a_group(tmp_path: Path) -> None:
    folders = [
        seeded(tmp_path, "wide-s0", 0, study="one"),
        seeded(tmp_path, "other", 0, search__trials=99),
        seeded(tmp_path, "wide-s1", 1, study="two", training__seed=5),
    ]
    studies = read_studies(folders)
    groups = group_studies(studies)
    assert protocol_differences(studies) == ()
    assert [(one.label, [s.label for s in one.studies]) for one in groups] == [
        ("wide", ["wide-s0", "wide-s1"]),
        ("other", ["other"]),
    ]
    found = {item.name: item.values for item in differences(groups)}
    assert found == {
        "search.trials": ("12", "99"),
        "search.seed": ("0, 1", "0"),
        "training.seed": ("none, 5", "none"),
    }


def test_a_baseline_is_a_group_of_its_own(tmp_path: Path) -> None:
    folders = [seeded(tmp_path, name, seed) for seed, name in enumerate(("a", "b", "c"))]
    groups = group_studies(read_studies(folders[:2], baselines=folders[2:]))
    assert [(len(one.studies), one.baseline) for one in groups] == [(2, False), (1, True)]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"training__epochs": 2}, "training.epochs"),
        ({"data__split_seed": 1}, "data.split_seed"),
        ({"proxy__width_scale": 0.5}, "proxy.width_scale"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_protocol_is_told(tmp_path: Path, changes: dict[str, object], name: str) -> None:
    folders = [seeded(tmp_path, "a", 0), seeded(tmp_path, "b", 1, **changes)]
    groups = group_studies(read_studies(folders))
    (warning,) = cautions(read_studies(folders))
    assert f"not trained by one protocol: {name} differ" in warning
    assert [item.name for item in differences(groups) if item.protocol] == [name]


def test_the_page_says_that_scores_by_other_protocols_do_not_compare(tmp_path: Path) -> None:
    folders = [seeded(tmp_path, "a", 0), seeded(tmp_path, "b", 1, training__epochs=2)]
    page = render_comparison(read_studies(folders))
    assert "not trained by one protocol: training.epochs differ" in page
    assert "training.epochs (protocol)" in text_of(page, "settings")


def test_other_images_are_another_protocol_and_their_place_is_not(tmp_path: Path) -> None:
    folders = [
        seeded(tmp_path, "a", 0, data__root="/here"),
        seeded(tmp_path, "b", 1, data__root="/there"),
    ]
    for place in folders:
        (place / "data.json").write_text('{"mean": [0.5]}')
    assert protocol_differences(read_studies(folders)) == ()
    (folders[1] / "data.json").write_text('{"mean": [0.4]}')
    assert protocol_differences(read_studies(folders)) == ("images",)


def test_rungs_are_another_protocol_only_where_they_train_on_other_images(
    tmp_path: Path,
) -> None:
    def differ(name: str, level: dict[str, object]) -> tuple[str, ...]:
        other = seeded(tmp_path, name, 1, training__epochs=4, rungs={"levels": [level]})
        return protocol_differences(read_studies([plain, other]))

    plain = seeded(tmp_path, "plain", 0, training__epochs=4)
    assert differ("stops", {"epochs": 1}) == ()
    assert "rungs.levels[0].data_share" in differ("less", {"epochs": 1, "data_share": 0.01})


def test_trials_that_reached_another_rung_are_told(tmp_path: Path) -> None:
    short = [replace(one, seed=1) for one in (make_record(0, 0.5, epochs=2),)]
    folders = [seeded(tmp_path, "a", 0), folder(tmp_path, "b", short, search__seed=1)]
    assert protocol_differences(read_studies(folders)) == ("compared after",)


def test_labels_are_the_shortest_that_differ(tmp_path: Path) -> None:
    paths = [Path("x/one/run"), Path("x/two/run"), Path("x/other")]
    assert folder_labels(paths) == ("one/run", "two/run", "other")
    odd = os.fsdecode(b"n\xff")
    assert folder_labels([Path(odd)]) == ("n\N{REPLACEMENT CHARACTER}",)


def test_no_two_of_two_dozen_groups_look_alike() -> None:
    groups = [StudyGroup(label=str(n), studies=(study(str(n), (0.5, 1)),)) for n in range(24)]
    looks = {(look.colour, look.dash) for look in styles(groups).values()}
    markers = {(look.colour, look.symbol) for look in styles(groups).values()}
    assert len(looks) == len(markers) == 24


# What users do wrong


def test_the_same_folder_twice_is_refused(tmp_path: Path) -> None:
    one = seeded(tmp_path, "a", 0)
    with pytest.raises(StudyError, match="is given 2 times; expected different studies"):
        read_studies([one, tmp_path / "b" / ".." / "a"])


def test_every_bad_folder_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    torn = seeded(tmp_path, "torn", 1)
    text = (torn / RECORDS_FILE).read_text().splitlines(keepends=True)
    (torn / RECORDS_FILE).write_text("".join([text[0], text[1][:40] + "\n", *text[2:]]))
    with pytest.raises(StudyError) as caught:
        read_studies([seeded(tmp_path, "a", 0), tmp_path / "none", torn])
    first, second = str(caught.value).split("\n")
    assert first.endswith("none: holds no records.jsonl; expected the folder of a study")
    assert "records.jsonl:2: damaged line" in second


def test_other_objectives_are_refused(tmp_path: Path) -> None:
    folders = [
        seeded(tmp_path, "a", 0),
        seeded(tmp_path, "b", 1, objectives={"loss": "min", "params": "min"}),
    ]
    words = r"b: optimises loss \(min\), params \(min\), and a accuracy \(max\), macs \(min\)"
    with pytest.raises(StudyError, match=words):
        read_studies(folders)


def test_the_command_compares_and_tells_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (str(seeded(tmp_path, name, seed)) for seed, name in enumerate(("a", "b")))
    out = tmp_path / "page.html"
    assert run_main("report", one, two, "--out", str(out))[0] == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.is_file()
    assert run_main("report", one, one)[0] == 2
    assert run_main("report", one, two, "--static", "png")[1] == [
        "--static: png of several studies; expected one folder"
    ]
    code, errors = run_main("report", one, two, "--out", str(tmp_path / "no" / "page.html"))
    assert (code, len(errors)) == (2, 1)
    assert errors[0].endswith("expected a file to write")


def cut_in_half(place: Path) -> None:
    records = place / RECORDS_FILE
    records.write_bytes(records.read_bytes()[: records.stat().st_size // 2])


def nothing_done(place: Path) -> None:
    write_records(place, [])


def all_failed(place: Path) -> None:
    write_records(place, [make_record(trial, None) for trial in range(3)])


def not_a_number(place: Path) -> None:
    lines = [make_record(trial, 0.5, seed=1).to_dict() for trial in range(3)]
    for line in lines:
        line["objectives"]["accuracy"] = math.nan
    (place / RECORDS_FILE).write_text("".join(json.dumps(line) + "\n" for line in lines))


def over_the_limit(place: Path) -> None:
    write_records(place, [make_record(0, 0.5, macs=10**12)])


BROKEN = {
    nothing_done: "no trial is done yet",
    all_failed: "all 3 trials failed",
    not_a_number: "no complete trial has a finite score",
    over_the_limit: "no trial is complete within the limits",
}


@pytest.fixture
def broken(tmp_path: Path) -> list[Path]:
    """Seeds of one search, each without a score in its own way."""
    folders = [seeded(tmp_path, f"bad{seed}", seed) for seed in range(4)]
    for place, change in zip(folders, BROKEN, strict=True):
        change(place)
    return folders


def test_studies_without_a_score_are_left_out_and_told(tmp_path: Path, broken: list[Path]) -> None:
    good = [seeded(tmp_path, f"good{seed}", seed) for seed in (7, 8)]
    studies = read_studies([good[0], *broken, good[1]])
    page = render_comparison(studies)
    for number, words in enumerate(BROKEN.values()):
        assert f"bad{number}: {words}; it is left out" in page
    growth = growth_data(group_studies(studies))
    assert growth is not None
    assert [curve.study for curve in growth.curves] == ["good7", "good8"]
    assert growth.equal_trials == 8
    assert "median of 2 of 6 seeds" in text_of(page, "table")


def test_a_page_of_nothing_says_so_and_holds_no_empty_picture(broken: list[Path]) -> None:
    page = render_comparison(read_studies(broken))
    assert "there is nothing to compare" in page
    assert data_of(page) == {}


def test_records_cut_in_half_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    folders = [seeded(tmp_path, f"r{seed}", seed) for seed in range(2)]
    cut_in_half(folders[1])
    growth = growth_data(group_studies(read_studies(folders)))
    assert growth is not None
    assert 0 < growth.curves[1].data.trials[-1] < growth.curves[0].data.trials[-1]


def test_equal_points_span_no_box_and_the_page_says_so() -> None:
    studies = [study("a", (0.5, 100)), study("b", (0.5, 100), seed=1)]
    page = render_comparison(studies)
    assert "they span no box" in text_of(page, "growth")
    assert "growth" not in data_of(page)


def test_copies_of_a_study_are_no_repetition(tmp_path: Path) -> None:
    folders = [seeded(tmp_path, name, 4) for name in ("a", "b")]
    (warning,) = cautions(read_studies(folders))
    assert warning.startswith("a, b: differ in nothing, not even in the seed (4)")


def test_limits_are_drawn_where_they_are_the_same(tmp_path: Path) -> None:
    folders = [
        seeded(tmp_path, "a", 0),
        seeded(tmp_path, "b", 1),
        seeded(tmp_path, "c", 2, limits={"max_macs": "19G"}),
    ]
    studies = read_studies(folders)
    (line,) = fronts_figure(group_studies(studies[:2])).layout.shapes
    assert line.x0 == 20 * 10**9
    assert not fronts_figure(group_studies(studies)).layout.shapes
    assert [words[:17] for words in cautions(studies)] == ["The limits differ"]
    assert studies[2].limits == Limits(max_macs=19 * 10**9)


def test_a_study_of_losses_is_compared_by_loss(tmp_path: Path) -> None:
    folders = [
        seeded(tmp_path, f"s{seed}", seed, objectives={"loss": "min", "macs": "min"})
        for seed in range(2)
    ]
    figure = fronts_figure(group_studies(read_studies(folders)))
    assert figure.layout.yaxis.title.text == "validation loss"
    # Dearer members of a front have the lower loss.
    losses = list(figure.data[0].y)
    assert losses == sorted(losses, reverse=True)


def test_figures_have_a_trace_for_each_study_and_escape_names() -> None:
    studies = [
        replace(one, label=label, settings={"search.sampler": label})
        for one, label in ((FAST, HOSTILE), (SLOW, "slow"))
    ]
    groups = group_studies(studies)
    growth = growth_data(groups)
    assert growth is not None
    figures = [
        fronts_figure(groups),
        growth_figure(growth, axis="trials"),
        growth_figure(growth, axis="training"),
    ]
    for figure in figures:
        assert len({trace.name for trace in figure.data if trace.name}) == 2
        assert "<img" not in str(figure.to_dict())


# In a browser


@pytest.mark.browser
def test_the_page_opens_in_a_browser_with_hostile_names_as_text(
    tmp_path: Path, browser: "Browser"
) -> None:
    folders = [seeded(tmp_path, f"{HOSTILE}{seed}", seed) for seed in range(2)]
    plain = seeded(tmp_path, "random", 0, search__sampler="random")
    out = write_comparison(read_studies(folders, baselines=[plain]), tmp_path / "page.html")
    problems: list[str] = []
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: (
            problems.append(request.url)
            if request.url != out.as_uri() and not request.url.startswith("data:")
            else None
        ),
    )
    page.goto(out.as_uri())
    page.wait_for_selector("html[data-ready]")
    assert HOSTILE in page.inner_text("h1")
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img").count() == 0
    drawn = page.locator(".plot:visible .main-svg").first
    assert drawn.bounding_box()["width"] > 200
    assert page.locator("#plot-fronts .scatterlayer .trace").count() == 3
    before = page.locator("#plot-fronts .xtitle").text_content()
    page.locator("#switch-fronts input").nth(1).check(force=True)
    assert page.locator("#plot-fronts .xtitle").text_content() != before
    # No legend lies on the title of an axis, and nothing is wider than the phone.
    for name in ("fronts", "growth"):
        title = page.locator(f"#plot-{name} .xtitle").bounding_box()
        legend = page.locator(f"#plot-{name} .legend").bounding_box()
        assert title["y"] + title["height"] <= legend["y"] + 1, name
    page.close()
    assert problems == []
