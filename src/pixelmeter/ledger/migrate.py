"""Schema changes of an existing ledger, by Alembic with a version table of its own, and what a downgrade discards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.core.text import plural
from pixelmeter.data_files import asset_dir
from pixelmeter.errors import LedgerError
from pixelmeter.ledger import version
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.reader import reading_database
from pixelmeter.system import SystemClock

# Imported late: to say where a schema stands needs neither of them.
if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

__all__ = ["Loss", "Status", "downgrade", "head", "losses", "status", "upgrade"]


@dataclass(frozen=True, slots=True)
class Status:
    """Where a ledger's schema stands; `revision` is None where there is no ledger."""

    database: str
    revision: str | None
    head: str
    state: str
    """`absent`, `current`, `outdated` or `too new`."""


class Loss(NamedTuple):
    """A table that would go, with its rows, or a column of one that stays, with its values that are not NULL."""

    table: str
    column: str | None
    values: int

    def __str__(self) -> str:
        if self.column is None:
            return f"the table {self.table} with its {plural(self.values, 'row')}"
        return f"the column {self.column} of {self.table} with its {plural(self.values, 'value')}"


def head() -> str:
    """Return the schema revision that this pixelmeter needs."""
    return version.revisions()[-1]


def status(url: str) -> Status:
    """Return where the schema stands; LedgerError when the database cannot be asked."""
    address = read_address(url)
    known = version.revisions()
    found = None
    if address.dialect == "postgresql" or os.path.exists(address.path):
        with reading_database(address) as reader:
            found = reader.revision()
    state = "too new"
    if found is None:
        state = "absent"
    elif found in known:
        state = "current" if found == known[-1] else "outdated"
    return Status(address.safe(), found, known[-1], state)


def upgrade(url: str, revision: str = "head") -> Status:
    """Bring the schema up to a revision, making the ledger where there is none; all of it or nothing.

    On PostgreSQL the months ahead are made as well, which an upgrade to the revision that is there does too.

    LedgerError when the revision is unknown or the database refuses.
    """
    return _change(url, "upgrade", revision)


def downgrade(url: str, revision: str) -> Status:
    """Bring the schema down to a revision; `base` removes every table of pixelmeter, with what is in it.

    LedgerError when the revision is unknown or the database refuses.
    """
    return _change(url, "downgrade", revision)


def losses(url: str, revision: str) -> Sequence[Loss]:
    """Return what a ledger would lose on its way down to a revision: attempts first, nothing where it has no ledger.

    LedgerError when the database cannot be read. An unknown revision loses nothing: the downgrade itself refuses it.
    """
    from pixelmeter.ledger.engine import reading
    from pixelmeter.ledger.schema import ATTEMPTS

    with reading(read_address(url)) as connection:
        found = version.current(connection)
        if found is None or found not in version.revisions():
            return ()
        return [
            Loss(name, dropped, connection.scalar(_count(name, dropped)) or 0)
            for name, dropped in sorted(_dropped(found, revision), key=lambda pair: (pair[0] != ATTEMPTS.name, pair))
        ]


def _configuration() -> Config:
    """Return what Alembic needs to know, but for the connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(asset_dir("migrations")).replace("%", "%%"))
    return config


def _change(url: str, change: Literal["upgrade", "downgrade"], revision: str) -> Status:
    from alembic import command
    from alembic.util.exc import CommandError

    from pixelmeter.ledger.engine import changing
    from pixelmeter.ledger.partitions import make_ahead

    address = read_address(url)
    config = _configuration()
    with changing(address) as connection:
        found = version.current(connection)
        if found is not None and found not in version.revisions():
            version.check(found)
        if schema := version.schema_of(connection):
            version.create_schema_if_absent(connection)
            # Migrations name tables without a schema; for this transaction there is no other.
            connection.exec_driver_sql(f'SET LOCAL search_path TO "{schema}"')
        if change == "downgrade" or found != version.revisions()[-1]:
            _hold_writers(connection)
        config.attributes["connection"] = connection
        try:
            getattr(command, change)(config, revision)
        except CommandError as error:
            raise LedgerError(f"{error}; the revisions are base, {', '.join(version.revisions())}, head") from None
        if change == "upgrade" and connection.dialect.name == "postgresql":
            make_ahead(connection, schema, moment_of(SystemClock().now()))
    return status(url)


def _hold_writers(connection: Connection) -> None:
    """Wait for the rows that are being written, and let no more come before the revision has changed."""
    from pixelmeter.ledger.schema import ATTEMPTS

    # Before anything else: writers touch this table first, so nobody then waits for us with another one in hand.
    if connection.dialect.name == "postgresql" and version.has_table(connection, ATTEMPTS.name):
        connection.exec_driver_sql(f"LOCK TABLE {ATTEMPTS.name} IN SHARE ROW EXCLUSIVE MODE")


def _dropped(found: str, revision: str) -> Iterator[tuple[str, str | None]]:
    """Yield what the migrations take away, as they do it to an empty database in memory."""
    from alembic import command
    from alembic.util.exc import CommandError
    from sqlalchemy import NullPool, create_engine

    config = _configuration()
    # Closed however this ends: nobody keeps the connection.
    with create_engine("sqlite://", poolclass=NullPool).connect() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, found)
            before = _columns(connection)
            command.downgrade(config, revision)
        except CommandError:
            return
        after = _columns(connection)
    for table, columns in before.items():
        # Of sums it is the view that has them all, and that has the name which the table had before.
        name = table.removesuffix("_merged")
        left = after.get(table, after.get(name))
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
    from sqlalchemy import inspect

    inspector = inspect(connection)
    return {
        name: {each["name"]: each["type"] for each in inspector.get_columns(name)}
        for name in inspector.get_table_names()
        if name != version.VERSION_TABLE
    }


def _count(name: str, dropped: str | None) -> Any:
    from sqlalchemy import column, func, select, table

    counted = func.count() if dropped is None else func.count(column(dropped))
    return select(counted).select_from(table(name))
