"""The live page: its server, what it builds when, and how a browser sees it."""

import http.client
import json
import re
import shutil
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import run_main
from search_tools import make_study as begin_study
from search_tools import write_search
from spach_nas.errors import SpachNasError, StudyError
from spach_nas.journal import Journal
from spach_nas.live.server import Answer, PageServer, listen
from spach_nas.live.watching import Watcher
from spach_nas.records import FILE_NAME, append_record
from spach_nas.report import live_page
from spach_nas.report.live_page import LivePage
from spach_nas.report.live_process import PageProcess, page_served
from spach_nas.study_folder import locked
from study_factory import make_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

STUDY = make_study(12, references=())
LARGE = 30_000_000


def ask(
    port: int, path: str, *, method: str = "GET", host: str | None = None
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    response = connection.getresponse()
    response.content = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response


def echo(query: Mapping[str, str]) -> Answer:
    return Answer(json.dumps(dict(query)).encode(), kind="application/json")


@contextmanager
def served() -> Iterator[int]:
    """The port of a server in a thread."""
    server = PageServer(listen(), {"/": echo, "/large": lambda query: Answer(bytes(LARGE))})
    server.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served() as port:
        yield port


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study with records, of which nobody is at work."""
    folder = begin_study(tmp_path, limits={}, search__trials=12).folder
    for record in STUDY[:8]:
        append_record(folder / FILE_NAME, record)
    return folder


def data_of(page: LivePage, revision: str = "") -> tuple[int, dict[str, object]]:
    answer = page.routes["/data.json"]({"revision": revision})
    return int(answer.status), json.loads(answer.body or b"{}")


def test_known_paths_are_answered_with_their_query(port: int) -> None:
    answer = ask(port, "/?revision=a%20b&x=")
    assert (answer.status, json.loads(answer.content)) == (200, {"revision": "a b"})
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_head_has_no_body(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as browser:
        browser.sendall(b"HEAD /large HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: browser.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert f"Content-Length: {LARGE}".encode() in head
    assert body == b""


@pytest.mark.parametrize(
    "path", ["/records.jsonl", "/..", "/data", "/../../etc/passwd", "/%2e%2e/"]
)
def test_nothing_else_is_there(port: int, path: str) -> None:
    assert ask(port, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_reading_is_answered(port: int, method: str) -> None:
    assert ask(port, "/", method=method).status == 501


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{}", 200),
        ("localhost:{}", 200),
        ("LOCALHOST:1", 200),  # the far end of a tunnel
        ("evil.example:{}", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("192.168.0.1:{}", 403),
        ("[::1", 403),
        ("", 403),
    ],
)
def test_a_foreign_name_for_this_machine_gets_nothing(port: int, host: str, status: int) -> None:
    assert ask(port, "/", host=host.format(port)).status == status


def test_only_this_machine_reaches_it() -> None:
    with listen() as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_taken_port_is_named_and_by_default_the_next_is_taken() -> None:
    with listen() as first, listen() as second:
        port = first.getsockname()[1]
        assert second.getsockname()[1] > port >= 8642
        with pytest.raises(SpachNasError, match=f"^--port: {port}: address already in use; expec"):
            listen(port)


def test_a_browser_that_leaves_in_mid_answer_is_no_trouble(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with served() as port:
        with socket.create_connection(("127.0.0.1", port)) as browser:
            browser.sendall(b"GET /large HTTP/1.0\r\nHost: localhost\r\n\r\n")
            browser.recv(100)
            # Closed with a reset, as by a browser that was killed.
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert ask(port, "/").status == 200
    assert capfd.readouterr().err == ""


def test_news_come_with_records_and_only_then(folder: Path) -> None:
    page = LivePage(folder)
    with locked(folder):
        status, first = data_of(page)
        assert (status, first["ended"], len(first["rows"])) == (200, "", 8)
        assert data_of(page, first["revision"]) == (204, {})
        append_record(folder / FILE_NAME, STUDY[8])
        page._next_build = 0.0
        status, second = data_of(page, first["revision"])
    assert (status, len(second["rows"])) == (200, 9)
    assert second["revision"] != first["revision"]
    status, last = data_of(page, second["revision"])
    assert (status, bool(last["ended"])) == (200, True), "nobody is at work any more"


def test_a_page_is_built_once_and_only_when_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    for name in ("render", "page_data"):
        real = getattr(live_page, name)

        def counting(*arguments: object, real=real, name=name, **options: object) -> object:
            built.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(live_page, name, counting)
    page = LivePage(folder)
    assert built == []
    for _ in range(2):
        page.routes["/"]({})
        data_of(page)
    assert built == ["render", "page_data"]


def test_building_rests_but_not_at_the_end(folder: Path) -> None:
    page = LivePage(folder)
    with locked(folder):
        _, first = data_of(page)
        page._next_build = float("inf")
        append_record(folder / FILE_NAME, STUDY[8])
        assert data_of(page, first["revision"])[0] == 204
    Journal(folder).write("ended", {"elapsed": 3.0})
    status, last = data_of(page, first["revision"])
    assert (status, len(last["rows"])) == (200, 9)
    assert last["ended"].startswith("The search has ended after ")


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (["begun"], "Its process is gone: 8 of "),
        (["begun", "stopped", "ended"], "Stopped before the budget was spent: 8 of "),
        (["begun", "ended"], "The search has ended"),
    ],
)
def test_the_page_says_why_no_more_comes(folder: Path, events: list[str], words: str) -> None:
    for event in events:
        Journal(folder).write(event, {"elapsed": 1.0})
    page = LivePage(folder)
    told = data_of(page)[1]["ended"]
    assert told.startswith(words)
    assert ("To go on: spach-nas search " in told) == (words != "The search has ended")
    assert page.told_the_end


def test_a_damaged_folder_is_told_until_it_is_repaired(folder: Path) -> None:
    page, path = LivePage(folder), folder / FILE_NAME
    good = path.read_text()
    assert data_of(page)[0] == 200
    path.write_text(good + '{"trial": "<b>"}\n')
    for _ in range(2):
        status, told = data_of(page)
        assert (status, told["problem"].count(f"{path}:9: ")) == (503, 1)
        assert re.search(r" \(and \d+ more\)$", told["problem"]), "a line, not one per mistake"
    answer = page.routes["/"]({})
    assert (int(answer.status), b"cannot be shown" in answer.body) == (503, True)
    assert f"{path}:9: ".encode() in answer.body
    assert b"<b>" not in answer.body
    path.write_text(good)
    append_record(path, STUDY[8])
    page._fault = None  # it does not read again at once
    status, data = data_of(page)
    assert (status, len(data["rows"])) == (200, 9)


def test_a_folder_that_is_gone_is_told(folder: Path) -> None:
    page = LivePage(folder)
    assert data_of(page)[0] == 200
    shutil.rmtree(folder)
    assert data_of(page)[0] == 503


def test_another_study_at_the_same_place_is_shown(folder: Path) -> None:
    page = LivePage(folder)
    first = data_of(page)[1]
    path = folder / FILE_NAME
    path.rename(path.with_suffix(".old"))
    path.touch()
    append_record(path, STUDY[0])
    second = data_of(page, first["revision"])[1]
    assert [row["trial"] for row in second["rows"]] == [STUDY[0].trial]


def test_a_watcher_keeps_what_it_read(folder: Path) -> None:
    watcher = Watcher(folder)
    watcher.progress()
    append_record(folder / FILE_NAME, STUDY[8])
    watcher.progress()
    assert tuple(watcher.records) == STUDY[:9]


def test_the_page_of_a_search_ends_with_it(folder: Path) -> None:
    with PageProcess() as process:
        process.start(folder)
        process.start(folder)  # once for each record
        port = int(process.url.rstrip("/").rpartition(":")[2])
        assert b"<title>small" in ask(port, "/").content
        assert process._process.is_alive()
    assert process._process.exitcode == 0
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/")


def test_a_search_that_never_begins_leaves_nothing() -> None:
    with pytest.raises(StudyError), PageProcess() as process:
        raise StudyError("the plan is wrong")
    with pytest.raises(ConnectionRefusedError):
        ask(int(process.url.rstrip("/").rpartition(":")[2]), "/")


def test_a_taken_port_stops_the_command_before_anything_is_written(
    tmp_path: Path, folder: Path
) -> None:
    path = write_search(tmp_path)
    with listen() as taken:
        port = taken.getsockname()[1]
        for command in (
            ("search", str(path), "--out", str(tmp_path / "new"), "--watch"),
            ("watch", str(folder), "--page"),
        ):
            code, lines = run_main(*command, "--port", str(port))
            assert code == 2
            assert lines == [
                f"--port: {port}: address already in use; expected a free port, or no --port for "
                "the first free one"
            ]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "arguments",
    [["search", "quickstart"], ["watch", "."], ["watch", ".", "--page", "--once"]],
    ids=["search", "watch", "once"],
)
def test_a_port_without_a_page_is_a_mistake(arguments: list[str]) -> None:
    code, lines = run_main(*arguments, "--port", "9000")
    assert code == 2
    assert any("expected" in line for line in lines)


# The one test of the usual run that needs a browser; all others are marked so.
def test_an_open_page_shows_new_trials_and_keeps_what_was_selected(
    browser: "Browser", folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "REFRESH_S", 0.1)
    monkeypatch.setattr(live_page, "_REST", 0)
    with locked(folder), page_served(folder) as url:
        page = browser.new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        page.locator('#table tr[data-trial="3"]').click()
        page.locator("#filter").fill("conv")
        page.locator('#table tr[data-trial="3"]').wait_for()
        append_record(folder / FILE_NAME, STUDY[9])
        page.locator(f'#table tr[data-trial="{STUDY[9].trial}"]').wait_for()
        selected = page.locator("#table tr[aria-selected=true] td").first
        assert selected.inner_text() == "3"
        assert page.locator("#filter").input_value() == "conv"
        assert problems == []
        path = folder / FILE_NAME
        good = path.read_text()
        path.write_text(good + "{}\n")
        page.get_by_text(f"{path}:10: ").wait_for()
        path.write_text(good)
        Journal(folder).write("ended", {"elapsed": 3.0})
        page.get_by_text("The search has ended after ").wait_for()
        page.close()
