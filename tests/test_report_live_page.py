"""The page of a search that still runs: it changes in place, and keeps what the reader chose."""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from spach_nas.limits import Limits
from spach_nas.records import Record
from spach_nas.report import StudyFacts
from spach_nas.report.document import to_json
from spach_nas.report.page import page_data, render
from study_factory import make_record, make_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

FACTS = StudyFacts(name="a study", limits=Limits(max_macs=9_000_000_000), settings="a: 1")
FOLDER = Path("results/a")
STUDY = make_study(140)
ROWS = "#table tbody tr"


class Search:
    """A search as a server shows it: `records` so far, and `ended`."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records, self.ended = tuple(records), ""
        self.problem = ""
        self.revisions: list[str] = []

    def page(self) -> str:
        return render(self.records, facts=FACTS, folder=FOLDER, refresh=0.05)

    def news(self, known: str) -> str:
        """Empty when there are none."""
        self.revisions.append(known)
        revision = f"{len(self.records)}{self.ended}"
        if known == revision:
            return ""
        data = page_data(
            self.records,
            facts=FACTS,
            folder=FOLDER,
            revision=revision,
            since=int(known or 0),
            ended=self.ended,
        )
        return to_json(data)


@pytest.fixture
def search() -> Search:
    return Search(STUDY[:130])


@pytest.fixture
def address(search: Search) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            known = parse_qs(url.query).get("revision", [""])[0]
            text = search.news(known) if url.path == "/data.json" else search.page()
            kind = "application/json" if url.path == "/data.json" else "text/html"
            failed = search.problem and url.path == "/data.json"
            text = json.dumps({"problem": search.problem}) if failed else text
            self.send_response(503 if failed else 200 if text else 204)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_live_page_changes_in_place_and_keeps_what_was_chosen(
    address: str, search: Search, browser: "Browser"
) -> None:
    problems: list[str] = []
    place = "part => part.getBoundingClientRect().top"
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    chosen = next(r for r in STUDY[:130] if "attn" in str(r.architecture)).trial
    page.locator("#switch-front input[value=Parameters]").check(force=True)
    page.locator("th[data-key=macs] button").click()
    page.fill("#filter", "attn")
    page.locator(f'{ROWS}[data-trial="{chosen}"]').click()
    page.locator("#trials .scroll").evaluate("box => { box.scrollTop = 300; }")
    page.locator("#origin details summary").click()
    top = page.locator("#origin").evaluate(place)

    better = make_record(900, 0.99, macs=10**9, architecture=STUDY[20].architecture, reason=None)
    search.records = (*STUDY, replace(better, arch_id="0123456789ab"))
    page.wait_for_function("document.querySelector('.conclusion').textContent.includes('141 t')")
    assert "99.00%" in page.locator(".conclusion").inner_text()
    assert "Trial 900" not in page.locator("#selected-title").inner_text()
    assert page.locator("#selected-title").inner_text().startswith(f"Trial {chosen}")
    assert page.locator(f"{ROWS}[aria-selected=true]").get_attribute("data-trial") == str(chosen)
    assert page.input_value("#filter") == "attn"
    assert page.locator("th[data-key=macs]").get_attribute("aria-sort") == "ascending"
    assert page.locator("#trials .scroll").evaluate("box => box.scrollTop") == 300
    assert page.locator("#origin").evaluate(place) == pytest.approx(top, abs=2)
    assert page.locator("#origin details").first.evaluate("part => part.open")
    plot = page.evaluate("document.getElementById('plot-front').layout.xaxis")
    assert "parameters" in plot["title"]["text"]
    points = "document.getElementById('plot-front').data.flatMap(t => t.customdata ?? [])"
    assert 900 in page.evaluate(points)
    assert page.locator(".drawings button[data-trial='900']").count() == 1
    # The drawing of the new one came with the news.
    page.locator(".drawings button[data-trial='900']").click()
    page.locator("#selected-drawing svg").wait_for()

    search.ended = " the search is over"
    page.wait_for_function("document.getElementById('live').textContent.includes('is over')")
    asked = len(search.revisions)
    page.wait_for_timeout(300)
    assert len(search.revisions) == asked
    page.close()
    assert problems == []


def test_a_live_page_begins_empty_and_says_when_nobody_answers(
    address: str, search: Search, browser: "Browser"
) -> None:
    search.records = ()
    problems: list[str] = []
    page = browser.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    assert "No trial is finished yet" in page.locator(".conclusion").inner_text()
    search.records = STUDY[:20]
    page.wait_for_selector(ROWS)
    assert page.locator("#plot-front .main-svg").count()
    page.locator(ROWS).nth(3).click()
    assert page.locator("#selection").is_visible()
    page.context.set_offline(True)
    page.wait_for_selector("#live.problem")
    page.context.set_offline(False)
    page.wait_for_selector("#live:not(.problem)")
    search.problem = "records.jsonl:5: damaged line"
    page.wait_for_function("document.getElementById('live').textContent.includes('jsonl:5')")
    search.problem = ""
    search.records = STUDY[:25]
    page.wait_for_selector("#live:not(.problem)")
    page.wait_for_function(f"document.querySelectorAll('{ROWS}').length === 25")
    page.close()
    assert problems == []
