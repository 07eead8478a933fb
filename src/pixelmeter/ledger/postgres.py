"""The writer of a PostgreSQL ledger: all that others may wait for goes in one message, after a COPY of many attempts.

Nothing lives in the session but what a transaction makes for itself, so a pooler may give each transaction another one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.jobs import Job, JobEnd, Record, Settler
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.errors import RowRefused
from pixelmeter.ledger import version
from pixelmeter.ledger.address import Address, connect_arguments
from pixelmeter.ledger.adjusting import (
    Authors,
    Changed,
    Corrected,
    adjust,
    bring_to_end,
    bundled_settler,
    expiring,
    has_job,
)
from pixelmeter.ledger.engine import ensure_schema
from pixelmeter.ledger.failure import CHARACTERS_ADVICE, lacks_characters, refusal, without_secrets
from pixelmeter.ledger.postgres_sql import (
    SENT_AS,
    Additions,
    Sql,
    additions_of,
    adjustment_rows,
    copied,
    job_rows,
    json_rows,
)
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.writer import first_of_each_id, sorted_by_kind

__all__ = ["PostgresWriter"]

_T = TypeVar("_T")
_log = logging.getLogger("pixelmeter")

_TRIES = 6
_PATIENCE = 10.0
# Up to so many attempts, JSON in the message that commits costs less than a COPY with round trips of its own.
_FEW = 8


class PostgresWriter:
    """Writes to a PostgreSQL database; connects when first used, after a failure, and when the server hung up."""

    def __init__(
        self,
        address: Address,
        patience: float = _PATIENCE,
        *,
        settler: Callable[[], Settler] = bundled_settler,
        changed: Changed = lambda changes: None,
    ) -> None:
        """`patience` is how many seconds a lock is waited for, and how long the server waits for us in the middle."""
        self._address = address
        self._settler = settler
        self._changed = changed
        self._arguments = connect_arguments(address)
        self._sql = Sql(address, patience)
        self._session: _Session | None = None
        self._may_prepare = True
        self._is_encoding_told = False

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return the committed position of each spool that has one."""
        return self._run(lambda session: session.positions(names, may_prepare=self._may_prepare))

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        """Commit attempts and what was heard of jobs, with what both add to the sums, and the positions.

        Returns how many attempts were new. RowRefused where it is the data that the server does not take.
        """
        attempts, ends = sorted_by_kind(records)
        # The rows of every table are touched in the order of their keys, so that concurrent writers do not deadlock.
        rows = sorted(first_of_each_id(attempts), key=attrgetter("id"))
        with self._refusing():
            rest = _Rest(additions_of(rows) if rows else None, positions, finished)
        if ends or any(map(has_job, rows)):
            new, changes = self._run(lambda session: self._write_with_jobs(session, rows, ends, rest))
            self._changed(changes)
            return new
        if 0 < len(rows) <= _FEW:
            return self._run(lambda session: self._write_few(session, rows, rest))
        return self._run(lambda session: self._write(session, rows, rest))

    def adjust(self, ids: Sequence[str], corrected: Corrected, author: Authors) -> Sequence[Change]:
        """Commit adjustments of attempts; return them."""
        return self._run(lambda session: self._adjust(session, ids, corrected, author))

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        """Return the ends of jobs that are too old at this Unix time in microseconds; nothing is written."""
        return self._run(lambda session: self._expiring(session, at, limit))

    def close(self) -> None:
        """Leave the server; the next write connects again."""
        session, self._session = self._session, None
        if session is not None:
            session.connection.close()

    def _write_few(self, session: _Session, rows: Sequence[Attempt], rest: _Rest) -> int:
        if session.is_known:
            with self._refusing():
                try:
                    session.commit_few(rows, rest)
                    return len(rows)
                except (errors.UniqueViolation, errors.DivisionByZero):
                    pass
        return self._write(session, rows, rest)

    def _write(self, session: _Session, rows: Sequence[Attempt], rest: _Rest) -> int:
        session.begin(may_prepare=self._may_prepare)
        with self._refusing():
            if rows:
                try:
                    session.copy(rows)
                except errors.UniqueViolation:
                    session.begin(may_prepare=False)
                    rows = session.insert_new(rows)
                    rest = rest._replace(additions=additions_of(rows) if rows else None)
            session.commit(rest)
        return len(rows)

    def _write_with_jobs(
        self, session: _Session, rows: Sequence[Attempt], ends: Sequence[JobEnd], rest: _Rest
    ) -> tuple[int, Sequence[Change]]:
        self._begin_alone(session)
        with self._refusing():
            new = session.insert_new(rows) if rows else ()
            reader = LedgerReader(self._address, session.connection)
            brought = bring_to_end(reader, self._settler(), new, ends)
            session.keep_jobs(brought.jobs)
            session.keep_changes(brought.changes)
            session.commit(rest._replace(additions=additions_of(new, brought.changes)))
        return len(new), brought.changes

    def _adjust(self, session: _Session, ids: Sequence[str], corrected: Corrected, author: Authors) -> Sequence[Change]:
        self._begin_alone(session)
        with self._refusing():
            changes = adjust(LedgerReader(self._address, session.connection), ids, corrected, author)
            session.keep_changes(changes)
            session.commit(_Rest(additions_of((), changes), {}, ()))
        return changes

    def _expiring(self, session: _Session, at: int, limit: int) -> Sequence[JobEnd]:
        session.begin(may_prepare=self._may_prepare)
        found = expiring(LedgerReader(self._address, session.connection), self._settler(), at, limit)
        session.connection.execute(b"COMMIT")
        return found

    def _begin_alone(self, session: _Session) -> None:
        # Before any row is touched, so that nobody who waits for this has in hand what we wait for.
        session.begin(may_prepare=self._may_prepare)
        session.connection.execute(self._sql.keep_others_out)

    def _run(self, work: Callable[[_Session], _T]) -> _T:
        """Do some work in one transaction, again where a connection of before was ended or a deadlock was lost."""
        try:
            is_ours = self._session is None
            is_there = False
            for _ in range(_TRIES - 1):
                try:
                    return self._try(work)
                except (errors.SerializationFailure, errors.DeadlockDetected):
                    pass
                except (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement):
                    self._may_prepare = False
                except (errors.UndefinedTable, errors.InvalidSchemaName):
                    if is_there:
                        raise
                    ensure_schema(self._address)
                    is_there = True
                except psycopg.Error as error:
                    if is_ours or not _has_ended(error):
                        raise
                    is_ours = True
            return self._try(work)
        except psycopg.Error as error:
            raise without_secrets(error, self._address) from None

    def _try(self, work: Callable[[_Session], _T]) -> _T:
        session = self._session
        try:
            if session is None:
                session = self._session = _Session(self._arguments, self._sql)
                self._tell_encoding(session)
            return work(session)
        except RowRefused:
            # The connection is good: whoever looks for the row that is at fault writes again at once, many times.
            if session is not None:
                with contextlib.suppress(psycopg.Error):
                    session.connection.execute(b"ROLLBACK")
            raise
        finally:
            # The server rolls back what a connection leaves undone.
            if session is not None and session.connection.info.transaction_status != TransactionStatus.IDLE:
                self.close()

    @contextlib.contextmanager
    def _refusing(self) -> Generator[None]:
        """Turn a refusal of the data into RowRefused, and let every other error pass."""
        try:
            yield
        except (psycopg.Error, OverflowError, ValueError) as error:
            refused = refusal(error, self._address, "" if self._session is None else self._session.encoding)
            if refused is None:
                raise
            raise refused from None

    def _tell_encoding(self, session: _Session) -> None:
        if self._is_encoding_told or not lacks_characters(session.encoding):
            return
        self._is_encoding_told = True
        with contextlib.suppress(Exception):  # a handler of the host may raise anything
            _log.warning(
                "the ledger %s has the encoding %s and refuses attempts with a character that it lacks: %s",
                self._address.safe(),
                session.encoding,
                CHARACTERS_ADVICE,
            )


class _Rest(NamedTuple):
    """What a transaction does beside inserting attempts, with locks that others may wait for."""

    additions: Additions | None
    positions: Mapping[str, int]
    finished: Sequence[str]


class _Session:
    """A connection, and which server process stood behind it when its statements were prepared."""

    def __init__(self, arguments: Mapping[str, Any], sql: Sql) -> None:
        # No statement is prepared by the driver: behind a pooler the next transaction may have another server process.
        self.connection = psycopg.connect(**arguments, autocommit=True, prepare_threshold=None)
        self._sql = sql
        self._needed = version.revisions()[-1]
        self._prepared_by: int | None = None
        self._backend: int | None = None
        self.encoding = self.connection.info.parameter_status("server_encoding") or ""
        """The encoding of the database, as PostgreSQL names it; "" where it is not told."""

    @property
    def is_known(self) -> bool:
        """Whether there was a transaction, which told what stands behind the connection."""
        return self._backend is not None

    def begin(self, *, may_prepare: bool) -> None:
        """Begin a transaction, in place of one that has failed.

        SchemaOutdated or SchemaTooNew where the tables are not those that we know, UndefinedTable where there are none.
        """
        self._end_failed()
        cursor = self.connection.execute(self._sql.begin)
        while cursor.nextset():
            pass
        ((found, self._backend),) = cursor.fetchall()
        if found is None:
            raise errors.UndefinedTable("the ledger has no version")
        if found != self._needed:
            version.check(found)
        # Only a server that we talk to directly names itself as the process that it is.
        if may_prepare and self._prepared_by is None and self._backend == self.connection.info.backend_pid:
            self.connection.execute(self._sql.prepare)
            self._prepared_by = self._backend

    def positions(self, names: Sequence[str], *, may_prepare: bool) -> Mapping[str, int]:
        """Return the positions."""
        self.begin(may_prepare=may_prepare)
        found = self.connection.execute(self._sql.positions, (list(names),)).fetchall()
        self.connection.execute(b"COMMIT")
        return dict(found)

    def copy(self, attempts: Sequence[Attempt]) -> None:
        """Insert attempts; UniqueViolation where the ledger has one of them."""
        with self.connection.cursor() as cursor, cursor.copy(self._sql.copy) as copy:
            copy.set_types(SENT_AS)
            for attempt in attempts:
                copy.write_row(copied(attempt))

    def insert_new(self, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
        """Insert the attempts that the ledger does not have; return which those were."""
        found = self.connection.execute(self._sql.insert_new, (json_rows(attempts),)).fetchall()
        inserted = {str(identity) for (identity,) in found}
        return [attempt for attempt in attempts if attempt.id in inserted]

    def keep_jobs(self, jobs: Sequence[Job]) -> None:
        """Insert or replace the rows of jobs."""
        self.connection.execute(self._sql.keep_jobs, (job_rows(jobs),))

    def keep_changes(self, changes: Sequence[Change]) -> None:
        """Insert adjustments: each is the latest of its attempt."""
        if not changes:
            return
        self.connection.execute(self._sql.outdate, ([change.before.id for change in changes],))
        self.connection.execute(self._sql.adjust, (adjustment_rows(changes),))

    def commit(self, rest: _Rest) -> None:
        """Do the rest of a transaction, and commit."""
        self._send([], [], rest)

    def commit_few(self, attempts: Sequence[Attempt], rest: _Rest) -> None:
        """Do all of a transaction at once.

        UniqueViolation where the ledger has one of the attempts, DivisionByZero where the tables are not ours.
        """
        self._end_failed()
        self._send([self._sql.begin_checked, self._statements[0]], [self._needed, json_rows(attempts)], rest)

    @property
    def _statements(self) -> Sequence[bytes]:
        is_prepared = self._prepared_by is not None and self._prepared_by == self._backend
        return self._sql.prepared if is_prepared else self._sql.plain

    def _send(self, statements: list[bytes], values: list[object], rest: _Rest) -> None:
        """Send statements, what takes the locks that others need, and the commit.

        In one message of the protocol, which the server reads to its end before it begins: nobody waits for the locks
        of a client that was stopped in the middle, and the round trips of all that are one.
        """
        _, move, add_to_daily, add_to_totals = self._statements
        if rest.positions:
            statements.append(move)
            values += [list(rest.positions), list(rest.positions.values())]
        if rest.finished:
            statements.append(self._sql.forget)
            values.append(list(rest.finished))
        if rest.additions is not None:
            statements += [add_to_daily, add_to_totals]
            values += rest.additions[:2]
            if rest.additions.adjusted is not None:
                statements.append(self._sql.add_to_adjustment_totals)
                values.append(rest.additions.adjusted)
        with psycopg.ClientCursor(self.connection) as cursor:
            cursor.execute(b";".join([*statements, b"COMMIT"]), values)

    def _end_failed(self) -> None:
        if self.connection.info.transaction_status != TransactionStatus.IDLE:
            self.connection.execute(b"ROLLBACK")


def _has_ended(error: psycopg.Error) -> bool:
    """Return whether a new connection may do better: this one is gone, or leads to what is a standby by now."""
    # A pooler says 08P01 when it has lost the server; a driver that finds the connection closed gives no code.
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(("08", "57P")) or state in ("25006", "25P03")
