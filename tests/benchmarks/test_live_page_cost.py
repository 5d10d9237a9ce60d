"""What a live page with a browser costs the search beside it.

Off by default; `pytest -m benchmark tests/benchmarks/test_live_page_cost.py` takes about five
minutes and writes `results/benchmarks/live_page.csv`. Searches with and without the page are run in
turn. Nothing here asserts a time. SPACH_NAS_BENCHMARK_PAIRS, such as 1, is enough to see that it
runs.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from result_tables import write_table

from search_tools import write_search
from spach_nas.records import read_records
from spach_nas.report.live_page import REFRESH_S

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]
PAIRS = int(os.environ.get("SPACH_NAS_BENCHMARK_PAIRS", "5"))
TRIALS = 24


class Browser:
    """Loads the page and asks for news as its script does, until the search is over."""

    def __init__(self, url: str) -> None:
        self.url, self.news, self.ended = url, 0, ""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        revision = ""
        self._get("")
        while not self.ended:
            time.sleep(REFRESH_S)
            body = self._get(f"data.json?revision={revision}")
            if body is None:
                return
            if body:
                data = json.loads(body)
                revision, self.ended = data["revision"], data["ended"]
                self.news += 1

    def _get(self, path: str) -> bytes | None:
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as answer:
                content: bytes = answer.read()
                return content
        except (urllib.error.URLError, ConnectionError):
            return None


def run(folder: Path, search: Path, *, page: bool) -> dict[str, float]:
    """Seconds of the search, of the command, and of the page's processor."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "spach_nas", "search", str(search), "--out", str(folder)]
    command += ["--watch"] if page else []
    browser = None
    processor = 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.match(r"page\s+(\S+)", line)
            if found:
                browser = Browser(found[1])
            processor = max(processor, page_seconds(process.pid))
    assert process.returncode == 0
    wall = time.perf_counter() - began
    records = read_records(folder)
    assert len(records) == TRIALS
    if browser is not None:
        assert browser.news >= 2
    end = max(record.started + record.seconds for record in records)
    return {"search_s": end, "command_s": wall, "page_processor_s": processor}


def page_seconds(driver: int) -> float:
    """Processor seconds of the page so far; 0 where the system does not tell."""
    try:
        children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
        for child in children:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        pass
    return 0.0


def test_a_polling_browser_is_measured_beside_a_search(tmp_path: Path) -> None:
    search = write_search(
        tmp_path,
        search__trials=TRIALS,
        search__sampler="random",  # the same trials whatever finishes first
        training__data_share=0.5,
        limits={},
    )
    rows = []
    for pair in range(PAIRS):
        order = (False, True) if pair % 2 else (True, False)
        runs = {page: run(tmp_path / f"{pair}-{page}", search, page=page) for page in order}
        rows.append(
            {
                "pair": pair,
                "trials": TRIALS,
                "search_s": f"{runs[False]['search_s']:.1f}",
                "search_with_page_s": f"{runs[True]['search_s']:.1f}",
                "ratio": f"{runs[True]['search_s'] / runs[False]['search_s']:.3f}",
                "command_s": f"{runs[False]['command_s']:.1f}",
                "command_with_page_s": f"{runs[True]['command_s']:.1f}",
                "page_processor_s": f"{runs[True]['page_processor_s']:.2f}",
            }
        )
    print(f"median ratio {statistics.median(float(row['ratio']) for row in rows):.3f}")
    write_table("live_page.csv", rows, test=__file__)
