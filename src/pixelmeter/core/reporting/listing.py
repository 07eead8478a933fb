"""An attempt as programs read it, every field of the ledger with units that need no explanation, and as people do."""

from __future__ import annotations

from datetime import datetime, tzinfo

import msgspec

from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.core.text import dollars, exact_usd
from pixelmeter.errors import ConfigError

__all__ = ["COLUMNS", "OF_PROGRAMS", "OF_TABLES", "cells", "columns", "listed", "moment_of", "started"]

_MICROSECONDS_PER_SECOND = 1_000_000
_MONEY = (
    "cost", "reported_cost", "token_cost", "image_cost", "at_risk", "fee", "baseline_cost", "route_fee", "savings",
)  # fmt: skip
_SECONDS = ("first_byte", "first_image", "duration")
_RENAMED = {name: f"{name}_usd" for name in _MONEY} | {name: f"{name}_seconds" for name in _SECONDS}

COLUMNS: tuple[str, ...] = tuple(_RENAMED.get(name, name) for name in FIELDS)
"""The keys of a listed attempt, in the order of the ledger's columns."""

OF_TABLES: tuple[str, ...] = (
    "started_at", "outcome", "status", "images", "cost", "at_risk", "seconds", "gateway", "model", "tags"
)  # fmt: skip
"""The columns of a table where none are chosen."""

OF_PROGRAMS = _RENAMED | {"seconds": _RENAMED["duration"]}
"""The columns that have a unit in their name in COLUMNS, by their names in the ledger and in tables."""

_QUOTED = 40


def columns(text: str) -> tuple[str, ...]:
    """Return the columns of a list such as "id,cost,trace_id", under their names in COLUMNS.

    ConfigError names what is no column.
    """
    found: dict[str, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name = OF_PROGRAMS.get(part, part)
        if name not in COLUMNS:
            raise ConfigError(f"{part[:_QUOTED]!r} is not a column: use {', '.join(COLUMNS)}")
        found[name] = None
    if not found:
        raise ConfigError(f"name at least one column: {', '.join(COLUMNS)}")
    return tuple(found)


def listed(attempt: Attempt) -> dict[str, object]:
    """Return an attempt with a value for each of COLUMNS.

    Money is exact decimal text in USD (`cost_usd`), durations are seconds (`duration_seconds`), `started_at` is
    ISO 8601 in UTC with microseconds, `tags` is an object and `priced_parts` an array; None is what the ledger does
    not know.
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
    if attempt.priced_parts is not None:
        fields["priced_parts"] = msgspec.json.decode(attempt.priced_parts)
    return fields


def started(attempt: Attempt) -> datetime:
    """Return when the attempt started, in UTC."""
    return moment_of(attempt.started_at)


def cells(attempt: Attempt, zone: tzinfo) -> dict[str, object]:
    """Return what a table shows of an attempt: OF_TABLES for people, and COLUMNS as they are listed.

    Where the cost is not known there is the reason, and "unknown" is what nobody can estimate.
    """
    found = listed(attempt)
    is_settled = attempt.billing not in {"unknown", "pending"}
    return {
        **found,
        "started_at": f"{started(attempt).astimezone(zone):%Y-%m-%d %H:%M:%S}",
        "cost": attempt.cost_reason or "unknown" if attempt.cost is None else dollars(attempt.cost),
        "at_risk": ("" if is_settled else "unknown") if attempt.at_risk is None else dollars(attempt.at_risk),
        # What a budget refused was never sent.
        "seconds": "" if attempt.outcome == "blocked" else f"{attempt.duration / _MICROSECONDS_PER_SECOND:.2f}",
        "tags": " ".join(f"{key}={value}" for key, value in msgspec.json.decode(attempt.tags).items()),
    }
