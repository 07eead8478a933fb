"""One daemon thread that runs some work a while after it is woken, and goes on when that fails or ends the thread."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from pixelmeter import lifecycle

__all__ = ["Background", "Ticket"]

_INTERVAL = 1.0
_FIRST_REST = 0.1
_LONGEST_FOR_LOAD = 1.0
_REST_TO_WORK = 50
_MEANWHILE = 0.25
_MEANWHILE_AT_REST = 1.0
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
        self.then: Callable[[], object] | None = None
        """What is done once the run is over."""

    def wait(self, timeout: float) -> bool:
        """Return whether the run succeeded in time (seconds)."""
        self.over.wait(timeout)
        return self.succeeded

    def end(self) -> None:
        """The run is over: do what is to follow, and tell whoever waits."""
        then, self.then = self.then, None
        if then is not None:
            with suppress(Exception):
                then()
        self.over.set()


class Background:
    """Starts at the first `wake`; `work` returns after how many seconds it wants to run again, None when it need not.

    A wake takes effect `interval` seconds later, or after the latest run where that is sooner; the first one after
    `first`, as what a run needs may take long to get ready. In a program that is busy a run costs more than what it
    does, so after much work the rest is fifty times the CPU that it took, up to a second. A run that raises is repeated
    after a pause that doubles from half a second to half a minute; only a ticket makes it shorter, for as long as its
    patience lasts, and `meanwhile` runs every quarter of a second; while a long rest lasts, every second. `afterwards`
    runs after each run, before those who wait for it are told; `close` when the thread ends after a run that succeeded.

    Whatever is no Exception ends the thread, as it would any other: `died` is told, and another thread goes on after
    the pause that a run that raises has.
    """

    def __init__(
        self,
        work: Callable[[], float | None],
        meanwhile: Callable[[], object],
        close: Callable[[], None],
        name: str,
        *,
        interval: float = _INTERVAL,
        first: float = _FIRST_REST,
        afterwards: Callable[[], None] = lambda: None,
        died: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._work = work
        self._meanwhile = meanwhile
        self._close = close
        self._name = name
        self._interval = interval
        self._first = min(first, interval)
        self._afterwards = afterwards
        self._died = died
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child must: the thread and whatever it held stayed in the parent."""
        # Only a SimpleQueue may be used from a finalizer that runs in the middle of this thread's other work. It only
        # says that there is something: what a thread has taken from it goes where the thread dies.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._tickets: deque[Ticket] = deque()
        self._woken = False
        self._sleeping = True
        self._failed = False
        self._pause = _FIRST_PAUSE
        self._retry = _FIRST_RETRY
        self._serving: list[Ticket] = []
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._wanted = False
        self.deaths = 0
        """How often the thread has died."""

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def wake(self) -> None:
        """Have the work run later; costs next to nothing when that is already so, never blocks, never raises."""
        if not self._woken:
            self._woken = True
            if self._sleeping:
                self._bell.put(None)
            if self._thread is None:
                self._start()
        elif not self.is_running:
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
        ticket.end()
        return ticket

    def retire(self, ticket: Ticket) -> bool:
        """Have the thread, if there is one, run for a last ticket; waits for nothing and starts nothing."""
        if not self.is_running:
            return False
        self._tickets.append(ticket)
        self._bell.put(None)
        return True

    def _hand_in(self, ticket: Ticket) -> Ticket:
        self._tickets.append(ticket)
        self._bell.put(None)
        if not self.is_running:
            self._start()
        return ticket

    def _start(self) -> None:
        # Who comes while another one starts a thread leaves it to that one: the thread may have died in between.
        self._wanted = True
        # A thread that is started at the end of the interpreter would never run, and its start would be waited for.
        while self._wanted and not sys.is_finalizing() and self._starting.acquire(blocking=False):
            self._wanted = False
            try:
                if not self.is_running:
                    # Known before it starts: it may have ended by the time that `start` returns.
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
            except RuntimeError:
                # The interpreter is going down; the spool keeps what there is for the next process.
                self._thread = None
            finally:
                self._starting.release()

    def _run(self) -> None:
        try:
            with lifecycle.thread_of_ours():
                self._loop()
        except BaseException as error:
            self.deaths += 1
            self._failed = True
            try:
                self._died(error)
            finally:
                # Not before: of two threads one would be left when somebody closes.
                if self._thread is not threading.current_thread() or self._end_what_is_over():
                    self._go_on_for_late_ones()
                else:
                    self._thread = None
                    self._start()
            raise

    def _loop(self) -> None:
        again = self._until_next_try() if self._failed else None
        rest = self._first
        last = False
        while not last:
            self._wait(again, rest)
            self._woken = False
            begun = time.thread_time()
            again = self._work_once()
            rest = max(self._interval, min((time.thread_time() - begun) * _REST_TO_WORK, _LONGEST_FOR_LOAD))
            last = self._end_what_is_over()
            if self._failed:
                again = self._until_next_try()
        self._go_on_for_late_ones()

    def _go_on_for_late_ones(self) -> None:
        # Whoever came too late for the last run saw a thread, and started none.
        if self._woken or self._serving or self._tickets:
            if not self._woken:
                # A run that is asked for, and nothing to do afterwards: nobody would tell that thread to end.
                self._tickets.append(Ticket(last=True))
            self._start()

    def _work_once(self) -> float | None:
        again: float | None = None
        failed = False
        try:
            again = self._work()
            if any(ticket.last for ticket in self._serving):
                self._close()
        except Exception:
            failed = True
        for ticket in tuple(self._serving):
            ticket.succeeded = not failed
        self._afterwards()
        self._failed = failed
        if not failed:
            self._pause, self._retry = _FIRST_PAUSE, _FIRST_RETRY
        return again

    def _until_next_try(self) -> float:
        """Return how many seconds to wait after a failure: whose time is not up has it tried again soon."""
        if self._serving:
            retry, self._retry = self._retry, min(self._retry * 2, _FIRST_PAUSE)
            now = time.monotonic()
            return max(min(retry, *(ticket.deadline - now for ticket in self._serving)), 0)
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        self._retry = _FIRST_RETRY
        return pause

    def _end_what_is_over(self) -> bool:
        """Tell those who need not wait any longer; return whether one of them wants the thread to end."""
        now = time.monotonic()
        over = [ticket for ticket in self._serving if ticket.succeeded or ticket.deadline <= now]
        last = any(ticket.last for ticket in over)
        if last:
            self._thread = None
        for ticket in over:
            ticket.end()
            # Only now: a thread that dies in between leaves the others to the next one, which may be here already.
            with suppress(ValueError):
                self._serving.remove(ticket)
        return last

    def _wait(self, again: float | None, rest: float) -> None:
        """Return when it is time to work: when that is due, after a wake and a rest, or with a ticket to serve."""
        now = time.monotonic()
        due = None if again is None else now + again
        rested = now + rest
        while not self._tickets:
            now = time.monotonic()
            if (due is not None and now >= due) or (self._woken and not self._failed and now >= rested):
                return
            if due is not None and self._failed:
                self._doze(due - now)
            elif now < rested:
                self._doze((rested if due is None else min(due, rested)) - now)
            else:
                self._sleep(None if due is None else due - now)
                rested = time.monotonic() + rest
        while self._tickets:
            self._serving.append(self._tickets[0])
            self._tickets.popleft()

    def _sleep(self, seconds: float | None) -> None:
        """Return at the next wake, with a ticket, or after that time."""
        self._sleeping = True
        try:
            # Whoever woke us before we slept has rung no bell.
            if not self._woken:
                self._bell.get(timeout=seconds)
        except queue.Empty:
            pass
        finally:
            self._sleeping = False

    def _doze(self, seconds: float) -> None:
        """Return with a ticket, after that time, or after something was done meanwhile."""
        step = _MEANWHILE if self._failed else _MEANWHILE_AT_REST
        try:
            self._bell.get(timeout=max(min(seconds, step), 0))
        except queue.Empty:
            if seconds > step and (self._failed or self._woken):
                self._meanwhile()
