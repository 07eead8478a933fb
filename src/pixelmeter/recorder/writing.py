"""What the writer thread does: it moves attempts from the spool to the ledger, and forces the spool to the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

from pixelmeter import lifecycle
from pixelmeter.budgets.leasing import Leasing
from pixelmeter.core.ports import Clock
from pixelmeter.drain import GROUP, Drain, DrainCounts
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.writer import BudgetWriter
from pixelmeter.lifecycle import catch_up
from pixelmeter.recorder.failures import Failures
from pixelmeter.recorder.sink_dispatch import SinkDispatch
from pixelmeter.spool import Spool

__all__ = ["Writing"]

_SYNC_EVERY = 1_000_000
_ADOPT_EVERY = 60_000_000
_ADOPTION_PAUSE = 0.05
_EXPIRE_EVERY = 600_000_000
_LOOK_EVERY = 5_000_000
_IDLE = 60_000_000


class Writing:
    """The work of one meter's writer thread.

    It holds no reference to the meter or its recorder, which the thread would keep alive.
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
    ) -> None:
        self._spool = spool
        self._leasing = leasing
        self._open_drain = open_drain
        self._clock = clock
        self._failures = failures
        self._dispatch = dispatch if dispatch.sinks else None
        self._backlog = dispatch.backlog
        self._drain: Drain | None = None
        self._synced = 0
        self.ledger_error: str | None = None
        """What the ledger last said no to, without secrets; None while it takes everything."""
        self.forget()

    def forget(self) -> None:
        """Drop what belongs to the parent process."""
        if self._leasing is not None:
            self._leasing.forget()
        if self._drain is not None:
            self._drain.forget()
            lifecycle.keep(self._drain)
            self._drain = None
        self._adopted: int | None = None
        self._adopting = False
        self._expired: int | None = None
        self._looked: int | None = None
        self._wrote: int | None = None
        self._writes: list[tuple[int, int]] = []
        self._settled = 0
        self._broken_off = False
        self._make_locks()

    def _make_locks(self) -> None:
        # Two, as a lock is not fair: a fork that has the entrance gets in before the thread's next step.
        self._entrance = threading.RLock()
        self._inside = threading.RLock()

    def locks(self) -> Sequence[lifecycle.Lock]:
        """Return what a fork should hold, in this order."""
        return self._entrance, self._inside

    def work(self) -> float | None:
        """Move what has ended into the ledger, and sync the spool now and then; raise what the ledger says no with."""
        self._writes = []
        catch_up()
        try:
            self._write()
        except Exception as error:
            self.ledger_error = f"{type(error).__name__}: {error}"
            self._failures.note("ledger", error)
            self.sync()
            raise
        finally:
            self._settle()
        self.ledger_error = None
        self._look(ask=True)
        self._expire()
        return _soonest(self._adopt(), self.sync(), self._rest(), self._serve())

    def tell(self) -> None:
        """Tell the sinks of the latest run."""
        if self._dispatch is not None:
            writes, self._writes = self._writes, []
            self._dispatch.observe(
                writes,
                failed=self.ledger_error is not None,
                dropped=self._spool.dropped,
                spool_used=self._spool.used,
            )

    def sync(self) -> float | None:
        """Force the spool to the disk where that is due; return in how many seconds it is, None where it was done."""
        self._look(ask=False)
        waited = self._clock.monotonic() - self._synced
        if waited < _SYNC_EVERY:
            return (_SYNC_EVERY - waited) / 1e6
        self._synced = self._clock.monotonic()
        self._spool.sync()
        return None

    def close(self) -> None:
        """Close the ledger: a connection is closed by the thread that opened it.

        The drain stays for a later attempt: it knows what of the files that are left it has read.
        """
        if self._drain is not None:
            try:
                self._end_leases(self._drain)
                with self._unforked():
                    self._drain.close()
            finally:
                self._settle()

    def let_go(self) -> None:
        """Close the ledger, whatever is left to write."""
        if self._drain is not None:
            with suppress(Exception):
                self._drain.restart()

    def break_off(self, error: BaseException) -> None:
        """Take note that the thread died in the middle of anything."""
        self._broken_off = True
        self._make_locks()
        self._failures.note("writer", error)

    def lose(self) -> None:
        """Log what is in memory only, where it is about to go."""
        lost = self._spool.overflow() + (0 if self._drain is None else self._drain.held())
        if lost:
            self._failures.lose(lost)

    def status(self) -> DrainCounts | None:
        """Return what was written so far; None before the ledger was opened."""
        drain = self._drain
        return None if drain is None else drain.status()

    def _write(self) -> None:
        if self._drain is None:
            lifecycle.refuse_torn()
            with lifecycle.opening():
                self._drain = self._open_drain()
        if self._broken_off:
            with self._unforked():
                self._drain.restart()
            self._broken_off = False
        if self._leasing is not None and self._leasing.is_waited_for:
            self._serve()
        while True:
            started = self._clock.monotonic()
            rows = self._step(self._drain)
            if rows:
                self._writes.append((rows, self._clock.monotonic() - started))
            if not rows or (rows < GROUP and not self._drain.behind):
                return

    def _serve(self) -> float | None:
        """Have budgets asked for what calls wait for; return in how many seconds to look again."""
        if self._leasing is None or self._drain is None:
            return None
        try:
            with self._unforked():
                return self._leasing.serve(cast("BudgetWriter", self._drain.writer))
        except LedgerError as error:
            # Attempts may be written all the same, or the ledger says no to these too.
            self._failures.note("budgets", error)
            return None

    def _end_leases(self, drain: Drain) -> None:
        if self._leasing is not None:
            writer = cast("BudgetWriter", drain.writer)
            try:
                with self._unforked():
                    self._leasing.close(writer)
            except LedgerError as error:
                # Tried again for as long as whoever closes waits; after that the spool stays, which ends the lease.
                self._failures.note("budgets", error)
                raise
            self._leasing.settle()
            with self._unforked():
                self._leasing.end(writer)

    def _step(self, drain: Drain) -> int:
        with self._unforked():
            return drain.step()

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

    def _look(self, *, ask: bool) -> None:
        """See now and then what others have in the spool folder."""
        now = self._clock.monotonic()
        if self._drain is None or (self._looked is not None and now - self._looked < _LOOK_EVERY):
            return
        self._looked = now
        try:
            with self._unforked():
                self._drain.look(ask=ask)
        except Exception as error:
            self._failures.note("spool", error)

    def _expire(self) -> None:
        """End the jobs that are too old, also those of others, whenever that was not looked at for ten minutes."""
        now = self._clock.monotonic()
        if self._drain is None or (self._expired is not None and now - self._expired < _EXPIRE_EVERY):
            return
        self._expired = now
        try:
            with self._unforked():
                self._drain.expire(self._clock.now())
        except Exception as error:
            self._failures.note("jobs", error)

    def _rest(self) -> float | None:
        """Give the database back after a minute without rows; return in how many seconds to look again."""
        now = self._clock.monotonic()
        if self._writes or self._wrote is None:
            self._wrote = now
        left = self._wrote + _IDLE - now
        if left > 0:
            return left / 1e6
        # What cannot be closed now is, after the next rows.
        if self._drain is not None:
            with suppress(LedgerError), self._unforked():
                self._drain.rest()
        return None

    def _settle(self) -> None:
        if self._drain is not None:
            taken = self._drain.taken
            self._backlog.settle(taken - self._settled, self._spool.dropped)
            self._settled = taken

    @contextmanager
    def _unforked(self) -> Generator[None, None, None]:
        """Have a fork wait for a moment: a child could hang in a lock that a database library holds just now."""
        with self._entrance:
            self._inside.acquire()
        try:
            yield
        finally:
            self._inside.release()


def _soonest(*waits: float | None) -> float | None:
    return min((seconds for seconds in waits if seconds is not None), default=None)
