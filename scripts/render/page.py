"""Take the pictures of the page for README and docs: `make pictures`.

`pixelmeter serve` shows a ledger of two months (`believable.py`), and Chromium opens it as a user would.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from scripts.render.believable import fill
from tests.serve.browser.chromium import chromium, visiting
from tests.serve.server import serving

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WIDTH = 1180


def main() -> None:
    """Write page.png, page-dark.png, page-calls.png, page-call.png and page-phone.png."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/ledger.db"
        fill(url)
        with serving(url, is_metrics=False) as server, chromium() as browser:
            _take(browser, server.root, "page", height=1010)
            _take(browser, server.root, "page-dark", height=1010, scheme="dark")
            _take(browser, f"{server.root}/calls", "page-calls", height=700)
            _take(browser, _expensive_call(browser, server.root), "page-call", height=900)
            _take(browser, server.root, "page-phone", width=390, height=1500)


def _expensive_call(browser: Browser, root: str) -> str:
    """Return the address of the most expensive call of a model with a price for an image."""
    with visiting(browser) as visit:
        visit.see(f"{root}/calls?exact-model=recraft/recraft-v3-text-to-image&sort=cost")
        link = visit.page.locator("main tbody a").first
        return f"{root}{link.get_attribute('href')}"


def _take(browser: Browser, address: str, name: str, *, width: int = WIDTH, height: int, scheme: str = "light") -> None:
    with visiting(browser, viewport={"width": width, "height": height}, color_scheme=scheme) as visit:
        visit.see(address)
        picture = PICTURES / f"{name}.png"
        visit.page.screenshot(path=picture)
    # A page has few colours: with a palette of them, the rare ones too, it takes a third of the bytes.
    with Image.open(picture) as drawn:
        palette = drawn.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    palette.save(picture, optimize=True)


if __name__ == "__main__":
    main()
