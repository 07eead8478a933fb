"""SQL that gives the same answer on SQLite and PostgreSQL, where plain SQL would not."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple

from pixelmeter.core.reporting.latency import bucket
from pixelmeter.ledger.reader import Dialect

__all__ = ["Sql", "bucket_of", "like", "moment", "tag_value", "wide", "wide_sum"]

_LOW_BITS = 32
_LOW_MASK = (1 << _LOW_BITS) - 1
_LONGEST = 2**63 - 1


class Sql(NamedTuple):
    """A piece of a statement, with the values of its question marks."""

    text: str
    parameters: tuple[object, ...] = ()


def wide_sum(column: str) -> str:
    """Return the two halves of a sum, for `wide` to join: SQLite's own sum() fails past 64 bits ($9.2 billion)."""
    known = f"coalesce({column}, 0)"
    return f"coalesce(sum({known} >> {_LOW_BITS}), 0), coalesce(sum({known} & {_LOW_MASK}), 0)"


def wide(high: int, low: int) -> int:
    """Return the sum that two halves stand for; PostgreSQL's are Decimals."""
    return (int(high) << _LOW_BITS) + int(low)


def moment(when: datetime, dialect: Dialect) -> datetime | str:
    """Return a time as the column `started_at` is compared with."""
    when = when.astimezone(UTC)
    return when if dialect == "postgresql" else when.replace(tzinfo=None).isoformat(" ", "microseconds")


def tag_value(key: str, dialect: Dialect) -> Sql:
    """Return the value of a tag, NULL without it; the key may have any character."""
    if dialect == "postgresql":
        return Sql("(tags ->> ?::text)", (key,))
    return Sql("(SELECT CAST(value AS TEXT) FROM json_each(tags) WHERE key = ?)", (key,))


def like(column: str, pattern: str, dialect: Dialect) -> Sql:
    """Return whether a column matches a shell pattern: `*` is any text, `?` any character; case does not matter."""
    escaped = pattern.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    # SQLite's LIKE is blind to the case of a to z by itself.
    operator = "ILIKE" if dialect == "postgresql" else "LIKE"
    return Sql(f"{column} {operator} ? ESCAPE '!'", (escaped.replace("*", "%").replace("?", "_"),))


@cache
def bucket_of() -> str:
    """Return the latency bucket of a row's duration, as `pixelmeter.core.reporting.latency.bucket` has it.

    Databases differ in their logarithms, so the bounds are worked out here, and SQL only searches them.
    """
    bounds = [_shortest(index) for index in range(1, bucket(_LONGEST) + 1)]
    return _search(bounds, 0, len(bounds))


def _search(bounds: list[int], low: int, high: int) -> str:
    if low == high:
        return str(low)
    middle = (low + high) // 2
    shorter, longer = _search(bounds, low, middle), _search(bounds, middle + 1, high)
    return f"CASE WHEN duration < {bounds[middle]} THEN {shorter} ELSE {longer} END"


def _shortest(index: int) -> int:
    """Return the shortest duration, in microseconds, of a bucket."""
    low, high = 0, 1
    while bucket(high) < index:
        low, high = high, high * 2
    return low + bisect_left(range(low, min(high, _LONGEST)), index, key=bucket)
