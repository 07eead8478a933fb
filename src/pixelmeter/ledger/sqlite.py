"""The writer of a SQLite ledger: prepared SQL through the driver, one writer at a time by a file lock."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import operator
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import func
from sqlalchemy.dialects.sqlite import dialect, insert

from pixelmeter import lifecycle
from pixelmeter.core.attempts import adjustment
from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.jobs import Job, JobEnd, Record, Settler
from pixelmeter.core.attempts.record import FIELDS, Attempt, row
from pixelmeter.ledger import sqlite_connections, version
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.adjusting import (
    JOB_COLUMNS,
    Authors,
    Changed,
    Corrected,
    adjust,
    bring_to_end,
    bundled_settler,
    expiring,
    has_job,
    job_row,
)
from pixelmeter.ledger.budgets import (
    REVISION,
    BudgetTransactions,
    Charges,
    Known,
    Run,
    counting,
    known_rules,
    release,
)
from pixelmeter.ledger.dialect import DIALECTS, Sql
from pixelmeter.ledger.engine import WRITING, ensure_schema
from pixelmeter.ledger.failure import refusal, without_secrets
from pixelmeter.ledger.files import PATIENCE, write_lock
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.schema import ADJUSTMENTS, ATTEMPTS, JOBS, SPOOLS
from pixelmeter.ledger.sqlite_sums import SqliteSums
from pixelmeter.ledger.sums import delta_of
from pixelmeter.ledger.writer import dead_processes, first_of_each_id, refuse_pruned, sorted_by_kind

__all__ = ["SqliteWriter"]

_T = TypeVar("_T")

_QMARK = dialect(paramstyle="qmark")
_DIALECT = DIALECTS["sqlite"]

_ADD_ATTEMPTS = insert(ATTEMPTS).on_conflict_do_nothing(index_elements=["id"])
_ADJUST = str(insert(ADJUSTMENTS).compile(dialect=_QMARK))
_OUTDATE = "UPDATE pixelmeter_adjustments SET is_latest = 0 WHERE attempt_id = ? AND is_latest"
_jobs = insert(JOBS)
_KEEP_JOB = str(
    _jobs.on_conflict_do_update(
        index_elements=["job_id", "gateway"],
        set_={name: _jobs.excluded[name] for name in JOB_COLUMNS if name not in ("job_id", "gateway")},
    ).compile(dialect=_QMARK)
)
_spools = insert(SPOOLS)
_MOVE = str(
    _spools.on_conflict_do_update(
        index_elements=["name"], set_={"position": func.max(SPOOLS.c.position, _spools.excluded.position)}
    ).compile(dialect=_QMARK)
)
_FORGET = str(SPOOLS.delete().where(SPOOLS.c.name == "").compile(dialect=_QMARK))
_POSITIONS = "SELECT name, position FROM pixelmeter_spools WHERE name IN (SELECT value FROM json_each(?))"
_VERSION = f"SELECT version_num FROM {version.VERSION_TABLE}"
_KNOWN = "SELECT id FROM pixelmeter_attempts WHERE id IN (SELECT value FROM json_each(?))"

_STARTED_AT = FIELDS.index("started_at")
_MADE_AT = adjustment.FIELDS.index("made_at")
_JOB_TIMES = (JOB_COLUMNS.index("submitted_at"), JOB_COLUMNS.index("ended_at"))

_FORK_SECONDS = 5.0


class SqliteWriter(BudgetTransactions):
    """Writes to a SQLite file; opens it when first used, and again after a failure or when it was replaced."""

    def __init__(
        self,
        address: Address,
        patience: float = PATIENCE,
        *,
        settler: Callable[[], Settler] = bundled_settler,
        changed: Changed = lambda changes: None,
        charges: Charges | None = None,
    ) -> None:
        self._address = address
        self._patience = patience
        self._settler = settler
        self._changed = changed
        self._charges = charges
        self._known = Known(-1)
        self._sums = SqliteSums()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._needed: tuple[str] | None = None
        self.forget()
        lifecycle.register(self, _FORK_SECONDS)

    def locks(self) -> Sequence[lifecycle.Lock]:
        """Return what a fork should hold: a child cannot use SQLite that is forked in the middle of a write."""
        return (self._using,)

    def forget(self) -> None:
        """Begin anew, in a forked child."""
        self._using = threading.RLock()

    @contextlib.contextmanager
    def _busy(self) -> Generator[None]:
        with self._using, sqlite_connections.busy():
            yield

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return the committed position of each spool that has one."""
        with self._opened() as connection:
            return dict(connection.execute(_POSITIONS, (json.dumps(list(names)),)).fetchall())

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        """Commit attempts and what was heard of jobs, with what both add to the sums, and the positions.

        RowRefused where it is the data that SQLite does not take.
        """
        attempts, ends = sorted_by_kind(records)
        batch: Sequence[Attempt] = attempts
        changes: Sequence[Change] = ()
        with self._opened() as connection:
            self._begin(connection)
            refuse_pruned(self._address, batch, self._known.horizon)
            with self._refusing():
                if _insert(connection, batch) != len(batch):
                    connection.execute("ROLLBACK")
                    self._begin(connection)
                    batch = _unknown(connection, batch)
                    _insert(connection, batch)
                submitted = [attempt for attempt in batch if has_job(attempt)]
                if submitted or ends:
                    changes = self._bring(connection, submitted, ends)
                self._sums.add(connection, delta_of(batch, changes, self._known.wide))
                _run(connection, counting(self._known, batch, changes, self._charges, _DIALECT))
            connection.executemany(_MOVE, positions.items())
            connection.executemany(_FORGET, [(name,) for name in finished])
            if self._known.counted:
                release(partial(_run, connection), dead_processes(finished, self._charges))
            connection.execute("COMMIT")
        if self._charges is not None:
            self._charges.committed(attempt.id for attempt in attempts)
        self._changed(changes)
        return len(batch)

    def adjust(self, ids: Sequence[str], corrected: Corrected, author: Authors) -> Sequence[Change]:
        """Commit adjustments of attempts; return them."""
        with self._opened() as connection:
            self._begin(connection)
            with self._refusing():
                changes = adjust(LedgerReader(self._address, connection), ids, corrected, author)
                _keep_changes(connection, changes)
                self._sums.add(connection, delta_of((), changes, self._known.wide))
                _run(connection, counting(self._known, (), changes, None, _DIALECT))
            connection.execute("COMMIT")
        return changes

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        """Return the ends of jobs that are too old at this Unix time in microseconds; nothing is written."""
        with self._opened() as connection:
            found = expiring(LedgerReader(self._address, connection), self._settler(), at, limit)
            connection.execute("ROLLBACK")
        return found

    def _in_transaction(self, work: Callable[[Run, LedgerReader], _T], *, alone: bool = False) -> _T:
        with self._opened() as connection:
            self._begin(connection)
            with self._refusing():
                found = work(partial(_run, connection), LedgerReader(self._address, connection))
            connection.execute("COMMIT")
        return found

    def _before_erasing(self) -> None:
        # Else what a page had before stays in the file until something is written over it.
        assert self._connection is not None
        self._connection.execute("PRAGMA secure_delete = ON")

    def _bring(
        self, connection: sqlite3.Connection, submitted: Sequence[Attempt], ends: Sequence[JobEnd]
    ) -> Sequence[Change]:
        brought = bring_to_end(LedgerReader(self._address, connection), self._settler(), submitted, ends)
        connection.executemany(_KEEP_JOB, map(_job_values, brought.jobs))
        _keep_changes(connection, brought.changes)
        return brought.changes

    @contextlib.contextmanager
    def _refusing(self) -> Generator[None]:
        """Turn a refusal of the data into RowRefused, and let every other error pass."""
        try:
            yield
        except (sqlite3.Error, OverflowError, ValueError) as error:
            refused = refusal(error, self._address)
            if refused is None:
                raise
            raise refused from None

    def close(self) -> None:
        """Close the file, which may checkpoint it; the next write opens it again."""
        if self._connection is not None:
            with write_lock(self._address.path, self._patience), self._busy():
                self._drop()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction; SchemaOutdated or SchemaTooNew where the tables are not those that we know."""
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute(_VERSION).fetchone()
        if found != self._needed:
            version.check(found and found[0])
        [(revision,)] = connection.execute(REVISION)
        if revision != self._known.revision:
            self._known = known_rules(LedgerReader(self._address, connection))

    @contextlib.contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        """Give the connection with the file lock held; whatever fails is a LedgerError, and is rolled back."""
        path = self._address.path
        sqlite_connections.refuse_lost()
        if self._connection is None or self._identity != _identity(path):
            self.close()
            sqlite_connections.close_inherited(path, self._patience)
            with self._busy():
                ensure_schema(self._address, self._patience)
        with write_lock(path, self._patience), self._busy():
            try:
                yield self._open() if self._connection is None else self._connection
            except (sqlite3.Error, OverflowError, ValueError) as error:
                raise without_secrets(error, self._address) from None
            finally:
                if self._connection is not None and self._connection.in_transaction:
                    self._drop()

    def _open(self) -> sqlite3.Connection:
        path = self._address.path
        connection = self._connection = sqlite3.connect(
            path, timeout=self._patience, isolation_level=None, check_same_thread=False
        )
        try:
            sqlite_connections.keep(connection, path)
            for pragma in WRITING:
                connection.execute(pragma)
        except BaseException:
            self._drop()
            raise
        self._identity = _identity(path)
        self._needed = (version.revisions()[-1],)
        # It may be another ledger than before.
        self._known = Known(-1)
        return connection

    def _drop(self) -> None:
        connection = self._connection
        if connection is not None:
            # Closed before it is let go of: a thread that is ended in between leaves it to the next one, which opens
            # another one as it has no identity.
            self._identity = None
            sqlite_connections.close(connection)
            self._connection = None


def _run(connection: sqlite3.Connection, statements: Sequence[Sql]) -> Sequence[Sequence[Any]]:
    found: Sequence[Sequence[Any]] = ()
    for statement in statements:
        found = connection.execute(statement.text, statement.parameters).fetchall()  # pyright: ignore[reportArgumentType]
    return found


def _keep_changes(connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
    for change in changes:
        connection.execute(_OUTDATE, (change.before.id,))
        values = list(adjustment.row(change.adjustment))
        values[_MADE_AT] = _time(change.adjustment.made_at)
        connection.execute(_ADJUST, (*values, True))


def _job_values(job: Job) -> Sequence[Any]:
    values = list(job_row(job))
    for at in _JOB_TIMES:
        if values[at] is not None:
            values[at] = _time(values[at])
    return values


def _insert(connection: sqlite3.Connection, attempts: Iterable[Attempt]) -> int:
    # A third of a row is NULL, and the driver takes longer for a None than for a number: such columns are not named.
    alike: dict[tuple[bool, ...], list[Sequence[Any]]] = {}
    for attempt in attempts:
        values = _values(attempt)
        nulls = tuple(map(operator.is_, values, itertools.repeat(None)))
        alike.setdefault(nulls, []).append([value for value in values if value is not None])
    return sum(connection.executemany(_insert_without(nulls), rows).rowcount for nulls, rows in alike.items())


@functools.lru_cache(maxsize=256)
def _insert_without(nulls: Sequence[bool]) -> str:
    names = [name for name, null in zip(FIELDS, nulls, strict=True) if not null]
    return str(_ADD_ATTEMPTS.compile(dialect=_QMARK, column_keys=names))


def _values(attempt: Attempt) -> Sequence[Any]:
    values = list(row(attempt))
    values[_STARTED_AT] = _time(attempt.started_at)
    return values


def _time(microseconds: int) -> str:
    second, microsecond = divmod(microseconds, 1_000_000)
    return f"{_to_the_second(second)}.{microsecond:06d}"


@functools.lru_cache(maxsize=1024)
def _to_the_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _unknown(connection: sqlite3.Connection, attempts: Iterable[Attempt]) -> Sequence[Attempt]:
    """Return the attempts that the ledger does not have, the first of each id."""
    by_id = {attempt.id: attempt for attempt in first_of_each_id(attempts)}
    for (known,) in connection.execute(_KNOWN, (json.dumps(list(by_id)),)).fetchall():
        del by_id[known]
    return list(by_id.values())


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
