"""Where every attempt goes: into the spool, then to the sinks; and from the spool to the ledger, in the background."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from pixelmeter import lifecycle
from pixelmeter.budgets.leasing import Leasing
from pixelmeter.capturing import CAPTURES
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Clock
from pixelmeter.drain import Drain
from pixelmeter.lifecycle import catch_up
from pixelmeter.outgoing import Outgoing
from pixelmeter.recorder.background import Background, Ticket
from pixelmeter.recorder.failures import Failures
from pixelmeter.recorder.sink_dispatch import SinkDispatch
from pixelmeter.recorder.status import RecorderStatus
from pixelmeter.recorder.writing import Writing
from pixelmeter.spool import Spool

__all__ = ["Recorder"]

WRITE_INTERVAL = 1.0
"""Seconds between two writes to the ledger."""

# Early, so that what it takes to write is at hand when a program ends soon after its first call.
_FIRST_WRITE = 0.1
_EXIT_SECONDS = 2.0

_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()
# Of meters that nobody has any more, whose writers are at their last run.
_leaving: set[Ticket] = set()


class _Process:
    """Stands for the process in which an attempt begins."""

    __slots__ = ()


class Recorder:
    """Keeps intents and outcomes; nothing starts before the first one, and after a fork all of it starts anew.

    When the last one who has it lets go of it, what has ended is brought into the ledger, and thread and files go.
    """

    def __init__(
        self,
        spool: Spool,
        open_drain: Callable[[], Drain],
        *,
        clock: Clock,
        failures: Failures,
        dispatch: SinkDispatch,
        leasing: Leasing | None = None,
        interval: float = WRITE_INTERVAL,
    ) -> None:
        """`open_drain` must not refer to whoever keeps the recorder: the writer thread keeps it."""
        self._spool = spool
        self.sinks = dispatch.sinks
        """The live views, in the order in which they are told."""
        self._dispatch = dispatch if dispatch.sinks else None
        self._backlog = dispatch.backlog
        self._writing = Writing(spool, open_drain, clock=clock, failures=failures, dispatch=dispatch, leasing=leasing)
        first = _FIRST_WRITE
        if lifecycle.are_coming():
            # No thread of ours should be at anything then: what it would import and open is imported here and now.
            first = interval
            with suppress(Exception):
                open_drain()
        self._background = Background(
            self._writing.work,
            self._writing.sync,
            self._writing.close,
            "pixelmeter-writer",
            interval=interval,
            first=first,
            afterwards=self._writing.tell,
            died=self._writing.break_off,
        )
        self._process = _Process()
        self._registered = False
        if leasing is not None:
            leasing.urge = self._background.run

    def open(self, timeout: float) -> None:
        """Have the writer open the ledger before the first attempt, and wait for that as long (seconds)."""
        if not lifecycle.are_coming() and not CAPTURES:
            self._register()
            self._background.run().wait(timeout)

    @property
    def is_captured(self) -> bool:
        """Whether attempts go nowhere but to tests that look at them (`pixelmeter.testing`)."""
        return bool(CAPTURES)

    def show(self, intent: Attempt, outgoing: Outgoing) -> None:
        """Show tests an attempt that is about to leave; they may raise to keep it from that."""
        for capture in [*CAPTURES]:
            capture.admit(intent, outgoing)

    def receiver(self) -> Callable[[Attempt], None]:
        """Return what takes the end of an attempt that begins now; to be asked for before anything else of it.

        It takes nothing in a child that is forked meanwhile: the attempt is the parent's. One that begins while a test
        looks is never written; one that began before is, as ever.
        """
        lifecycle.check()
        return _captured if CAPTURES else partial(self._end, self._process)

    def enter(self, intent: Attempt) -> list[Callable[[], None]]:
        """Tell the sinks of an attempt that is about to leave; return what to call once its transport has answered."""
        return [] if self._dispatch is None or CAPTURES else self._dispatch.enter(intent)

    def begin(self, intent: Attempt) -> None:
        """Keep an attempt that is about to leave."""
        if CAPTURES:
            return
        if not self._registered:
            self._register()
        self._spool.intent(intent)

    def end(self, attempt: Attempt) -> None:
        """Keep an attempt that has ended."""
        lifecycle.check()
        self._end(self._process, attempt)

    def job_end(self, end: JobEnd) -> None:
        """Keep what was heard of the end of a job."""
        if CAPTURES:
            return
        lifecycle.check()
        if not self._registered:
            self._register()
        self._backlog.expect()
        self._spool.outcome(end)
        self._background.wake()

    def flush(self, timeout: float) -> bool:
        """Bring what has ended so far into the ledger; return whether all of it is there in time (seconds)."""
        lifecycle.check()
        catch_up()
        return not self._registered or self._background.run(timeout).wait(timeout)

    def close(self, timeout: float = _EXIT_SECONDS) -> bool:
        """Flush, and give back thread, connection and files; a later attempt would take them anew."""
        return self.stop(timeout).wait(timeout)

    def stop(self, timeout: float = _EXIT_SECONDS) -> Ticket:
        """Begin to close, and try for so many seconds; the ticket tells when it is done."""
        lifecycle.check()
        catch_up()
        return self._background.stop(timeout)

    @property
    def ledger_error(self) -> str | None:
        """What the ledger last said no to, without secrets; None while it takes everything."""
        return self._writing.ledger_error

    def tell_lost(self) -> None:
        """Log what is in memory only, where the process is about to end."""
        self._writing.lose()

    def locks(self) -> Sequence[lifecycle.Lock]:
        """Return what a fork should hold, in this order."""
        return self._writing.locks()

    def forget(self) -> None:
        """Drop what belongs to the parent process: called in a forked child, so it takes no lock and logs nothing."""
        self._process = _Process()
        self._writing.forget()
        self._background.forget()
        self._spool.forget()
        self._backlog.forget()
        if self._dispatch is not None:
            self._dispatch.forget()

    def status(self) -> RecorderStatus:
        """Return what is kept where, and how its way into the ledger is going."""
        lifecycle.check()
        return {
            "waiting": self._backlog.waiting(),
            "waiting_seconds": self._backlog.lag() / 1e6,
            "writer": {"running": self._background.is_running, "restarts": self._background.deaths},
            "spool": self._spool.status(),
            "drain": self._writing.status(),
            "ledger_error": self.ledger_error,
        }

    def _end(self, process: _Process, attempt: Attempt) -> None:
        lifecycle.check()
        if process is not self._process:
            return
        if not self._registered:
            # One that a budget has refused has no intent before it.
            self._register()
        self._backlog.expect()
        self._spool.outcome(attempt)
        if self._dispatch is not None:
            self._dispatch.end(attempt, self._spool.dropped)
        self._background.wake()

    def _register(self) -> None:
        self._registered = True
        lifecycle.at_exit(_stop_all)
        _recorders.add(self)
        lifecycle.register(self)
        last = weakref.finalize(self, _let_go, self._background, self._writing, self._spool)
        last.atexit = False


def _captured(attempt: Attempt) -> None:
    for capture in [*CAPTURES]:
        capture.take(attempt)


def _let_go(background: Background, writing: Writing, spool: Spool) -> None:
    """Have the writer of a recorder that is gone write once more, and end; what it cannot write is left to others.

    Called in the middle of anything, so it waits for nothing and starts no thread.
    """
    if lifecycle.is_child():
        lifecycle.keep((background, writing, spool))
        return
    ticket = Ticket(last=True)
    ticket.then = partial(_end, ticket, writing, spool)
    _leaving.add(ticket)
    if not background.retire(ticket):
        _leaving.discard(ticket)
        spool.forget()


def _end(ticket: Ticket, writing: Writing, spool: Spool) -> None:
    writing.lose()
    writing.let_go()
    spool.forget()
    _leaving.discard(ticket)


def _stop_all() -> None:
    # All of them first: a ledger that hangs must not take the time of the others, nor a logging handler that raises.
    deadline = time.monotonic() + _EXIT_SECONDS
    recorders = list(_recorders)
    for ticket in [*(recorder.stop() for recorder in recorders), *_leaving]:
        ticket.wait(max(deadline - time.monotonic(), 0))
    for recorder in recorders:
        recorder.tell_lost()
