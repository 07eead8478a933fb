"""Tells people of thresholds that were passed: the writer looks for them, a thread of its own tells."""

from __future__ import annotations

import inspect
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from pixelmeter import lifecycle
from pixelmeter.budgets.spender import NEVER
from pixelmeter.budgets.webhook import Message, Undelivered, Webhook
from pixelmeter.core.budgets.budget import Budget, Notice
from pixelmeter.core.budgets.notices import NoticeKey, Passed, body_of, notice_of
from pixelmeter.core.ports import Clock
from pixelmeter.errors import LedgerError, PixelmeterError
from pixelmeter.ledger.writer import BudgetWriter

__all__ = ["Notices", "Teller"]

_SECOND = 1_000_000
_EVERY = 5 * _SECOND
_AFTER_FAILURE = 60 * _SECOND
_STALE = 300 * _SECOND
"""What was claimed so long ago and not sent is claimed anew: its process has died."""
_LATE = 600 * _SECOND
"""So long after its end a span is looked at: calls that began in it end after it."""
_MOST = 100
_PATIENCE = 60 * _SECOND
"""How long a function may take; then it is left alone, and others are told on another thread."""
_PAUSES = (1.0, 4.0, 15.0, 60.0)
_AT_CLOSE = 1.0

_log = logging.getLogger("pixelmeter")


class Notices:
    """The writer's side: claims what is to be told of the budgets of a program. For the writer thread, but for `forget`
    and `urge`.
    """

    def __init__(
        self,
        budgets: Sequence[Budget],
        *,
        clock: Clock,
        process: Callable[[], str],
        note: Callable[[str, BaseException], object],
        keys: Sequence[bytes] = (),
        pauses: Sequence[float] = _PAUSES,
    ) -> None:
        """`process` tells who claims, `note` takes failures, `keys` sign what webhooks are sent.

        `pauses` are the seconds between the tries of a webhook.
        """
        self._names = frozenset(budget.name for budget in budgets if budget.rule.thresholds)
        self._clock = clock
        self._process = process
        self._note = note
        self.urge: Callable[[], object] = lambda: None
        """Has the writer serve at once."""
        self._teller = Teller(
            {budget.name: budget.notify for budget in budgets},
            clock=clock,
            note=note,
            webhook=Webhook(keys, clock),
            pauses=pauses,
            told=self._urge,
        )
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child must; takes no lock."""
        self.changed = True
        """Whether sums may be other ones than at the latest look."""
        self._looked = -NEVER
        self._due = NEVER
        self._teller.forget()

    def serve(self, writer: BudgetWriter, *, at_once: bool = False) -> float | None:
        """Look for thresholds that were passed, where it is time to; return in how many seconds again.

        `at_once` has it look whenever anything has changed. Never raises LedgerError: budgets hold without notices.
        """
        if not self._names:
            return None
        try:
            self.take_note(writer)
            if self._teller.look_after():
                self._due = min(self._due, self._clock.monotonic() + _PATIENCE)
            return self._look(writer, at_once=at_once)
        except LedgerError as error:
            self._note("notices", error)
            self.changed, self._due = True, NEVER
            self._looked = self._clock.monotonic() - _EVERY + _AFTER_FAILURE
            return _AFTER_FAILURE / _SECOND

    def take_note(self, writer: BudgetWriter) -> None:
        """Keep in the ledger what has been told. Raises LedgerError."""
        told = self._teller.told_so_far()
        if told:
            try:
                writer.notices_sent(told, self._clock.now())
            except LedgerError:
                self._teller.told_again(told)
                raise

    def close(self, writer: BudgetWriter) -> None:
        """Take note of what has been told; what has not is for others to tell, or for this process when it goes on."""
        self._teller.drop()
        with suppress(LedgerError):
            self.take_note(writer)
        self.changed = True

    def settle(self, seconds: float = _AT_CLOSE) -> bool:
        """Wait for a moment until all is told; return whether it is."""
        return self._teller.wait(seconds)

    def _urge(self) -> None:
        self.urge()

    def _look(self, writer: BudgetWriter, *, at_once: bool) -> float | None:
        now = self._clock.monotonic()
        if self.changed:
            self._due = min(self._due, now if at_once else self._looked + _EVERY)
        if now >= self._due:
            self._claim(writer, now)
        return None if self._due == NEVER else max(self._due - now, 0) / _SECOND

    def _claim(self, writer: BudgetWriter, now: int) -> None:
        self._looked = now
        if self._teller.waiting >= _MOST:
            self._due = now + _EVERY
            return
        at = self._clock.now()
        found = writer.claim_notices(self._process(), self._names, (at - _LATE, at), at - _STALE)
        self.changed = len(found.passed) >= _MOST
        self._due = NEVER
        if found.pending_since is not None:
            self._due = now + max(found.pending_since + _STALE - at, _EVERY)
        self._teller.tell(found.passed)


class _Errand:
    """A notice on its way to people: first to the log, then to whom the budget names."""

    __slots__ = ("due", "is_logged", "key", "notice", "tries")

    def __init__(self, passed: Passed) -> None:
        self.key = passed.key
        self.notice = notice_of(passed)
        self.is_logged = False
        self.tries = 0
        self.due = 0
        """When it is to be tried again, in microseconds of the monotonic clock."""


class _Doing(NamedTuple):
    """What a thread of a teller is at."""

    errand: _Errand
    since: int
    """Microseconds of the monotonic clock."""


class Teller:
    """Tells people on a daemon thread, which is there only while there is something to tell."""

    def __init__(
        self,
        whom: Mapping[str, Callable[[Notice], object] | str | None],
        *,
        clock: Clock,
        note: Callable[[str, BaseException], object],
        webhook: Webhook,
        pauses: Sequence[float],
        told: Callable[[], object],
    ) -> None:
        self._whom = whom
        self._clock = clock
        self._note = note
        self._webhook = webhook
        self._pauses = pauses
        self._is_told = told
        self.forget()

    def forget(self) -> None:
        """Drop what the parent of a forked child is telling."""
        self._lock = threading.Condition()
        self._errands: list[_Errand] = []
        self._doing: _Doing | None = None
        self._thread: threading.Thread | None = None
        self._told: deque[NoticeKey] = deque()
        self._stuck: set[str] = set()
        self._is_open = True

    @property
    def waiting(self) -> int:
        """How many notices are to be told."""
        return len(self._errands) + (self._doing is not None)

    def tell(self, found: Iterable[Passed]) -> None:
        """Tell people of thresholds that have been passed."""
        with self._lock:
            self._is_open = True
            known = {errand.key for errand in self._errands} | set(self._told.copy())
            if self._doing is not None:
                known.add(self._doing.errand.key)
            self._errands += [_Errand(passed) for passed in found if passed.key not in known]
            self._go_on()

    def look_after(self) -> bool:
        """Leave alone what takes too long; return whether there is anything to look after."""
        with self._lock:
            doing = self._doing
            if doing is not None and self._clock.monotonic() - doing.since >= _PATIENCE:
                self._doing = self._thread = None
                self._stuck.add(doing.errand.key.budget)
                self._told.append(doing.errand.key)
                self._note("notices", _does_not_return(doing.errand))
            self._go_on()
            return self.waiting > 0

    def told_so_far(self) -> Sequence[NoticeKey]:
        """Return what has been told, or given up, since this was asked last."""
        found: list[NoticeKey] = []
        while self._told:
            found.append(self._told.popleft())
        return found

    def told_again(self, keys: Iterable[NoticeKey]) -> None:
        """Have these among those that have been told."""
        self._told.extend(keys)

    def wait(self, seconds: float) -> bool:
        """Wait until all is told; return whether it is."""
        with self._lock:
            return self._lock.wait_for(lambda: not self.waiting, seconds)

    def drop(self) -> None:
        """Tell nothing more, but for what is being told at the moment; and do not say when that is over."""
        with self._lock:
            self._is_open = False
            self._errands.clear()
            self._lock.notify_all()

    def _go_on(self) -> None:
        """See that there is a thread where there is something to tell."""
        self._lock.notify_all()
        if self._errands and self._thread is None and not sys.is_finalizing():
            # Known before it starts: it may have ended by the time that `start` returns.
            self._thread = threading.Thread(target=self._run, name="pixelmeter-notices", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                # The interpreter is going down: another process, or the next one, tells.
                self._thread = None

    def _run(self) -> None:
        with lifecycle.thread_of_ours():
            while (errand := self._next()) is not None:
                again = self._do(errand)
                if not self._done(errand, again):
                    return

    def _next(self) -> _Errand | None:
        """Return what is to be done next, once it is due; None where nothing is left."""
        with self._lock:
            while self._errands:
                now = self._clock.monotonic()
                errand = min(self._errands, key=lambda each: (each.is_logged, each.due))
                if errand.due <= now:
                    self._errands.remove(errand)
                    self._doing = _Doing(errand, now)
                    return errand
                self._lock.wait((errand.due - now) / _SECOND)
            self._thread = None
            return None

    def _done(self, errand: _Errand, again: float | None) -> bool:
        """Take note of what was done; return whether this thread is to go on."""
        with self._lock:
            if self._doing is None or self._doing.errand is not errand:
                # It took too long: another thread goes on.
                self._stuck.discard(errand.key.budget)
                return False
            self._doing = None
            if again is None:
                self._told.append(errand.key)
            elif self._is_open:
                errand.due = self._clock.monotonic() + int(again * _SECOND)
                self._errands.append(errand)
            self._lock.notify_all()
            is_told = again is None and self._is_open
        if is_told:
            self._is_told()
        return True

    def _do(self, errand: _Errand) -> float | None:
        """Do the next step; return in how many seconds to do another one, None when it is over."""
        whom = self._whom.get(errand.key.budget)
        if not errand.is_logged:
            errand.is_logged = True
            # A handler of the host may raise anything.
            with suppress(BaseException):
                _log.warning("pixelmeter: %s", errand.notice.text)
            return None if whom is None else 0.0
        try:
            if errand.key.budget in self._stuck:
                raise _does_not_return(errand)
            if isinstance(whom, str):
                self._webhook.post(whom, _message_of(errand.notice))
            elif whom is not None:
                _call(whom, errand.notice)
        except Undelivered as error:
            if errand.tries < len(self._pauses):
                pause = self._pauses[errand.tries] if error.again is None else error.again
                errand.tries += 1
                return pause
            self._note("notices", error)
        except BaseException as error:
            self._note("notices", error)
        return None


def _message_of(notice: Notice) -> Message:
    return Message(notice.id, body_of(notice), f"the webhook of the budget {notice.budget!r}")


def _does_not_return(errand: _Errand) -> PixelmeterError:
    return PixelmeterError(f"notify of the budget {errand.key.budget!r} does not return")


def _call(notify: Callable[[Notice], object], notice: Notice) -> None:
    found = notify(notice)
    if inspect.iscoroutine(found):
        import asyncio

        asyncio.run(found)
