"""The partitions of a PostgreSQL ledger's attempts: one for each UTC month of their ids, which are UUIDv7.

Nothing that is asked or counted rests on the months: an id may say another time than its attempt. They are there to be
dropped whole. Writers never make one; what comes without a month is in the DEFAULT partition until one is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from pixelmeter.core.reporting.periods import microseconds_of, moment_of
from pixelmeter.ledger.dialect import DIALECTS
from pixelmeter.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AHEAD", "DEFAULT", "Months", "Partition", "create", "first_id", "make_ahead", "months_of", "partitions"]

AHEAD = 3
"""Months after the present one that are made."""

_ATTEMPTS = "pixelmeter_attempts"
DEFAULT = f"{_ATTEMPTS}_default"
"""The partition of attempts that came without a month."""
_FIRST = f"{_ATTEMPTS}_first"
_COUNTED = 10_000
# An id begins with its Unix time in milliseconds.
_TIME_BITS = 80
_BOUNDS = re.compile(r"FROM \((?:MINVALUE|'([0-9a-f-]+)')\) TO \('([0-9a-f-]+)'\)")
_PARTITIONS = str(DIALECTS["postgresql"].partitions)


class Partition(NamedTuple):
    """A table with the attempts whose id is at or above `low` and below `high`."""

    name: str
    low: str | None
    """None of the oldest one, which has all that is below `high`."""
    high: str

    @property
    def first_day(self) -> date | None:
        """The UTC day with which it begins; None of the oldest one."""
        return None if self.low is None else _day_of(self.low)


class Months(NamedTuple):
    """How far the months of a ledger reach."""

    ahead: int
    """Months after the present one that are made without a gap; -1 where the present one is not."""
    without: int
    """Attempts that came without a month, of which no more than 10,000 are counted."""


def first_id(day: date) -> str:
    """Return the lowest id of a UTC day."""
    return str(UUID(int=microseconds_of(datetime.combine(day, time(), UTC)) // 1000 << _TIME_BITS))


def partitions(reader: LedgerReader) -> list[Partition]:
    """Return the partitions but for the DEFAULT one, oldest first; none where the table has none, as on SQLite."""
    statement = reader.dialect.partitions
    return [] if statement is None else _read(reader.rows(statement, [reader.qualified(_ATTEMPTS)]))


def months_of(reader: LedgerReader, now: int) -> Months | None:
    """Return how far the months reach at a Unix time in microseconds; None for a ledger without partitions."""
    found = partitions(reader)
    if not found:
        return None
    month = moment_of(now).date().replace(day=1)
    ahead = -1
    while any((one.low or "") <= first_id(month) < one.high for one in found):
        ahead, month = ahead + 1, _next(month)
    statement = f"SELECT count(*) FROM (SELECT 1 FROM {_ATTEMPTS} WHERE id >= ? LIMIT {_COUNTED}) AS found"
    [(without,)] = reader.rows(statement, [found[-1].high])
    return Months(ahead, int(without))


def create(connection: Connection, schema: str | None, now: datetime) -> None:
    """Make the first partitions of a table that has none: what was before this month, DEFAULT, and months ahead."""
    attempts, first, default = (_qualified(name, schema) for name in (_ATTEMPTS, _FIRST, DEFAULT))
    bound = first_id(now.date().replace(day=1))
    run = connection.exec_driver_sql
    run(f"CREATE TABLE {first} PARTITION OF {attempts} FOR VALUES FROM (MINVALUE) TO ('{bound}')")
    run(f"CREATE TABLE {default} PARTITION OF {attempts} DEFAULT")
    make_ahead(connection, schema, now)


def make_ahead(connection: Connection, schema: str | None, now: datetime) -> list[str]:
    """Make the months that are missing, up to AHEAD after the present one; return them, as "2026-12".

    The attempts of DEFAULT that belong to one of them are moved there. Nothing is done to a table without partitions.
    """
    attempts, default = _qualified(_ATTEMPTS, schema), _qualified(DEFAULT, schema)
    run = connection.exec_driver_sql
    rows = run(_PARTITIONS.replace("?", "%s"), (attempts,)).all()
    if not rows:
        return []
    found = _read(rows)
    missing = {*_missing(found, now), *_unplaced(connection, default, now)}
    if not missing:
        return []
    # Before anything is made: whoever has touched it is waited for with nothing in hand that others need.
    run(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
    [(owner, is_ours)] = run(
        "SELECT quote_ident(pg_get_userbyid(relowner)), pg_get_userbyid(relowner) = current_user FROM pg_class"
        " WHERE oid = to_regclass(%s)",
        (attempts,),
    )
    for month in sorted(missing):
        name = _qualified(f"{_ATTEMPTS}_{month:%Y_%m}", schema)
        low, high = first_id(month), first_id(_next(month))
        run(f"CREATE TABLE {name} (LIKE {attempts} INCLUDING DEFAULTS)")
        if not is_ours:
            run(f"ALTER TABLE {name} OWNER TO {owner}")
        run(
            f"WITH moved AS (DELETE FROM {default} WHERE id >= '{low}' AND id < '{high}' RETURNING *)"
            f" INSERT INTO {name} SELECT * FROM moved"
        )
        # Attached and not made as a partition, which would keep all writers out until the end of the transaction.
        run(f"ALTER TABLE {attempts} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')")
    return [f"{month:%Y-%m}" for month in sorted(missing)]


def _missing(found: list[Partition], now: datetime) -> Iterator[date]:
    """Yield the months behind the newest partition, up to the last one that should be there."""
    month = now.date().replace(day=1)
    if found:
        month = _day_of(found[-1].high)
    while month <= _last(now):
        yield month
        month = _next(month)


def _unplaced(connection: Connection, default: str, now: datetime) -> Iterator[date]:
    """Yield the months of the attempts that came without one; a clock that is years ahead gets none."""
    low, high = str(UUID(int=0)), first_id(_next(_last(now)))
    while True:
        statement = f"SELECT id FROM {default} WHERE id >= %s AND id < %s ORDER BY id LIMIT 1"
        found = connection.exec_driver_sql(statement, (low, high)).scalar()
        if found is None:
            return
        month = _day_of(str(found)).replace(day=1)
        yield month
        low = first_id(_next(month))


def _read(rows: Iterable[Sequence[Any]]) -> list[Partition]:
    found = ((name, _BOUNDS.fullmatch(bound.removeprefix("FOR VALUES "))) for name, bound in rows)
    return sorted((Partition(name, bounds[1], bounds[2]) for name, bounds in found if bounds), key=lambda one: one.high)


def _last(now: datetime) -> date:
    month = now.date().replace(day=1)
    for _ in range(AHEAD):
        month = _next(month)
    return month


def _day_of(identity: str) -> date:
    return moment_of((UUID(identity).int >> _TIME_BITS) * 1000).date()


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _qualified(name: str, schema: str | None) -> str:
    return name if schema is None else f'"{schema}".{name}'
