"""Single attempts read back from the ledger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.ledger.expressions import Sql
from pixelmeter.ledger.filters import EVERYTHING, Filters, started_in, where
from pixelmeter.ledger.reader import Reader

__all__ = ["attempts", "attempts_of", "identities"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_IDS_AT_ONCE = 500
_SELECT = f"SELECT {', '.join(FIELDS)} FROM pixelmeter_attempts"


def attempts(
    reader: Reader,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    filters: Filters = EVERYTHING,
    limit: int,
) -> list[Attempt]:
    """Return the newest attempts that fit, newest first."""
    condition = where([*started_in(since, until, reader.dialect), *filters.conditions(reader.dialect)])
    statement = f"{_SELECT} {condition.text} ORDER BY started_at DESC, id DESC LIMIT ?"
    return [_attempt(row) for row in reader.rows(statement, (*condition.parameters, limit))]


def identities(reader: Reader, *, since: datetime, filters: Filters = EVERYTHING) -> set[str]:
    """Return the ids of the attempts that started at or after `since`."""
    condition = where([*started_in(since, None, reader.dialect), *filters.conditions(reader.dialect)])
    rows = reader.rows(f"SELECT id FROM pixelmeter_attempts {condition.text}", condition.parameters)
    return {str(identity) for (identity,) in rows}


def attempts_of(reader: Reader, ids: Iterable[str]) -> list[Attempt]:
    """Return the attempts with these ids, oldest first."""
    found: list[Attempt] = []
    remaining = sorted(ids)
    for start in range(0, len(remaining), _IDS_AT_ONCE):
        wanted = remaining[start : start + _IDS_AT_ONCE]
        condition = where([Sql(f"id IN ({', '.join('?' * len(wanted))})", tuple(wanted))])
        found += [_attempt(row) for row in reader.rows(f"{_SELECT} {condition.text}", condition.parameters)]
    return sorted(found, key=lambda attempt: (attempt.started_at, attempt.id))


def _attempt(row: Sequence[Any]) -> Attempt:
    fields = dict(zip(FIELDS, row, strict=True))
    # A UUID, a time with its zone and an object where the database has such types, else their text.
    fields["id"], fields["call_id"] = str(fields["id"]), str(fields["call_id"])
    started_at: datetime | str = fields["started_at"]
    if isinstance(started_at, str):
        started_at = datetime.fromisoformat(started_at).replace(tzinfo=UTC)
    fields["started_at"] = (started_at - _EPOCH) // _MICROSECOND
    fields["byok"] = bool(fields["byok"])
    if not isinstance(fields["tags"], str):
        fields["tags"] = json.dumps(fields["tags"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Attempt(**fields)
