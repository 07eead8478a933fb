"""Adding to the sums of a SQLite ledger, inside the transaction that inserts the attempts."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from sqlalchemy import Table
from sqlalchemy.dialects.sqlite import dialect, insert

from pixelmeter.ledger.rollups import (
    DAILY_COLUMNS,
    DAILY_KEY,
    HOURLY_COLUMNS,
    HOURLY_KEY,
    TAG_DAILY_COLUMNS,
    TAG_DAILY_KEY,
    Row,
    daily_rows,
)
from pixelmeter.ledger.schema import ADJUSTMENT_TOTALS, DAILY, HOURLY, TAG_DAILY, TOTALS
from pixelmeter.ledger.sums import (
    ADJUSTMENT_TOTALS_COLUMNS,
    ADJUSTMENT_TOTALS_KEY,
    TOTALS_COLUMNS,
    TOTALS_KEY,
    Delta,
    adjustment_row,
)
from pixelmeter.ledger.wide_tags import Watch, has_many_values

__all__ = ["SqliteSums"]

_QMARK = dialect(paramstyle="qmark")


def _adding(table: Table, key: Sequence[str], columns: Sequence[str]) -> str:
    statement = insert(table)
    added = {name: table.c[name] + statement.excluded[name] for name in columns if name not in key}
    adding = statement.on_conflict_do_update(index_elements=key, set_=added)
    return str(adding.compile(dialect=_QMARK, column_keys=columns))


_ADD_TO_HOURLY = _adding(HOURLY, HOURLY_KEY, HOURLY_COLUMNS)
_ADD_TO_DAILY = _adding(DAILY, DAILY_KEY, DAILY_COLUMNS)
_ADD_TO_TAG_DAILY = _adding(TAG_DAILY, TAG_DAILY_KEY, TAG_DAILY_COLUMNS)
_ADD_TO_TOTALS = _adding(TOTALS, TOTALS_KEY, TOTALS_COLUMNS)
_ADD_TO_ADJUSTMENT_TOTALS = _adding(ADJUSTMENT_TOTALS, ADJUSTMENT_TOTALS_KEY, ADJUSTMENT_TOTALS_COLUMNS)
_MARK = """
INSERT INTO pixelmeter_wide_tags (tag, found_at) VALUES (?, strftime('%Y-%m-%d %H:%M:%f000', 'now'))
ON CONFLICT (tag) DO NOTHING
"""
_HAS_MANY = has_many_values("?", "?")
_DROP = "DELETE FROM pixelmeter_tag_daily_merged WHERE tag = ?"


class SqliteSums:
    """Adds to the sums, and looks which tags become too wide for a rollup by it."""

    def __init__(self) -> None:
        self._watch = Watch()

    def add(self, connection: sqlite3.Connection, delta: Delta) -> None:
        """Add what attempts and changes add."""
        connection.executemany(_ADD_TO_HOURLY, map(_hour_row, delta.hourly))
        connection.executemany(_ADD_TO_DAILY, daily_rows(delta.hourly))
        connection.executemany(_ADD_TO_TAG_DAILY, delta.tag_daily)
        connection.executemany(_ADD_TO_TOTALS, [total.row() for total in delta.totals])
        connection.executemany(_ADD_TO_ADJUSTMENT_TOTALS, map(adjustment_row, delta.adjusted))
        suspects = self._watch.suspects(delta.tag_daily)
        many = {tag for tag, day in suspects if connection.execute(_HAS_MANY, (tag, day)).fetchone()[0]}
        _mark(connection, many.union(delta.wide))


def _mark(connection: sqlite3.Connection, wide: Collection[str]) -> None:
    for tag in wide:
        connection.execute(_MARK, (tag,))
        connection.execute(_DROP, (tag,))


def _hour_row(row: Row) -> Row:
    # As times are here: text without an offset, in microseconds.
    return (f"{row[0][:19]}.000000", *row[1:])
