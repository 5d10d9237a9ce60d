import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from plotly import graph_objects as go

import needs
from conftest import run_main
from search_tools import make_study as begin
from spach_nas.config.objectives import OBJECTIVES
from spach_nas.cost.limits import Limits
from spach_nas.errors import SpachNasError
from spach_nas.report import StudyFacts, write_pictures
from spach_nas.report import print_figures as pictures
from spach_nas.report.drawing import Drawing
from spach_nas.report.print_figures import sheet
from spach_nas.report.view import study_view
from spach_nas.space.references import REFERENCES
from spach_nas.study.pareto import front, knee
from spach_nas.study.records import Record, append_record
from spach_nas.units import format_share
from study_factory import make_record, make_study

kaleido = pytest.importorskip("kaleido", reason=needs.KALEIDO)
choreographer = pytest.importorskip("choreographer", reason=needs.KALEIDO)

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<b>&"
STUDY = make_study(12)
FACTS = StudyFacts(name=HOSTILE)
BROWSER = choreographer.browsers.chromium.Chromium
needs_chrome = pytest.mark.skipif(
    BROWSER.find_browser(skip_local=False) is None, reason=needs.CHROMIUM
)


def drawn(records: Sequence[Record], facts: StudyFacts = FACTS) -> Drawing:
    return sheet(study_view(records, facts))


def texts(svg: str) -> Iterator[str]:
    for element in ElementTree.fromstring(svg).iter(f"{SVG}text"):
        yield "".join(element.itertext())


@pytest.fixture
def no_chrome(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(**_: object) -> None:
        return None

    monkeypatch.setattr(BROWSER, "find_browser", nowhere)


@pytest.fixture
def one_chrome(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same Chrome for all pictures: its start takes longest."""
    write = kaleido.write_fig_from_object_sync
    # A running server warns that it has its options already.
    monkeypatch.setattr(
        kaleido, "write_fig_from_object_sync", lambda figures, kopts: write(figures)
    )
    kaleido.start_sync_server()
    yield
    kaleido.stop_sync_server()


@pytest.mark.browser
@needs_chrome
def test_front_hypervolume_and_drawings_are_written(tmp_path: Path, one_chrome: None) -> None:
    for kind, start in (("png", b"\x89PNG"), ("svg", b"<svg"), ("pdf", b"%PDF")):
        folder = tmp_path / kind
        folder.mkdir()
        paths = write_pictures(folder, kind=kind, records=STUDY, facts=FACTS)
        assert {path.name for path in paths} == {f"{name}.{kind}" for name in pictures.NAMES}
        assert set(folder.iterdir()) == set(paths)
        for path in paths:
            content = path.read_bytes()
            assert content.startswith(start)
            if kind == "svg":
                words = list(ElementTree.fromstring(content).itertext())
                assert any(HOSTILE in text for text in words)
                assert not any("click" in text for text in words), "nobody clicks on paper"
            if kind == "pdf":
                assert b"/FontFile" in content, "its letters look the same everywhere"
                assert b"/Subtype /Image" not in content, "sharp at any size"


def test_the_sheet_shows_the_front_in_order_and_the_best_paper_model_that_was_trained() -> None:
    words = list(texts(drawn(STUDY)))
    members = front(STUDY, FACTS.objectives)
    names = [record.reference or f"trial {record.trial}" for record in members]
    paper = [item for item in STUDY if item.reference is not None and item not in members]
    rest = max(paper, key=lambda record: record.objectives["accuracy"])
    places = [
        next(i for i, text in enumerate(words) if text.startswith(name))
        for name in (*names, rest.reference)
    ]
    assert places == sorted(places)
    best = max(members, key=lambda record: record.objectives["accuracy"])
    assert f"{best.target_cost.macs / 1e9:.4g}G MACs" in " ".join(words)
    assert f"accuracy {format_share(best.objectives['accuracy'])}" in " ".join(words)


def test_a_sheet_has_one_scale() -> None:
    hybrid = REFERENCES["hybrid_ms_s"].architecture
    model = make_record(1, 0.4, architecture=hybrid, reference="hybrid_ms_s")
    svg = ElementTree.fromstring(drawn([make_record(0, 0.5), model]))
    _, first, paper = svg.iter(f"{SVG}svg")
    heights = {}
    for name, strip in (("conv_ms_xxs", first), ("hybrid_ms_s", paper)):
        for group in strip.iter(f"{SVG}g"):
            title = group.find(f"{SVG}title").text
            heights[name, title.split(",")[0]] = float(group.find(f"{SVG}rect").get("height"))
    assert heights["conv_ms_xxs", "stage 4"] == heights["hybrid_ms_s", "stage 3"]


def test_a_long_front_is_thinned_out_and_keeps_its_ends() -> None:
    # Its knee is none of the twelve that stand evenly.
    records = [
        make_record(i, 0.5 + min(i, 13) / 50 + i / 1000, macs=10**9 + i * 10**8) for i in range(40)
    ]
    words = list(texts(drawn(records)))
    assert words[0] == f"{HOSTILE}: 12 of the 40 architectures on the front"
    captions = [text for text in words if text.startswith("trial ")]
    assert len(captions) == 12
    assert captions[0].startswith("trial 0")
    assert captions[-1].startswith("trial 39, best")
    assert knee(records, FACTS.objectives).trial == 13
    assert any(text.startswith("trial 13, knee") for text in captions)


def test_nothing_of_a_sheet_is_outside_of_it() -> None:
    named = replace(make_record(0, 0.5), reference=HOSTILE + "a_very_long_name" * 6)
    assert any(text.startswith(named.reference) for text in texts(drawn([named])))
    for records in (STUDY, [named], ()):
        root = ElementTree.fromstring(drawn(records))
        wide, high = (float(root.get(name)) for name in ("width", "height"))
        for group in root.findall(f"{SVG}g"):
            x, y = map(float, group.get("transform").split("(")[1].split(")")[0].split())
            strip = group.find(f"{SVG}svg")
            assert x + 1.25 * float(strip.get("width")) <= wide
            assert y + 1.25 * float(strip.get("height")) <= high


def test_limits_decide_who_is_on_the_sheet() -> None:
    cheapest = front(STUDY, FACTS.objectives)[0]
    facts = replace(FACTS, limits=Limits(max_macs=cheapest.target_cost.macs))
    strips = list(ElementTree.fromstring(drawn(STUDY, facts)).iter(f"{SVG}svg"))
    assert len(strips) == 1 + 1 + 1  # the sheet, one member, the paper's best


def test_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpachNasError, match=r"'gif'; expected png, svg or pdf"):
        write_pictures(tmp_path, kind="gif", records=STUDY, facts=FACTS)


def test_the_front_is_over_the_cost_that_was_optimised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def keep(figures: Mapping[str, go.Figure], *, kind: str, folder: Path) -> list[Path]:
        seen.update(figures)
        raise SpachNasError("enough")

    monkeypatch.setattr(pictures, "_render", keep)
    facts = replace(FACTS, objectives=(OBJECTIVES["accuracy"], OBJECTIVES["params"]))
    with pytest.raises(SpachNasError, match="enough"):
        write_pictures(tmp_path, kind="png", records=STUDY, facts=facts)
    assert "parameters" in seen["front"].layout.xaxis.title.text


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpachNasError, match="no complete trial"):
        write_pictures(tmp_path, kind="png", records=[make_record(0, None)], facts=FACTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_without_chrome_the_drawings_are_written_and_a_line_says_why(
    tmp_path: Path, no_chrome: None, kind: str
) -> None:
    with pytest.raises(SpachNasError, match="apt install chromium") as caught:
        write_pictures(tmp_path, kind=kind, records=STUDY, facts=FACTS)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["drawings.svg"]
    assert (tmp_path / "drawings.svg").read_text() == drawn(STUDY)


def test_a_missing_kaleido_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SpachNasError, match="pip install") as caught:
        write_pictures(tmp_path, kind="png", records=STUDY, facts=FACTS)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["drawings.svg"]


def test_a_picture_that_chrome_did_not_make_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures.plotly_io, "write_images", lambda *_, **__: None)
    with pytest.raises(SpachNasError, match=r"made no front\.png, hypervolume\.png"):
        write_pictures(tmp_path, kind="png", records=STUDY, facts=FACTS)


def test_the_command_writes_the_page_though_no_chrome_is_there(
    tmp_path: Path, no_chrome: None
) -> None:
    folder = begin(tmp_path, limits={}, objectives={"accuracy": "max", "macs": "min"}).folder
    for record in STUDY:
        append_record(folder / "records.jsonl", record)
    code, lines = run_main("report", str(folder), "--static", "pdf")
    assert (code, len(lines)) == (2, 1)
    assert "apt install chromium" in lines[0]
    assert (folder / "report.html").is_file()
    assert (folder / "drawings.svg").is_file()
    assert not list(folder.glob("*.pdf"))
