"""What doctor says of months and prunes."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import pytest

from pixelmeter.core.reporting.periods import microseconds_of
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import ensure_schema
from pixelmeter.ledger.partitions import AHEAD
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports.retention_check import check_retention
from tests.ledger.test_partitions import NOW, made_in, month


def findings(url: str, at: int = NOW) -> list[tuple[str, str, str]]:
    with reading_ledger(url) as reader:
        return [(one.check, one.state, one.found) for one in check_retention(reader, at)]


@pytest.mark.parametrize(
    ("number", "finding"),
    [
        (0, ("months", "ok", f"{AHEAD} are made ahead")),
        (AHEAD - 1, ("months", "ok", "1 are made ahead")),
        (AHEAD, ("months", "warning", "the next one has no partition")),
        (AHEAD + 1, ("months", "warning", "the present one has no partition")),
    ],
)
def test_the_months_of_a_ledger_that_nobody_looks_after_run_out(
    postgres_url: str, number: int, finding: tuple[str, str, str]
) -> None:
    ensure_schema(read_address(postgres_url))
    day = month(number)

    assert [finding] == findings(postgres_url, microseconds_of(datetime(day.year, day.month, 1, tzinfo=UTC)))


def test_attempts_without_a_month_are_counted(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.write([made_in(month(0)), made_in(month(AHEAD + 1)), made_in(month(AHEAD + 2))], {}, [])

    assert [("months", "warning", "there is no partition for the month of 2 attempts")] == findings(postgres_url)


def test_nothing_is_said_of_a_sqlite_ledger_that_was_never_pruned(sqlite_url: str) -> None:
    ensure_schema(read_address(sqlite_url))

    assert [] == findings(sqlite_url)
