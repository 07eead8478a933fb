"""Old attempts deleted from a SQLite ledger: a little at a time, so that writers get their turn."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from functools import partial

from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.connecting import read_only_uri
from pixelmeter.ledger.dialect import DIALECTS
from pixelmeter.ledger.engine import SHRINKING, WRITING
from pixelmeter.ledger.failure import without_secrets
from pixelmeter.ledger.files import PATIENCE, write_lock

__all__ = ["deleting", "rewrite", "shrinks"]

_AIM = 0.1
"""Seconds that a transaction should take."""
_ROWS = (250, 2000)
_PAGES = (100, 1000)
"""How much one does, at least and at most."""
_REST = 0.025
"""Seconds between two transactions: a writer that waits looks for the lock more often."""
_INCREMENTAL = 2

# Oldest first, so that what is left where this is broken off is all of it younger.
_DELETE = """
DELETE FROM pixelmeter_attempts WHERE rowid IN (
  SELECT rowid FROM pixelmeter_attempts WHERE started_at < ? ORDER BY started_at LIMIT ?
) RETURNING id
"""
_DELETE_ADJUSTMENTS = "DELETE FROM pixelmeter_adjustments WHERE attempt_id IN (SELECT value FROM json_each(?))"
_COUNT = "UPDATE pixelmeter_prunes SET attempts = attempts + ? WHERE horizon = ?"
_OLD_JOB = "ended_at IS NOT NULL AND coalesce(submitted_at, ended_at) < ?"
_JOBS = f"SELECT rowid FROM pixelmeter_jobs WHERE {_OLD_JOB}"
_DELETE_JOBS = f"DELETE FROM pixelmeter_jobs WHERE {_OLD_JOB} AND rowid IN (SELECT value FROM json_each(?))"


def deleting(address: Address, until: datetime) -> Iterator[int]:
    """Delete what began before a horizon; yield after each transaction how many attempts it deleted.

    Pages that become free are given back where the file was made for that (`shrinks`). LedgerError where the
    database cannot be used.
    """
    try:
        connection = sqlite3.connect(address.path, timeout=PATIENCE, isolation_level=None)
        try:
            yield from _Pruning(connection, address.path, str(DIALECTS["sqlite"].moment(until))).work()
        finally:
            # Whoever closes it may write its log back to the file.
            with write_lock(address.path):
                connection.close()
    except sqlite3.Error as error:
        raise without_secrets(error, address) from None


def _is_shrinking(connection: sqlite3.Connection) -> bool:
    [mode] = connection.execute("PRAGMA auto_vacuum").fetchone()
    return bool(mode == _INCREMENTAL)


def shrinks(address: Address) -> bool:
    """Return whether a file gives back pages that become free. LedgerError where it cannot be read."""
    try:
        with closing(sqlite3.connect(read_only_uri(address.path), uri=True, timeout=PATIENCE)) as connection:
            return _is_shrinking(connection)
    except sqlite3.Error as error:
        raise without_secrets(error, address) from None


def rewrite(address: Address) -> None:
    """Write a file anew, without free pages and so that it gives them back from now on; writers wait meanwhile.

    LedgerError where the disk has no room for a copy, or the database cannot be used.
    """
    needed, free = os.path.getsize(address.path), shutil.disk_usage(os.path.dirname(address.path)).free
    # A copy beside it, and then its pages in the log.
    if free < 2 * needed:
        raise LedgerError(f"{address.path} has {needed:,} bytes, and its disk {free:,}: twice as many must be free")
    try:
        with (
            write_lock(address.path),
            closing(sqlite3.connect(address.path, timeout=PATIENCE, isolation_level=None)) as connection,
        ):
            for statement in (SHRINKING, *WRITING, "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.execute(statement).fetchall()
    except sqlite3.Error as error:
        raise without_secrets(error, address) from None


class _Pruning:
    def __init__(self, connection: sqlite3.Connection, path: str, bound: str) -> None:
        self._connection = connection
        self._path = path
        self._bound = bound

    def work(self) -> Iterator[int]:
        with write_lock(self._path):
            for pragma in WRITING:
                self._connection.execute(pragma)
        yield from self._repeated(self._delete, _ROWS)
        jobs = [rowid for (rowid,) in self._connection.execute(_JOBS, (self._bound,))]
        for start in range(0, len(jobs), _ROWS[0]):
            self._locked(partial(self._delete_jobs, jobs[start : start + _ROWS[0]]))
        if _is_shrinking(self._connection):
            for _ in self._repeated(self._give_back, _PAGES):
                yield 0

    def _delete(self, limit: int) -> int:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        ids = [identity for (identity,) in run(_DELETE, (self._bound, limit)).fetchall()]
        run(_DELETE_ADJUSTMENTS, (json.dumps(ids),))
        run(_COUNT, (len(ids), self._bound))
        run("COMMIT")
        return len(ids)

    def _delete_jobs(self, rowids: list[int]) -> int:
        return self._connection.execute(_DELETE_JOBS, (self._bound, json.dumps(rowids))).rowcount

    def _give_back(self, pages: int) -> int:
        [before] = self._connection.execute("PRAGMA freelist_count").fetchone()
        # As a script, which is a transaction by itself: of a statement the driver does one step, which is one page.
        self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")
        return min(int(before), pages)

    def _repeated(self, step: Callable[[int], int], sizes: tuple[int, int]) -> Iterator[int]:
        """Do steps until one does nothing, each as large as the time allows; yield what each has done."""
        least, most = sizes
        size = least
        while True:
            done, took = self._locked(partial(step, size))
            if not done:
                return
            yield done
            if took > _AIM:
                size = max(least, size // 2)
            elif took < _AIM / 4:
                size = min(most, size * 2)

    def _locked(self, work: Callable[[], int]) -> tuple[int, float]:
        """Do some work that is one transaction; return what it has done, and how many seconds it took."""
        with write_lock(self._path):
            began = time.monotonic()
            done = work()
            took = time.monotonic() - began
        time.sleep(_REST)
        return done, took
