"""The pages of the docs site: all are in its menu, and all public names are in the API reference."""

from __future__ import annotations

import importlib
import re

import pytest

import pixelmeter
from scripts.site.docstrings import as_restructured_text
from scripts.site.pages import INDEX, UNDER, menu
from tests.site.programs import DOCS

ROOT = DOCS.parent
SECTIONS = menu((ROOT / INDEX).read_text(encoding="utf-8"))
LISTED = [page for _, pages in SECTIONS for page in pages]
REFERENCE = (DOCS / "api.md").read_text(encoding="utf-8")


def test_every_page_is_in_the_index_once() -> None:
    pages = {f"docs/{file.stem}" for file in DOCS.glob("*.md")} - {INDEX.removesuffix(".md")}
    assert len(LISTED) == len(set(LISTED))
    assert set() == pages - set(LISTED)


def test_every_page_of_the_index_exists() -> None:
    assert [] == [page for page in LISTED if not (ROOT / f"{page}.md").is_file()]


def test_every_decision_is_listed() -> None:
    listed = re.findall(r"^- \[.+\]\((\d{4}-.+\.md)\)$", (DOCS / "decisions" / "README.md").read_text(), re.MULTILINE)
    assert sorted(file.name for file in (DOCS / "decisions").glob("0*.md")) == listed


@pytest.mark.parametrize("page", sorted(UNDER))
def test_a_page_with_others_under_it_is_in_the_menu(page: str) -> None:
    assert page in LISTED
    assert [*(ROOT / page).parent.glob(UNDER[page])]


@pytest.mark.parametrize(
    "module",
    [
        "pixelmeter",
        "pixelmeter.auto",
        "pixelmeter.httpx",
        "pixelmeter.httpx2",
        "pixelmeter.instrumentor",
        "pixelmeter.ledger",
        "pixelmeter.sinks.otel",
        "pixelmeter.sinks.prometheus",
        "pixelmeter.testing",
    ],
)
def test_every_public_name_is_in_the_api_reference(module: str) -> None:
    shown = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)$", REFERENCE, re.MULTILINE))
    names = {f"{module}.{name}" for name in importlib.import_module(module).__all__ if name != "__version__"}
    assert set() == names - shown


@pytest.mark.parametrize("name", sorted(set(pixelmeter.__all__) - {"__version__"}))
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert getattr(pixelmeter, name).__doc__


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (
            ["Meters calls.", "", "    meter = Meter()", "", "Raises ConfigError."],
            ["Meters calls.", "", ".. code-block:: python", "", "    meter = Meter()", "", "Raises ConfigError.", ""],
        ),
        (
            ["- `tags`: put on every attempt,", "  as text.", "- `a b`: more"],
            ["- ``tags``: put on every attempt,", "  as text.", "- ``a b``: more", ""],
        ),
        (["Takes a `Budget`, see `Meter.flush`."], ["Takes a `Budget`, see `Meter.flush`.", ""]),
        (["One of `pixelmeter", "prices`."], ["One of ``pixelmeter prices``.", ""]),
    ],
    ids=["code", "list", "names", "over two lines"],
)
def test_a_docstring_becomes_restructured_text(docstring: list[str], expected: list[str]) -> None:
    assert expected == list(as_restructured_text(docstring))
