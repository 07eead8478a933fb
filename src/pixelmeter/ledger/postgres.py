"""The writer of a PostgreSQL ledger: COPY into the table, by way of a temporary one where it has some of the rows."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from datetime import date
from operator import attrgetter
from typing import Any

import msgspec
import psycopg
from psycopg import IsolationLevel, errors
from psycopg.pq import TransactionStatus
from sqlalchemy import BigInteger, Boolean, DateTime, Integer, String, Table, Text

from pixelmeter.core.record import FIELDS, Attempt, row
from pixelmeter.ledger import totals
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.engine import connect_arguments, ensure_schema
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.rollup import distinct, summarise
from pixelmeter.ledger.schema import ATTEMPTS, DAILY, TOTALS, TOTALS_KEY
from pixelmeter.ledger.version import revisions

__all__ = ["PostgresWriter"]

_RETRIES = 5
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MICROSECONDS_TO_2000 = 946_684_800_000_000

_STAGING = f"pixelmeter_staging_{revisions()[-1]}"
_COLUMNS = ", ".join(FIELDS)


def _adding(table: Table, key: Sequence[str], summed: Sequence[str]) -> bytes:
    names = ", ".join([*key, *summed])
    return f"""
INSERT INTO {table.name} AS present ({names})
SELECT {names} FROM json_populate_recordset(NULL::{table.name}, %s::json) ORDER BY {", ".join(key)}
ON CONFLICT ({", ".join(key)}) DO UPDATE
SET {", ".join(f"{name} = present.{name} + excluded.{name}" for name in summed)}
""".encode()


_COPY = f"COPY pixelmeter_attempts ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()
_STAGE = f"CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGING} (LIKE pixelmeter_attempts) ON COMMIT DELETE ROWS".encode()
_COPY_TO_STAGE = f"COPY {_STAGING} ({_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()
_INSERT = f"""
INSERT INTO pixelmeter_attempts ({_COLUMNS}) SELECT {_COLUMNS} FROM {_STAGING} ORDER BY id
ON CONFLICT (id) DO NOTHING RETURNING id
""".encode()
_DAILY = [column.name for column in DAILY.columns]
_ADD_TO_DAILY = _adding(DAILY, _DAILY[: len(DAILY.primary_key)], _DAILY[len(DAILY.primary_key) :])
_ADD_TO_TOTALS = _adding(TOTALS, TOTALS_KEY, totals.SUMMED)
_TOTALS = [*TOTALS_KEY, *totals.SUMMED]
_MOVE = """
INSERT INTO pixelmeter_spools AS spools (name, position) SELECT * FROM unnest(%s::text[], %s::bigint[]) ORDER BY 1
ON CONFLICT (name) DO UPDATE SET position = greatest(spools.position, excluded.position)
"""
_FORGET = "DELETE FROM pixelmeter_spools WHERE name = ANY(%s)"
_POSITIONS = "SELECT name, position FROM pixelmeter_spools WHERE name = ANY(%s)"

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


class PostgresWriter:
    """Writes to a PostgreSQL database; connects when first used, and again after a failure."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._arguments = connect_arguments(address)
        self._connection: psycopg.Connection | None = None

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return the committed position of each spool that has one."""
        with self._connected() as connection:
            found = connection.execute(_POSITIONS, (list(names),)).fetchall()
            connection.commit()
            return dict(found)

    def write(self, attempts: Sequence[Attempt], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        """Commit the attempts, what the new ones add to the rollup, and the positions; return how many were new."""
        with self._connected() as connection:
            for _ in range(_RETRIES):
                with contextlib.suppress(errors.SerializationFailure, errors.DeadlockDetected):
                    return _commit(connection, attempts, positions, finished)
                connection.rollback()
            return _commit(connection, attempts, positions, finished)

    def close(self) -> None:
        """Leave the server; the next write connects again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _connected(self) -> Generator[psycopg.Connection]:
        """Give the connection; whatever fails is a LedgerError, and the server rolls it back."""
        try:
            if self._connection is None:
                ensure_schema(self._address)
                self._connection = psycopg.connect(**self._arguments)
                # Whatever the database's default is: with a stricter one, writers would abort each other.
                self._connection.isolation_level = IsolationLevel.READ_COMMITTED
            yield self._connection
        except (psycopg.Error, OverflowError, ValueError) as error:
            raise without_secrets(error, self._address) from None
        finally:
            if self._connection is not None and self._connection.info.transaction_status != TransactionStatus.IDLE:
                self.close()


def _commit(
    connection: psycopg.Connection, attempts: Sequence[Attempt], positions: Mapping[str, int], finished: Sequence[str]
) -> int:
    # The rows of every table are touched in the order of their keys, so that concurrent writers do not deadlock.
    with connection.cursor() as cursor:
        fresh: Sequence[Attempt] = sorted(distinct(attempts).values(), key=attrgetter("id"))
        if fresh:
            try:
                _copy(cursor, _COPY, fresh)
            except errors.UniqueViolation:
                connection.rollback()
                fresh = _insert(cursor, fresh)
        if fresh:
            cursor.execute(_ADD_TO_DAILY, (_json(_DAILY, _additions(fresh)),))
            cursor.execute(_ADD_TO_TOTALS, (_json(_TOTALS, totals.summarise(fresh).items()),))
        if positions:
            cursor.execute(_MOVE, (list(positions), list(positions.values())))
        if finished:
            cursor.execute(_FORGET, (list(finished),))
    connection.commit()
    return len(fresh)


def _insert(cursor: psycopg.Cursor, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Insert the attempts that the ledger does not have; return which those were."""
    cursor.execute(_STAGE)
    _copy(cursor, _COPY_TO_STAGE, attempts)
    inserted = {str(identity) for (identity,) in cursor.execute(_INSERT).fetchall()}
    return [attempt for attempt in attempts if attempt.id in inserted]


def _copy(cursor: psycopg.Cursor, command: bytes, attempts: Sequence[Attempt]) -> None:
    with cursor.copy(command) as copy:
        copy.set_types(_SENT_AS)
        for attempt in attempts:
            copy.write_row(_values(attempt))


def _values(attempt: Attempt) -> Sequence[Any]:
    values = list(row(attempt))
    values[_ID] = bytes.fromhex(attempt.id.replace("-", ""))
    values[_CALL_ID] = bytes.fromhex(attempt.call_id.replace("-", ""))
    values[_STARTED_AT] = attempt.started_at - _MICROSECONDS_TO_2000
    # jsonb on the wire is a version, 1, and text; it cannot hold U+0000, and one such tag must not stop the ledger.
    values[_TAGS] = "\x01" + attempt.tags.replace("\\u0000", "\\ufffd")
    return values


def _additions(attempts: Sequence[Attempt]) -> Iterator[tuple[Sequence[Any], Sequence[int]]]:
    for (day, *key), sums in summarise(attempts).items():
        yield (date.fromordinal(_EPOCH_DAY + day), *key), sums


def _json(names: Sequence[str], additions: Iterable[tuple[Sequence[Any], Sequence[int]]]) -> str:
    """Return rows as a JSON array of objects, for the server to unpack."""
    return msgspec.json.encode([dict(zip(names, (*key, *sums), strict=True)) for key, sums in additions]).decode()
