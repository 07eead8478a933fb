"""One attempt to many live views: metrics, spans, whatever a program brings."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Clock
from pixelmeter.core.sink import AdjustmentSink, Health, Sink
from pixelmeter.recorder.failures import Failures

__all__ = ["SinkDispatch", "amid_other_code"]

_COUNTED = 100_000
_HUNG = 5_000_000


class _Here(threading.local):
    amid = False


_here = _Here()


@contextmanager
def amid_other_code() -> Generator[None]:
    """Have sinks told later of what ends within: this thread may be in the middle of anything, a lock of theirs held.

    That is so when a body is collected, and while a sink is at work, since then one may be collected as well. They are
    told by whoever comes next: a call that begins or ends, or the writer.
    """
    before, _here.amid = _here.amid, True
    try:
        yield
    finally:
        _here.amid = before


class Backlog:
    """How many attempts have ended and are not in the ledger, and since when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child must; takes no lock."""
        # When each of them ended; of many, the oldest.
        self._ended: deque[int] = deque()
        self._dropped = 0

    def expect(self) -> None:
        """Take note that an attempt is about to be kept for the ledger: before the writer can have it there."""
        if len(self._ended) < _COUNTED:
            self._ended.append(self._clock.monotonic())

    def settle(self, number: int, dropped: int) -> None:
        """Take note that so many are in the ledger now, and how many were lost since the start."""
        number += dropped - self._dropped
        self._dropped = dropped
        with suppress(IndexError):
            for _ in range(number):
                self._ended.popleft()

    def waiting(self) -> int:
        """Return how many there are, 100,000 at most."""
        return len(self._ended)

    def lag(self) -> int:
        """Return how many microseconds the oldest has been waiting."""
        try:
            return self._clock.monotonic() - self._ended[0]
        except IndexError:
            return 0


class SinkDispatch:
    """Tells the sinks of each attempt, and of how the way to the ledger is doing."""

    def __init__(self, sinks: Sequence[Sink], *, clock: Clock, failures: Failures, backend: str) -> None:
        self.sinks = tuple(sinks)
        """In the order in which they are told."""
        self._clock = clock
        self._failures = failures
        self._backend = backend
        self.backlog = Backlog(clock)
        self.forget()

    def forget(self) -> None:
        """Drop what belongs to the parent process; takes no lock."""
        self._untold: deque[Attempt] = deque()
        self._changes: deque[Change] = deque()
        self._dropped = 0
        self._spool_used = 0.0
        self._observed = 0
        self.backlog.forget()

    def enter(self, intent: Attempt) -> list[Callable[[], None]]:
        """Tell of an attempt that is about to leave; return what to call once its transport has answered."""
        leaving: list[Callable[[], None]] = []
        self.tell(self._dropped)
        with amid_other_code():
            for sink in self.sinks:
                try:
                    leave = sink.begin(intent)
                    if leave is not None:
                        leaving.append(partial(self._leave, sink, leave))
                except Exception as error:
                    self._failures.note(type(sink).__name__, error)
        return leaving

    def end(self, attempt: Attempt, dropped: int) -> None:
        """Tell of an attempt that has ended, now or soon; `dropped` is how many were lost since the start."""
        self._untold.append(attempt)
        if not _here.amid:
            self.tell(dropped)

    def tell(self, dropped: int) -> None:
        """Tell of the attempts that have ended and were not told of yet."""
        with amid_other_code():
            while self._untold:
                try:
                    attempt = self._untold.popleft()
                except IndexError:  # another thread took it
                    break
                self._all(partial(_record, attempt))
        # A database that hangs holds the writer, which then tells nobody that attempts are waiting.
        if self._clock.monotonic() - self._observed > _HUNG and self.backlog.lag() > _HUNG:
            self._observe((), failed=False, dropped=dropped, spool_used=self._spool_used)

    def changed(self, changes: Sequence[Change]) -> None:
        """Take what ends of jobs have changed of attempts; the sinks are told after the writer's run."""
        if self.sinks:
            self._changes.extend(changes)

    def observe(
        self, writes: Sequence[tuple[int, int]], *, failed: bool, dropped: int, spool_used: float = 0.0
    ) -> None:
        """Tell of a run of the writer: rows and microseconds of each transaction, and whether the ledger said no."""
        self.tell(dropped)
        with amid_other_code():
            while self._changes:
                self._all(partial(_adjust, self._changes.popleft()))
        self._observe(writes, failed=failed, dropped=dropped, spool_used=spool_used)

    def _leave(self, sink: Sink, leave: Callable[[], None]) -> None:
        try:
            leave()
        except Exception as error:
            self._failures.note(type(sink).__name__, error)

    def _observe(self, writes: Sequence[tuple[int, int]], *, failed: bool, dropped: int, spool_used: float) -> None:
        self.backlog.settle(0, dropped)
        self._dropped = dropped
        self._spool_used = spool_used
        self._observed = self._clock.monotonic()
        health = Health(
            backend=self._backend,
            writes=tuple(writes),
            failed=failed,
            waiting=self.backlog.waiting(),
            lag=self.backlog.lag(),
            dropped=dropped,
            spool_used=spool_used,
            failures=self._failures.counts(),
        )
        with amid_other_code():
            self._all(partial(_observe, health))

    def _all(self, tell: Callable[[Sink], None]) -> None:
        """Tell each sink; what is no Exception goes on to whoever is to get it, once the others have been told."""
        raised: BaseException | None = None
        for sink in self.sinks:
            try:
                tell(sink)
            except Exception as error:
                self._failures.note(type(sink).__name__, error)
            except BaseException as error:
                raised = raised or error
        if raised is not None:
            raise raised


def _record(attempt: Attempt, sink: Sink) -> None:
    sink.record(attempt)


def _adjust(change: Change, sink: Sink) -> None:
    if isinstance(sink, AdjustmentSink):
        sink.adjust(change)


def _observe(health: Health, sink: Sink) -> None:
    sink.observe(health)
