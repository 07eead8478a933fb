"""Draw the dashboards after a real run, as pictures for the docs: `make pictures`.

A program makes calls, a real Prometheus scrapes it, a real PostgreSQL has its ledger. Grafana's own components draw
what the panels ask, in Chromium. Needs npm, Chromium and Prometheus.

The run takes some minutes, so that its rows are spread over the days before, in the ledger alone.
"""

from __future__ import annotations

import argparse
import http.server
import json
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from pixelmeter import Budget
from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.ledger.writer import open_writer
from pixelmeter.monitoring import Thresholds, files
from tests.monitoring.asking import ledger, rows, statement
from tests.monitoring.busy import busy
from tests.monitoring.exported import dashboards
from tests.monitoring.exporter import exporter
from tests.postgres import Server
from tests.prometheus import Prometheus

HERE = Path(__file__).parent
TOP = HERE.parents[1]
PICTURES = TOP / "docs" / "pictures"
WORK = TOP / ".cache" / "pictures"

# As in page.jsx.
_CELL_WIDTH, _CELL_HEIGHT, _HEAD, _GAP = 54, 38, 56, 8
_DAYS = 30
# Every eighth call of the program fails, on purpose: with an objective of 99 % there is nothing left of its budget.
_THRESHOLDS = Thresholds(objective=0.85)
_BUDGETS = (("images", "*", 1.5), ("flux", "black-forest-labs/*", 1.3))
"""Name, models, and how many times as much as will be spent of it."""
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
def world(minutes: float) -> Iterator[World]:
    """Have calls made for some minutes."""
    server = Server.start()
    try:
        with ExitStack() as stack:
            url = stack.enter_context(server.database("pictures"))
            program = stack.enter_context(busy(url))
            folder = WORK / "prometheus"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            paths = []
            for name, text in files(_THRESHOLDS).items():
                if name in ("prometheus/rules.yml", "prometheus/alerts.yml"):
                    paths.append(folder / Path(name).name)
                    paths[-1].write_text(text)
            jobs = {
                "pixelmeter": [program.target],
                "pixelmeter-ledger": [stack.enter_context(exporter(url))],
            }
            prometheus = stack.enter_context(Prometheus(folder, jobs, rules=paths))
            time.sleep(minutes * 12)
            _set_budgets(url, 5)
            time.sleep(minutes * 48)
            until = int(time.time())
            program.finish()
            _spread(url)
            yield World(prometheus.url, url, until)
    finally:
        server.stop()


def _set_budgets(database_url: str, times: int) -> None:
    """Set budgets that are nearly spent when so many times as much is."""
    budgets: list[Budget] = []
    with ledger(database_url) as connection:
        for name, models, part in _BUDGETS:
            statement = "SELECT sum(coalesce(cost, 0) + coalesce(at_risk, 0)) AS spent FROM pixelmeter_spend"
            found = connection.execute(f"{statement} WHERE model LIKE %s", (models.replace("*", "%"),)).fetchone()
            assert found is not None
            usd = math.ceil(int(found["spent"]) / NANO_PER_USD * times * part)
            budgets.append(Budget(usd, name=name, per="month", scope={"model": models}))
    with closing(open_writer(database_url)) as writer:
        writer.register([budget.rule for budget in budgets], time.time_ns() // 1000)


def draw(seen: World, minutes: float) -> None:
    """Draw every dashboard; fail when a panel is not drawn, or has nothing to show and should."""
    PICTURES.mkdir(exist_ok=True)
    for dashboard in dashboards(_THRESHOLDS):
        uid: str = dashboard["uid"]
        (WORK / f"{uid}.json").write_text(files(_THRESHOLDS)[f"grafana/{uid}.json"])
        told = {
            "prometheus": seen.prometheus,
            "sql": _answers(dashboard, seen.database),
            "minutes": minutes,
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
            palette = drawn.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        palette.save(picture, optimize=True)


def _spread(database_url: str) -> None:
    """Move the calls of the ledger into the days before today, fewer of them into weekends."""
    day = f"mod(abs(hashtext(call_id::text)), {_DAYS - 3})"
    with ledger(database_url) as connection:
        move = f"UPDATE pixelmeter_attempts SET started_at = started_at - ({day}) * interval '1 day'"
        connection.execute(move.encode())
        thinner = "extract(isodow FROM started_at) > 5 AND mod(abs(hashtext('x' || call_id)), 3) > 0"
        connection.execute(
            f"UPDATE pixelmeter_attempts SET started_at = started_at - interval '3 days' WHERE {thinner}"
        )
        connection.execute("TRUNCATE pixelmeter_daily_merged, pixelmeter_deltas")
        connection.execute("""
            INSERT INTO pixelmeter_daily_merged
            SELECT
              (started_at AT TIME ZONE 'UTC')::date, gateway, coalesce(provider, ''), operation, model, outcome, 0,
              count(*), count(*) FILTER (WHERE attempt = 0), coalesce(sum(images), 0), coalesce(sum(cost), 0),
              coalesce(sum(fee), 0), coalesce(sum(at_risk), 0), count(*) - count(cost), sum(duration)
            FROM pixelmeter_attempts GROUP BY 1, 2, 3, 4, 5, 6
        """)


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
    parser = argparse.ArgumentParser(description="Draw the dashboards after a real run.")
    parser.add_argument("--minutes", type=int, default=6, help="how long calls are made for")
    minutes: int = parser.parse_args().minutes
    build()
    with world(minutes) as seen:
        draw(seen, minutes)


if __name__ == "__main__":
    main()
