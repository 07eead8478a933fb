"""The writer of a PostgreSQL ledger: COPY into a temporary table, then one statement that inserts and adds up."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from sqlalchemy import BigInteger, Boolean, DateTime, Integer, String, Text

from pixelmeter.core.latency import bucket
from pixelmeter.core.record import FIELDS, Attempt, row
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.engine import connect_arguments, ensure_schema
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.rollup import distinct
from pixelmeter.ledger.schema import ATTEMPTS, DAILY
from pixelmeter.ledger.version import revisions

__all__ = ["PostgresWriter"]

_RETRIES = 5
_MICROSECONDS_TO_2000 = 946_684_800_000_000

_STAGING = f"pixelmeter_staging_{revisions()[-1]}"
_COLUMNS = ", ".join(FIELDS)
_KEY = ", ".join(column.name for column in DAILY.primary_key)
_SUMMED = [column.name for column in DAILY.columns if not column.primary_key]

_STAGE = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS {_STAGING} (LIKE pixelmeter_attempts, bucket smallint NOT NULL)
ON COMMIT DELETE ROWS
""".encode()
_COPY = f"COPY {_STAGING} ({_COLUMNS}, bucket) FROM STDIN (FORMAT BINARY)".encode()
# The rows of every table are touched in the order of their keys, so that concurrent writers do not deadlock.
_MERGE = f"""
WITH fresh AS (
    INSERT INTO pixelmeter_attempts ({_COLUMNS})
    SELECT {_COLUMNS} FROM {_STAGING} ORDER BY id
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), added AS (
    INSERT INTO pixelmeter_daily AS daily ({_KEY}, {", ".join(_SUMMED)})
    SELECT
        (started_at AT TIME ZONE 'UTC')::date, gateway, coalesce(provider, ''), operation, model, outcome, bucket,
        count(*), count(*) FILTER (WHERE attempt = 0), coalesce(sum(images), 0), coalesce(sum(cost), 0),
        coalesce(sum(fee), 0), coalesce(sum(at_risk), 0), count(*) FILTER (WHERE cost IS NULL), sum(duration)
    FROM {_STAGING} JOIN fresh USING (id)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
    ORDER BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT ({_KEY}) DO UPDATE SET {", ".join(f"{name} = daily.{name} + excluded.{name}" for name in _SUMMED)}
)
SELECT count(*) FROM fresh
""".encode()
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
_SENT_AS = [*(_SENT[type(column.type)] for column in ATTEMPTS.columns), "int2"]
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
            yield self._connection
        except (psycopg.Error, OverflowError, ValueError) as error:
            raise without_secrets(error, self._address) from None
        finally:
            if self._connection is not None and self._connection.info.transaction_status != TransactionStatus.IDLE:
                self.close()


def _commit(
    connection: psycopg.Connection, attempts: Sequence[Attempt], positions: Mapping[str, int], finished: Sequence[str]
) -> int:
    with connection.cursor() as cursor:
        inserted = 0
        if attempts:
            cursor.execute(_STAGE)
            with cursor.copy(_COPY) as copy:
                copy.set_types(_SENT_AS)
                for attempt in distinct(attempts).values():
                    copy.write_row(_values(attempt))
            (inserted,) = cursor.execute(_MERGE).fetchone() or (0,)
        if positions:
            cursor.execute(_MOVE, (list(positions), list(positions.values())))
        if finished:
            cursor.execute(_FORGET, (list(finished),))
    connection.commit()
    return inserted


def _values(attempt: Attempt) -> Sequence[Any]:
    values = [*row(attempt), bucket(attempt.duration)]
    values[_ID] = bytes.fromhex(attempt.id.replace("-", ""))
    values[_CALL_ID] = bytes.fromhex(attempt.call_id.replace("-", ""))
    values[_STARTED_AT] = attempt.started_at - _MICROSECONDS_TO_2000
    # jsonb on the wire is a version, 1, and text; it cannot hold U+0000, and one such tag must not stop the ledger.
    values[_TAGS] = "\x01" + attempt.tags.replace("\\u0000", "\\ufffd")
    return values
