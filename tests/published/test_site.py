"""The documentation site, built and looked at in a browser."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from documents import DOCS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.tutorial

# The libraries of the site are other people's: they must work, not be free of deprecations.
# Not `--quiet`: warnings that are not shown are not counted.
BUILD = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict"]
PAGES = ["index", "tutorial_data", "reference_search", "reference_commands", "api", "design"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [*BUILD, "-f", str(DOCS / "site" / "mkdocs.yml"), "-d", str(folder)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_nobody_else_and_fits_the_screen(
    address: str, browser: "Browser", name: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}/{name}.html", wait_until="networkidle")
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_search_finds_a_key(address: str, browser: "Browser") -> None:
    page = browser.new_page()
    page.goto(f"{address}/index.html", wait_until="networkidle")
    page.get_by_label("Search").first.click()
    page.keyboard.type("stop_after_failures")
    found = page.locator(".md-search-result__link[href*=search-stop_after_failures]")
    found.first.wait_for(timeout=10_000)
    page.close()


class Links(HTMLParser):
    """The addresses that a page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe"):
            self.loaded.append(given.get("src") or "")
        elif tag == "link" and given.get("rel") != "canonical":
            self.loaded.append(given.get("href") or "")


def test_no_page_names_another_server_to_load_from(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 12
    for path in pages:
        for address in Links(path.read_text()).loaded:
            assert not re.match(r"(https?:)?//", address), f"{path.name}: {address}"
