"""One daemon thread that runs some work soon after it is woken, and again later when the work fails."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["Background", "Ticket"]

_SHORTEST_GATHER = 0.1
_LONGEST_GATHER = 1.0
_GATHER_TO_WORK = 50
_MEANWHILE = 0.25
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_FIRST_RETRY = 0.05


class Ticket:
    """A run that somebody may wait for; one that fails is tried again for `patience` seconds."""

    def __init__(self, patience: float = 0.0, *, last: bool = False) -> None:
        self.deadline = time.monotonic() + patience
        self.last = last
        self.succeeded = False
        self.over = threading.Event()

    def wait(self, timeout: float) -> bool:
        """Return whether the run succeeded in time (seconds)."""
        self.over.wait(timeout)
        return self.succeeded


class Background:
    """Starts at the first `wake`; `work` returns after how many seconds it wants to run again, None when it need not.

    A wake takes effect after fifty times the CPU that the latest run took, from a tenth of a second to a second: in a
    program that is busy a run costs more than what it does, so there it does more at once. A run that raises is
    repeated after a pause that doubles from half a second to half a minute; only a ticket makes it shorter, for as long
    as its patience lasts, and `meanwhile` runs every quarter of a second. `leave` runs when the thread ends after a run
    that succeeded.
    """

    def __init__(
        self, work: Callable[[], float | None], meanwhile: Callable[[], object], leave: Callable[[], None], name: str
    ) -> None:
        self._work = work
        self._meanwhile = meanwhile
        self._leave = leave
        self._name = name
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child must: the thread and whatever it held stayed in the parent."""
        # Only a SimpleQueue may be used from a finalizer that runs in the middle of this thread's other work.
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._woken = False
        self._failed = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def wake(self) -> None:
        """Have the work run soon; costs next to nothing when that is already so, never blocks, never raises."""
        if not self._woken:
            self._woken = True
            self._inbox.put(None)
        if self._thread is None:
            self._start()

    def run(self, patience: float = 0.0) -> Ticket:
        """Have the work run at once, and again while it fails, for so many seconds."""
        return self._hand_in(Ticket(patience))

    def stop(self, patience: float = 0.0) -> Ticket:
        """Have the work run once more, if there is any, and the thread end; again while it fails, as `run` does."""
        ticket = Ticket(patience, last=True)
        if self._thread is not None or self._woken or self._failed:
            return self._hand_in(ticket)
        ticket.succeeded = True
        ticket.over.set()
        return ticket

    def _hand_in(self, ticket: Ticket) -> Ticket:
        self._inbox.put(ticket)
        if self._thread is None:
            self._start()
        return ticket

    def _start(self) -> None:
        # A thread that is started now would never run, and its start would be waited for.
        if sys.is_finalizing() or not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                # Known before it starts: it may have ended by the time that `start` returns.
                self._thread = threading.Thread(target=self._loop, args=(self._inbox,), name=self._name, daemon=True)
                self._thread.start()
        except RuntimeError:
            # The interpreter is going down; the spool keeps what there is for the next process.
            self._thread = None
        finally:
            self._starting.release()

    def _loop(self, inbox: queue.SimpleQueue[Ticket | None]) -> None:
        pause = _FIRST_PAUSE
        retry = _FIRST_RETRY
        gather = _SHORTEST_GATHER
        again: float | None = None
        tickets: list[Ticket] = []
        last = False
        while not last:
            tickets += self._wait(inbox, again, gather)
            self._woken = False
            begun = time.thread_time()
            try:
                again = self._work()
                if any(ticket.last for ticket in tickets):
                    self._leave()
                self._failed = False
                pause, retry = _FIRST_PAUSE, _FIRST_RETRY
            except Exception:
                self._failed = True
            # Whose time is not up has it tried again.
            now = time.monotonic()
            over = [ticket for ticket in tickets if not self._failed or ticket.deadline <= now]
            tickets = [ticket for ticket in tickets if self._failed and ticket.deadline > now]
            last = any(ticket.last for ticket in over)
            if tickets:
                again = min(retry, *(ticket.deadline - now for ticket in tickets))
                retry = min(retry * 2, _FIRST_PAUSE)
            elif self._failed:
                again, pause, retry = pause, min(pause * 2, _LONGEST_PAUSE), _FIRST_RETRY
            gather = min(max((time.thread_time() - begun) * _GATHER_TO_WORK, _SHORTEST_GATHER), _LONGEST_GATHER)
            if last:
                self._thread = None
            for ticket in over:
                ticket.succeeded = not self._failed
                ticket.over.set()
        for ticket in tickets:
            inbox.put(ticket)
        # Whoever came too late for the last run saw a thread, and started none.
        if not inbox.empty():
            self._start()

    def _wait(self, inbox: queue.SimpleQueue[Ticket | None], patience: float | None, gather: float) -> list[Ticket]:
        """Return when it is time to work: after a wake and a moment to gather more, at a ticket, or at the time-out."""
        tickets: list[Ticket] = []
        until = None if patience is None else time.monotonic() + patience
        while not tickets:
            left = None if until is None else max(until - time.monotonic(), 0)
            pausing = self._failed and left is not None and left > _MEANWHILE
            try:
                item = inbox.get(timeout=_MEANWHILE if pausing else left)
            except queue.Empty:
                if pausing:
                    self._meanwhile()
                    continue
                break
            if item is not None:
                tickets.append(item)
            elif not self._failed:
                soon = time.monotonic() + gather
                until = soon if until is None else min(until, soon)
        while tickets:
            try:
                item = inbox.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                tickets.append(item)
        return tickets
