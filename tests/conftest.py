"""What many tests share: one small real search, a browser, and what this machine lacks."""

import atexit
import contextlib
import gc
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from filelock import FileLock

import needs
import spach_nas.search.ray  # noqa: F401 - before a test imports Ray, which reads what this sets
from effort import set_effort
from search_tools import write_search
from spach_nas.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Several threads for networks this small only get in each other's way: 10 times slower on a busy
# machine. Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray gives its workers the lowest priority, so that they starve beside the tests of `-n 2`.
os.environ.setdefault("RAY_worker_niceness", "0")
# Nothing of the tests is left in the user's cache, and nothing there is read.
if "PYTEST_XDIST_WORKER" not in os.environ:  # which inherit it
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="spach-nas-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)


# Files that take longest come first, so that both processes of `-n 2` end at about the same time;
# those that wait for Ray beside those that compute.
LONGEST = (
    "test_own_mixer_search",
    "test_export_forms",
    "test_search",
    "test_preview",
    "test_cluster",
    "test_resume",
    "test_full_training",
    "test_feasible",
    "test_study",
    "test_replay",
    "test_networks_official",
    "test_training_loop",
    "test_evaluators_proxy",
    "test_report_page",
    "test_report_choices",
    "test_sampler_factories",
    "test_search_space",
    "test_networks_cost",
    "test_memory",
    "test_networks_behaviour",
)


def pytest_configure(config: pytest.Config) -> None:
    set_effort(config.option.markexpr)


@pytest.hookimpl(trylast=True)  # when `-m` has left out what is not asked for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))
    checks = [item for item in items if item.get_closest_marker("gpu")]
    if checks and not needs.has_gpu():
        # One line in place of one for each check.
        checks[0].add_marker(pytest.mark.skip(reason=needs.GPU))
        config.hook.pytest_deselected(items=checks[1:])
        items[:] = [item for item in items if item not in checks[1:]]


def pytest_collection_finish() -> None:
    # All that was imported stays: no later collection need walk through it again.
    gc.collect()
    gc.freeze()


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A search that ran to its end as a user runs it.

    Attributes:
        yaml: The search YAML.
        folder: The study.
        output: What the command printed.
    """

    yaml: Path
    folder: Path
    output: str


def run_main(*arguments: str) -> tuple[int, list[str]]:
    """The command in this process, for speed; exit code and lines of standard error."""
    errors = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["spach-nas", *arguments]),
        # What takes long on a slow machine is told on standard error.
        mock.patch("spach_nas.cli.status_line.LONG_S", 1e6),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, errors.getvalue().splitlines()


@pytest.fixture(scope="session")
def finished_search(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Six trials on Ray, two at a time; made once for all processes of `-n`. Not to be changed."""
    own = tmp_path_factory.getbasetemp()
    home = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "search"
    output = home / "output.txt"
    with FileLock(f"{home}.lock"):
        if not output.is_file():
            home.mkdir(exist_ok=True)
            path = write_search(home, search__trials=6)
            printed = io.StringIO()
            with contextlib.chdir(home), contextlib.redirect_stdout(printed):
                code, errors = run_main("search", str(path))
            assert (code, errors) == (0, []), "nothing but the result is printed"
            output.write_text(printed.getvalue(), encoding="utf-8")
    return Finished(
        yaml=home / "small.yaml",
        folder=home / "results" / "small",
        output=output.read_text(encoding="utf-8"),
    )


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Chromium, started once for a file."""
    sync_api = pytest.importorskip("playwright.sync_api", reason=needs.PLAYWRIGHT)
    path = needs.find_browser()
    if path is None:
        pytest.skip(needs.CHROMIUM)
    with sync_api.sync_playwright() as playwright:
        # Chrome's own sandbox does not start as root, as in a container.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """One line at the end says what was skipped because this machine lacks something."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    if line := needs.summary(str(report.longrepr[-1]) for report in skipped):
        terminalreporter.write_line(line, yellow=True)
