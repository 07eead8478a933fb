"""DuckDB reads the Parquet and finds what the ledger has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet
import pytest

from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.export.tables import ADJUSTMENTS, ATTEMPTS
from tests.export.ledgers import HOSTILE, day_of, export, filled, run
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.test_adjusted_queries import write


def asked(question: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(question).fetchall()


@pytest.mark.slow
def test_totals_by_month_and_model_are_the_ledgers_to_the_nano_dollar(ledger_url: str, tmp_path: Path) -> None:
    now = filled(ledger_url)
    export(ledger_url, "--format", "parquet", f"{tmp_path}/lake/")

    found = asked(
        "SELECT month, model, count(*), sum(cost_usd), count(*) - count(cost_usd), sum(images)"
        f" FROM read_parquet('{tmp_path}/lake/**/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
        " GROUP BY ALL"
    )

    sums: dict[tuple[str, str], Counter[str]] = {}
    for one in now.values():
        sums.setdefault((day_of(one)[:7], one.model), Counter()).update(
            rows=1, cost=one.cost or 0, unknown=one.cost is None, images=one.images or 0
        )
    expected: Mapping[Any, Any] = {
        key: (one["rows"], one["cost"], one["unknown"], one["images"]) for key, one in sums.items()
    }
    assert expected == {
        (month, model): (rows, int((cost or 0) * NANO_PER_USD), unknown, int(images or 0))
        for month, model, rows, cost, unknown, images in found
    }


def test_values_have_their_types(ledger_url: str, tmp_path: Path) -> None:
    tags = {"team": "growth", "a.b": "x"}
    one = make_attempt(cost=2**63 - 1, savings=-1, tags=json.dumps(tags), byok=True)
    write(ledger_url, [one, make_attempt(cost=None, tags="{}", started_at=STARTED_AT + 1)], {})
    export(ledger_url, "--format", "parquet", tmp_path / "x.parquet")

    found = asked(
        "SELECT cost_usd::text, savings_usd::text, typeof(cost_usd), typeof(tags), tags['team'], cardinality(tags),"
        " typeof(started_at), epoch_us(started_at), byok, duration_seconds"
        f" FROM '{tmp_path}/x.parquet' ORDER BY started_at"
    )

    assert [
        ("9223372036.854775807", "-0.000000001", "DECIMAL(20,9)", "MAP(VARCHAR, VARCHAR)", "growth", 2,
         "TIMESTAMP WITH TIME ZONE", STARTED_AT, True, 8.123456),
        (None, None, "DECIMAL(20,9)", "MAP(VARCHAR, VARCHAR)", None, 0, "TIMESTAMP WITH TIME ZONE", STARTED_AT + 1,
         False, 8.123456),
    ] == found  # fmt: skip


def test_names_from_outside_come_back_as_they_were(ledger_url: str, tmp_path: Path) -> None:
    write(ledger_url, [make_attempt(model=name, tags=json.dumps({name: name})) for name in HOSTILE], {})
    export(ledger_url, "--format", "parquet", tmp_path / "x.parquet")

    found = asked(f"SELECT model, map_keys(tags)[1], map_values(tags)[1] FROM '{tmp_path}/x.parquet'")

    assert sorted((name, name, name) for name in HOSTILE) == sorted(found)


@pytest.mark.parametrize("table", [ATTEMPTS, ADJUSTMENTS], ids=lambda table: table.name)
def test_a_file_has_the_columns_of_its_table_and_is_compressed(ledger_url: str, tmp_path: Path, table: Any) -> None:
    filled(ledger_url)
    export(ledger_url, "--format", "parquet", "--table", table.name, tmp_path / "x.parquet")

    file = pyarrow.parquet.ParquetFile(tmp_path / "x.parquet")

    assert [column.name for column in table.columns] == file.schema_arrow.names
    assert {"ZSTD"} == {file.metadata.row_group(0).column(n).compression for n in range(len(table.columns))}


def test_without_pyarrow_the_extra_is_named(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(sqlite_url)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for target in ("x.parquet", "folder/"):
        result = run(sqlite_url, "--format", "parquet", f"{tmp_path}/{target}")
        assert 1 == result.exit_code
        assert 'pip install "pixelmeter[parquet]"' in result.output
