"""A small budget, more calls at once than it has money for, and what became of them."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

import pixelmeter
from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.text import exact_usd
from pixelmeter.prices import bundled
from pixelmeter.testing import Gateway

__all__ = ["Held", "hold"]

_MODEL = "meta/sam-3-1-image"
_LIMIT = NANO_PER_USD // 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a budget let go, and what it refused; money in nano-dollars."""

    limit: int
    sent: int
    refused: int
    billed: int
    """What the gateway billed for those that were sent."""


def hold(*, calls: int = 12, at_once: int = 4) -> Held:
    """Make calls of $0.01 each under a budget of $0.05, some at a time, with a ledger that is thrown away."""
    budget = pixelmeter.Budget(exact_usd(_LIMIT), name="demo", action="block", on_unavailable="block", thresholds=())
    with tempfile.TemporaryDirectory() as folder, Gateway() as gateway:
        meter = pixelmeter.Meter(
            f"sqlite:///{Path(folder).as_posix()}/budget.db",
            price_book=bundled(),
            gateways={"127.0.0.1:*": "aigateway"},
            budgets=[budget],
        )
        with (
            meter,
            pixelmeter.instrument(httpx.Client(base_url=gateway.url, timeout=30), meter) as client,
            ThreadPoolExecutor(at_once) as pool,
        ):
            outcomes = Counter(pool.map(_make, [client] * calls))
        bill: Sequence[dict[str, int]] = gateway.billing()
    return Held(
        limit=_LIMIT,
        sent=outcomes[True],
        refused=outcomes[False],
        billed=sum(line["charged_nano"] for line in bill),
    )


def _make(client: httpx.Client) -> bool:
    """Make a call; return whether it was let go."""
    try:
        client.post("/images/generations", json={"model": _MODEL, "prompt": "a red fox"})
    except pixelmeter.BudgetExceeded:
        return False
    return True
