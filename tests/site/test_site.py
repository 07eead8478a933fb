"""The docs site as `make docs` builds it: without a warning, without a dead link, without the network."""

from __future__ import annotations

import fcntl
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Request, sync_playwright

from tests.conftest import unavailable
from tests.site.programs import DOCS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = DOCS.parent


class Page(HTMLParser):
    """The links of a page, what it loads, and the ids that links may lead to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        self.loaded += [values[name] for name in ("src", "srcset", "data") if name in values and tag != "a"]
        if tag == "link" and values.get("rel") not in {"next", "prev", "index", "search", "author", "canonical"}:
            self.loaded.append(values["href"])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once in a run, by whichever worker comes first."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    html = folder / "site"
    with open(folder / "site.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The last file that is written.
        if not (html / "index.html").exists():
            build(folder / "site-doctrees", html)
    return html


def build(doctrees: Path, html: Path) -> None:
    """Run the command of `make docs`, which has warnings as errors."""
    [command] = [
        part.removeprefix("@$(BIN)/python ")
        for part in (ROOT / "Makefile").read_text().replace("\\\n", " ").split("\n\t")
        if "sphinx" in part
    ]
    options = command.replace(".cache/docs", str(doctrees)).replace("build/docs", str(html))
    done = subprocess.run([sys.executable, *options.split()], cwd=ROOT, capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)


@cache
def read(file: Path) -> Page:
    """Return a page, read once."""
    return Page(file)


def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    dead = []
    for file in pages:
        for link in read(file).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.is_file() or (
                parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in read(target).ids
            ):
                dead.append(f"{file.relative_to(site)}: {link}")
    assert len(pages) > 60
    assert [] == dead


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = {one for file in site.rglob("*.html") for one in read(file).loaded}
    assert len(loaded) > 5
    assert [] == [one for one in loaded if urlsplit(one).netloc or urlsplit(one).scheme not in {"", "data"}]


def test_it_starts_with_the_readme(site: Path) -> None:
    assert (site / "README.html").read_bytes() == (site / "index.html").read_bytes()


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Where a server on loopback has the site."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("by", ["http", "file"])
def test_search_finds_pages_without_the_network(site: Path, address: str, by: str) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        unavailable("Chromium is not installed", "apt-get install chromium")
    start = address if by == "http" else site.as_uri()
    elsewhere: list[str] = []
    errors: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith((start, "data:")):
            elsewhere.append(request.url)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{start}/index.html")
        page.get_by_role("textbox", name="Search").fill("reconcile")
        page.get_by_role("textbox", name="Search").press("Enter")
        results = page.locator("#search-results li a")
        results.first.wait_for()
        page.get_by_text("Search finished").wait_for()
        found = results.all_inner_texts()
        page.goto(f"{start}/search.html?q=SpendRow")
        page.locator("#search-results a", has_text="pixelmeter.SpendRow").first.wait_for()
        browser.close()
    assert any("Reconciliation" in title for title in found)
    # From a file a browser does not let a page read another one: then results come without their first lines.
    assert [] == elsewhere
    assert set(errors) == (set() if by == "http" else {"Failed to fetch"})
