from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Table

from pixelmeter.core.attempts import adjustment
from pixelmeter.core.attempts.record import FIELDS
from pixelmeter.ledger.rollups import DAILY_COLUMNS, HOURLY_COLUMNS, TAG_DAILY_COLUMNS
from pixelmeter.ledger.schema import ADJUSTMENTS, ATTEMPTS, DAILY, HOURLY, METADATA, TAG_DAILY, TOTALS
from pixelmeter.ledger.sums import TOTALS_COLUMNS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()


def test_a_row_has_the_fields_of_an_attempt_in_their_order() -> None:
    assert list(FIELDS) == [column.name for column in ATTEMPTS.columns]


def test_a_row_has_the_fields_of_an_adjustment_in_their_order() -> None:
    assert [*adjustment.FIELDS, "is_latest"] == [column.name for column in ADJUSTMENTS.columns]


def test_what_is_added_to_a_sum_has_the_columns_of_its_table_in_their_order() -> None:
    assert [column.name for column in DAILY.columns] == list(DAILY_COLUMNS)
    assert [column.name for column in HOURLY.columns] == list(HOURLY_COLUMNS)
    assert [column.name for column in TAG_DAILY.columns] == list(TAG_DAILY_COLUMNS)
    assert ["number", *TOTALS_COLUMNS] == [column.name for column in TOTALS.columns]


@pytest.mark.parametrize("table", METADATA.sorted_tables, ids=lambda table: table.name)
def test_every_column_is_documented_in_its_order(table: Table) -> None:
    # What is asked is the view that has what is merged and what is not.
    section = DOCUMENT.split(f"\n## {table.name.removesuffix('_merged')}\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert [column.name for column in table.columns] == documented
