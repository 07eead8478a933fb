"""What the price book said of an exchange it says again of its row, or it says that the row has too little for that."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.attempts.repricing import Repriced, Repricer
from pixelmeter.gateways import load_profiles
from pixelmeter.prices import book_of
from pixelmeter.system import SystemClock
from tests.clients import KITS
from tests.exchanges.test_exchanges import Ledger, exchanges

pytestmark = pytest.mark.slow

PROFILES, BOOK = load_profiles({}), book_of(None)


def without_its_price(row: Attempt) -> Attempt:
    """Return an attempt as it would be if the price book had not had its model then."""
    return msgspec.structs.replace(
        row, cost=None, cost_source="none", cost_reason="no_price", token_cost=None, image_cost=None, price_id=None,
        priced_parts=None, fee=row.fee if row.byok else None,
    )  # fmt: skip


def stopped_at(now: int) -> Callable[[SystemClock], int]:
    return lambda clock: now


def test_every_row_has_its_price_again_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again: list[Attempt] = []
    stay: list[str] = []
    with closing(Ledger(KITS[0], tmp_path)) as ledger:
        for name, exchange in exchanges():
            noon = datetime.datetime.combine(exchange.date, datetime.time(12), datetime.UTC)
            monkeypatch.setattr(SystemClock, "now", stopped_at(int(noon.timestamp()) * 1_000_000))
            row = ledger.row_of(exchange)
            repricer = Repricer(PROFILES, BOOK, urlsplit(str(exchange.request["url"])).hostname)
            if row.cost_source == "priced":
                found = repricer.repriced(without_its_price(row))
                assert found == Repriced(row, row.price_id or "") or isinstance(found, str), name
                assert isinstance(repricer.repriced(row, with_priced=True), str), name
                assert isinstance(Repricer(PROFILES, BOOK).repriced(row, with_priced=True), str), name
                if isinstance(found, str):
                    stay.append(found)
                else:
                    again.append(row)
            else:
                # What the book could not price then, it cannot now.
                found = repricer.repriced(row)
                assert isinstance(found, str) or found.after.cost is None, name

    assert {"not_kept"} == set(stay)
    assert len(again) > 3 * len(stay)
