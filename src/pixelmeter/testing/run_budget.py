"""What a test run may spend, shared by all its processes on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["RunBudget"]

_WIDTH = 24
_NAP = 0.001


class RunBudget:
    """A limit in nano-dollars, and a file that says how much of it is used up.

    What a call may cost is reserved before it leaves, and becomes what it has cost when it ends. Raises OSError where
    the file cannot be reached.
    """

    def __init__(self, limit: int, path: str) -> None:
        self.limit = limit
        self.path = path

    def reserve(self, amount: int) -> bool:
        """Take an amount if it still fits, and return whether it did; 0, where a price is unknown, if any is left."""
        with self._locked() as file:
            used = _read(file)
            if used >= self.limit or used + amount > self.limit:
                return False
            _write(file, used + amount)
            return True

    def settle(self, reserved: int, used: int) -> None:
        """Turn what was reserved for a call into what it has used."""
        if reserved != used:
            with self._locked() as file:
                _write(file, _read(file) - reserved + used)

    def used(self) -> int:
        """Return what calls have used, and may still use."""
        with self._locked() as file:
            return _read(file)

    @contextmanager
    def _locked(self) -> Generator[int]:
        # With the first image call, when all of this is loaded: a run without one needs none of it.
        from pixelmeter.system import lock

        # Opened anew: the lock is that of the opening, and threads exclude each other as well as processes.
        file = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            while not lock(file):
                time.sleep(_NAP)
            yield file
        finally:
            os.close(file)


def _read(file: int) -> int:
    os.lseek(file, 0, os.SEEK_SET)
    return int(os.read(file, _WIDTH) or b"0")


def _write(file: int, amount: int) -> None:
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, b"%*d" % (_WIDTH, amount))
