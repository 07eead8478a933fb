from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Table

from pixelmeter.core.attempts.record import FIELDS
from pixelmeter.ledger.schema import ATTEMPTS, METADATA

DOCUMENT = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()


def test_a_row_has_the_fields_of_an_attempt_in_their_order() -> None:
    assert list(FIELDS) == [column.name for column in ATTEMPTS.columns]


@pytest.mark.parametrize("table", METADATA.sorted_tables, ids=lambda table: table.name)
def test_every_column_is_documented_in_its_order(table: Table) -> None:
    section = DOCUMENT.split(f"\n## {table.name}\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert [column.name for column in table.columns] == documented
