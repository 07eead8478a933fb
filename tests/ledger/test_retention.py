from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import insert

from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import changing, ensure_schema
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.retention import horizon
from pixelmeter.ledger.schema import PRUNES

EARLY, LATE = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 28, tzinfo=UTC)


def horizon_of(url: str) -> datetime | None:
    with reading_ledger(url) as reader:
        return horizon(reader)


def test_the_horizon_is_the_latest_one_that_was_pruned_to(ledger_url: str) -> None:
    ensure_schema(read_address(ledger_url))
    before = horizon_of(ledger_url)
    with changing(read_address(ledger_url)) as connection:
        for each in (LATE, EARLY):
            values = {"horizon": each, "began_at": LATE, "attempts": 0, "version": "1"}
            connection.execute(insert(PRUNES).values(values))

    assert (None, LATE) == (before, horizon_of(ledger_url))
