from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.engine import ensure_schema
from pixelmeter.ledger.grouping import grouped
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import LedgerReader, is_too_long, reading_database, reading_ledger
from pixelmeter.ledger.rollups import SUMS
from pixelmeter.ledger.sums import read_totals
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.unprivileged import run_unprivileged
from tests.postgres import PASSWORD

COUNT = "SELECT count(*) FROM pixelmeter_attempts"


def count(reader: LedgerReader) -> int:
    number: int = reader.rows(COUNT)[0][0]
    return number


def test_a_reader_cannot_write(new_url: str) -> None:
    ensure_schema(read_address(new_url))

    refused = pytest.raises(LedgerError, match="readonly database|ReadOnlySqlTransaction|read-only transaction")
    with refused, reading_ledger(new_url) as reader:
        reader.rows("DELETE FROM pixelmeter_attempts")


def test_a_reader_does_not_make_a_ledger(new_url: str) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"), reading_ledger(new_url):
        pass

    address = read_address(new_url)
    assert not os.path.exists(address.path or "/nowhere")


def test_a_reader_sees_one_moment_until_it_is_refreshed_and_never_takes_the_lock(new_url: str) -> None:
    with closing(open_writer(new_url)) as writer:
        writer.write([make_attempt()], {}, [])
        with reading_ledger(new_url) as reader:
            before = count(reader)
            writer.write([make_attempt()], {}, [])
            meanwhile = count(reader)
            reader.refresh()
            after = count(reader)

    assert (1, 1, 2) == (before, meanwhile, after)


def test_values_are_parameters_and_nothing_of_them_is_sql(new_url: str) -> None:
    hostile = "'; DROP TABLE pixelmeter_attempts; -- ? %s %"
    with closing(open_writer(new_url)) as writer:
        writer.write([make_attempt(model=hostile)], {}, [])

    with reading_ledger(new_url) as reader:
        assert [(1,)] == [tuple(row) for row in reader.rows(f"{COUNT} WHERE model = ?", [hostile])]


def test_what_a_database_says_of_a_question_is_an_error_without_its_values(new_url: str) -> None:
    ensure_schema(read_address(new_url))

    with pytest.raises(LedgerError, match="cannot be used: .*nowhere") as raised, reading_ledger(new_url) as reader:
        reader.rows("SELECT ? FROM nowhere", ["canary"])

    assert "canary" not in str(raised.value)
    assert PASSWORD not in str(raised.value)


@pytest.mark.slow
def test_a_ledger_in_a_schema_of_its_own_is_read_there_and_nowhere_else(postgres_url: str) -> None:
    for url, number in ((postgres_url, 1), (f"{postgres_url}?schema=image_spend", 2)):
        with closing(open_writer(url)) as writer:
            writer.write([make_attempt(model=f"pixelmeter_daily-{n}") for n in range(number)], {}, [])
    epoch, far = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

    def seen(url: str) -> tuple[int, int, int, int]:
        with reading_ledger(url) as reader:
            return (
                count(reader),
                sum(group.sums["attempts"] for group in grouped(reader, ["model"], epoch, far)),
                len(attempts(reader, limit=9)),
                sum(total.attempts for total in read_totals(reader)),
            )

    assert [(1,) * 4, (2,) * 4] == [seen(postgres_url), seen(f"{postgres_url}?schema=image_spend")]
    with pytest.raises(LedgerError, match="there is no ledger"), reading_ledger(f"{postgres_url}?schema=elsewhere"):
        pass


def test_a_reader_leaves_an_empty_log_that_the_next_writer_removes(sqlite_url: str, tmp_path: Path) -> None:
    def beside() -> dict[str, int]:
        return {file.name: file.stat().st_size for file in tmp_path.glob("ledger.db-*")}

    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])
    after_writer = beside()
    with reading_ledger(sqlite_url) as reader:
        count(reader)
    after_reader = beside()
    with closing(open_writer(sqlite_url)) as writer:
        writer.positions([])

    assert ({}, {"ledger.db-shm", "ledger.db-wal"}, 0, {}) == (
        after_writer,
        set(after_reader),
        after_reader["ledger.db-wal"],
        beside(),
    )


@pytest.mark.slow
def test_a_ledger_in_a_folder_that_is_read_only_can_be_read(sqlite_url: str, tmp_path: Path) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])
    (tmp_path / "ledger.db").chmod(0o644)
    tmp_path.chmod(0o555)
    code = f"""
from pixelmeter.ledger.reader import reading_ledger
with reading_ledger(url) as reader:
    print(reader.rows("{COUNT}")[0][0])
"""
    try:
        printed = run_unprivileged(code, sqlite_url, tmp_path)
    finally:
        tmp_path.chmod(0o755)

    assert "1\n" == printed


def test_reading_imports_no_library_that_only_the_schema_needs(new_url: str) -> None:
    ensure_schema(read_address(new_url))
    code = """
import sys
from pixelmeter.ledger.grouping import grouped
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.reader import reading_ledger
with reading_ledger(sys.argv[1]) as reader:
    attempts(reader, limit=1)
sys.exit(" ".join({"sqlalchemy", "alembic"} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code, new_url], capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)


def test_postgresql_compiles_nothing_for_a_reader(postgres_url: str, pooled_url: str) -> None:
    ensure_schema(read_address(postgres_url))

    with reading_ledger(pooled_url) as reader:
        first = reader.rows("SHOW jit")
        reader.refresh()
        [[later]] = reader.batches("SELECT current_setting('jit')")

    assert [("off",)] == first
    assert ("off",) == later


def test_postgresql_reads_rollups_in_the_order_of_their_index(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_schema(read_address(postgres_url))
    columns = ", ".join(["day", "gateway", "provider", "operation", "model", "outcome", "latency_bucket", *SUMS])
    # In no order, as the sums of a day come.
    filling = (
        f"INSERT INTO pixelmeter_daily_merged ({columns}) SELECT DATE '2026-05-01' + day, 'g', '', 'generate',"
        f" 'm' || model, 'success', bucket, {', '.join('1' for _ in SUMS)} FROM generate_series(0, 89) AS day,"
        " generate_series(1, 10) AS model, generate_series(1, 80) AS bucket ORDER BY md5(format('%s %s', day, bucket))"
    )
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(filling)
        connection.execute("ANALYZE pixelmeter_daily_merged")
    plans: list[str] = []
    rows = LedgerReader.rows

    def explained(reader: LedgerReader, statement: str, parameters: Sequence[object] = ()) -> list[Sequence[Any]]:
        if "FROM pixelmeter_daily " in statement:
            plans.extend(step for (step,) in rows(reader, f"EXPLAIN {statement}", parameters))
        return rows(reader, statement, parameters)

    monkeypatch.setattr(LedgerReader, "rows", explained)
    with reading_ledger(postgres_url) as reader:
        since = datetime(2026, 5, 1, tzinfo=UTC)
        found = [*grouped(reader, ["model", "day"], since, since + timedelta(days=30))]

    assert 30 * 10 * 80 == sum(group.sums["attempts"] for group in found)
    assert any("Index Scan using pixelmeter_daily_merged_pkey" in step for step in plans)
    assert not any("Bitmap" in step or "HashAggregate" in step for step in plans)


def test_the_time_of_several_questions_is_that_of_one(postgres_url: str) -> None:
    asked = 0
    with (
        reading_database(read_address(postgres_url)) as reader,
        pytest.raises(Exception, match="statement timeout|longer than they may") as raised,
        reader.time_limit(0.5),
    ):
        for _ in range(9):
            reader.rows("SELECT pg_sleep(0.2)")
            asked += 1
    assert is_too_long(raised.value)
    assert asked < 3


def test_what_a_text_says_is_no_sign_of_a_limit(tmp_path: Path) -> None:
    with (
        pytest.raises(LedgerError, match="interrupted") as raised,
        reading_ledger(f"sqlite:///{tmp_path}/interrupted.db"),
    ):
        pass
    assert not is_too_long(raised.value)


@pytest.mark.parametrize("days", [30, 700])
def test_one_value_of_a_tag_is_read_without_the_other_ones_of_those_days(
    ledger_url: str, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = datetime(2026, 5, 1, tzinfo=UTC)
    at = [round((since + timedelta(days=day)).timestamp() * 1e6) for day in (0, 12, days - 1, days)]
    with closing(open_writer(ledger_url)) as writer:
        for team in ("a", "b"):
            writer.write([make_attempt(started_at=when, tags=f'{{"team":"{team}"}}', cost=7) for when in at], {}, [])
    explain = "EXPLAIN" if ledger_url.startswith("postgresql") else "EXPLAIN QUERY PLAN"
    plans: list[str] = []
    rows = LedgerReader.rows

    def explained(reader: LedgerReader, statement: str, parameters: Sequence[object] = ()) -> list[Sequence[Any]]:
        if "FROM pixelmeter_tag_daily " in statement:
            plans.extend(str(step[-1]) for step in rows(reader, f"{explain} {statement}", parameters))
        return rows(reader, statement, parameters)

    monkeypatch.setattr(LedgerReader, "rows", explained)
    filters = Filters(tags={"team": "b"})
    with reading_ledger(ledger_url) as reader:
        found = [*grouped(reader, ["day"], since, since + timedelta(days=days), filters=filters)]

    assert [7, 7, 7] == [group.sums["cost"] for group in found]
    seeks = [step for step in plans if "tag=? AND day=? AND value=?" in step or "day = ANY" in step]
    assert (days == 30) == bool(seeks), plans
