"""What a downgrade of the schema would discard, found out without touching the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, column, create_engine, func, inspect, select, table

from pixelmeter.ledger import version
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import reading
from pixelmeter.ledger.migrate import configuration
from pixelmeter.ledger.schema import ATTEMPTS

__all__ = ["Loss", "losses"]


class Loss(NamedTuple):
    """A table that would go, with its rows, or a column of one that stays, with its values that are not NULL."""

    table: str
    column: str | None
    values: int

    def __str__(self) -> str:
        if self.column is None:
            return f"the table {self.table} with its {self.values:,} rows"
        return f"the column {self.column} of {self.table} with its {self.values:,} values"


def losses(url: str, revision: str) -> Sequence[Loss]:
    """Return what a ledger would lose on its way down to a revision: attempts first, nothing where it has no ledger.

    LedgerError when the database cannot be read. An unknown revision loses nothing: the downgrade itself refuses it.
    """
    with reading(read_address(url)) as connection:
        found = version.current(connection)
        if found is None or found not in version.revisions():
            return ()
        return [
            Loss(name, dropped, connection.scalar(_count(name, dropped)) or 0)
            for name, dropped in sorted(_dropped(found, revision), key=lambda pair: (pair[0] != ATTEMPTS.name, pair))
        ]


def _dropped(found: str, revision: str) -> Iterator[tuple[str, str | None]]:
    """Yield what the migrations take away, as they do it to an empty database in memory."""
    engine = create_engine("sqlite://")
    config: Config = configuration()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, found)
            before = _columns(connection)
            command.downgrade(config, revision)
        except CommandError:
            return
        after = _columns(connection)
    engine.dispose()
    for name, columns in before.items():
        left = after.get(name)
        if left is None:
            yield name, None
            continue
        new = [str(kind) for column_name, kind in left.items() if column_name not in columns]
        for column_name, kind in columns.items():
            if column_name in left:
                continue
            # One that comes in its place is the same under another name.
            if str(kind) in new:
                new.remove(str(kind))
            else:
                yield name, column_name


def _columns(connection: Connection) -> Mapping[str, Mapping[str, Any]]:
    inspector = inspect(connection)
    return {
        name: {each["name"]: each["type"] for each in inspector.get_columns(name)}
        for name in inspector.get_table_names()
        if name != version.VERSION_TABLE
    }


def _count(name: str, dropped: str | None) -> Any:
    counted = func.count() if dropped is None else func.count(column(dropped))
    return select(counted).select_from(table(name))
