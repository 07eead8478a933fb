"""Where in a range attempts are that a rare filter fits, told by rollups: so that a list of them reads no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pixelmeter.ledger.dialect import Sql
from pixelmeter.ledger.pieces import DAY, ceiling, floor
from pixelmeter.ledger.queries import EVERYTHING, Filters, summed_in, where
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.wide_tags import is_rolled_up

__all__ = ["places_to_look"]

_HOUR = timedelta(hours=1)
# With so many that may fit on a day, looking through it from its end finds enough soon.
_DENSE = 2_000
# What a rollup has of the attempts that a filter of this name is about.
_COUNTED = {
    "unknown-cost": "unknown_cost_attempts",
    "known-cost": "attempts - unknown_cost_attempts",
    "unestimated": "unestimated_attempts",
    "first": "calls",
}


def places_to_look(
    reader: LedgerReader, since: datetime, until: datetime, filters: Filters
) -> Iterator[tuple[datetime, datetime]]:
    """Yield the parts of a range that have attempts which fit, the latest first.

    It is the whole range where no rollup can tell.
    """
    tag = _tag(reader, filters)
    counted = "attempts" if tag is not None else _counted(filters)
    if filters == EVERYTHING or counted is None:
        yield since, until
        return
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    for day, number in _days(reader, since, until, filters, tag, counted):
        start, end = max(day, since), min(day + DAY, until)
        if tag is not None or number >= _DENSE:
            yield start, end
            continue
        for hour in _hours(reader, start, end, filters, counted):
            yield max(hour, since), min(hour + _HOUR, until)


def _tag(reader: LedgerReader, filters: Filters) -> str | None:
    """Return the one tag that is asked for, where its rollup has it."""
    if len(filters.tags) != 1 or not filters.only_tags:
        return None
    (tag,) = filters.tags
    return tag if is_rolled_up(reader, tag) else None


def _counted(filters: Filters) -> str | None:
    """Return the SQL of how many attempts of a row of a rollup fit at most; None where it says nothing of that."""
    named = next((name for name in filters.only if name in _COUNTED), None)
    if named is not None:
        return _COUNTED[named]
    return "attempts" if filters.coarse != EVERYTHING else None


def _days(
    reader: LedgerReader, since: datetime, until: datetime, filters: Filters, tag: str | None, counted: str
) -> list[tuple[datetime, int]]:
    dialect = reader.dialect
    conditions = [summed_in("day", floor(since, DAY), ceiling(until, DAY), dialect, is_of_value=tag is not None)]
    if tag is None:
        conditions += filters.coarse.conditions(dialect)
    else:
        conditions.append(Sql("tag = ? AND value = ?", (tag, filters.tags[tag])))
    table = "pixelmeter_daily" if tag is None else "pixelmeter_tag_daily"
    rows = _found(reader, f"day, sum({counted})", table, "day", conditions, counted)
    return [(datetime.combine(dialect.date(day), time.min, UTC), number) for day, number in rows]


def _hours(reader: LedgerReader, since: datetime, until: datetime, filters: Filters, counted: str) -> list[datetime]:
    dialect = reader.dialect
    conditions = [summed_in("hour", floor(since, _HOUR), until, dialect), *filters.coarse.conditions(dialect)]
    rows = _found(reader, "hour", "pixelmeter_hourly", "hour", conditions, counted)
    return [dialect.time(hour) for (hour,) in rows]


def _found(
    reader: LedgerReader, columns: str, table: str, time: str, conditions: Sequence[Sql], counted: str
) -> list[Sequence[Any]]:
    condition = where(conditions)
    statement = (
        f"SELECT {columns} FROM {table} {condition.text} GROUP BY {time} HAVING sum({counted}) > 0 ORDER BY {time} DESC"
    )
    return reader.rows(statement, condition.parameters)
