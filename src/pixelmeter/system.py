"""The real clock, identities and files."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Sequence

import uuid_utils

__all__ = ["SystemClock", "SystemFiles", "SystemIds"]

_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
# macOS has no fdatasync.
_force = getattr(os, "fdatasync", os.fsync)


class SystemClock:
    """Unix time to stamp, the performance counter to measure."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> int:
        return time.perf_counter_ns() // 1000


class SystemIds:
    """UUIDv7, ordered by time; a forked child draws others than its parent."""

    def new(self) -> str:
        return str(uuid_utils.uuid7())


class SystemFiles:
    """Files of this machine, locked with flock: the kernel releases the lock of a process however it ends."""

    def make_folder(self, path: str) -> None:
        os.makedirs(path, mode=0o700, exist_ok=True)

    def list(self, folder: str) -> Sequence[str]:
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return ()

    def create(self, path: str) -> int:
        descriptor = os.open(path, _OPEN | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between our open and our lock somebody may have adopted the empty file, and removed it.
            if os.fstat(descriptor).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def adopt(self, path: str) -> int | None:
        try:
            # Opening a pipe that somebody left here must not wait for its other end.
            descriptor = os.open(path, _OPEN | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        if found.st_nlink == 0:
            os.close(descriptor)
            return None
        return descriptor

    def append(self, descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data)

    def read(self, descriptor: int, offset: int, size: int) -> bytes:
        return os.pread(descriptor, size, offset)

    def sync(self, descriptor: int) -> None:
        _force(descriptor)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def remove(self, path: str) -> None:
        os.remove(path)

    def is_open(self, descriptor: int, path: str) -> bool:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
