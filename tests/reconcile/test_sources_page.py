"""The page about sources names what there is."""

from __future__ import annotations

import re
from pathlib import Path

from pixelmeter.reconcile.sources import SOURCES
from pixelmeter.reconcile.sources.files import COLUMNS
from pixelmeter.settings import usage_key_names

PAGE = (Path(__file__).parents[2] / "docs" / "reconciliation-sources.md").read_text()


def rows(columns: int, heading: str = "# ") -> list[list[str]]:
    """Return the rows of the table below a heading that has so many columns, without its head."""
    section = PAGE[PAGE.index(heading) :].split("\n## ")[0]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return [row for row in found if len(row) == columns and row[0].startswith("`")]


def test_the_table_has_every_source_in_order() -> None:
    assert [(f"`{each.gateway}`", f"`{each.id}`") for each in SOURCES] == [(row[0], row[1]) for row in rows(5)]
    assert [each.has_amounts for each in SOURCES] == [row[3].startswith("yes") for row in rows(5)]
    grains = {"request": "a request", "day": "a UTC day", "month": "a month"}
    assert [] == [
        row[2] for each, row in zip(SOURCES, rows(5), strict=True) if not row[2].startswith(grains[each.grain])
    ]


def test_no_report_of_a_gateway_is_taken_for_complete() -> None:
    assert [] == [each.id for each in SOURCES if each.is_complete]
    assert "None of them is taken to list every request that was charged" in PAGE


def test_the_table_has_every_variable_that_is_read() -> None:
    keys = rows(2, "## Keys")
    assert {row[0].strip("`") for row in keys} == {each.gateway for each in SOURCES}
    for gateway, variables in keys:
        named = re.findall(r"`([A-Z_]+)`", variables)
        assert " or ".join(("PIXELMETER_USAGE_KEYS", *named)) == usage_key_names(gateway.strip("`"))


def test_the_table_has_every_name_of_a_column_of_a_file() -> None:
    section = PAGE[PAGE.index("## Files") : PAGE.index("## What is kept of a row")]
    named = re.findall(r"^\|(.*?)\|", section, re.MULTILINE)
    assert set(COLUMNS) == {name for cell in named for name in re.findall(r"`([a-z]+)`", cell)}
