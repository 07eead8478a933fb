"""docs/exports.md has the columns of FOCUS, and a question to DuckDB that works."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from pixelmeter.export.focus import COLUMNS, VERSIONS
from tests.export.ledgers import export, filled

PAGE = (Path(__file__).parents[2] / "docs" / "exports.md").read_text()


def test_the_page_has_every_column_of_focus_and_what_it_holds() -> None:
    rows = [
        (column.name, column.holds + ("" if column.versions == VERSIONS else f" ({column.versions[0]} only)"))
        for column in COLUMNS
    ]
    assert rows == re.findall(r"^\| `([A-Za-z_]+)` \| (.*) \|$", PAGE.split("## FOCUS")[1], re.MULTILINE)


@pytest.mark.slow
def test_the_question_to_duckdb_gives_the_known_cost(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = filled(sqlite_url)
    monkeypatch.chdir(tmp_path)
    export(sqlite_url, "--format", "parquet", "lake/attempts/")
    question = re.search(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert question is not None

    with duckdb.connect() as connection:
        found = connection.execute(question[1]).fetchall()

    assert Decimal(sum(one.cost or 0 for one in now.values())) / 10**9 == sum(row[2] or 0 for row in found)
    assert sum(one.cost is None for one in now.values()) == sum(row[3] for row in found)
