"""Our own failures: counted by place, logged once a minute, never raised."""

from __future__ import annotations

import _thread
import errno
import logging
import os
from _thread import LockType
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

from pixelmeter import lifecycle
from pixelmeter.core.ports import Clock, Distrusted
from pixelmeter.errors import PixelmeterError

__all__ = ["Failures", "described", "settle"]

_EVERY = 60_000_000
_EXIT_SECONDS = 0.5
_log = logging.getLogger("pixelmeter")
# What is being logged, and by which process: a forked child has no threads of its parent.
_lines: deque[tuple[int, LockType]] = deque()


def settle(timeout: float = _EXIT_SECONDS) -> None:
    """Wait until what is being logged has been; at most so many seconds for each line."""
    for process, line in list(_lines):
        if process == os.getpid() and line.acquire(timeout=timeout):
            line.release()


class Failures:
    """What went wrong inside pixelmeter while the caller's request went on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._logged: dict[str, int] = {}

    def note(self, place: str, error: BaseException, path: str = "") -> None:
        """Count a failure, and log what may be said of it; `path` is the file or folder of ours that it is about."""
        try:
            self._counts[place] = self._counts.get(place, 0) + 1
            if self._is_due(place):
                _warn(
                    "pixelmeter failed in %s: %s (%d so far): %s; requests are not affected, "
                    "`pixelmeter doctor` says more",
                    place,
                    type(error).__name__,
                    self._counts[place],
                    described(error, path) or "nothing more is known",
                )
        except Exception:  # this is the last to know
            return

    def set_aside(self, attempts: int, reason: str) -> None:
        """Count attempts that the ledger refuses, and log why: the reason has nothing of them in it."""
        try:
            self._counts["refused"] = self._counts.get("refused", 0) + attempts
            if self._is_due(f"refused {reason}"):
                _warn(
                    "pixelmeter set %d attempts aside that the ledger refuses: %s (%d so far; they are kept in the "
                    "spool folder; `pixelmeter doctor` says what to do)",
                    attempts,
                    reason,
                    self._counts["refused"],
                )
        except Exception:  # this is the last to know
            return

    def lose(self, attempts: int) -> None:
        """Log that attempts go with the process: neither the ledger nor the spool has taken them."""
        with suppress(Exception):
            _log.error(
                "pixelmeter lost %d attempts that neither ledger nor spool took: `pixelmeter doctor` says why", attempts
            )

    def counts(self) -> Mapping[str, int]:
        """Return how often each place failed."""
        return dict(self._counts)

    def _is_due(self, place: str) -> bool:
        now = self._clock.monotonic()
        logged = self._logged.get(place)
        if logged is not None and now - logged < _EVERY:
            return False
        self._logged[place] = now
        return True


def _warn(message: str, *arguments: object) -> None:
    """Log on a thread of its own.

    A handler of the host may raise anything, SystemExit and KeyboardInterrupt included. On the caller's thread these
    could not be told from those of a signal, which are the caller's; on another one no signal is handled.
    """
    lifecycle.at_exit(settle)
    line = _thread.allocate_lock()
    line.acquire()
    entry = os.getpid(), line
    _lines.append(entry)
    try:
        # Not a `Thread`, which takes locks when it starts: a body may be collected in the middle of that.
        _thread.start_new_thread(_warn_here, (entry, message, arguments))
    except RuntimeError:  # there can be no more threads, as at the end of the interpreter
        _lines.remove(entry)


def _warn_here(entry: tuple[int, LockType], message: str, arguments: tuple[object, ...]) -> None:
    with suppress(BaseException):
        _log.warning(message, *arguments)
    with suppress(ValueError):
        _lines.remove(entry)
    entry[1].release()


_LONGEST = 300
_PACKAGE = os.path.dirname(os.path.dirname(__file__))


def described(error: BaseException, path: str = "") -> str:
    """Return what went wrong, and where: "" where nothing may be said beyond the class.

    Of an OSError it is the number by its name, and `path`, which says what we were at work on, or the file below it.
    Our own errors have texts without secrets. The text of any other may hold what a caller sent, so it is the place in
    our code instead.
    """
    if isinstance(error, PixelmeterError):
        return _bounded(str(error))
    parts: list[str] = []
    if isinstance(error, Distrusted):
        parts.append(str(error.strerror))
    elif isinstance(error, OSError) and error.errno is not None:
        parts.append(f"{errno.errorcode.get(error.errno, error.errno)} {os.strerror(error.errno)}")
    if path:
        named = error.filename if isinstance(error, OSError) else None
        parts.append(named if isinstance(named, str) and named.startswith(path) else path)
    else:
        parts.append(_place(error.__traceback__))
    return _bounded(", ".join(filter(None, parts)))


def _bounded(text: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(plain.split())[:_LONGEST]


def _place(traceback: TracebackType | None) -> str:
    """Return the file and the line of ours at which an exception came up or passed by."""
    found = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file.startswith(f"{_PACKAGE}{os.sep}"):
            found = f"{os.path.relpath(file, _PACKAGE)}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found
