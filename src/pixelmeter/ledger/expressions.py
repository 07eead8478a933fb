"""SQL that gives the same answer on SQLite and PostgreSQL, where plain SQL would not."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache

from sqlalchemy import ColumnElement, Integer, String, Text, case, func, literal, literal_column, select

from pixelmeter.core.latency import bucket
from pixelmeter.ledger.schema import ATTEMPTS

__all__ = ["bucket_of", "matches", "tag_value", "wide", "wide_sum"]

_LOW_BITS = 32
_LOW_MASK = (1 << _LOW_BITS) - 1
_LONGEST = 2**63 - 1


def wide_sum(column: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Return the two halves of a sum, for `wide` to join: SQLite's own sum() fails past 64 bits ($9.2 billion)."""
    known = func.coalesce(column, 0)
    return (
        func.sum(known.bitwise_rshift(literal(_LOW_BITS, Integer))),
        func.sum(known.bitwise_and(literal(_LOW_MASK, column.type))),
    )


def wide(high: int, low: int) -> int:
    """Return the sum that two halves stand for."""
    return (int(high) << _LOW_BITS) + int(low)


def tag_value(key: str, dialect: str) -> ColumnElement[str]:
    """Return the value of a tag, NULL without it; the key may have any character."""
    if dialect == "postgresql":
        return ATTEMPTS.c.tags.op("->>", return_type=Text())(literal(key, Text))
    member = func.json_each(ATTEMPTS.c.tags).table_valued("key", "value")
    return select(member.c.value.cast(Text)).where(member.c.key == literal(key, Text)).scalar_subquery()


def matches(column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    """Return whether a column matches a shell pattern: `*` is any text, `?` any character; case does not matter."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return column.ilike(literal(escaped.replace("*", "%").replace("?", "_"), String), escape="\\")


@cache
def bucket_of() -> ColumnElement[int]:
    """Return the latency bucket of a row's duration, as `pixelmeter.core.latency.bucket` has it.

    Databases differ in their logarithms, so the bounds are worked out here, and SQL only searches them.
    """
    bounds = [_shortest(index) for index in range(1, bucket(_LONGEST) + 1)]
    search = _search(bounds, 0, len(bounds))
    # As one piece of text with the numbers in it: walking hundreds of parameters takes longer than a query of a day.
    return literal_column(str(search.compile(compile_kwargs={"literal_binds": True})), Integer)


def _search(bounds: list[int], low: int, high: int) -> ColumnElement[int]:
    if low == high:
        return literal(low, Integer)
    middle = (low + high) // 2
    duration = ATTEMPTS.c.duration
    return case(
        (duration < literal(bounds[middle], duration.type), _search(bounds, low, middle)),
        else_=_search(bounds, middle + 1, high),
    )


def _shortest(index: int) -> int:
    """Return the shortest duration, in microseconds, of a bucket."""
    low, high = 0, 1
    while bucket(high) < index:
        low, high = high, high * 2
    return low + bisect_left(range(low, min(high, _LONGEST)), index, key=bucket)
