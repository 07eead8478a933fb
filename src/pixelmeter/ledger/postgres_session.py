"""A connection to a PostgreSQL ledger: what a transaction says to the server, in as few messages as can be."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from pixelmeter import lifecycle
from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.jobs import Job
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger import version
from pixelmeter.ledger.dialect import Sql as Piece
from pixelmeter.ledger.postgres_sql import SENT_AS, Sql, adjustment_rows, copied, job_rows, json_rows
from pixelmeter.ledger.postgres_sums import Additions
from pixelmeter.system import Witness

__all__ = ["Merged", "Rest", "Session", "last_row"]


class Rest(NamedTuple):
    """What a transaction does beside inserting attempts, with locks that others may wait for."""

    additions: Additions | None
    positions: Mapping[str, int]
    finished: Sequence[str]
    budgets: Sequence[Piece] = ()


class Merged(NamedTuple):
    """What a merge has found."""

    deltas: int
    """How many it has merged; 0 where somebody else was about it."""
    age: float
    """How many seconds ago the first of them was made."""


class Session:
    """A connection, and which server process stood behind it when its statements were prepared."""

    def __init__(self, sql: Sql) -> None:
        self._connection: psycopg.Connection | None = None
        self._witness: Witness | None = None
        self._sql = sql
        self._needed = version.revisions()[-1]
        self._prepared_by: int | None = None
        self._backend: int | None = None
        self.encoding = ""
        """The encoding of the database, as PostgreSQL names it; "" where it is not told."""

    def connect(self, arguments: Mapping[str, Any]) -> None:
        """Connect; `close` is due then, whatever happens meanwhile."""
        # No statement is prepared by the driver: behind a pooler the next transaction may have another server process.
        self._connection = psycopg.connect(**arguments, autocommit=True, prepare_threshold=None)
        self._witness = Witness(self._connection.fileno())
        self.encoding = self._connection.info.parameter_status("server_encoding") or ""

    def close(self) -> None:
        """Leave the server. May be repeated, and is to be where it was broken off."""
        if self.is_lost:
            lifecycle.abandon(self._connection)
        elif self._connection is not None:
            self._connection.close()

    @property
    def is_lost(self) -> bool:
        """Whether somebody has closed its socket, whose number may be that of another one by now."""
        return self._witness is not None and not self._witness.is_there()

    @property
    def connection(self) -> psycopg.Connection:
        """The connection, once there is one."""
        assert self._connection is not None
        return self._connection

    @property
    def is_at_rest(self) -> bool:
        """Whether it is connected, and in no transaction."""
        connection = self._connection
        return connection is not None and connection.info.transaction_status == TransactionStatus.IDLE

    @property
    def is_known(self) -> bool:
        """Whether there was a transaction, which told what stands behind the connection."""
        return self._backend is not None

    def begin(self, *, may_prepare: bool, alone: bool = False) -> int:
        """Begin a transaction, in place of one that has failed; `alone` keeps all other writers out.

        Returns the revision of what a writer has to know. SchemaOutdated or SchemaTooNew where the tables are not those
        that we know, UndefinedTable where there are none.
        """
        self._end_failed()
        cursor = self.connection.execute(self._sql.begin_alone if alone else self._sql.begin)
        told = [cursor.fetchall() for _ in cursor.results() if cursor.description is not None]
        [[(found, self._backend)], [(revision,)]] = told
        if found is None:
            raise errors.UndefinedTable("the ledger has no version")
        if found != self._needed:
            version.check(found)
        # Only a server that we talk to directly names itself as the process that it is.
        if may_prepare and self._prepared_by is None and self._backend == self.connection.info.backend_pid:
            self.connection.execute(self._sql.prepare)
            self._prepared_by = self._backend
        return int(revision)

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

    def commit(self, rest: Rest) -> int | None:
        """Do the rest of a transaction, and commit; return the number of the delta, where one was appended."""
        return self._send([], [], rest)

    def merge(self, most: int) -> Merged:
        """Merge up to so many deltas, in a transaction of its own."""
        try:
            with psycopg.ClientCursor(self.connection) as cursor:
                cursor.execute(self._sql.merge, (self._needed, most))
                return Merged(*last_row(cursor))
        finally:
            self._end_failed()

    def set_apart(self) -> None:
        """Leave the first delta unmerged for good."""
        self.connection.execute(self._sql.set_apart)

    def look_for_wide(self, suspects: Collection[tuple[str, str]]) -> None:
        """Mark as wide those of the tags and days that have too many values."""
        tags, days = zip(*suspects, strict=True)
        self.connection.execute(self._sql.look_for_wide, (list(tags), list(days)))

    def run(self, statements: Sequence[Piece]) -> Sequence[Sequence[Any]]:
        """Run statements in one message; return what the last of them finds."""
        with psycopg.ClientCursor(self.connection) as cursor:
            cursor.execute(*self._sql.joined(statements))
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description is not None else ()

    def commit_few(self, attempts: Sequence[Attempt], revision: int, rest: Rest) -> int | None:
        """Do all of a transaction at once, and return like `commit`.

        UniqueViolation where the ledger has one of the attempts, DivisionByZero where the tables are not ours, or more
        is to be known than that of this revision.
        """
        self._end_failed()
        begin = [self._sql.begin_checked, self._statements[0]]
        return self._send(begin, [self._needed, revision, json_rows(attempts)], rest)

    @property
    def _statements(self) -> Sequence[bytes]:
        is_prepared = self._prepared_by is not None and self._prepared_by == self._backend
        return self._sql.prepared if is_prepared else self._sql.plain

    def _send(self, statements: list[bytes], values: list[object], rest: Rest) -> int | None:
        """Send statements, what takes the locks that others need, and the commit.

        In one message of the protocol, which the server reads to its end before it begins: nobody waits for the locks
        of a client that was stopped in the middle, and the round trips of all that are one.
        """
        _, move, append = self._statements
        if rest.positions:
            statements.append(move)
            values += [list(rest.positions), list(rest.positions.values())]
        if rest.finished:
            statements.append(self._sql.forget)
            values.append(list(rest.finished))
        if rest.budgets:
            text, parameters = self._sql.joined(rest.budgets)
            statements.append(text)
            values += parameters
        if rest.additions is not None:
            if rest.additions.adjusted is not None:
                statements.append(self._sql.add_to_adjustment_totals)
                values.append(rest.additions.adjusted)
            if rest.additions.wide:
                statements.append(self._sql.mark_wide)
                values.append(list(rest.additions.wide))
            statements.append(append)
            values += [rest.additions.hourly, rest.additions.tag_daily, rest.additions.totals]
        with psycopg.ClientCursor(self.connection) as cursor:
            cursor.execute(b";".join([*statements, b"COMMIT"]), values)
            return None if rest.additions is None else int(last_row(cursor)[0])

    def _end_failed(self) -> None:
        if self.connection.info.transaction_status != TransactionStatus.IDLE:
            self.connection.execute(b"ROLLBACK")


def last_row(cursor: psycopg.Cursor) -> Sequence[Any]:
    """Return the row of the last statement of a message that finds any."""
    [*_, last] = [cursor.fetchall() for _ in cursor.results() if cursor.description is not None]
    return last[0]
