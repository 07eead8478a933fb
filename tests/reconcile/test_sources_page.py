"""The page about sources names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from pixelmeter.reconcile.sources import SOURCES
from pixelmeter.settings import usage_key_names

PAGE = (Path(__file__).parents[2] / "docs" / "reconciliation-sources.md").read_text()


def rows(columns: int) -> list[list[str]]:
    """Return the rows of the tables with so many columns, without their heads."""
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line[:1] == "|"]
    return [row for row in found if len(row) == columns and row[0].startswith("`")]


def test_the_table_has_every_source_in_order() -> None:
    assert [(f"`{each.gateway}`", f"`{each.id}`") for each in SOURCES] == [(row[0], row[1]) for row in rows(5)]
    assert [each.has_amounts for each in SOURCES] == [row[3].startswith("yes") for row in rows(5)]
    grains = {"request": "a request", "day": "a UTC day", "month": "a month"}
    assert [] == [
        row[2] for each, row in zip(SOURCES, rows(5), strict=True) if not row[2].startswith(grains[each.grain])
    ]


def test_the_page_says_which_source_is_complete() -> None:
    assert ["litellm_spend_logs"] == [each.id for each in SOURCES if each.is_complete]
    assert re.search(r"\*\*`litellm_spend_logs`\*\* is the one report that lists every request", PAGE)


def test_the_table_has_every_variable_that_is_read() -> None:
    assert {row[0].strip("`") for row in rows(2)} == {each.gateway for each in SOURCES}
    for gateway, variables in rows(2):
        named = re.findall(r"`([A-Z_]+)`", variables)
        assert " or ".join(("PIXELMETER_USAGE_KEYS", *named)) == usage_key_names(gateway.strip("`"))
