"""Which connections to SQLite files are open: those of a parent process, and those whose files somebody has closed."""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
from collections.abc import Generator
from typing import NamedTuple

from pixelmeter import lifecycle
from pixelmeter.ledger.files import witness, write_lock
from pixelmeter.system import Witness

__all__ = ["busy", "close", "close_inherited", "keep", "refuse_lost"]


class _Opening(NamedTuple):
    process: int
    witness: Witness


# Referred to until they are closed under the lock: a forked child that let go of one would close it, and wait in SQLite
# for a mutex that the parent's writer thread may have held.
_OPEN: dict[sqlite3.Connection, _Opening] = {}
# Of what is in the middle of something with SQLite, which process began it.
_BUSY: dict[object, int] = {}


@contextlib.contextmanager
def busy() -> Generator[None]:
    """Take note that this process is in the middle of something with SQLite."""
    here = object()
    _BUSY[here] = os.getpid()
    try:
        yield
    finally:
        del _BUSY[here]


def keep(connection: sqlite3.Connection, path: str) -> None:
    """Take note of a connection that this process has opened, with the lock of the file held. Raises LedgerError."""
    _OPEN[connection] = _Opening(os.getpid(), witness(path))


def close(connection: sqlite3.Connection) -> None:
    """Close a connection, unless its files are closed already: it would close, or write to, those of the program."""
    if not _is_lost(connection):
        connection.close()
        _let_go(connection)


def refuse_lost() -> None:
    """Raise Torn where somebody has closed the files of a connection, and may have opened others in their place.

    SQLite would write to those. It has one state for all connections to a file, so a new one would do so as well.
    """
    if any(map(_is_lost, list(_OPEN))):
        raise lifecycle.Torn("has closed files that SQLite had open")


def close_inherited(path: str, patience: float) -> None:
    """Close what a forked child has of its parent's connections; Torn where the parent was using one.

    SQLite knows the locks on a file by process, not by connection. With an inherited one it takes the parent's for its
    own and gets none, so the parent, or any reader, ends as if it were the last one and deletes the WAL that the child
    writes to: its commits succeed and are gone.
    """
    inherited = [connection for connection, opening in list(_OPEN.items()) if opening.process != os.getpid()]
    if not inherited:
        return
    if any(process != os.getpid() for process in list(_BUSY.values())):
        raise lifecycle.Torn("was forked while its parent was writing, which SQLite does not survive")
    with write_lock(path, patience):
        for connection in inherited:
            if _let_go(connection):
                connection.close()


def _is_lost(connection: sqlite3.Connection) -> bool:
    opening = _OPEN.get(connection)
    return opening is not None and not opening.witness.is_there()


def _let_go(connection: sqlite3.Connection) -> bool:
    opening = _OPEN.pop(connection, None)
    if opening is not None:
        opening.witness.close()
    return opening is not None


@atexit.register
def _abandon_lost() -> None:
    for connection in filter(_is_lost, list(_OPEN)):
        lifecycle.abandon(connection)
