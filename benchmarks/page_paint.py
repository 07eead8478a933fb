"""Time to first paint of the page in Chromium, and until its charts are drawn, on a ledger of ledger_at_scale.py.

Each page is opened in a window of its own, without anything of an earlier visit: the first answer of the server, the
first paint of the browser, and the end of the script, all from the moment of the request. Then a live update: the
page asked again while nothing has changed.

    PYTHONPATH=. .venv/bin/python benchmarks/page_paint.py sqlite:////data/ledger.db
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

from playwright.sync_api import Browser

from benchmarks.ledger_at_scale import named_or_small
from tests.serve.browser.chromium import chromium, visiting
from tests.serve.server import serving

ROUNDS = 5
PATHS: Sequence[str] = ("/", "/?model=openai/*", "/?tag=team=team-1", "/calls", "/budgets", "/runbooks/")
_TIMES = """
() => {
  const [{ responseStart }] = performance.getEntriesByType("navigation");
  const [paint] = performance.getEntriesByName("first-contentful-paint");
  const [drawn] = performance.getEntriesByName("drawn");
  return [responseStart, paint?.startTime ?? null, drawn.startTime];
}
"""
_ASK_AGAIN = """
async () => {
  const { etag } = document.querySelector("main").dataset;
  if (!etag) return null;
  const begun = performance.now();
  const answer = await fetch(location.href, { headers: { "If-None-Match": etag }, cache: "no-store" });
  return answer.status === 304 ? performance.now() - begun : null;
}
"""


def measured(browser: Browser, address: str) -> list[float | None]:
    """Return milliseconds to the first byte, the first paint and the drawn charts, and of an update without news."""
    with visiting(browser) as visit:
        if visit.see(address) != 200:
            raise SystemExit(visit.page.locator("main").inner_text())
        # The paint is told a moment after it has been seen.
        visit.page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
        times: list[float | None] = visit.page.evaluate(_TIMES)
        again: float | None = visit.page.evaluate(_ASK_AGAIN)
        return [*times, again]


def main() -> None:
    """Print a line for each page: of the ledger that is named, else of a small one that is deleted again."""
    with named_or_small(sys.argv[1:]) as url:
        show(url)


def show(url: str) -> None:
    """Print the lines of a ledger."""
    with serving(url, is_metrics=False) as server, chromium() as browser:
        print(f"{'ms, medians of ' + str(ROUNDS):<24}{'first byte':>12}{'first paint':>13}{'drawn':>9}{'no news':>9}")
        for path in PATHS:
            measured(browser, f"{server.root}{path}")
            rounds = [measured(browser, f"{server.root}{path}") for _ in range(ROUNDS)]
            cells = [
                statistics.median(known) if (known := [v for v in column if v is not None]) else None
                for column in zip(*rounds, strict=True)
            ]
            shown = ["" if cell is None else f"{cell:.0f}" for cell in cells]
            print(f"{path:<24}{shown[0]:>12}{shown[1]:>13}{shown[2]:>9}{shown[3]:>9}")


if __name__ == "__main__":
    main()
