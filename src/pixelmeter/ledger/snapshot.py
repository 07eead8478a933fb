"""The totals read back from the ledger: what counters show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.ledger.reader import Reader
from pixelmeter.ledger.schema import DURATIONS, TOTALS_KEY

__all__ = ["Total", "last_attempt", "read_totals"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 1_000_000


class Total(msgspec.Struct, frozen=True, gc=False):
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
    unknown_cost_attempts: int
    input_text_tokens: int
    cached_input_tokens: int
    input_image_tokens: int
    output_text_tokens: int
    output_image_tokens: int
    cost: int
    at_risk: int
    duration: int
    durations: tuple[int, ...]
    """Attempts by the buckets of `core.metrics.DURATION_BUCKETS`, each counted once, and those that took longer."""


_KEY = len(TOTALS_KEY)
_PLAIN = ("attempts", "retries", "images", "unknown_cost_attempts", "input_text_tokens", "cached_input_tokens",
          "input_image_tokens", "output_text_tokens", "output_image_tokens")  # fmt: skip
_SPLIT = ("cost_usd", "cost_nano", "at_risk_usd", "at_risk_nano", "duration_s", "duration_us")
_QUERY = f"SELECT {', '.join((*TOTALS_KEY, *_PLAIN, *_SPLIT, *DURATIONS))} FROM pixelmeter_totals ORDER BY number"


def read_totals(reader: Reader) -> list[Total]:
    """Return all totals, in the order in which their combinations of labels came to be."""
    return [_total(row) for row in reader.rows(_QUERY)]


def last_attempt(reader: Reader) -> int | None:
    """Return the Unix time in microseconds at which the latest attempt was sent; None in an empty ledger."""
    latest: datetime | str | None = reader.rows("SELECT max(started_at) FROM pixelmeter_attempts")[0][0]
    if latest is None:
        return None
    if isinstance(latest, str):
        latest = datetime.fromisoformat(latest).replace(tzinfo=UTC)
    return (latest - _EPOCH) // timedelta(microseconds=1)


def _total(row: Sequence[Any]) -> Total:
    # By position: a scrape does this for every row, and names are looked up one by one.
    split = _KEY + len(_PLAIN)
    dollars, nano, at_risk_dollars, at_risk_nano, seconds, microseconds = row[split : split + len(_SPLIT)]
    values: tuple[Any, ...] = (
        *row[:split],
        dollars * NANO_PER_USD + nano,
        at_risk_dollars * NANO_PER_USD + at_risk_nano,
        seconds * _MICROSECONDS + microseconds,
        tuple(row[split + len(_SPLIT) :]),
    )
    return Total(*values)
