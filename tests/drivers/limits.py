"""Meters with budgets, and what they leave in their ledgers."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import pixelmeter
from pixelmeter import Budget, BudgetExceeded, Meter
from pixelmeter.core.attempts.record import Attempt
from tests.clients import Client, Kit
from tests.ledger.reading import stored

__all__ = ["PRICE", "REFUSALS", "Limited", "MakeLimited", "instrumented", "refused", "told"]

PRICE = 10_000_000
"""Nano-dollars of a call with `wires.BODY`."""
REFUSALS = pytest.mark.parametrize("refuse", ["raise", "respond"])
"""Both ways in which callers are told."""


class Limited:
    """A meter with one budget that refuses calls, whose ledger is open."""

    def __init__(self, url: str, calls: int, **budget: Any) -> None:
        self.budget = Budget(f"{calls * PRICE / 1e9:f}", name="tiny", action="block", **budget)
        self.meter = Meter(url, gateways={"mock.test": "aigateway", "127.0.0.1:*": "aigateway"}, budgets=[self.budget])
        self.path = url.removeprefix("sqlite:///")
        assert self.meter.flush(60)

    def attempts(self) -> list[Attempt]:
        """Return what is in the ledger once all that has ended is there, in the order of starting."""
        assert self.meter.flush(60)
        return sorted(stored(self.meter.database_url).values(), key=lambda attempt: attempt.id)

    def outcomes(self) -> list[str]:
        return [attempt.outcome for attempt in self.attempts()]

    def sums(self) -> tuple[int, int, int, int]:
        """Close the meter, and return what the ledger then has: cost, at risk, leased, and how many were blocked."""
        assert self.meter.close(60)
        connection = sqlite3.connect(self.path)
        try:
            [row] = connection.execute(
                "SELECT total(cost), total(at_risk), total(leased), total(blocked) FROM pixelmeter_budget_sums"
            )
            [leases] = connection.execute("SELECT total(amount) FROM pixelmeter_budget_leases")
        finally:
            connection.close()
        cost, at_risk, leased, blocked = map(int, row)
        assert leased == leases[0]
        return cost, at_risk, leased, blocked


MakeLimited = Callable[..., Limited]


async def refused(kit: Kit, call: Callable[[], Awaitable[Any]]) -> BudgetExceeded:
    """Make a call that must be refused by an exception which the library's users catch, and return that."""
    with pytest.raises(kit.package.HTTPError) as caught:
        await call()
    assert isinstance(caught.value, BudgetExceeded)
    return caught.value


async def told(kit: Kit, call: Callable[[], Awaitable[Any]], refuse: str) -> None:
    """Make a call that must be refused by an exception, or by a response with 402."""
    if refuse == "raise":
        await refused(kit, call)
    else:
        assert 402 == (await call()).status_code


def instrumented(kit: Kit, limited: Limited, **options: Any) -> Client:
    client = kit.client(**options)
    pixelmeter.instrument(client.raw, limited.meter)
    return client
