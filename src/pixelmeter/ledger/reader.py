"""Reading a ledger with plain SQL through the driver: no library that takes longer to import than the answer takes."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import Address, read_address
from pixelmeter.ledger.dialect import DIALECTS
from pixelmeter.ledger.version import VERSION_TABLE, check

__all__ = ["LedgerReader", "is_too_long", "reading_database", "reading_ledger", "with_schema"]

# Instructions of SQLite's machine between two looks at the clock: some milliseconds.
_STEPS = 100_000
_CANCELLED = "57014"
# By so much of a limit a question may go beyond it, so that a server is not told for each how long it may take.
_EXACT = 0.1
_TABLE = re.compile(
    r"\bpixelmeter_(?:adjustments|adjustment_totals|attempts|budgets|budget_leases|budget_notices|budget_resets"
    r"|budget_sums|calls|check_notices|deltas|jobs|prunes|reconciliations|schema|spend|spools|statements|statement_reads|wide_tags"
    r"|(?:daily|hourly|tag_daily|totals)(?:_merged)?)\b"
)


class LedgerReader:
    """A ledger as it was at the first question, until `refresh`; nothing that it is asked can change it."""

    def __init__(self, address: Address, connection: Any) -> None:
        self.dialect = DIALECTS[address.dialect]
        self._address = address
        self._connection = connection
        self._limit: _Limit | None = None

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[Sequence[Any]]:
        """Return what a statement finds; each `?` in it stands for a parameter, and no other `?` or `%` may be there.

        Tables are named without their schema. LedgerError where the database refuses.
        """
        self._keep_time()
        return self.dialect.rows(self._connection, with_schema(statement, self._address), parameters)

    def batches(self, statement: str, parameters: Sequence[object] = ()) -> Generator[list[Sequence[Any]]]:
        """Yield what a statement finds like `rows`, some thousand rows at a time, in memory that does not grow."""
        self._keep_time()
        return self.dialect.batches(self._connection, with_schema(statement, self._address), parameters)

    @property
    def path(self) -> str:
        """The file of a SQLite ledger; empty for others."""
        return self._address.path

    def qualified(self, name: str) -> str:
        """Return the name of a table with its schema, as a value of a catalogue is asked for."""
        return self._address.qualified(name)

    def has_table(self, name: str) -> bool:
        """Return whether a table is there, where the ledger is or would be."""
        return bool(self.rows(self.dialect.has_table, [self.qualified(name)]))

    def revision(self) -> str | None:
        """Return the schema revision of the ledger; None where there is no ledger."""
        if not self.has_table(VERSION_TABLE):
            return None
        found = self.rows(f"SELECT version_num FROM {VERSION_TABLE}")
        return found[0][0] if found else None

    @contextlib.contextmanager
    def time_limit(self, seconds: float) -> Generator[None]:
        """Have the database break off what it is asked in this block once so many seconds are over: `is_too_long`."""
        end = time.monotonic() + seconds
        if self._address.dialect == "postgresql":
            self._limit = _Limit(seconds, end)
            try:
                yield
            finally:
                self._limit = None
            return
        self._connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None, 0)

    def _keep_time(self) -> None:
        """Leave the next question of PostgreSQL, which counts the seconds of each anew, what is left of a limit."""
        limit = self._limit
        if limit is None:
            return
        left = limit.end - time.monotonic()
        if left <= 0:
            raise _OutOfTime("the questions took longer than they may")
        if limit.told is None or limit.told - left > limit.seconds * _EXACT:
            limit.told = left
            told = [str(max(int(left * 1000), 1))]
            self.dialect.rows(self._connection, "SELECT set_config('statement_timeout', ?, true)", told)

    def refresh(self) -> None:
        """Let the next question see what others have committed meanwhile."""
        self._connection.rollback()
        if self._limit is not None:
            # It was of the transaction.
            self._limit.told = None


@dataclass(slots=True)
class _Limit:
    """What a `time_limit` of PostgreSQL has left."""

    seconds: float
    end: float
    """By the monotonic clock."""
    told: float | None = None
    """What the server has been told."""


class _OutOfTime(LedgerError):
    """The seconds of a `time_limit` are over between two questions."""


def is_too_long(error: Exception) -> bool:
    """Return whether a database broke off because of a `time_limit`.

    By its code: the text of an error may quote a file, or what somebody has asked for.
    """
    if isinstance(error, _OutOfTime):
        return True
    # What a reader raises at its end stands for what the driver has said.
    cause = error.__context__ if isinstance(error, LedgerError) else error
    is_sqlite = getattr(cause, "sqlite_errorname", None) == "SQLITE_INTERRUPT"
    return is_sqlite or getattr(cause, "sqlstate", None) == _CANCELLED


def with_schema(statement: str, address: Address) -> str:
    """Return a statement with the schema of a ledger before the names of its tables."""
    return _TABLE.sub(lambda table: address.qualified(table[0]), statement) if address.schema else statement


@contextlib.contextmanager
def reading_ledger(url: str | Address) -> Generator[LedgerReader]:
    """Give a reader of an existing ledger; on SQLite it takes no part in checkpoints.

    LedgerError when there is no ledger or it cannot be read, SchemaOutdated or SchemaTooNew when its schema is not the
    one of this pixelmeter, ConfigError for a URL that cannot be used.
    """
    with reading_database(read_address(url)) as reader:
        check(reader.revision())
        yield reader


@contextlib.contextmanager
def reading_database(address: Address) -> Generator[LedgerReader]:
    """Give a reader of a database, whatever its schema is and also where it has no ledger.

    LedgerError when there is no SQLite file or the database refuses, ConfigError for a URL that cannot be used.
    """
    with DIALECTS[address.dialect].connected(address) as connection:
        yield LedgerReader(address, connection)
