import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from spach_nas.limits import Limits
from spach_nas.records import Record
from spach_nas.report import StudyFacts, write_report
from spach_nas.report import page as page_module
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
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
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
        assert rows[record.trial]["failed"] == (record.state == "failed")
        assert (record.reason or "") in rows[record.trial]["note"]


def test_nothing_is_fetched(tmp_path: Path) -> None:
    page = written(tmp_path)
    for tag, attrs in page.tags:
        for name in ("src", "href", "action", "srcset", "data"):
            assert attrs.get(name) in (None, "data:,"), (tag, attrs)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


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
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    rows = data_of(page)["rows"]
    assert HOSTILE in rows[0]["note"]
    assert HOSTILE in rows[1]["note"]


def test_the_data_block_has_no_angle_bracket(tmp_path: Path) -> None:
    page = written(tmp_path, [make_record(0, None, reason=HOSTILE)])
    assert "<" not in page.text["data"]


def test_plot_labels_escape_mark_up(tmp_path: Path) -> None:
    record = replace(make_record(0, 0.5), reference="<b>x</b>")
    label = data_of(written(tmp_path, [record]))["labels"]["0"]
    assert "&lt;b&gt;x" in label


@pytest.mark.parametrize(
    "records",
    [[], [make_record(0, None)], [make_record(0, 0.5)], [make_record(0, 0.5, macs=20 * 10**9)]],
    ids=["none", "failed", "one", "over the limits"],
)
def test_a_page_is_written_of_whatever_there_is(tmp_path: Path, records: list[Record]) -> None:
    page = written(tmp_path, records)
    assert "trials" in page.text["p"] or "trial " in page.text["p"]
    hidden = {attrs.get("id") for tag, attrs in page.tags if tag == "section" and "hidden" in attrs}
    fine = any(record.state == "complete" for record in records) and len(records) == 1
    assert ("front" in hidden) != (fine and records[0].target_cost.macs < 12 * 10**9)


def test_a_curve_that_is_not_finite_has_a_gap(tmp_path: Path) -> None:
    record = make_record(0, 0.5)
    broken = replace(record, curve=(replace(record.curve[0], accuracy=float("nan")),))
    page = written(tmp_path, [broken, make_record(1, 0.6)])
    curves = data_of(page)["figures"]["curves"]["data"]
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

    monkeypatch.setattr(page_module.Path, "replace", full)
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
