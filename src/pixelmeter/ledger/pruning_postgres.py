"""Old attempts deleted from a PostgreSQL ledger: months whole, the rest some thousand at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors

from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.connecting import connect_arguments
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.partitions import DEFAULT, Partition, first_id, partitions
from pixelmeter.ledger.reader import LedgerReader, with_schema

__all__ = ["deleting"]

_ROWS = 5000
_LOCK_SECONDS = 1
"""How long writers may have to wait behind us for those who read."""
_TRIES = 60


def deleting(address: Address, until: datetime) -> Iterator[int]:
    """Delete what began before a horizon; yield after each transaction how many attempts it deleted.

    LedgerError where the database cannot be used, or reports do not let a month go for a minute.
    """
    try:
        arguments = connect_arguments(address)
        with closing(psycopg.connect(**arguments, autocommit=True, prepare_threshold=None)) as connection:
            yield from _Pruning(connection, address, until).work()
    except psycopg.Error as error:
        raise without_secrets(error, address) from None


class _Pruning:
    def __init__(self, connection: psycopg.Connection, address: Address, until: datetime) -> None:
        self._connection = connection
        self._address = address
        self._until = until

    def work(self) -> Iterator[int]:
        for one in partitions(LedgerReader(self._address, self._connection)):
            is_over = one.high <= first_id(self._until.date())
            name = self._address.qualified(one.name)
            yield from self._drop(name, one) if is_over and self._is_old(name) else self._delete(name)
        yield from self._delete(self._address.qualified(DEFAULT))
        self._run(
            "DELETE FROM pixelmeter_jobs WHERE ended_at IS NOT NULL AND coalesce(submitted_at, ended_at) < %s",
            self._until,
        )
        # The server does that by itself for each partition, and not for all of them together.
        self._run("ANALYZE pixelmeter_attempts")

    def _is_old(self, name: str) -> bool:
        """Return whether all attempts of a partition began before the horizon: its ids may be of another time."""
        [[newest]] = self._run(f"SELECT max(started_at) FROM {name}")
        return newest is None or bool(newest < self._until)

    def _drop(self, name: str, month: Partition) -> Iterator[int]:
        [[attempts]] = self._run(f"SELECT count(*) FROM {name}")
        bounds = "attempt_id < %s" if month.low is None else "attempt_id < %s AND attempt_id >= %s"
        values = [month.high] if month.low is None else [month.high, month.low]
        while self._run(_delete("pixelmeter_adjustments", bounds, "attempt_id"), *values):
            yield 0
        for _ in range(_TRIES):
            try:
                is_dropped = self._drop_now(name, attempts)
            except errors.LockNotAvailable:
                time.sleep(_LOCK_SECONDS)
                continue
            if is_dropped:
                yield attempts
            else:
                # An attempt has come whose id is of another time.
                yield from self._delete(name)
            return
        raise LedgerError(
            f"the ledger {self._address.safe()} cannot drop {month.name}: somebody has read it for more than a minute, "
            "and pg_stat_activity tells who; the next prune goes on here"
        )

    def _drop_now(self, name: str, attempts: int) -> bool:
        with self._connection.transaction():
            self._run(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
            # All that a drop locks, in the order in which writers lock it.
            self._run("LOCK TABLE ONLY pixelmeter_attempts IN ACCESS EXCLUSIVE MODE")
            if not self._is_old(name):
                return False
            self._count(attempts)
            self._run(f"DROP TABLE {name}")
        return True

    def _delete(self, name: str) -> Iterator[int]:
        while True:
            with self._connection.transaction():
                found = self._run(f"{_delete(name, 'started_at < %s', 'started_at')}, id", self._until)
                ids = [identity for _, identity in found]
                self._run("DELETE FROM pixelmeter_adjustments WHERE attempt_id = ANY(%s)", ids)
                self._count(len(ids))
            if not ids:
                return
            yield len(ids)

    def _count(self, attempts: int) -> None:
        self._run("UPDATE pixelmeter_prunes SET attempts = attempts + %s WHERE horizon = %s", attempts, self._until)

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement whose tables have no schema, but for partitions; return what it finds."""
        cursor = self._connection.execute(with_schema(statement, self._address).encode(), values or None)
        return cursor.fetchall() if cursor.description is not None else []


def _delete(name: str, condition: str, order: str) -> str:
    """Return a statement that deletes some rows, and returns something of each."""
    rows = f"SELECT ctid FROM {name} WHERE {condition} ORDER BY {order} LIMIT {_ROWS}"
    return f"DELETE FROM {name} WHERE ctid = ANY(ARRAY({rows})) RETURNING 1"
