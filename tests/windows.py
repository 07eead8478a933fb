"""A system that lacks what Windows lacks, acted on this one by `act()`, or for tests by `pytest -p tests.windows`.

`msvcrt.locking` locks as there: for an opening of a file, until that is closed. A file that is open cannot be deleted.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

__all__ = ["act"]

_MODULES = frozenset({"fcntl", "grp", "pwd", "readline", "resource", "syslog", "termios"})
_NAMES = (
    *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchmod", "fchown", "fdatasync", "fork"),
    *("getegid", "geteuid", "getgid", "getgroups", "getuid", "lchown", "mkfifo", "pread", "pwrite"),
    *("register_at_fork", "setgid", "setgroups", "setuid"),
)


class _Forbidden:
    """Finds nothing where Windows has nothing."""

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        if name in _MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def _opened(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        # That of the listing itself.
        return ""


def act(*, with_locks: bool = True) -> None:
    """Take away what Windows has not; without locks, it is a system that has neither sort of them."""
    import fcntl

    # These take it that they are on Windows where there is an `msvcrt`, and miss the rest of it.
    import getpass  # noqa: F401
    import subprocess  # noqa: F401

    sys.meta_path.insert(0, _Forbidden())
    for module in _MODULES:
        sys.modules.pop(module, None)
    for name in _NAMES:
        delattr(os, name)
    for name in ("CLOCK_MONOTONIC", "clock_gettime", "clock_gettime_ns"):
        delattr(time, name)
    remove = os.remove

    def remove_unless_open(path: Any, *, dir_fd: int | None = None) -> None:
        there = os.path.realpath(path)
        if any(there == _opened(each) for each in os.listdir("/proc/self/fd")):
            raise PermissionError(errno.EACCES, "The process cannot access the file because it is being used", path)
        remove(path, dir_fd=dir_fd)

    def locking(descriptor: int, mode: int, number: int) -> None:
        # Others can neither read nor write what is locked.
        assert number == 1
        assert os.lseek(descriptor, 0, os.SEEK_CUR) >= 1_000_000_000
        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN if mode == 0 else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None

    os.remove = os.unlink = remove_unless_open
    if with_locks:
        msvcrt = ModuleType("msvcrt")
        vars(msvcrt).update(locking=locking, LK_UNLCK=0, LK_NBLCK=2)
        sys.modules["msvcrt"] = msvcrt


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Act for a whole run of tests, before any of them is read."""
    act()
