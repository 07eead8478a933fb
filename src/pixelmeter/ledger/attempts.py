"""Single attempts read back from the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.dialect import Dialect, Sql
from pixelmeter.ledger.queries import EVERYTHING, Filters, spend, started_in, where
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["Place", "adjusted_attempts_of", "attempts", "attempts_named", "attempts_of", "identities"]

_IDS_AT_ONCE = 500
_COLUMNS = ", ".join(FIELDS)


class Place(NamedTuple):
    """Where a list of attempts goes on: what its last one is ordered by."""

    cost: int | None
    """Nano-dollars; not looked at in a list by time."""
    started_at: int
    """Unix time in microseconds."""
    id: str


def attempts(
    reader: LedgerReader,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    filters: Filters = EVERYTHING,
    limit: int,
    by_cost: bool = False,
    after: Place | None = None,
) -> list[Attempt]:
    """Return the newest attempts that fit, newest first, or the most expensive ones, which come first then.

    Each is as it is now, with its adjustments; of unknown cost are the last ones. Only those `after` a place.
    """
    conditions = [*started_in(since, until, reader.dialect), *filters.conditions(reader.dialect)]
    if after is not None:
        conditions.append(_behind(after, reader.dialect, by_cost=by_cost))
    condition = where(conditions)
    order = "cost IS NULL, cost DESC, started_at DESC, id DESC" if by_cost else "started_at DESC, id DESC"
    statement = f"SELECT {_COLUMNS} FROM {spend(reader)} {condition.text} ORDER BY {order} LIMIT ?"
    return [_attempt(row, reader.dialect) for row in reader.rows(statement, (*condition.parameters, limit))]


def identities(reader: LedgerReader, *, since: datetime, filters: Filters = EVERYTHING) -> set[str]:
    """Return the ids of the attempts that started at or after `since`."""
    condition = where([*started_in(since, None, reader.dialect), *filters.conditions(reader.dialect)])
    rows = reader.rows(f"SELECT id FROM {spend(reader)} {condition.text}", condition.parameters)
    return {str(identity) for (identity,) in rows}


def attempts_of(reader: LedgerReader, ids: Iterable[str]) -> list[Attempt]:
    """Return the attempts with these ids as they were written, oldest first."""
    return _of(reader, ids, "pixelmeter_attempts")


def adjusted_attempts_of(reader: LedgerReader, ids: Iterable[str]) -> list[Attempt]:
    """Return the attempts with these ids as they are now, with their adjustments, oldest first."""
    return _of(reader, ids, spend(reader))


def attempts_named(reader: LedgerReader, digits: str, *, limit: int) -> list[Attempt]:
    """Return the attempts whose id, or that of whose call, begins with hexadecimal digits, as they are now.

    The oldest come first.
    """
    low, high = (str(UUID(digits.ljust(32, filling))) for filling in "0f")
    condition = Sql("WHERE (id BETWEEN ? AND ? OR call_id BETWEEN ? AND ?)", (low, high, low, high))
    statement = f"SELECT {_COLUMNS} FROM {spend(reader)} {condition.text} ORDER BY started_at, id LIMIT ?"
    return [_attempt(row, reader.dialect) for row in reader.rows(statement, (*condition.parameters, limit))]


def _behind(place: Place, dialect: Dialect, *, by_cost: bool) -> Sql:
    """Return whether an attempt comes later in a list than a place."""
    older = "(started_at, id) < (?, ?)"
    bounds = (dialect.moment(moment_of(place.started_at)), place.id)
    if not by_cost:
        return Sql(older, bounds)
    if place.cost is None:
        return Sql(f"(cost IS NULL AND {older})", bounds)
    return Sql(f"(cost < ? OR cost IS NULL OR (cost = ? AND {older}))", (place.cost, place.cost, *bounds))


def _of(reader: LedgerReader, ids: Iterable[str], relation: str) -> list[Attempt]:
    found: list[Attempt] = []
    remaining = sorted(ids)
    for start in range(0, len(remaining), _IDS_AT_ONCE):
        wanted = remaining[start : start + _IDS_AT_ONCE]
        condition = where([Sql(f"id IN ({', '.join('?' * len(wanted))})", tuple(wanted))])
        rows = reader.rows(f"SELECT {_COLUMNS} FROM {relation} {condition.text}", condition.parameters)
        found += [_attempt(row, reader.dialect) for row in rows]
    return sorted(found, key=lambda attempt: (attempt.started_at, attempt.id))


def _attempt(row: Sequence[Any], dialect: Dialect) -> Attempt:
    fields = dict(zip(FIELDS, row, strict=True))
    fields["id"], fields["call_id"] = str(fields["id"]), str(fields["call_id"])
    fields["started_at"] = dialect.microseconds(fields["started_at"])
    fields["byok"] = bool(fields["byok"])
    fields["tags"] = dialect.json_text(fields["tags"])
    return Attempt(**fields)
