"""How much room a ledger takes up, table by table."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import date
from typing import Literal, NamedTuple

from pixelmeter.ledger.address import Address
from pixelmeter.ledger.partitions import partitions
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import horizon

__all__ = ["Size", "sizes_of"]

_ATTEMPTS = "pixelmeter_attempts"
_ALL = (
    "SELECT (SELECT coalesce(sum(attempts), 0) FROM pixelmeter_totals)"
    " - (SELECT coalesce(sum(attempts), 0) FROM pixelmeter_prunes)"
)
# What statistics say: to count them all would take as long as to read them all.
_POSTGRESQL = """
SELECT c.relname, CASE WHEN c.reltuples < 0 THEN NULL ELSE c.reltuples::bigint END, pg_table_size(c.oid),
  pg_indexes_size(c.oid), i.inhparent IS NOT NULL
FROM pg_class AS c JOIN pg_class AS a ON a.oid = to_regclass(?) AND a.relnamespace = c.relnamespace
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND starts_with(c.relname, 'pixelmeter_') ORDER BY c.relname
"""
_SQLITE = """
SELECT s.tbl_name, s.type = 'index', sum(d.pgsize) FROM dbstat AS d JOIN sqlite_master AS s ON s.name = d.name
WHERE d.aggregate = 1 AND s.tbl_name LIKE 'pixelmeter_%' GROUP BY 1, 2
"""


class Size(NamedTuple):
    """The room that something takes up; None is not known."""

    name: str
    kind: Literal["table", "partition", "file", "spool"]
    rows: int | None
    bytes: int | None
    """Without indexes."""
    index_bytes: int | None = None
    since: date | None = None
    """Of attempts: the horizon. Of a partition: the first day of its ids."""


def sizes_of(reader: LedgerReader, address: Address) -> Iterator[Size]:
    """Yield the tables by name, each partition of one behind it, and the files of SQLite."""
    return _sqlite(reader, address) if address.dialect == "sqlite" else _postgresql(reader)


def _attempts(reader: LedgerReader) -> tuple[int, date | None]:
    """Return how many attempts there are, by the sums, and since when."""
    [(rows,)] = reader.rows(_ALL)
    since = horizon(reader)
    return int(rows), None if since is None else since.date()


def _sqlite(reader: LedgerReader, address: Address) -> Iterator[Size]:
    names = [
        str(name)
        for (name,) in reader.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'pixelmeter_%' ORDER BY name"
        )
    ]
    pages: dict[tuple[str, int], int] = {}
    # Not every SQLite is built with it.
    with contextlib.suppress(sqlite3.OperationalError):
        pages = {(name, int(is_index)): int(size) for name, is_index, size in reader.rows(_SQLITE)}
    for name in names:
        if name == _ATTEMPTS:
            rows, since = _attempts(reader)
        else:
            [(rows,)], since = reader.rows(f"SELECT count(*) FROM {name}"), None
        size = pages.get((name, 0))
        yield Size(name, "table", int(rows), size, pages.get((name, 1), 0) if pages else None, since)
    for path in (address.path, f"{address.path}-wal"):
        if os.path.exists(path):
            yield Size(os.path.basename(path), "file", None, os.path.getsize(path))


def _postgresql(reader: LedgerReader) -> Iterator[Size]:
    found = reader.rows(_POSTGRESQL, [reader.qualified(_ATTEMPTS)])
    parts = [row for row in found if row[4]]
    since = {one.name: one.first_day for one in partitions(reader)}
    for name, rows, size, indexes, is_part in found:
        if name == _ATTEMPTS:
            number, first = _attempts(reader)
            whole = size + sum(part[2] for part in parts), indexes + sum(part[3] for part in parts)
            yield Size(name, "table", number, int(whole[0]), int(whole[1]), first)
        else:
            yield Size(name, "partition" if is_part else "table", rows, int(size), int(indexes), since.get(name))
