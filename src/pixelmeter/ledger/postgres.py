"""The writer of a PostgreSQL ledger: all that others may wait for goes in one message, after a COPY of many attempts.

Nothing lives in the session but what a transaction makes for itself, so a pooler may give each transaction another one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from operator import attrgetter
from typing import TypeVar

import psycopg
from psycopg import errors

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.jobs import JobEnd, Record, Settler
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.errors import RowRefused
from pixelmeter.ledger.address import Address
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
from pixelmeter.ledger.budgets import BudgetTransactions, Charges, Known, Run, counting, known_rules, release
from pixelmeter.ledger.connecting import connect_arguments
from pixelmeter.ledger.dialect import DIALECTS
from pixelmeter.ledger.engine import ensure_schema
from pixelmeter.ledger.failure import CHARACTERS_ADVICE, lacks_characters, refusal, without_secrets
from pixelmeter.ledger.merging import Merger, merge_all
from pixelmeter.ledger.postgres_session import Rest, Session
from pixelmeter.ledger.postgres_sql import Sql, storable
from pixelmeter.ledger.postgres_sums import Additions, additions_of
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.wide_tags import Watch
from pixelmeter.ledger.writer import dead_processes, first_of_each_id, refuse_pruned, sorted_by_kind

__all__ = ["PostgresWriter"]

_T = TypeVar("_T")
_log = logging.getLogger("pixelmeter")

_TRIES = 6
_PATIENCE = 10.0
# Up to so many attempts, JSON in the message that commits costs less than a COPY with round trips of its own.
_FEW = 8


class PostgresWriter(BudgetTransactions):
    """Writes to a PostgreSQL database; connects when first used, after a failure, and when the server hung up."""

    def __init__(
        self,
        address: Address,
        patience: float = _PATIENCE,
        *,
        settler: Callable[[], Settler] = bundled_settler,
        changed: Changed = lambda changes: None,
        charges: Charges | None = None,
    ) -> None:
        """`patience` is how many seconds a lock is waited for, and how long the server waits for us in the middle."""
        self._address = address
        self._settler = settler
        self._changed = changed
        self._charges = charges
        self._known = Known(-1)
        self._watch = Watch()
        self._merger = Merger()
        self._arguments = connect_arguments(address)
        self._sql = Sql(address, patience)
        self._session: Session | None = None
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
        rows = sorted(first_of_each_id(storable(attempts)), key=attrgetter("id"))
        rest = Rest(None, positions, finished)
        changes: Sequence[Change] = ()
        if ends or any(map(has_job, rows)):
            new, changes = self._run(lambda session: self._write_with_jobs(session, rows, ends, rest))
        elif 0 < len(rows) <= _FEW and not self._dead(finished):
            new = self._run(lambda session: self._write_few(session, rows, rest))
        else:
            new = self._run(lambda session: self._write(session, rows, rest))
        if self._charges is not None:
            self._charges.committed(attempt.id for attempt in rows)
        self._changed(changes)
        return new

    def adjust(self, ids: Sequence[str], corrected: Corrected, author: Authors) -> Sequence[Change]:
        """Commit adjustments of attempts; return them."""
        return self._run(lambda session: self._adjust(session, ids, corrected, author))

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        """Return the ends of jobs that are too old at this Unix time in microseconds; nothing is written."""
        return self._run(lambda session: self._expiring(session, at, limit))

    def close(self) -> None:
        """Leave the server; the next write connects again."""
        session = self._session
        if session is not None:
            # Closed before it is let go of: a thread that is ended in between leaves it to the next one.
            session.close()
            self._session = None

    def _write_few(self, session: Session, rows: Sequence[Attempt], rest: Rest) -> int:
        if session.is_known:
            refuse_pruned(self._address, rows, self._known.horizon)
            with self._refusing():
                rest = rest._replace(additions=self._additions(rows))
                try:
                    number = session.commit_few(rows, self._known.revision, self._counted(rest, rows))
                except (errors.UniqueViolation, errors.DivisionByZero):
                    pass
                else:
                    self._committed(session, number, rest)
                    return len(rows)
        return self._write(session, rows, rest)

    def _write(self, session: Session, rows: Sequence[Attempt], rest: Rest) -> int:
        self._begin(session)
        refuse_pruned(self._address, rows, self._known.horizon)
        with self._refusing():
            if rows:
                additions = self._additions(rows)
                try:
                    session.copy(rows)
                except errors.UniqueViolation:
                    self._begin(session, may_prepare=False)
                    refuse_pruned(self._address, rows, self._known.horizon)
                    rows = session.insert_new(rows)
                    additions = self._additions(rows)
                rest = rest._replace(additions=additions if rows else None)
            self._end_leases(session, rest.finished)
            self._commit(session, rest, rows)
        return len(rows)

    def _write_with_jobs(
        self, session: Session, rows: Sequence[Attempt], ends: Sequence[JobEnd], rest: Rest
    ) -> tuple[int, Sequence[Change]]:
        self._begin_alone(session)
        refuse_pruned(self._address, rows, self._known.horizon)
        with self._refusing():
            new = session.insert_new(rows) if rows else ()
            reader = LedgerReader(self._address, session.connection)
            brought = bring_to_end(reader, self._settler(), new, ends)
            session.keep_jobs(brought.jobs)
            session.keep_changes(brought.changes)
            self._end_leases(session, rest.finished)
            rest = rest._replace(additions=self._additions(new, brought.changes))
            self._commit(session, rest, new, brought.changes)
        return len(new), brought.changes

    def _adjust(self, session: Session, ids: Sequence[str], corrected: Corrected, author: Authors) -> Sequence[Change]:
        self._begin_alone(session)
        with self._refusing():
            changes = adjust(LedgerReader(self._address, session.connection), ids, corrected, author)
            session.keep_changes(changes)
            self._commit(session, Rest(self._additions((), changes), {}, ()), (), changes)
        return changes

    def _additions(self, attempts: Sequence[Attempt], changes: Sequence[Change] = ()) -> Additions:
        return additions_of(attempts, changes, self._known.wide, self._watch)

    def _commit(
        self, session: Session, rest: Rest, attempts: Sequence[Attempt], changes: Sequence[Change] = ()
    ) -> None:
        self._committed(session, session.commit(self._counted(rest, attempts, changes)), rest)

    def _committed(self, session: Session, number: int | None, rest: Rest) -> None:
        if number is not None and rest.additions is not None:
            # What was committed is committed, whatever becomes of this; a connection that it breaks is replaced.
            with contextlib.suppress(psycopg.Error):
                self._merger.committed(session, number, rest.additions.suspects)

    def _expiring(self, session: Session, at: int, limit: int) -> Sequence[JobEnd]:
        self._begin(session)
        found = expiring(LedgerReader(self._address, session.connection), self._settler(), at, limit)
        session.connection.execute(b"COMMIT")
        return found

    def _begin_alone(self, session: Session) -> None:
        # Before any row is touched, so that nobody who waits for this has in hand what we wait for.
        self._begin(session)
        session.connection.execute(self._sql.keep_others_out)

    def _begin(self, session: Session, *, may_prepare: bool = True, alone: bool = False) -> None:
        """Begin a transaction; all budgets and wide tags of the ledger are known then."""
        revision = session.begin(may_prepare=may_prepare and self._may_prepare, alone=alone)
        if revision != self._known.revision:
            self._known = known_rules(LedgerReader(self._address, session.connection))

    def _counted(self, rest: Rest, attempts: Sequence[Attempt], changes: Sequence[Change] = ()) -> Rest:
        """Return the rest of a transaction with what it adds to budgets."""
        return rest._replace(budgets=counting(self._known, attempts, changes, self._charges, DIALECTS["postgresql"]))

    def _end_leases(self, session: Session, finished: Sequence[str]) -> None:
        release(session.run, self._dead(finished))

    def _dead(self, finished: Sequence[str]) -> Sequence[str]:
        """Return the processes whose leases end with these spool files."""
        return dead_processes(finished, self._charges) if self._known.counted else ()

    def _in_transaction(self, work: Callable[[Run, LedgerReader], _T], *, alone: bool = False) -> _T:
        def done(session: Session) -> _T:
            self._begin(session, alone=alone)
            with self._refusing():
                found = work(session.run, LedgerReader(self._address, session.connection))
            session.connection.execute(b"COMMIT")
            return found

        return self._run(done)

    def _before_erasing(self) -> None:
        assert self._session is not None
        merge_all(self._session.connection, self._address)

    def _run(self, work: Callable[[Session], _T]) -> _T:
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

    def _try(self, work: Callable[[Session], _T]) -> _T:
        if self._session is not None and self._session.is_lost:
            self.close()
        session = self._session
        try:
            if session is None:
                # It may lead to another ledger than before.
                self._known = Known(-1)
                session = self._session = Session(self._sql)
                session.connect(self._arguments)
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
            if session is not None and not session.is_at_rest:
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

    def _tell_encoding(self, session: Session) -> None:
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


def _has_ended(error: psycopg.Error) -> bool:
    """Return whether a new connection may do better: this one is gone, or leads to what is a standby by now."""
    # A pooler says 08P01 when it has lost the server; a driver that finds the connection closed gives no code.
    state = error.sqlstate
    if state is None:
        return isinstance(error, psycopg.OperationalError)
    return state.startswith(("08", "57P")) or state in ("25006", "25P03")
