import base64
import json
import math
import re
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from spach_nas.config.shipped import shipped_folder
from spach_nas.cost.limits import Limits
from spach_nas.errors import StudyError
from spach_nas.report import StudyFacts, draw, write_report
from spach_nas.report.comparison_figures import hover_text
from spach_nas.report.front_figure import Point
from spach_nas.report.study import write_study_report
from spach_nas.report.view import Trained
from spach_nas.study.records import Record, append_record
from study_factory import make_record, make_study

HOSTILE = "</script><img src=x onerror=alert(1)><!--"
STUDY = make_study(12)
FACTS = StudyFacts(
    name="a study",
    limits=Limits(max_macs=12_300_000_000),
    seed=7,
    settings="study: a study\nlimits: {max_macs: 12.3G}  # <&>\n",
    command="spach-nas search quickstart.yaml",
)


class Page(HTMLParser):
    """Tags with attributes, and the text of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.text, self._stack = [], {}, []
        self.filled: set[str | None] = set()  # ids of elements with an element inside
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.filled.update(name for _, name in self._stack)
        if tag not in ("meta", "link", "input", "img", "br"):
            self._stack.append((tag, dict(attrs).get("id")))

    def handle_endtag(self, tag: str) -> None:
        if self._stack and self._stack[-1][0] == tag:
            self._stack.pop()

    def handle_data(self, data: str) -> None:
        if self._stack:
            for key in self._stack[-1]:
                self.text[key] = self.text.get(key, "") + data


def written(tmp_path: Path, records: Sequence[Record] = STUDY, facts: StudyFacts = FACTS) -> Page:
    return Page(write_report(tmp_path, records=records, facts=facts).read_text(encoding="utf-8"))


def data_of(page: Page) -> Any:
    return json.loads(page.text["data"])


def test_the_page_says_what_was_run(tmp_path: Path) -> None:
    page = written(tmp_path)
    assert page.text["h1"] == "a study"
    assert page.text["pre"] == FACTS.settings
    assert "spach-nas search quickstart.yaml" in page.text["code"]
    for words in ("7", "Linux x86_64, 2 cores", "macs <= 12.3G", "spach-nas 0.1.0"):
        assert words in page.text["dd"]


def test_every_trial_is_in_the_table_with_its_reason(tmp_path: Path) -> None:
    rows = {row["trial"]: row for row in data_of(written(tmp_path))["rows"]}
    assert sorted(rows) == sorted(record.trial for record in STUDY)
    for record in STUDY:
        assert rows[record.trial].get("failed", False) == (record.state == "failed")
        assert (record.reason or "") in rows[record.trial].get("note", "")


def test_small_networks_are_counted_in_small_units(tmp_path: Path) -> None:
    small = [make_record(0, 0.5, macs=6_123_000), make_record(1, 0.6, macs=30_456_000)]
    page = written(tmp_path, small)
    assert [row["text"]["macs"] for row in data_of(page)["rows"]] == ["6.123M", "30.46M"]
    assert "best accuracy 60.00% at 30.46M MACs" in page.text["p"]


def test_nothing_is_fetched(tmp_path: Path) -> None:
    page = written(tmp_path)
    for tag, attrs in page.tags:
        for name in ("src", "href", "action", "srcset", "data"):
            assert attrs.get(name) in (None, "data:,") or attrs[name][0] == "#", (tag, attrs)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "connect-src" not in policy
    assert "self" not in policy


def unpacked(drawings: str) -> dict[str, str]:
    return json.loads(zlib.decompress(base64.b64decode(drawings)))


def test_the_drawings_are_those_of_the_drawing_function(tmp_path: Path) -> None:
    drawings = unpacked(data_of(written(tmp_path))["drawings"])
    assert all(drawings[record.arch_id] == draw(record) for record in STUDY)


def test_hostile_strings_are_text_everywhere(tmp_path: Path) -> None:
    facts = replace(FACTS, name=HOSTILE, settings=HOSTILE, command=HOSTILE)
    record = replace(
        make_record(0, 0.5), machine=HOSTILE, version=HOSTILE, reference=HOSTILE, arch_id=HOSTILE
    )
    failed = make_record(1, None, reason=HOSTILE)
    page = written(tmp_path, [record, failed], facts)
    assert page.text["h1"] == page.text["pre"] == HOSTILE
    assert page.text["title"].startswith(HOSTILE)  # drawings have titles, too
    assert not any(tag == "img" for tag, _ in page.tags)
    assert sum(tag == "script" for tag, _ in page.tags) == 4
    rows = data_of(page)["rows"]
    assert HOSTILE in rows[0]["note"]
    assert HOSTILE in rows[1]["note"]


def test_the_data_block_has_no_angle_bracket(tmp_path: Path) -> None:
    page = written(tmp_path, [make_record(0, None, reason=HOSTILE)])
    assert "<" not in page.text["data"]


def test_plot_labels_escape_mark_up() -> None:
    trained = Trained.of((replace(make_record(0, 0.5), reference="<b>x</b>"),))
    point = Point(trained=trained, x=1, y=0.5, low=0.5, high=0.5)
    words = hover_text("<i>y</i>", point)
    assert words.startswith("&lt;i&gt;y")
    assert "&lt;b&gt;x" in words


NOT_FINITE = [
    replace(make_record(i, 0.5), objectives={"accuracy": bad, "macs": 1e9}, curve=())
    for i, bad in enumerate((math.nan, math.inf, -math.inf))
]


@pytest.mark.parametrize(
    ("records", "words", "drawn"),
    [
        ([], "No trial is finished yet.", False),
        ([make_record(0, None)], "Every trial failed; see Failures for the reasons.", False),
        (NOT_FINITE, "No trial has a finite accuracy.", False),
        ([make_record(0, 0.5)], "1 trial done, 1 on the front", True),
        ([make_record(0, 0.5, macs=20 * 10**9)], "none is complete within the limits", True),
    ],
    ids=["none", "failed", "not finite", "one", "over the limits"],
)
def test_a_page_is_written_of_whatever_there_is(
    tmp_path: Path, records: list[Record], words: str, drawn: bool
) -> None:
    page = written(tmp_path, records)
    assert words in page.text["p"]
    assert ("front" in data_of(page)["figures"]) == drawn
    for tag, attrs in page.tags:
        name = attrs.get("id") or ""
        if tag == "section" and "hidden" not in attrs:
            # Each section that is shown has a figure, words or a body.
            figure = name in data_of(page)["figures"]
            assert figure or page.text.get(f"missing-{name}") or f"body-{name}" in page.filled


def test_a_curve_that_is_not_finite_has_a_gap(tmp_path: Path) -> None:
    record = make_record(0, 0.5, macs=10**9)
    broken = replace(record, curve=(replace(record.curve[0], accuracy=float("nan")),))
    page = written(tmp_path, [broken, make_record(1, 0.6, macs=2 * 10**9)])
    curves = data_of(page)["figures"]["curves"][""]["data"]
    assert [None] in [trace["y"] for trace in curves]


def test_an_old_page_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    path = write_report(tmp_path, records=STUDY, facts=FACTS)
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_that_cannot_be_made_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.html").write_text("old")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_report(tmp_path, records=STUDY, facts=FACTS)
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_the_export_command_names_the_folder_safely(tmp_path: Path) -> None:
    folder = tmp_path / "my $(study)"
    folder.mkdir()
    page = Page(write_report(folder, records=STUDY, facts=FACTS).read_text(encoding="utf-8"))
    assert data_of(page)["study"] == f"'{folder}'"


def test_every_colour_of_the_page_is_a_property_of_the_theme(tmp_path: Path) -> None:
    style = written(tmp_path).text["style"]
    used = set(re.findall(r"var\(--([a-z]+)", style)) - {"share"}
    assert used <= set(re.findall(r"--([a-z]+):", style))


def test_reading_and_drawing_a_study_needs_no_torch() -> None:
    code = "import sys, spach_nas.report; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "search.yaml").write_text((shipped_folder() / "quickstart.yaml").read_text())
    for record in STUDY:
        append_record(folder / "records.jsonl", record)
    return folder


def test_a_study_folder_makes_a_page_of_its_own_files(study_folder: Path) -> None:
    page = Page(write_study_report(study_folder).read_text(encoding="utf-8"))
    assert page.text["pre"] == (study_folder / "search.yaml").read_text()


def test_a_torn_last_line_is_left_out(study_folder: Path) -> None:
    path = study_folder / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-200])
    page = Page(write_study_report(study_folder).read_text(encoding="utf-8"))
    assert len(data_of(page)["rows"]) == len(STUDY) - 1


def test_damage_in_the_middle_is_told_with_its_line(study_folder: Path) -> None:
    path = study_folder / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], lines[4][:300] + "\n", *lines[5:]]))
    with pytest.raises(StudyError, match=r"records\.jsonl:5: damaged line"):
        write_study_report(study_folder)
    assert not (study_folder / "report.html").exists()


def test_numbers_that_are_not_finite_do_not_stop_a_page(study_folder: Path) -> None:
    path = study_folder / "records.jsonl"
    lines = path.read_text().splitlines()
    for number, bad in ((3, "NaN"), (5, "Infinity")):
        plain = json.loads(lines[number])
        plain["objectives"]["accuracy"] = float(bad)
        plain["curve"][-1] |= {"accuracy": float(bad), "loss": float(bad)}
        lines[number] = json.dumps(plain)
    path.write_text("\n".join(lines) + "\n")
    rows = {
        row["trial"]: row
        for row in data_of(Page(write_study_report(study_folder).read_text("utf-8")))["rows"]
    }
    for number in (3, 5):
        row = rows[json.loads(lines[number])["trial"]]
        assert row["accuracy"] is None
        assert "no finite accuracy" in row["note"]


def test_a_duration_that_is_not_finite_is_damage(study_folder: Path) -> None:
    path = study_folder / "records.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = json.dumps(json.loads(lines[2]) | {"seconds": math.nan})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(StudyError, match=r"records\.jsonl:3: seconds"):
        write_study_report(study_folder)
