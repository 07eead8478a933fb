"""The writer of a PostgreSQL ledger: all that others may wait for goes in one message, after a COPY of many attempts.

Nothing lives in the session but what a transaction makes for itself, so a pooler may give each transaction another one.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from sqlalchemy import BigInteger, Boolean, DateTime, Integer, String, Table, Text

from pixelmeter.core.attempts.record import FIELDS, Attempt, row
from pixelmeter.errors import RowRefused
from pixelmeter.ledger import totals, version
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.engine import connect_arguments, ensure_schema
from pixelmeter.ledger.failure import CHARACTERS_ADVICE, lacks_characters, refusal, without_secrets
from pixelmeter.ledger.rollup import distinct, summarise
from pixelmeter.ledger.schema import ATTEMPTS, DAILY, SPOOLS, TOTALS, TOTALS_KEY

__all__ = ["PostgresWriter"]

_T = TypeVar("_T")
_log = logging.getLogger("pixelmeter")

_TRIES = 6
_PATIENCE = 10.0
# Up to so many attempts, JSON in the message that commits costs less than a COPY with round trips of its own.
_FEW = 8
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_TO_2000 = 946_684_800_000_000

# What COPY sends for a column: bytes that the server's own type reads, from the cheapest dumper that makes them.
_SENT: dict[type, str] = {
    String: "bytea",
    Text: "text",
    Integer: "int4",
    BigInteger: "int8",
    Boolean: "bool",
    DateTime: "int8",
}
_SENT_AS = [_SENT[type(column.type)] for column in ATTEMPTS.columns]
_ID, _CALL_ID, _STARTED_AT, _TAGS = map(FIELDS.index, ("id", "call_id", "started_at", "tags"))
_COLUMNS = ", ".join(FIELDS)
_DAILY = [column.name for column in DAILY.columns]
_TOTALS = [*TOTALS_KEY, *totals.SUMMED]


class _Sql:
    """The statements, for the schema that an address names."""

    def __init__(self, address: Address, patience: float) -> None:
        attempts, spools = address.qualified(ATTEMPTS.name), address.qualified(SPOOLS.name)
        milliseconds = round(patience * 1000)
        # All of it lasts as long as the transaction: a SET would stay with a session of a pooler, for others to find.
        # With a stricter isolation than this, writers would abort each other. The lock is the one that COPY takes; a
        # migration waits for it or is waited for, so that the version is that of the tables that are then written.
        begin = f"""
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = {milliseconds};
SET LOCAL idle_in_transaction_session_timeout = {milliseconds};
LOCK TABLE {attempts} IN ROW EXCLUSIVE MODE"""
        schema = address.qualified(version.VERSION_TABLE)
        self.begin = f"{begin}; SELECT (SELECT version_num FROM {schema}), pg_backend_pid()".encode()
        """Tells the version, and which process of the server it is that answers."""
        self.begin_checked = f"{begin}; SELECT 1 / count(*) FROM {schema} WHERE version_num = %s".encode()
        """Fails with DivisionByZero, and so does what follows in the message, where the version is another one."""
        self.copy = f"COPY {attempts} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()
        insert = f"""
INSERT INTO {attempts} ({_COLUMNS})
SELECT {_COLUMNS} FROM json_populate_recordset(NULL::{attempts}, %s::json) ORDER BY id
""".encode()
        self.insert_new = insert + b"ON CONFLICT (id) DO NOTHING RETURNING id"
        self.positions = f"SELECT name, position FROM {spools} WHERE name = ANY(%s)".encode()
        self.forget = f"DELETE FROM {spools} WHERE name = ANY(%s::text[])".encode()
        self.plain = (
            insert,
            f"""
INSERT INTO {spools} AS present (name, position)
SELECT * FROM unnest(%s::text[], %s::bigint[]) ORDER BY 1
ON CONFLICT (name) DO UPDATE SET position = greatest(present.position, excluded.position)
""".encode(),
            _adding(address, DAILY, _DAILY[: len(DAILY.primary_key)], _DAILY[len(DAILY.primary_key) :]),
            _adding(address, TOTALS, TOTALS_KEY, totals.SUMMED),
        )
        """Insert attempts, move positions, add to the day rollup and to the totals."""
        self.prepare = b";".join(
            b"PREPARE %s AS %s" % (name, statement.replace(b"%s", b"$1", 1).replace(b"%s", b"$2", 1))
            for name, statement in zip(_PREPARED, self.plain, strict=True)
        )
        self.prepared = tuple(
            b"EXECUTE %s(%s)" % (name, b", ".join([b"%s"] * statement.count(b"%s")))
            for name, statement in zip(_PREPARED, self.plain, strict=True)
        )
        """The same statements, planned before; they take the server a quarter of the time for a single row."""


_PREPARED = (b"pixelmeter_insert", b"pixelmeter_move", b"pixelmeter_add_to_daily", b"pixelmeter_add_to_totals")


def _adding(address: Address, table: Table, key: Sequence[str], summed: Sequence[str]) -> bytes:
    names, name = ", ".join([*key, *summed]), address.qualified(table.name)
    return f"""
INSERT INTO {name} AS present ({names})
SELECT {names} FROM json_populate_recordset(NULL::{name}, %s::json) ORDER BY {", ".join(key)}
ON CONFLICT ({", ".join(key)}) DO UPDATE
SET {", ".join(f"{name} = present.{name} + excluded.{name}" for name in summed)}
""".encode()


class PostgresWriter:
    """Writes to a PostgreSQL database; connects when first used, after a failure, and when the server hung up."""

    def __init__(self, address: Address, patience: float = _PATIENCE) -> None:
        """`patience` is how many seconds a lock is waited for, and how long the server waits for us in the middle."""
        self._address = address
        self._arguments = connect_arguments(address)
        self._sql = _Sql(address, patience)
        self._session: _Session | None = None
        self._may_prepare = True
        self._is_encoding_told = False

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return the committed position of each spool that has one."""
        return self._run(lambda session: session.positions(names, may_prepare=self._may_prepare))

    def write(self, attempts: Sequence[Attempt], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        """Commit the attempts, what the new ones add to the rollup, and the positions; return how many were new.

        RowRefused where it is the data that the server does not take.
        """
        # The rows of every table are touched in the order of their keys, so that concurrent writers do not deadlock.
        rows = sorted(distinct(attempts).values(), key=attrgetter("id"))
        with self._refusing():
            rest = _Rest(_additions(rows) if rows else None, positions, finished)
        if 0 < len(rows) <= _FEW:
            return self._run(lambda session: self._write_few(session, rows, rest))
        return self._run(lambda session: self._write(session, rows, rest))

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
                    rest = rest._replace(additions=_additions(rows) if rows else None)
            session.commit(rest)
        return len(rows)

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

    additions: tuple[str, str] | None
    """What the attempts add to the day rollup and to the totals, in JSON."""
    positions: Mapping[str, int]
    finished: Sequence[str]


class _Session:
    """A connection, and which server process stood behind it when its statements were prepared."""

    def __init__(self, arguments: Mapping[str, Any], sql: _Sql) -> None:
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
            copy.set_types(_SENT_AS)
            for attempt in attempts:
                copy.write_row(_values(attempt))

    def insert_new(self, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
        """Insert the attempts that the ledger does not have; return which those were."""
        found = self.connection.execute(self._sql.insert_new, (_rows(attempts),)).fetchall()
        inserted = {str(identity) for (identity,) in found}
        return [attempt for attempt in attempts if attempt.id in inserted]

    def commit(self, rest: _Rest) -> None:
        """Do the rest of a transaction, and commit."""
        self._send([], [], rest)

    def commit_few(self, attempts: Sequence[Attempt], rest: _Rest) -> None:
        """Do all of a transaction at once.

        UniqueViolation where the ledger has one of the attempts, DivisionByZero where the tables are not ours.
        """
        self._end_failed()
        self._send([self._sql.begin_checked, self._statements[0]], [self._needed, _rows(attempts)], rest)

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
            values += rest.additions
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


def _values(attempt: Attempt) -> Sequence[Any]:
    values = list(row(attempt))
    values[_ID] = bytes.fromhex(attempt.id.replace("-", ""))
    values[_CALL_ID] = bytes.fromhex(attempt.call_id.replace("-", ""))
    values[_STARTED_AT] = attempt.started_at - _MICROSECONDS_TO_2000
    # jsonb on the wire is a version, 1, and text.
    values[_TAGS] = f"\x01{_tags(attempt)}"
    return values


def _rows(attempts: Iterable[Attempt]) -> str:
    """Return attempts as a JSON array of objects, for the server to unpack."""
    objects: list[dict[str, Any]] = []
    for attempt in attempts:
        values = list(row(attempt))
        values[_STARTED_AT] = (_EPOCH + timedelta(microseconds=attempt.started_at)).isoformat()
        values[_TAGS] = msgspec.Raw(_tags(attempt).encode())
        objects.append(dict(zip(FIELDS, values, strict=True)))
    return msgspec.json.encode(objects).decode()


def _tags(attempt: Attempt) -> str:
    # jsonb cannot hold U+0000, and one such tag must not stop the ledger.
    return attempt.tags.replace("\\u0000", "\\ufffd")


def _additions(attempts: Sequence[Attempt]) -> tuple[str, str]:
    """Return what attempts add to the day rollup and to the totals, each as a JSON array of objects."""
    return _json(_DAILY, _by_day(attempts)), _json(_TOTALS, totals.summarise(attempts).items())


def _by_day(attempts: Sequence[Attempt]) -> Iterator[tuple[Sequence[Any], Sequence[int]]]:
    for (day, *key), sums in summarise(attempts).items():
        # As text: where the clock is stopped for a test, a date is of a class that JSON does not know.
        yield (date.fromordinal(_EPOCH_DAY + day).isoformat(), *key), sums


def _json(names: Sequence[str], additions: Iterable[tuple[Sequence[Any], Sequence[int]]]) -> str:
    return msgspec.json.encode([dict(zip(names, (*key, *sums), strict=True)) for key, sums in additions]).decode()
