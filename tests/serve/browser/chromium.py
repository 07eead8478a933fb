"""A real Chromium, and what a page does in it that it should not do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.conftest import unavailable

__all__ = ["AXE", "PATIENCE", "Visit", "audit", "chromium", "visiting"]

AXE = Path(__file__).parents[3] / ".cache" / "axe-core" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE = 30_000
"""Milliseconds after which something that a test waits for is taken for missing."""
_FLAGS = ("--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run")
_LISTEN = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy violated: ${event.violatedDirective} by ${event.blockedURI} in ${event.sourceFile}`);
});
"""


@dataclass
class Visit:
    """A window of its own, without cookies or cache of others."""

    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)
    """What the console says was wrong: errors of scripts, files that did not come, violations of the policy."""

    def see(self, url: str) -> int:
        """Open an address, wait until the script has drawn what it draws, and return the status of the answer."""
        answer = self.page.goto(url)
        self.page.wait_for_selector("html[data-drawn]", state="attached")
        assert answer is not None
        return answer.status


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium of this machine."""
    path = shutil.which("chromium")
    if path is None:
        unavailable("chromium is not installed", "apt-get install chromium")
    # Root cannot have the sandbox.
    flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(browser: Browser, **options: Any) -> Iterator[Visit]:
    """Open a window; `options` are those of a context of Playwright, such as `viewport` and `color_scheme`."""
    context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
    try:
        context.set_default_timeout(PATIENCE)
        context.add_init_script(_LISTEN)
        page = context.new_page()
        visit = Visit(context, page)

        def heard(message: ConsoleMessage) -> None:
            if message.type == "error":
                visit.errors.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: visit.errors.append(f"{error}"))
        yield visit
    finally:
        context.close()


def audit(page: Page) -> list[str]:
    """Return what axe finds that is worse than minor, each with the first element that has it."""
    if not AXE.exists():
        unavailable("axe-core is not installed", f"make {AXE.relative_to(Path(__file__).parents[3])}")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run().then(({violations}) => violations)")
    return [
        f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:200]}"
        for each in found
        if each["impact"] != "minor"
    ]
