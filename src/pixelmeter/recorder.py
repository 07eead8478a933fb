"""Where every attempt goes: into the spool, then to the sinks; and from the spool to the ledger, in the background."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import msgspec

from pixelmeter.background import Background, Ticket
from pixelmeter.core.ports import Clock
from pixelmeter.core.record import Attempt
from pixelmeter.drain import GROUP, Drain
from pixelmeter.errors import LedgerError
from pixelmeter.failures import Failures
from pixelmeter.fanout import Fanout
from pixelmeter.spool import Spool

__all__ = ["CAPTURES", "Recorder"]

_EXIT_SECONDS = 2.0
_SYNC_EVERY = 1_000_000
_ADOPT_EVERY = 60_000_000
_ADOPTION_PAUSE = 0.05
_IDLE = 60_000_000
_FORK_SECONDS = 0.25
_OPENING_SECONDS = 10.0

CAPTURES: list[list[Attempt]] = []
"""While there is one (`pixelmeter.testing.capture_calls`), attempts go there and nowhere else."""

_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
# What a fork left behind. Never closed or collected: a connection of the parent must not be ended by its child.
_inherited: list[object] = []
# Held while a writer thread imports the database libraries, and by a fork: a child forked in the middle of that would
# have modules that never get ready. Reentrant for a signal handler that forks.
_opening = threading.RLock()
_held: list[list[_Lock]] = []


class _Lock(Protocol):
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


class Recorder:
    """Keeps intents and outcomes; nothing starts before the first one, and after a fork all of it starts anew."""

    def __init__(
        self,
        spool: Spool,
        open_drain: Callable[[], Drain],
        *,
        clock: Clock,
        failures: Failures,
        fanout: Fanout,
    ) -> None:
        self._spool = spool
        self._open_drain = open_drain
        self._clock = clock
        self._failures = failures
        self._fanout = fanout if fanout.sinks else None
        self._drain: Drain | None = None
        self._background = self._make_background()
        self._make_locks()
        self._synced = 0
        self._adopted: int | None = None
        self._adopting = False
        self._wrote: int | None = None
        self._registered = False
        self.ledger_error: str | None = None
        """What the ledger last said no to, without secrets; None while it takes everything."""

    def enter(self, intent: Attempt) -> list[Callable[[], None]]:
        """Tell the sinks of an attempt that is about to leave; return what to call once its transport has answered."""
        return [] if self._fanout is None or CAPTURES else self._fanout.enter(intent)

    def begin(self, intent: Attempt) -> None:
        """Keep an attempt that is about to leave."""
        if CAPTURES:
            return
        if not self._registered:
            self._register()
        self._spool.intent(intent)

    def end(self, attempt: Attempt) -> None:
        """Keep an attempt that has ended."""
        if CAPTURES:
            for capture in CAPTURES:
                capture.append(attempt)
            return
        if self._fanout is not None:
            self._fanout.expect()
        self._spool.outcome(attempt)
        if self._fanout is not None:
            self._fanout.end(attempt, self._spool.dropped)
        self._background.wake()

    def flush(self, timeout: float) -> bool:
        """Bring what has ended so far into the ledger; return whether all of it is there in time (seconds)."""
        return not self._registered or self._background.run(timeout).wait(timeout)

    def close(self, timeout: float = _EXIT_SECONDS) -> bool:
        """Flush, and give back thread, connection and files; a later attempt would take them anew."""
        return self.stop(timeout).wait(timeout)

    def stop(self, timeout: float = _EXIT_SECONDS) -> Ticket:
        """Begin to close, and try for so many seconds; the ticket tells when it is done."""
        return self._background.stop(timeout)

    def tell_lost(self) -> None:
        """Log what is in memory only, where the process is about to end."""
        lost = self._spool.overflow() + (0 if self._drain is None else self._drain.held())
        if lost:
            self._failures.lose(lost)

    def forget(self) -> None:
        """Drop what belongs to the parent process: called in a forked child, so it takes no lock and logs nothing."""
        if self._drain is not None:
            self._drain.forget()
            _inherited.append(self._drain)
            self._drain = None
        _inherited.append(self._background)
        self._background = self._make_background()
        self._make_locks()
        self._spool.forget()
        if self._fanout is not None:
            self._fanout.forget()
        self._adopted = None
        self._adopting = False

    def _make_background(self) -> Background:
        return Background(self._work, self._sync, self._leave, "pixelmeter-writer")

    def _register(self) -> None:
        self._registered = True
        _hook()
        _recorders.add(self)

    def _work(self) -> float | None:
        """Run on the background thread: move what has ended into the ledger, and sync the spool now and then."""
        writes: list[tuple[int, int]] = []
        try:
            self._write(writes)
        except Exception as error:
            self.ledger_error = f"{type(error).__name__}: {error}"
            self._failures.note("ledger", error)
            self._observe(writes, failed=True)
            self._sync()
            raise
        self.ledger_error = None
        self._observe(writes, failed=False)
        return _soonest(self._adopt(), self._sync(), self._let_go(wrote=bool(writes)))

    def _write(self, writes: list[tuple[int, int]]) -> None:
        if self._drain is None:
            with _opening:
                self._drain = self._open_drain()
        while True:
            started = self._clock.monotonic()
            rows = self._step(self._drain)
            if rows:
                writes.append((rows, self._clock.monotonic() - started))
            if not rows or (rows < GROUP and not self._drain.behind):
                return

    def _adopt(self) -> float | None:
        """Take in a part of what dead processes left; return after how many seconds to go on, None at the end of it.

        It comes after our own attempts and goes on in parts, so that thousands of files hold up nobody.
        """
        now = self._clock.monotonic()
        if self._drain is None or not (self._adopting or self._adopted is None or now - self._adopted > _ADOPT_EVERY):
            return None
        if not self._adopting:
            self._adopted = now
        self._adopting = False
        try:
            with self._unforked():
                self._adopting = self._drain.adopt_some()
        except Exception as error:
            self._failures.note("adoption", error)
        return _ADOPTION_PAUSE if self._adopting else None

    def _observe(self, writes: Sequence[tuple[int, int]], *, failed: bool) -> None:
        if self._fanout is not None:
            self._fanout.observe(writes, failed=failed, dropped=self._spool.dropped)

    def _step(self, drain: Drain) -> int:
        with self._unforked():
            return drain.step()

    @contextmanager
    def _unforked(self) -> Generator[None, None, None]:
        """Have a fork wait for a moment: a child could hang in a lock that a database library holds just now."""
        with self._entrance:
            self._inside.acquire()
        try:
            yield
        finally:
            self._inside.release()

    def _make_locks(self) -> None:
        # Two, as a lock is not fair: a fork that has the entrance gets in before the thread's next step.
        self._entrance = threading.RLock()
        self._inside = threading.RLock()

    def locks(self) -> Sequence[_Lock]:
        """Return what a fork should hold, in this order."""
        return self._entrance, self._inside

    def _sync(self) -> float | None:
        waited = self._clock.monotonic() - self._synced
        if waited < _SYNC_EVERY:
            return (_SYNC_EVERY - waited) / 1e6
        self._synced = self._clock.monotonic()
        self._spool.sync()
        return None

    def _let_go(self, *, wrote: bool) -> float | None:
        """Give the database back after a minute without rows; return in how many seconds to look again."""
        now = self._clock.monotonic()
        if wrote or self._wrote is None:
            self._wrote = now
        left = self._wrote + _IDLE - now
        if left > 0:
            return left / 1e6
        # What cannot be closed now is, after the next rows.
        if self._drain is not None:
            with suppress(LedgerError), self._unforked():
                self._drain.rest()
        return None

    def _leave(self) -> None:
        """Run on the background thread when it ends: a connection is closed by the thread that opened it.

        The drain stays for a later attempt: it knows what of the files that are left it has read.
        """
        if self._drain is not None:
            with self._unforked():
                self._drain.close()

    def status(self) -> dict[str, Any]:
        """Return what is kept where: `spool` and `drain` (None before the first attempt), and `ledger_error`."""
        drain = self._drain
        return {
            "spool": msgspec.structs.asdict(self._spool.status()),
            "drain": None if drain is None else msgspec.structs.asdict(drain.status()),
            "ledger_error": self.ledger_error,
        }


def _soonest(*waits: float | None) -> float | None:
    return min((seconds for seconds in waits if seconds is not None), default=None)


_hooked = False


def _hook() -> None:
    global _hooked
    if not _hooked:
        _hooked = True
        atexit.register(_stop_all)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
            )


def _stop_all() -> None:
    # All of them first: a ledger that hangs must not take the time of the others, nor a logging handler that raises.
    deadline = time.monotonic() + _EXIT_SECONDS
    recorders = list(_recorders)
    for ticket in [recorder.stop() for recorder in recorders]:
        ticket.wait(max(deadline - time.monotonic(), 0))
    for recorder in recorders:
        recorder.tell_lost()


def _before_fork() -> None:
    held: list[_Lock] = [_opening] if _opening.acquire(timeout=_OPENING_SECONDS) else []
    deadline = time.monotonic() + _FORK_SECONDS
    for recorder in list(_recorders):
        held += [lock for lock in recorder.locks() if lock.acquire(timeout=max(deadline - time.monotonic(), 0))]
    _held.append(held)


def _after_fork_in_parent() -> None:
    for lock in _held.pop():
        lock.release()


def _after_fork_in_child() -> None:
    global _opening
    _opening = threading.RLock()
    _held.clear()
    for recorder in list(_recorders):
        recorder.forget()
