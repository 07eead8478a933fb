"""Draw the dashboards after a day of calls, as pictures for the docs: `make pictures`.

The calls are drawn by chance (`day.py`); a real Prometheus and a real PostgreSQL have what came of them. Grafana's own
components draw what the panels ask, in Chromium. Needs npm, Chromium and Prometheus.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from pixelmeter.monitoring import Thresholds, files
from scripts.render.day import happen
from tests.monitoring.asking import ledger, rows, statement
from tests.monitoring.exported import dashboards
from tests.postgres import Server
from tests.prometheus import Prometheus

HERE = Path(__file__).parent
TOP = HERE.parents[1]
PICTURES = TOP / "docs" / "pictures"
DRAWN = PICTURES / "drawn.json"
"""What the pictures of dashboards were drawn from, so that a test can tell whether they are still true."""
WORK = TOP / ".cache" / "pictures"

# As in page.jsx.
_CELL_WIDTH, _CELL_HEIGHT, _HEAD, _GAP = 54, 38, 56, 8
_DAYS = 30
_CHROMIUM = (
    "chromium",
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-device-scale-factor=0.85",
)


def build() -> None:
    """Install Grafana's packages, in the versions of package.json, and bundle the page."""
    wanted = (HERE / "package.json").read_text()
    installed = WORK / "package.json"
    WORK.mkdir(parents=True, exist_ok=True)
    if not installed.exists() or installed.read_text() != wanted or not (WORK / "node_modules").exists():
        installed.write_text(wanted)
        npm = ["npm", "install", "--legacy-peer-deps", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run([*npm, "--loglevel=error"], cwd=WORK, check=True)
    esbuild = [str(WORK / "node_modules" / ".bin" / "esbuild"), str(HERE / "page.jsx"), "--bundle", "--format=esm"]
    fonts = [f"--loader:.{kind}=empty" for kind in ("woff", "woff2", "ttf")]
    subprocess.run(
        [*esbuild, *fonts, f"--outfile={WORK / 'page.js'}", "--log-level=warning"],
        env=os.environ | {"NODE_PATH": str(WORK / "node_modules")},
        check=True,
    )
    shutil.copy(HERE / "page.html", WORK)


@dataclass(frozen=True)
class World:
    """What saw the calls."""

    prometheus: str
    """Its URL."""
    database: str
    """The URL of the ledger."""
    until: int
    """Unix seconds of the moment before the calls ended."""


@contextmanager
def world() -> Iterator[World]:
    """Have a day of calls, until now."""
    server = Server.start()
    try:
        with ExitStack() as stack:
            url = stack.enter_context(server.database("pictures"))
            folder = WORK / "prometheus"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            until = int(time.time()) // 60 * 60
            happen(url, folder, until * 1_000_000)
            yield World(stack.enter_context(Prometheus(folder, {})).url, url, until)
    finally:
        server.stop()


def draw(seen: World) -> None:
    """Draw every dashboard; fail when a panel is not drawn, or has nothing to show and should."""
    PICTURES.mkdir(exist_ok=True)
    for dashboard in dashboards(Thresholds()):
        uid: str = dashboard["uid"]
        (WORK / f"{uid}.json").write_text(files(Thresholds())[f"grafana/{uid}.json"])
        told = {
            "prometheus": seen.prometheus,
            "sql": _answers(dashboard, seen.database),
            "now": seen.until,
            "job": "pixelmeter.*" if uid == "pixelmeter-pipeline" else "pixelmeter",
        }
        (WORK / f"{uid}.told.json").write_text(json.dumps(told, default=str))
        with _served(WORK) as address:
            page = f"{address}/page.html?{urllib.parse.urlencode({'uid': uid})}"
            bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
            size = f"--window-size={24 * _CELL_WIDTH + _GAP * 2},{bottom * _CELL_HEIGHT + _HEAD + _GAP}"
            common = [*_CHROMIUM, size, "--virtual-time-budget=20000"]
            dom = subprocess.run([*common, "--dump-dom", page], capture_output=True, text=True, check=True).stdout
            _check(uid, dom, len([panel for panel in dashboard["panels"] if panel["type"] != "row"]))
            picture = PICTURES / f"{uid}.png"
            subprocess.run([*common, f"--screenshot={picture}", page], capture_output=True, check=True)
        # A drawing has few colours: with a palette of them it takes a third of the bytes.
        with Image.open(picture) as drawn:
            palette = drawn.convert("RGB").quantize(256, kmeans=1, dither=Image.Dither.NONE)
        palette.save(picture, optimize=True)
    DRAWN.write_text(json.dumps(drawn_from(), indent=2) + "\n")


def drawn_from() -> dict[str, str]:
    """Return by the name of each picture a digest of all that is drawn of its dashboard."""
    return {
        f"{dashboard['uid']}.png": hashlib.sha256(json.dumps(_visible(dashboard["panels"])).encode()).hexdigest()
        for dashboard in dashboards(Thresholds())
    }


def _visible(part: Any) -> Any:
    """Return a part of a dashboard without what nobody sees in a picture."""
    if isinstance(part, dict):
        return {name: _visible(value) for name, value in part.items() if name not in ("description", "links")}
    return [_visible(each) for each in part] if isinstance(part, list) else part


def _answers(dashboard: dict[str, Any], database_url: str) -> dict[int, Any]:
    with ledger(database_url) as connection:
        return {
            panel["id"]: rows(connection, statement(target, _DAYS))
            for panel in dashboard["panels"]
            for target in panel.get("targets", [])
            if "rawSql" in target
        }


def _check(uid: str, dom: str, panels: int) -> None:
    states = re.findall(r'data-panel="([^"]*)" data-state="(\w+)"', dom)
    if len(states) != panels:
        raise SystemExit(f"{uid}: {len(states)} of {panels} panels are there\n{dom[-3000:]}")
    for title, state in states:
        if state not in ("ok", "empty"):
            raise SystemExit(f"{uid}: {title} is {state}")
    empty = [title for title, state in states if state == "empty"]
    if empty:
        sys.stderr.write(f"{uid}: nothing to show in {', '.join(empty)}\n")


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Draw the pictures of docs/pictures."""
    build()
    with world() as seen:
        draw(seen)


if __name__ == "__main__":
    main()
