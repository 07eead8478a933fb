"""The real clock, identities, files and locks."""

from __future__ import annotations

import errno
import functools
import importlib
import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import ModuleType

import uuid_utils

from pixelmeter.core.ports import Distrusted

__all__ = [
    "SystemClock",
    "SystemFiles",
    "SystemIds",
    "Witness",
    "distrusted",
    "has_locks",
    "lock",
    "make_private",
    "unlock",
]


def _where_it_is(module: str) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


# POSIX has the one, Windows the other.
_fcntl = _where_it_is("fcntl")
_msvcrt = None if _fcntl is not None else _where_it_is("msvcrt")

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_OPEN = os.O_RDWR | _NO_FOLLOW | _BINARY
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
# macOS has no fdatasync.
_force = getattr(os, "fdatasync", os.fsync)
# On Windows nobody else can read or write what is locked, so a byte is locked that no file of ours reaches.
_LOCKED_BYTE = 1 << 30
# Where a read moves the place of the next one, other threads append meanwhile: so reads have an opening of their own.
_readers: dict[int, int] = {}
_ROOT = 0
_STANDARD_ERROR = 2


def lock(descriptor: int) -> bool:
    """Lock a file for this opening of it; False when somebody has it. Raises OSError.

    The kernel lets go of it when the last descriptor of the opening is closed, however that comes about: those of
    forked children count. On a system without locks nobody ever gets one.
    """
    if _fcntl is not None:
        try:
            _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
    return _msvcrt is not None and _lock_a_byte(descriptor, _msvcrt.LK_NBLCK)


def unlock(descriptor: int) -> None:
    """Let go of a lock at once, forked children or not. Raises OSError."""
    if _fcntl is not None:
        _fcntl.flock(descriptor, _fcntl.LOCK_UN)
    elif _msvcrt is not None:
        _lock_a_byte(descriptor, _msvcrt.LK_UNLCK)


def has_locks() -> bool:
    """Return whether this system has locks that a process lets go of when it dies."""
    return _fcntl is not None or _msvcrt is not None


def _lock_a_byte(descriptor: int, mode: int) -> bool:
    assert _msvcrt is not None
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        _msvcrt.locking(descriptor, mode, 1)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EDEADLK}:
            return False
        raise
    return True


def make_private(path: str) -> None:
    """Make an empty file that only this user can read and write, whatever the umask; one that is there stays."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | _BINARY, 0o600)
        try:
            if hasattr(os, "fchmod"):
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)


def distrusted(folder: str) -> str | None:
    """Return why a folder is not safe to keep files in, as others could take them away; None when it is.

    It is safe in the hands of this user or of root, as long as nobody else can write to it, or only under a sticky bit,
    which lets them remove nothing but their own. A group that has no member but those two is nobody else. Root trusts
    whoever owns the folder. Where there are no owners (Windows) the folder above decides. Raises OSError.
    """
    if not hasattr(os, "geteuid"):
        return None
    user, found = os.geteuid(), os.stat(folder)
    trusted = {user, _ROOT, found.st_uid} if user == _ROOT else {user, _ROOT}
    if {found.st_uid, os.lstat(folder).st_uid} - trusted:
        return f"the spool folder belongs to another user (id {found.st_uid})"
    if found.st_mode & stat.S_ISVTX:
        return None
    if found.st_mode & stat.S_IWOTH:
        return "everybody can write to the spool folder"
    if found.st_mode & stat.S_IWGRP and not _is_theirs_alone(found.st_gid, frozenset({*trusted, found.st_uid})):
        return f"the group {found.st_gid} can write to the spool folder"
    return None


@functools.lru_cache(maxsize=16)
def _is_theirs_alone(group: int, users: frozenset[int]) -> bool:
    """Return whether nobody else is in a group, as far as this system knows its members."""
    if group == _ROOT:
        return True
    if os.geteuid() != _ROOT and group not in {os.getegid(), *os.getgroups()}:
        return False
    import grp
    import pwd

    try:
        members = grp.getgrgid(group).gr_mem
    except KeyError:
        # Containers give groups by number, which no file of theirs names.
        members = []
    with suppress(KeyError):
        if all(pwd.getpwnam(name).pw_uid in users for name in members):
            return all(entry.pw_uid in users for entry in pwd.getpwall() if entry.pw_gid == group)
    return False


class SystemClock:
    """Unix time to stamp, a clock that nobody sets to measure."""

    def now(self) -> int:
        return time.time_ns() // 1000

    if hasattr(time, "CLOCK_MONOTONIC"):

        def monotonic(self) -> int:
            # The same clock as the performance counter, and goes on where freezegun has stopped that.
            return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000

    else:  # Windows

        def monotonic(self) -> int:
            return time.perf_counter_ns() // 1000


class SystemIds:
    """UUIDv7, ordered by time; a forked child draws others than its parent."""

    def new(self) -> str:
        return str(uuid_utils.uuid7())


class SystemFiles:
    """Files of this machine, locked: the kernel releases the lock of a process however it ends."""

    # Without a call of Python's own, as each append asks.
    seek = staticmethod(os.lseek)

    def make_folder(self, path: str) -> None:
        _make_folders(path)
        self.check_folder(path)

    def check_folder(self, path: str) -> None:
        reason = distrusted(path)
        if reason is not None:
            advice = "make it private (chown, chmod 700), or set PIXELMETER_SPOOL_DIR"
            raise Distrusted(errno.EPERM, f"{reason}: {advice}", path)

    def list(self, folder: str) -> Sequence[str]:
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return ()

    def sizes(self, folder: str) -> Mapping[str, int]:
        found: dict[str, int] = {}
        with suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                # It may be gone by now.
                with suppress(FileNotFoundError):
                    found[entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def create(self, path: str) -> int:
        descriptor = _opened(path, os.O_APPEND | os.O_CREAT | os.O_EXCL)
        try:
            # Between our open and our lock somebody may have adopted the empty file, and removed it.
            if (has_locks() and not lock(descriptor)) or os.fstat(descriptor).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            _close_reader(descriptor)
            if not hasattr(os, "pread"):
                _readers[descriptor] = os.open(path, os.O_RDONLY | _BINARY)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def adopt(self, path: str) -> int | None:
        return self._take(path, 0)

    def extend(self, path: str) -> int | None:
        return self._take(path, os.O_APPEND)

    def append(self, descriptor: int, data: bytes) -> int:
        return os.write(descriptor, data)

    def read(self, descriptor: int, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(descriptor, size, offset)
        reader = _readers.get(descriptor, descriptor)
        os.lseek(reader, offset, os.SEEK_SET)
        return os.read(reader, size)

    def sync(self, descriptor: int) -> None:
        _force(descriptor)

    def close(self, descriptor: int) -> None:
        _close_reader(descriptor)
        os.close(descriptor)

    def remove(self, path: str) -> None:
        os.remove(path)

    def discard(self, path: str, descriptor: int) -> None:
        if _fcntl is None:
            # Windows deletes no file that is open. Whoever finds it in between reads what the ledger has.
            self.close(descriptor)
            self.remove(path)
            return
        # The lock goes last: nobody may find the file without it.
        try:
            self.remove(path)
        finally:
            self.close(descriptor)

    def identity(self, descriptor: int) -> tuple[int, int]:
        return _identity_in(os.fstat(descriptor))

    def let_go(self, descriptor: int, identity: tuple[int, int]) -> None:
        # The number may be that of another file of ours by now, which has a reader of its own.
        reader = _readers.get(descriptor)
        if reader is not None and _identity_of(reader) == identity:
            _close_reader(descriptor)

    def _take(self, path: str, flags: int) -> int | None:
        if not _NO_FOLLOW and os.path.islink(path):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        try:
            # Opening a pipe that somebody left here must not wait for its other end.
            descriptor = _opened(path, _NO_WAIT | flags)
        except FileNotFoundError:
            return None
        try:
            _close_reader(descriptor)
            taken = lock(descriptor)
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            if taken and hasattr(os, "geteuid") and os.geteuid() not in {found.st_uid, _ROOT}:
                raise Distrusted(errno.EPERM, f"it belongs to another user (id {found.st_uid})", path)
        except OSError:
            os.close(descriptor)
            raise
        if not taken or found.st_nlink == 0:
            os.close(descriptor)
            return None
        return descriptor


class Witness:
    """An open descriptor that tells, as long as nobody closes it, that nobody has closed those beside it.

    A program may close whatever is open, as daemons do, and open files of its own. They have the numbers then that a
    database library still takes for its own.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._identity = _identity_of(descriptor)

    def is_there(self) -> bool:
        """Return whether it is still open."""
        return self._identity == _identity_of(self._descriptor)

    def close(self) -> None:
        """Close it. Raises OSError."""
        if self.is_there():
            os.close(self._descriptor)


def _identity_of(descriptor: int) -> tuple[int, int] | None:
    try:
        return _identity_in(os.fstat(descriptor))
    except OSError:
        return None


def _identity_in(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _opened(path: str, flags: int) -> int:
    """Open a file, never in the place of a standard stream that is closed: whoever writes to that means no file."""
    descriptor = os.open(path, _OPEN | flags, 0o600)
    if descriptor > _STANDARD_ERROR or _fcntl is None:
        return descriptor
    try:
        moved: int = _fcntl.fcntl(descriptor, _fcntl.F_DUPFD_CLOEXEC, _STANDARD_ERROR + 1)
        return moved
    finally:
        os.close(descriptor)


def _close_reader(descriptor: int) -> None:
    """Close the opening for reads; one may be left of a file whose descriptor somebody else has closed."""
    reader = _readers.pop(descriptor, None)
    if reader is not None:
        os.close(reader)


def _make_folders(path: str) -> None:
    missing: list[str] = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    while missing:
        with suppress(FileExistsError):
            os.mkdir(missing.pop(), 0o700)
