"""The files beside a SQLite ledger: its lock, for one writer at a time across processes, and its write-ahead log.

The log is read without SQLite, which would change it or drop it.
"""

from __future__ import annotations

import contextlib
import os
import random
import stat
import struct
import time
from collections.abc import Generator
from typing import NamedTuple

from pixelmeter.errors import LedgerError
from pixelmeter.system import Witness, has_locks, lock, unlock

__all__ = ["PATIENCE", "Wal", "page_size", "read_wal", "witness", "write_lock"]

PATIENCE = 30.0
"""Seconds to wait for another writer before giving up; with four busy writers the worst wait seen was 3.2 s."""

# sqlite.org/fileformat2.html, section 4: the header, and the head of a frame.
_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = {0x377F0682: "<", 0x377F0683: ">"}
_PAGE_SIZE = struct.Struct(">16xH")


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


def witness(path: str) -> Witness:
    """Open the lock of a ledger beside what SQLite has open, while it is held. Raises LedgerError."""
    try:
        return Witness(os.open(f"{path}.lock", os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)))
    except OSError as error:
        raise LedgerError(f"cannot open {path}.lock: {error.strerror}") from None


class Wal(NamedTuple):
    """A log of at least one byte."""

    is_valid: bool
    """Whether SQLite would read it; one that it would not read it drops."""
    page_size: int
    commits: int
    """Transactions that end in it, as far as its frames belong together."""


def read_wal(path: str) -> Wal | None:
    """Return what the log of a database file is; None where there is none, or it is empty. Raises OSError."""
    if not os.path.isfile(f"{path}-wal"):
        return None
    try:
        with open(f"{path}-wal", "rb") as file:
            head = file.read(_HEADER.size)
            if not head:
                return None
            if len(head) < _HEADER.size:
                return Wal(False, 0, 0)
            magic, _, size, _, *salts = _HEADER.unpack(head)[:6]
            if magic not in _MAGIC or size < 512 or size & (size - 1) or not _has_its_checksum(head, _MAGIC[magic]):
                return Wal(False, 0, 0)
            commits = 0
            while len(frame := file.read(_FRAME.size)) == _FRAME.size:
                _, ends, *frame_salts, _, _ = _FRAME.unpack(frame)
                # What follows is left from before the log began anew.
                if frame_salts != salts:
                    break
                commits += ends > 0
                file.seek(size, os.SEEK_CUR)
            return Wal(True, size, commits)
    except FileNotFoundError:
        return None


def page_size(path: str) -> int | None:
    """Return the page size of a database file; None where it has none, as an empty file. Raises OSError."""
    with open(path, "rb") as file:
        head = file.read(_PAGE_SIZE.size)
    if len(head) < _PAGE_SIZE.size or not head.startswith(b"SQLite format 3\0"):
        return None
    size: int = _PAGE_SIZE.unpack(head)[0]
    return 65536 if size == 1 else size


def _has_its_checksum(head: bytes, order: str) -> bool:
    first = second = 0
    words = struct.unpack(f"{order}6I", head[:24])
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return struct.pack(">2I", first, second) == head[24:32]
