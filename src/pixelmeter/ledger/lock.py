"""One writer and checkpointer at a time on a SQLite file, across processes."""

from __future__ import annotations

import contextlib
import os
import random
import stat
import time
from collections.abc import Generator

from pixelmeter.errors import LedgerError
from pixelmeter.system import has_locks, lock, unlock

__all__ = ["PATIENCE", "write_lock"]

PATIENCE = 30.0
"""Seconds to wait for another writer before giving up; with four busy writers the worst wait seen was 3.2 s."""


@contextlib.contextmanager
def write_lock(path: str, patience: float = PATIENCE) -> Generator[None]:
    """Hold `<path>.lock`; LedgerError when it cannot be had within `patience` seconds, or not at all.

    SQLite before 3.51.3 can corrupt a WAL that two connections reset at once (sqlite.org/wal.html#walresetbug), so
    whoever may checkpoint (write, migrate, close) does it under this lock.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as error:
        raise LedgerError(
            f"cannot lock the ledger: {path}.lock: {error.strerror}; its folder must exist and be writable"
        ) from None
    try:
        _share_as_the_ledger(descriptor, path)
        _wait(descriptor, path, patience)
        try:
            yield
        finally:
            # A child forked meanwhile has the descriptor too: closing ours would not release the lock.
            unlock(descriptor)
    finally:
        os.close(descriptor)


def _share_as_the_ledger(descriptor: int, path: str) -> None:
    """Give the lock the group and the mode of the ledger: whoever can open it can hold up all writers."""
    if not hasattr(os, "geteuid"):
        return
    with contextlib.suppress(OSError):
        ledger, found = os.stat(path), os.fstat(descriptor)
        owner = ledger.st_uid if os.geteuid() == 0 else found.st_uid
        if (found.st_uid, found.st_gid) != (owner, ledger.st_gid):
            with contextlib.suppress(OSError):
                os.fchown(descriptor, owner, ledger.st_gid)
                found = os.fstat(descriptor)
        # Not in the group of the ledger, the lock is for its owner alone.
        mode = stat.S_IMODE(ledger.st_mode) & (0o777 if found.st_gid == ledger.st_gid else 0o707)
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(descriptor, mode)


def _wait(descriptor: int, path: str, patience: float) -> None:
    # Without locks SQLite's own must do.
    deadline = time.monotonic() + patience
    while has_locks():
        try:
            if lock(descriptor):
                return
        except OSError as error:
            raise LedgerError(f"cannot lock the ledger: {path}.lock: {error.strerror}") from None
        if time.monotonic() > deadline:
            raise LedgerError(f"another process has held {path}.lock for {patience:g} seconds; is it stopped?")
        # Blocking in the kernel would be fair, but cannot be given up: a stopped process would hang us for good.
        time.sleep(random.uniform(0.001, 0.02))
