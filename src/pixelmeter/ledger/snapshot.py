"""The totals read back from the ledger: what counters show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from pixelmeter.core.record import NANO_PER_USD
from pixelmeter.ledger.schema import ATTEMPTS, DURATIONS, TOTALS, TOTALS_KEY

__all__ = ["Total", "last_attempt", "read_totals"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 1_000_000


class Total(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The sums of one combination of labels; money in nano-dollars, time in microseconds."""

    gateway: str
    operation: str
    model: str
    outcome: str
    error_type: str
    cost_source: str
    cost_reason: str
    size: str
    quality: str
    attempts: int
    retries: int
    images: int
    cost: int
    at_risk: int
    unknown_cost_attempts: int
    duration: int
    input_text_tokens: int
    cached_input_tokens: int
    input_image_tokens: int
    output_text_tokens: int
    output_image_tokens: int
    durations: tuple[int, ...]
    """Attempts by the buckets of `core.metrics.DURATION_BUCKETS`, each counted once, and those that took longer."""


_AS_THEY_ARE = [*TOTALS_KEY, *(name for name in Total.__struct_fields__ if name in TOTALS.c and name not in TOTALS_KEY)]


def read_totals(connection: Connection) -> list[Total]:
    """Return all totals, in the order in which their combinations of labels came to be."""
    statement = select(TOTALS).order_by(TOTALS.c.number)
    return [_total(row) for row in connection.execute(statement).mappings()]


def last_attempt(connection: Connection) -> int | None:
    """Return the Unix time in microseconds at which the latest attempt was sent; None in an empty ledger."""
    latest: datetime | None = connection.scalar(select(func.max(ATTEMPTS.c.started_at)))
    if latest is None:
        return None
    return ((latest if latest.tzinfo else latest.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)


def _total(row: Mapping[Any, Any]) -> Total:
    return Total(
        **{name: row[name] for name in _AS_THEY_ARE},
        cost=row["cost_usd"] * NANO_PER_USD + row["cost_nano"],
        at_risk=row["at_risk_usd"] * NANO_PER_USD + row["at_risk_nano"],
        duration=row["duration_s"] * _MICROSECONDS + row["duration_us"],
        durations=tuple(row[name] for name in DURATIONS),
    )
