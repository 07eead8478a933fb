"""One daemon thread that runs some work soon after it is woken, and again later when the work fails."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Literal

__all__ = ["Background"]

_GATHER = 0.1
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


class _Ticket:
    """Somebody waits for the next run."""

    def __init__(self, *, last: bool) -> None:
        self.last = last
        self.succeeded = False
        self.over = threading.Event()


class Background:
    """Starts at the first `wake`; `work` returns after how many seconds it wants to run again, None when it need not.

    A run that raises is repeated after a pause that doubles from half a second to half a minute. `leave` runs on the
    thread when it ends after a run that succeeded.
    """

    def __init__(self, work: Callable[[], float | None], leave: Callable[[], None], name: str) -> None:
        self._work = work
        self._leave = leave
        self._name = name
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child must: the thread and whatever it held stayed in the parent."""
        # Only a SimpleQueue may be used from a finalizer that runs in the middle of this thread's other work.
        self._inbox: queue.SimpleQueue[_Ticket | None] = queue.SimpleQueue()
        self._woken = False
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def wake(self) -> None:
        """Have the work run soon; costs next to nothing when that is already so, never blocks, never raises."""
        if not self._woken:
            self._woken = True
            self._inbox.put(None)
        if self._thread is None:
            self._start()

    def run(self, timeout: float) -> bool:
        """Run the work at once and wait for it; return whether it succeeded in time (seconds)."""
        return self._hand_in(_Ticket(last=False), timeout)

    def stop(self, timeout: float) -> bool:
        """Run the work once more and end the thread; return whether it succeeded in time (seconds)."""
        return self._thread is None or self._hand_in(_Ticket(last=True), timeout)

    def _hand_in(self, ticket: _Ticket, timeout: float) -> bool:
        self._inbox.put(ticket)
        if self._thread is None:
            self._start()
        ticket.over.wait(timeout)
        return ticket.succeeded

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._loop, args=(self._inbox,), name=self._name, daemon=True)
                thread.start()
                self._thread = thread
        except RuntimeError:
            # The interpreter is going down; the spool keeps what there is for the next process.
            return
        finally:
            self._starting.release()

    def _loop(self, inbox: queue.SimpleQueue[_Ticket | None]) -> None:
        pause = _FIRST_PAUSE
        again: float | None = None
        last = False
        while not last:
            tickets = self._wait(inbox, again)
            last = any(ticket.last for ticket in tickets)
            self._woken = False
            try:
                again = self._work()
                if last:
                    self._leave()
                succeeded = True
                pause = _FIRST_PAUSE
            except Exception:
                succeeded = False
                again, pause = pause, min(pause * 2, _LONGEST_PAUSE)
            if last:
                self._thread = None
            for ticket in tickets:
                ticket.succeeded = succeeded
                ticket.over.set()

    def _wait(self, inbox: queue.SimpleQueue[_Ticket | None], patience: float | None) -> list[_Ticket]:
        """Return when it is time to work: after a wake and a moment to gather more, at a ticket, or at the time-out."""
        tickets: list[_Ticket] = []
        state: Literal["idle", "gathering"] = "idle"
        while not tickets:
            try:
                item = inbox.get(timeout=patience if state == "idle" else _GATHER)
            except queue.Empty:
                break
            if item is not None:
                tickets.append(item)
            state = "gathering"
        while tickets:
            try:
                item = inbox.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                tickets.append(item)
        return tickets
