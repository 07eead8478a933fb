"""Single attempts read back from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from pixelmeter.core.record import Attempt
from pixelmeter.ledger.filters import EVERYTHING, Filters, started_in
from pixelmeter.ledger.schema import ATTEMPTS

__all__ = ["attempts", "attempts_of", "identities"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_IDS_AT_ONCE = 500


def attempts(
    connection: Connection,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    filters: Filters = EVERYTHING,
    limit: int,
) -> list[Attempt]:
    """Return the newest attempts that fit, newest first."""
    statement = (
        select(ATTEMPTS)
        .where(*started_in(since, until), *filters.conditions(ATTEMPTS, connection.dialect.name))
        .order_by(ATTEMPTS.c.started_at.desc(), ATTEMPTS.c.id.desc())
        .limit(limit)
    )
    return [_attempt(row) for row in connection.execute(statement).mappings()]


def identities(connection: Connection, *, since: datetime, filters: Filters = EVERYTHING) -> set[str]:
    """Return the ids of the attempts that started at or after `since`."""
    statement = select(ATTEMPTS.c.id).where(
        *started_in(since, None), *filters.conditions(ATTEMPTS, connection.dialect.name)
    )
    return set(connection.scalars(statement))


def attempts_of(connection: Connection, ids: Iterable[str]) -> list[Attempt]:
    """Return the attempts with these ids, oldest first."""
    found: list[Attempt] = []
    remaining = sorted(ids)
    for start in range(0, len(remaining), _IDS_AT_ONCE):
        statement = select(ATTEMPTS).where(ATTEMPTS.c.id.in_(remaining[start : start + _IDS_AT_ONCE]))
        found += [_attempt(row) for row in connection.execute(statement).mappings()]
    return sorted(found, key=lambda attempt: (attempt.started_at, attempt.id))


def _attempt(row: Mapping[Any, Any]) -> Attempt:
    fields = dict(row)
    started_at: datetime = fields["started_at"]
    if started_at.tzinfo is None:
        started_at = started_at.replace(tzinfo=UTC)
    fields["started_at"] = (started_at - _EPOCH) // _MICROSECOND
    if not isinstance(fields["tags"], str):
        fields["tags"] = json.dumps(fields["tags"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Attempt(**fields)
