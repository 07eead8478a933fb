"""Reading a ledger with plain SQL through the driver: no library that takes longer to import than the answer takes."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

from pixelmeter.ledger.address import Address, read_address
from pixelmeter.ledger.driver import connect_arguments, read_only_uri
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.lock import PATIENCE
from pixelmeter.ledger.version import VERSION_TABLE, check

__all__ = ["Dialect", "Reader", "reading_database", "reading_ledger"]

Dialect = Literal["sqlite", "postgresql"]

# Instructions of SQLite's machine between two looks at the clock: some milliseconds.
_STEPS = 100_000
_TABLE = re.compile(r"\bpixelmeter_(?:attempts|daily|schema|spools|totals)\b")
_IS_THERE: dict[Dialect, str] = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?",
    "postgresql": "SELECT 1 WHERE to_regclass(?) IS NOT NULL",
}


class Reader:
    """A ledger as it was at the first question, until `refresh`; nothing that it is asked can change it."""

    def __init__(self, address: Address, connection: Any) -> None:
        self.dialect: Dialect = address.dialect
        self._address = address
        self._connection = connection

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[Sequence[Any]]:
        """Return what a statement finds; each `?` in it stands for a parameter, and no other `?` or `%` may be there.

        Tables are named without their schema. LedgerError where the database refuses.
        """
        if self._address.schema:
            statement = _TABLE.sub(lambda table: self._address.qualified(table[0]), statement)
        if self.dialect == "postgresql":
            statement = statement.replace("?", "%s")
        elif not self._connection.in_transaction:
            self._connection.execute("BEGIN")
        found: list[Sequence[Any]] = self._connection.execute(statement, parameters).fetchall()
        return found

    def has_table(self, name: str) -> bool:
        """Return whether a table is there, where the ledger is or would be."""
        return bool(self.rows(_IS_THERE[self.dialect], [self._address.qualified(name)]))

    def revision(self) -> str | None:
        """Return the schema revision of the ledger; None where there is no ledger."""
        if not self.has_table(VERSION_TABLE):
            return None
        found = self.rows(f"SELECT version_num FROM {VERSION_TABLE}")
        return found[0][0] if found else None

    @contextlib.contextmanager
    def time_limit(self, seconds: float) -> Generator[None]:
        """Have SQLite break off what it is asked in this block once so many seconds are over, with SQLITE_INTERRUPT."""
        end = time.monotonic() + seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, 0)

    def refresh(self) -> None:
        """Let the next question see what others have committed meanwhile."""
        self._connection.rollback()


@contextlib.contextmanager
def reading_ledger(url: str | Address) -> Generator[Reader]:
    """Give a reader of an existing ledger; on SQLite it takes no part in checkpoints.

    LedgerError when there is no ledger or it cannot be read, SchemaOutdated or SchemaTooNew when its schema is not the
    one of this pixelmeter, ConfigError for a URL that cannot be used.
    """
    with reading_database(read_address(url)) as reader:
        check(reader.revision())
        yield reader


def reading_database(address: Address) -> AbstractContextManager[Reader]:
    """Return a reader of a database, whatever its schema is and also where it has no ledger, to be entered.

    LedgerError when there is no SQLite file or the database refuses, ConfigError for a URL that cannot be used.
    """
    return _sqlite(address) if address.dialect == "sqlite" else _postgres(address)


@contextlib.contextmanager
def _sqlite(address: Address) -> Generator[Reader]:
    try:
        connection = sqlite3.connect(read_only_uri(address.path), uri=True, timeout=PATIENCE, isolation_level=None)
        with contextlib.closing(connection):
            yield Reader(address, connection)
    except sqlite3.Error as error:
        raise without_secrets(error, address) from None


@contextlib.contextmanager
def _postgres(address: Address) -> Generator[Reader]:
    arguments = connect_arguments(address)
    import psycopg

    try:
        with contextlib.closing(psycopg.connect(**arguments)) as connection:
            connection.read_only = True
            # All that is printed together is of one moment.
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            # Poolers that change the server's session between transactions lose prepared statements.
            connection.prepare_threshold = None
            yield Reader(address, connection)
    except (psycopg.Error, UnicodeError) as error:
        raise without_secrets(error, address) from None
