"""The page in a real browser."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spach_nas.config.objectives import OBJECTIVES
from spach_nas.cost.limits import Limits
from spach_nas.report import StudyFacts, draw, write_report
from spach_nas.report.theme import DARK, LIGHT
from spach_nas.report.trial_table import NOT_KEPT
from spach_nas.report.view import study_view
from spach_nas.space import mixers
from spach_nas.space.mixers import MixerCost, MixerSpec, register_mixer
from spach_nas.space.references import REFERENCES
from spach_nas.study.pareto import best, front
from spach_nas.study.records import Record
from spach_nas.units import format_share
from study_factory import make_record, make_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    Opener = Callable[..., Page]

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror='window.hacked=1'><b>"
STUDY = make_study(40)
FACTS = StudyFacts(name="a study", limits=Limits(max_macs=9_000_000_000), settings="a: 1")
TWO = (OBJECTIVES["accuracy"], OBJECTIVES["macs"])
MEMBERS = front(STUDY, TWO, limits=FACTS.limits)
NAMES = study_view(STUDY, FACTS).names
ROWS = "#table tbody tr"
WINDOW = {"width": 1200, "height": 900}


@pytest.fixture(scope="module")
def study_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("study"), records=STUDY, facts=FACTS)


class Watch:
    """What a page complained about, and what it asked the network for."""

    def __init__(self, page: "Page", path: Path) -> None:
        self.problems: list[str] = []
        page.on("console", lambda message: self.said(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.asked(request.url, path.as_uri()))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")

    def said(self, text: str) -> None:
        # A machine without a graphics card complains about its own speed.
        if "GL Driver Message" not in text:
            self.problems.append(text)

    def asked(self, url: str, own: str) -> None:
        # The page itself and its empty icon are no network requests.
        if url != own and not url.startswith("data:"):
            self.problems.append(url)


@pytest.fixture
def open_page(browser: "Browser") -> "Iterator[Opener]":
    """Opens a page of its own."""
    contexts: list[BrowserContext] = []
    watches: list[Watch] = []

    def opened(path: Path, **options: object) -> "Page":
        contexts.append(browser.new_context(**{"viewport": WINDOW, **options}))
        page = contexts[-1].new_page()
        watches.append(Watch(page, path))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [problem for watch in watches for problem in watch.problems] == []


@pytest.fixture(scope="module")
def shared(browser: "Browser", study_page: Path) -> "Iterator[tuple[Page, Watch]]":
    context = browser.new_context(
        viewport=WINDOW, permissions=["clipboard-read", "clipboard-write"]
    )
    page = context.new_page()
    yield page, Watch(page, study_page)
    context.close()


@pytest.fixture
def page(shared: "tuple[Page, Watch]") -> "Iterator[Page]":
    """The study's page as freshly opened, but for the selected trial and the order of rows."""
    page, watch = shared
    page.fill("#filter", "")
    page.select_option("#kind", "all")
    page.locator("#switch-front input[value=MACs]").check(force=True)
    page.emulate_media(color_scheme="light")
    page.mouse.move(0, 0)
    yield page
    assert watch.problems == []


def column(page: "Page", number: int) -> list[float]:
    cells = page.locator(f"{ROWS} td:nth-child({number})").all_inner_texts()
    units = {"G": 1e9, "M": 1e6, "k": 1e3}
    return [
        float(cell.rstrip("%GMk")) * units.get(cell[-1], 1)
        for cell in cells
        if cell != "\N{EN DASH}"
    ]


def place_of(page: "Page", trial: int) -> tuple[float, float]:
    """Where a trial's point stands in the window."""
    page.locator("#plot-front").scroll_into_view_if_needed()
    return page.evaluate(
        """trial => {
            const plot = document.getElementById("plot-front");
            const { xaxis, yaxis } = plot._fullLayout;
            const box = plot.getBoundingClientRect();
            for (const trace of plot.data) {
                const at = (trace.customdata ?? []).indexOf(trial);
                if (at >= 0) return [
                    box.left + xaxis._offset + xaxis.d2p(trace.x[at]),
                    box.top + yaxis._offset + yaxis.d2p(trace.y[at]),
                ];
            }
        }""",
        trial,
    )


def test_the_best_trial_is_selected_at_first(open_page: "Opener", study_page: Path) -> None:
    page = open_page(study_page)
    record = best(STUDY, limits=FACTS.limits)
    assert page.locator("#selected-title").inner_text().startswith(f"Trial {record.trial} ")
    assert NAMES[record.arch_id] == page.locator("#selected-architecture").inner_text()


def test_a_click_on_a_point_selects_its_row_and_its_command(page: "Page", study_page: Path) -> None:
    record = MEMBERS[2]
    page.mouse.click(*place_of(page, record.trial))
    assert page.locator(f"{ROWS}[aria-selected=true] td").first.inner_text() == str(record.trial)
    halo = page.locator("#plot-front .shapelayer path").last.bounding_box()
    x, y = place_of(page, record.trial)
    assert halo["x"] + halo["width"] / 2 == pytest.approx(x, abs=2)
    assert halo["y"] + halo["height"] / 2 == pytest.approx(y, abs=2)
    command = page.locator("#selected-command").inner_text()
    folder = study_page.parent
    assert command == (
        f"spach-nas export {folder} --pick {record.arch_id} --out bundle-{record.arch_id}"
    )
    current = page.locator(".drawings li[aria-current=true] button")
    assert current.get_attribute("data-trial") == str(record.trial)


def test_hovering_shows_drawing_cost_accuracy_and_seed(page: "Page") -> None:
    record = MEMBERS[1]
    page.mouse.move(*place_of(page, record.trial))
    card = page.locator(".card")
    card.locator("svg").wait_for()
    assert card.locator("svg desc").text_content() in draw(record)
    words = card.inner_text()
    accuracy = f"Accuracy {format_share(record.objectives['accuracy'])}"
    name = NAMES[record.arch_id]
    for expected in (accuracy, name, record.arch_id, f"Trial {record.trial}"):
        assert expected in words
    assert f"MACs {record.target_cost.macs / 1e9:.4g}G" in words
    assert f"seed {record.seed}" in words
    page.mouse.move(0, 0)
    card.wait_for(state="hidden")


def test_trials_off_the_front_are_exported_without_weights(page: "Page") -> None:
    on_front = {record.trial for record in MEMBERS}
    other = next(r for r in STUDY if r.trial not in on_front and r.state == "complete")
    page.locator(f'{ROWS}[data-trial="{other.trial}"]').click()
    assert "--scale target" in page.locator("#selected-command").inner_text()
    assert page.locator("#selected-note").inner_text() == NOT_KEPT


def test_a_failed_trial_shows_its_reason_and_no_command(page: "Page") -> None:
    failed = next(record for record in STUDY if record.state == "failed")
    page.locator(f'{ROWS}[data-trial="{failed.trial}"]').click()
    assert failed.reason in page.locator("#selected-title").inner_text()
    assert not page.locator("#selected-command").is_visible()


def test_the_table_sorts_both_ways(page: "Page") -> None:
    accuracy, macs = page.locator("th[data-key=accuracy]"), page.locator("th[data-key=macs]")
    accuracy.click()
    assert column(page, 2) == sorted(column(page, 2), reverse=True)
    assert accuracy.get_attribute("aria-sort") == "descending"
    # What has no accuracy stays last in both directions.
    assert page.locator(f"{ROWS}.failed").count() == 2
    assert "failed" in page.locator(ROWS).last.get_attribute("class")
    accuracy.click()
    assert column(page, 2) == sorted(column(page, 2))
    assert "failed" in page.locator(ROWS).last.get_attribute("class")
    macs.click()
    assert column(page, 3) == sorted(column(page, 3))
    assert accuracy.get_attribute("aria-sort") is None


def test_the_table_filters(page: "Page") -> None:
    page.select_option("#kind", "front")
    assert page.locator(ROWS).count() == len(MEMBERS)
    page.select_option("#kind", "all")
    page.fill("#filter", "hybrid_ms")
    assert page.locator(ROWS).count() == 1
    page.fill("#filter", "no such trial")
    assert page.locator(ROWS).count() == 0
    # A click in the plot finds the row all the same.
    page.mouse.click(*place_of(page, MEMBERS[0].trial))
    assert page.locator(f"{ROWS}[aria-selected=true]").count() == 1


def test_rows_are_selected_by_the_keyboard(page: "Page") -> None:
    page.locator(ROWS).nth(3).focus()
    page.keyboard.press("Enter")
    assert page.locator(ROWS).nth(3).get_attribute("aria-selected") == "true"


@pytest.mark.parametrize(
    ("axis", "words"), [("params", "Parameters"), ("activations", "Activations")]
)
def test_the_axis_switches(page: "Page", axis: str, words: str) -> None:
    assert "MACs" in page.locator("#plot-front .xtitle").text_content()
    page.locator(f"#switch-front input[value={words}]").check(force=True)
    assert words.lower() in page.locator("#plot-front .xtitle").text_content()
    drawn = page.evaluate(
        "document.getElementById('plot-front').data.find(t => t.name === 'Pareto front').customdata"
    )
    expected = front(STUDY, (TWO[0], OBJECTIVES[axis]), limits=FACTS.limits)
    assert sorted(drawn) == sorted(record.trial for record in expected)


def test_the_command_is_copied(page: "Page") -> None:
    page.locator(f'{ROWS}[data-trial="{MEMBERS[0].trial}"]').click()
    for button in (page.locator(".picks .copy").first, page.locator("#selected-export .copy")):
        button.click()
        button.get_by_text("Copied", exact=True).wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#selected-command").inner_text()


def background(page: "Page", name: str) -> str:
    # The answer of a media query comes with the next frame.
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return page.evaluate(f"document.getElementById('plot-{name}').layout.paper_bgcolor")


@pytest.mark.parametrize("name", ["front", "hypervolume", "shares", "curves"])
def test_plots_follow_the_colour_scheme(page: "Page", name: str) -> None:
    assert background(page, name) == LIGHT.surface
    page.emulate_media(color_scheme="dark")
    assert background(page, name) == DARK.surface
    page.emulate_media(color_scheme="light")
    assert background(page, name) == LIGHT.surface


def test_paper_is_white(page: "Page") -> None:
    page.emulate_media(color_scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.getElementById('plot-front').layout.width") == 700
    assert background(page, "front") == LIGHT.surface
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert background(page, "front") == DARK.surface


def test_a_phone_needs_no_sideways_scrolling(open_page: "Opener", study_page: Path) -> None:
    page = open_page(study_page, viewport={"width": 360, "height": 740}, is_mobile=True)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360
    for drawing in page.locator(".drawings svg").all():
        assert drawing.bounding_box()["width"] <= 340


def test_hostile_strings_are_shown_as_text(
    open_page: "Opener", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixers.MIXERS, "known", dict(mixers.MIXERS))
    register_mixer(
        MixerSpec(name=HOSTILE, short=HOSTILE, cost=lambda _: MixerCost(0, 0, 0), module=None)
    )
    plain = REFERENCES["conv_ms_xxs"].architecture
    stages = (replace(plain.stages[0], mixers=(HOSTILE, "conv")), *plain.stages[1:])
    records = [
        make_record(0, 0.5, macs=10**9, architecture=replace(plain, stages=stages)),
        replace(make_record(1, 0.6, macs=2 * 10**9), reference=HOSTILE, machine=HOSTILE),
        make_record(2, None, reason=HOSTILE),
    ]
    facts = replace(FACTS, name=HOSTILE, settings=HOSTILE, command=HOSTILE)
    folder = tmp_path / HOSTILE.replace("/", "")
    folder.mkdir()
    page = open_page(write_report(folder, records=records, facts=facts))
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("img").count() == 0
    page.mouse.move(*place_of(page, 0))
    page.locator(".card svg").wait_for()
    assert HOSTILE in page.locator(".card code").inner_text()
    assert HOSTILE in page.locator(".failures span").inner_text()
    page.locator(".failures button").click()
    assert page.locator(ROWS).count() == 1
    assert HOSTILE in page.locator(f'{ROWS}[data-trial="2"]').inner_text()
    assert HOSTILE.replace("/", "")[:8] in page.locator("#selected-command").text_content()
    assert HOSTILE in page.locator("#plot-shares .legend").text_content()
    assert any(HOSTILE in note for note in page.locator(".annotation-text").all_text_contents())
    assert page.evaluate("window.hacked") is None


@pytest.mark.parametrize(
    "records",
    [[], [make_record(0, 0.5)], [make_record(0, 0.5, macs=20 * 10**9)]],
    ids=["none", "one", "over the limits"],
)
def test_small_studies_have_no_empty_pictures(
    open_page: "Opener", tmp_path: Path, records: list[Record]
) -> None:
    page = open_page(write_report(tmp_path, records=records, facts=FACTS))
    assert page.locator(ROWS).count() == len(records)
    for plot in page.locator(".plot").all():
        assert not plot.is_visible() or plot.locator(".main-svg").count()


def test_many_trials_are_shown_in_part(open_page: "Opener", tmp_path: Path) -> None:
    study = make_study(300, failed=5)
    page = open_page(write_report(tmp_path, records=study, facts=FACTS))
    total, first = len(study), page.locator(ROWS).count()
    assert first < total
    page.locator("#more").click()
    assert page.locator(ROWS).count() == total
    assert page.locator("#shown").inner_text() == f"{total} of {total} trials shown."
    page.locator("th[data-key=macs] button").click()
    assert page.locator(ROWS).count() == first


def test_a_zoom_survives_a_selection_and_a_dark_screen(page: "Page") -> None:
    shown = "document.getElementById('plot-front')._fullLayout.xaxis.range"
    whole = page.evaluate(shown)
    (left, top), (right, bottom) = (
        place_of(page, MEMBERS[-1].trial),
        place_of(page, MEMBERS[0].trial),
    )
    page.mouse.move(left + 5, top - 15)
    page.mouse.down()
    page.mouse.move((left + right) / 2, (top + bottom) / 2, steps=4)
    page.mouse.up()
    zoomed = page.evaluate(shown)
    assert zoomed[1] - zoomed[0] < whole[1] - whole[0]
    page.locator(f'{ROWS}[data-trial="{MEMBERS[0].trial}"]').click()
    page.emulate_media(color_scheme="dark")
    assert background(page, "front") == DARK.surface
    assert page.evaluate(shown) == zoomed


def test_no_button_offers_to_upload_a_figure(page: "Page") -> None:
    titles = page.evaluate(
        "[...document.querySelectorAll('.modebar-btn')].map(button => button.dataset.title)"
    )
    assert titles
    assert not [title for title in titles if "share" in title.lower() or "cloud" in title.lower()]


def test_failures_lead_to_their_trials(page: "Page") -> None:
    failed = sorted(record.trial for record in STUDY if record.state == "failed")
    page.locator(".failures button").click()
    assert sorted(int(cell) for cell in column(page, 1)) == failed


def test_trainings_with_several_seeds_have_bars(open_page: "Opener", tmp_path: Path) -> None:
    plain = REFERENCES["conv_ms_xxs"].architecture
    records = [
        make_record(0, 0.7 + seed / 100, architecture=plain, seed=seed) for seed in (1, 2, 6)
    ]
    other = make_record(1, 0.6, macs=10**9, architecture=replace(plain, stem="conv4"), seed=9)
    page = open_page(write_report(tmp_path, records=[*records, other], facts=FACTS))
    assert page.locator("#plot-front path.yerror").count() == 1
    page.locator(f'{ROWS}[data-trial="0"]').click()
    words = page.locator("#selection").inner_text()
    assert "Accuracy 73.00%" in words
    assert "mean of seeds 1, 2, 6" in words
    assert page.locator(ROWS).count() == 2
