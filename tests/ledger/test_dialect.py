"""All that a report asks of a database in its own way is in one object."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from pixelmeter.errors import ConfigError
from pixelmeter.ledger.address import Address, read_address
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.dialect import DIALECTS
from pixelmeter.ledger.grouping import cost_by_period, grouped
from pixelmeter.ledger.queries import Filters, tag_keys, unpriced
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.ledger.sums import last_attempt, read_totals
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt

LONG_AGO, LATER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
WANTED = Filters(model="*IMAGE*", tags={"team": "growth"})
QUESTIONS: dict[str, Callable[[LedgerReader], object]] = {
    "by day": lambda reader: sorted(grouped(reader, ["day"], LONG_AGO, LATER), key=repr),
    "by tag": lambda reader: sorted(grouped(reader, ["tag:team"], LONG_AGO, LATER, filters=WANTED), key=repr),
    "cost of months": lambda reader: cost_by_period(reader, "month", LONG_AGO, LATER, filters=WANTED),
    "tags": lambda reader: tag_keys(reader, LONG_AGO, LATER),
    "unpriced": lambda reader: unpriced(reader, LONG_AGO, LATER),
    "attempts": lambda reader: attempts(reader, since=LONG_AGO, filters=WANTED, limit=9),
    "totals": read_totals,
    "last": last_attempt,
}


@pytest.fixture
def address(ledger_url: str) -> Address:
    """A ledger with attempts of two days, with tags and without a price."""
    with closing(open_writer(ledger_url)) as writer:
        growth = '{"team":"growth"}'
        day = 86_400_000_000
        priced = [
            make_attempt(model="vendor/image", tags=growth, started_at=1_778_000_000_000_000 + n * day) for n in (0, 1)
        ]
        writer.write([*priced, make_attempt(cost=None, cost_reason="no_price", tags=growth)], {}, [])
    return read_address(ledger_url)


@pytest.mark.parametrize("question", QUESTIONS)
def test_another_database_is_read_through_one_object(
    address: Address, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading_ledger(address) as reader:
        expected = QUESTIONS[question](reader)
    monkeypatch.setitem(cast("dict[str, Any]", DIALECTS), "another", DIALECTS[address.dialect])

    with reading_ledger(replace(address, dialect="another")) as reader:
        found = QUESTIONS[question](reader)

    assert expected
    assert expected == found


def test_the_object_also_names_the_urls_of_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    other = copy.copy(DIALECTS["postgresql"])
    other.schemes = ("another", "another+driver")
    monkeypatch.setitem(cast("dict[str, Any]", DIALECTS), "another", other)

    for url in ("another://me@db.example/spend", "another+driver://me@db.example/spend"):
        address = read_address(url)
        assert ("another", "db.example", "spend") == (address.dialect, address.host, address.database)
        assert "another://me@db.example/spend" == address.safe()
    with pytest.raises(ConfigError, match="names no database"):
        read_address("neither://me@db.example/spend")
