"""A row of a gateway's own usage report, kept as it came."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple, get_args

import msgspec

from pixelmeter.core.attempts.record import Integer
from pixelmeter.core.reporting.periods import microseconds_of
from pixelmeter.errors import ConfigError

__all__ = ["FIELDS", "GRAINS", "Grain", "Period", "Statement", "StatementStatus", "external_id_of", "month"]

Grain = Literal["request", "hour", "day", "month"]
"""What a row is about: one request, or the sum over a period (UTC)."""
GRAINS: tuple[Grain, ...] = get_args(Grain)
StatementStatus = Literal["succeeded", "failed"]

_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_ID_LENGTH = 32


class Statement(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What a gateway says of one request, or of all those of a period that have something in common.

    Money is in integer nano-dollars (1e-9 USD), time in integer microseconds UTC. None means unknown, never zero.
    Ledger columns have these names in this order.
    """

    gateway: str
    """Id of the gateway profile, as attempts have it."""
    source: str
    """Which report it is from, such as `aigateway_recent`."""
    external_id: str
    """The row's own id in its source. Read again it is the same, whatever the amount has become meanwhile."""
    grain: Grain
    starts_at: Integer
    """When the request came to the gateway, or the first moment of the period."""
    ends_at: Integer | None
    """The first moment after the period; None for a request."""
    ids: tuple[str, ...]
    """Every name by which the request may be known: of the request, the generation, the log, at the vendor behind."""
    model: str | None
    amount: Integer | None
    """What was charged; negative for what was given back."""
    images: Integer | None
    requests: Integer | None
    """How many requests the row is about; 1 for a request."""
    status: StatementStatus | None
    """How the request ended, as far as the gateway says."""
    label: str | None
    """What the row is summed by beside period and model: a tag, a sub-account, a line of the invoice."""
    raw: str
    """A JSON object: those fields of the row that say nothing private, each as it came."""
    read_at: Integer


FIELDS: tuple[str, ...] = Statement.__struct_fields__


class Period(NamedTuple):
    """A span of time in microseconds UTC: `start` is in it, `end` is not."""

    start: int
    end: int


def month(text: str) -> Period:
    """Return the UTC month that a text such as "2026-11" names; ConfigError for anything else."""
    found = _MONTH.fullmatch(text)
    try:
        first = date(int(found[1]), int(found[2]), 1) if found else None
        following = (first + timedelta(days=31)).replace(day=1) if first else None
    except (ValueError, OverflowError):
        first = following = None
    if first is None or following is None:
        raise ConfigError(f"{text[:40]!r} is not a month: write it as 2026-11")
    return Period(_microseconds(first), _microseconds(following))


def external_id_of(parts: Sequence[str | None], ordinal: int = 0) -> str:
    """Return an id for a row that has none of its own: a hash of what tells it from others.

    `ordinal` counts the rows that nothing tells apart: 0 for the first of them.
    """
    text = msgspec.json.encode([*parts, ordinal])
    return hashlib.sha256(text).hexdigest()[:_ID_LENGTH]


def _microseconds(day: date) -> int:
    return microseconds_of(datetime(day.year, day.month, day.day, tzinfo=UTC))
