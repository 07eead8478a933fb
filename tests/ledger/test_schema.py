from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Table, text

from pixelmeter.core.record import FIELDS
from pixelmeter.ledger.engine import open_reader
from pixelmeter.ledger.schema import ATTEMPTS, METADATA
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt

DOCUMENT = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()


def test_a_row_has_the_fields_of_an_attempt_in_their_order() -> None:
    assert list(FIELDS) == [column.name for column in ATTEMPTS.columns]


@pytest.mark.parametrize("table", METADATA.sorted_tables, ids=lambda table: table.name)
def test_every_column_is_documented_in_its_order(table: Table) -> None:
    section = DOCUMENT.split(f"\n## {table.name}\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)

    assert [column.name for column in table.columns] == documented


@pytest.mark.parametrize("query", re.findall(r"```sql\n(-- .*?)```", DOCUMENT, re.DOTALL))
def test_the_documented_queries_run(ledger_url: str, query: str) -> None:
    if ledger_url.startswith("postgresql"):
        query = query.replace("json_extract(tags, '$.team')", "tags->>'team'")
    with closing(open_writer(ledger_url)) as writer:
        first = make_attempt()
        writer.write([first, make_attempt(call_id=first.id, attempt=1)], {}, [])

    with open_reader(ledger_url).connect() as connection:
        rows = connection.execute(text(query)).mappings().all()

    assert [0.08448] == [float(row["dollars"]) for row in rows]
