"""The ledger against the gateway's bill, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pixelmeter.core.attempts.record import Attempt

__all__ = ["Books", "compare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What both sides say; money in nano-dollars."""

    billed: int
    """What the gateway billed, all in all."""
    known: int
    """What the ledger knows to have been spent."""
    unknown: int
    """How many attempts the ledger says it does not know the cost of, pending jobs among them."""
    unknown_billed: int
    """What the gateway billed for exactly those."""
    missing: int
    """Lines of the bill for attempts that the ledger has not; below zero for attempts that nobody was asked for."""

    @property
    def difference(self) -> int:
        """What the bill says more than the ledger can account for."""
        return self.billed - self.known - self.unknown_billed

    @property
    def is_even(self) -> bool:
        """Whether every attempt and every nano-dollar is accounted for."""
        return self.difference == 0 and self.missing == 0


def compare(bill: Iterable[Mapping[str, Any]], attempts: Iterable[Attempt]) -> Books:
    """Compare the billing log of a stand-in gateway with the attempts that went there."""
    attempts = list(attempts)
    known = {attempt.request_id for attempt in attempts if attempt.cost is not None}
    unknown = sum(attempt.cost is None for attempt in attempts)
    billed = unknown_billed = left = 0
    for line in bill:
        charged: int = line["charged_nano"]
        billed += charged
        if line["request_id"] not in known:
            unknown_billed += charged
            # A job is charged by the poll that finds it completed; the attempt is the request that queued it.
            left += line["operation"] != "job"
    return Books(
        billed=billed,
        known=sum(attempt.cost for attempt in attempts if attempt.cost is not None),
        unknown=unknown,
        unknown_billed=unknown_billed,
        missing=left - unknown,
    )
