"""An attempt as programs read it: every field of the ledger, with units that need no explanation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from pixelmeter.core.money import exact_usd
from pixelmeter.core.record import FIELDS, Attempt

__all__ = ["COLUMNS", "listed", "started"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_PER_SECOND = 1_000_000
_MONEY = ("cost", "reported_cost", "token_cost", "image_cost", "at_risk", "fee")
_SECONDS = ("first_byte", "first_image", "duration")
_RENAMED = {name: f"{name}_usd" for name in _MONEY} | {name: f"{name}_seconds" for name in _SECONDS}

COLUMNS: tuple[str, ...] = tuple(_RENAMED.get(name, name) for name in FIELDS)
"""The keys of a listed attempt, in the order of the ledger's columns."""


def listed(attempt: Attempt) -> dict[str, object]:
    """Return an attempt with a value for each of COLUMNS.

    Money is exact decimal text in USD (`cost_usd`), durations are seconds (`duration_seconds`), `started_at` is
    ISO 8601 in UTC with microseconds, `tags` is an object; None is what the ledger does not know.
    """
    fields: dict[str, object] = {}
    for name, column in zip(FIELDS, COLUMNS, strict=True):
        value = getattr(attempt, name)
        if value is not None and name in _MONEY:
            value = exact_usd(value)
        elif value is not None and name in _SECONDS:
            value = value / _MICROSECONDS_PER_SECOND
        fields[column] = value
    fields["started_at"] = started(attempt).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    fields["tags"] = msgspec.json.decode(attempt.tags)
    return fields


def started(attempt: Attempt) -> datetime:
    """Return when the attempt started, in UTC."""
    return _EPOCH + timedelta(microseconds=attempt.started_at)
