"""The one loop body that empties a process's own spool, and the same for what dead processes left."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, TypedDict

from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Files
from pixelmeter.drain.dead_processes import Adoption
from pixelmeter.drain.delivery import GROUP, Delivery, Retrial
from pixelmeter.drain.neighbours import Neighbours
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.writer import Writer, first_of_each_id
from pixelmeter.spool import INTENT, Frame, FrameReader, Segment, Spool

__all__ = ["Drain", "DrainCounts"]


class DrainCounts(TypedDict):
    """What this process has written to the ledger."""

    committed: int
    """Attempts of this process."""
    adopted: int
    """Attempts of processes that died before they could write them."""
    interrupted: int
    """Those of the adopted ones that never ended."""
    damaged: int
    """Bytes in spool files that cannot be read."""
    refused: int
    """Attempts that the ledger refuses; they are kept in files of their own in the spool folder."""
    unreadable: tuple[str, ...]
    """Files of dead processes that were left in place: of a newer pixelmeter, without a record, or with an error."""
    last_error: str | None
    """The last error while attempts were written; None where there was none."""


_FAILURES = 3
"""Steps in a row that the ledger fails before one of the attempts is suspected."""


class _Ready(NamedTuple):
    """An attempt that has ended, or the end of a job, to be written."""

    record: Record
    segment: str | None
    """The name of the file that has it; None where it is in memory only."""
    end: int
    """The position behind it in that file."""


class _Tail:
    """A segment as far as it has been read."""

    def __init__(self, reader: FrameReader, passed: int = 0) -> None:
        self.reader = reader
        self.exhausted = False
        self.passed = passed
        """Up to where outcomes are passed over."""


class Drain:
    """Moves attempts from a spool, and from the spools of dead processes in the same folder, to a ledger.

    For one thread. After a fork the child makes its own, with a writer of its own.
    """

    def __init__(
        self,
        spool: Spool,
        files: Files,
        folder: str,
        writer: Writer,
        tell: Callable[[int, str], None] = lambda number, reason: None,
    ) -> None:
        """`tell` takes how many attempts were set aside because the ledger refuses them, and why."""
        self._spool = spool
        self._files = files
        self._folder = folder
        self.writer = writer
        """What writes to the ledger."""
        # One each: what one of them knows of a group that failed is not forgotten when the other succeeds.
        self._own, self._adopting = (Delivery(writer, spool, tell) for _ in range(2))
        self._neighbours = Neighbours(spool, files, folder, writer)
        self._tails: dict[Segment, _Tail] = {}
        self._open: dict[str, tuple[Attempt, Segment]] = {}
        self._carried: Counter[str] = Counter()
        self._ready: deque[_Ready] = deque()
        self._written: dict[str, int] = {}
        """Up to where each segment is in the ledger, by its name."""
        self._failures = 0
        self._adoption: Adoption | None = None
        self._parts: Iterator[None] | None = None
        self._late: dict[str, None] = {}
        self._was_retried = False
        self.taken = 0
        """Attempts of our own that need not wait any longer: those in the ledger, and those that were set aside."""
        self._committed = 0
        self._adopted = 0
        self._interrupted = 0
        self._damaged = 0
        self._unreadable: tuple[str, ...] = ()
        self._last_error: str | None = None
        self.behind = False
        """Whether the last step could not read all that was spooled before it."""

    def step(self) -> int:
        """Commit the next attempts that ended, GROUP at most; return how many, 0 when there is none.

        Those that the ledger refuses are set aside. Raises LedgerError; then they stay here, and the next step tries
        again.
        """
        self._fill()
        group = list(islice(self._ready, GROUP))
        finished = self._finished()
        if not group and not finished:
            return 0
        names = [segment.name for segment in finished]
        positions = {each.segment: each.end for each in group if each.segment is not None}
        kept = {name: end for name, end in positions.items() if name not in names}
        self._failures += 1
        doubtful = self._failures > _FAILURES
        refused = self._own.write(first_of_each_id(each.record for each in group), kept, names, doubtful=doubtful)
        self._failures = 0
        written = {**self._written, **positions}
        ready = deque(islice(self._ready, len(group), None))
        taken, committed = self.taken + len(group), self._committed + len(group) - refused
        # At once: a thread is killed at a call or in a loop, and what is written must be counted, and only once.
        self._written, self._ready, self.taken, self._committed = written, ready, taken, committed
        self._spool.settle(positions)
        for segment in finished:
            self._spool.remove(segment)
            self._damaged += self._tails.pop(segment).reader.damaged
            self._written.pop(segment.name, None)
        return len(group)

    def adopt(self) -> int:
        """Commit what dead processes left in the folder and delete it; return how many attempts. Raises LedgerError."""
        before = self._adopted
        while self.adopt_some():
            pass
        return self._adopted - before

    def adopt_some(self) -> bool:
        """Commit the next part of what dead processes left, one transaction at most; return whether there may be more.

        An attempt that has an intent but no outcome becomes a row as the intent stands. Files that cannot be read stay
        and are named by `status`. Once, what the ledger refused earlier is tried again. Raises LedgerError; then
        nothing is deleted that the ledger does not have, and the next call begins anew.
        """
        if self._adoption is None or self._parts is None:
            self._adoption = Adoption(self._files, self._folder, self.writer, self._adopting, self._late)
            self._parts = self._pass(self._adoption)
        adoption = self._adoption
        adopted, interrupted, damaged = adoption.adopted, adoption.interrupted, adoption.damaged
        is_over = True
        try:
            next(self._parts)
            is_over = False
        except StopIteration:
            self._unreadable = tuple(adoption.unreadable)
        except OSError as error:
            self._note(error)
        finally:
            self._adopted += adoption.adopted - adopted
            self._interrupted += adoption.interrupted - interrupted
            self._damaged += adoption.damaged - damaged
            for failed in adoption.errors:
                self._note(failed)
            adoption.errors.clear()
            if is_over:
                self._adoption = self._parts = None
        return not is_over

    def look(self, *, ask: bool) -> None:
        """Look how much others have in the folder, and `ask` the ledger where that matters. Raises LedgerError."""
        try:
            self._neighbours.look(ask=ask)
        except OSError as error:
            self._note(error)

    def retry(self) -> int:
        """Try again with all attempts that the ledger has refused; return how many it takes now. Raises LedgerError."""
        retrial = Retrial(self._files, self._folder, self._adopting)
        try:
            for _ in retrial.parts(everything=True):
                pass
        except OSError as error:
            self._note(error)
        for failed in retrial.errors:
            self._note(failed)
        return retrial.taken

    def expire(self, at: int) -> int:
        """End the jobs that are too old at this Unix time in microseconds; return how many. Raises LedgerError.

        Whoever is first writes that; a job whose end was heard of meanwhile stays as that says.
        """
        expiring = self.writer.expiring(at, GROUP)
        if expiring:
            self.writer.write(expiring, {}, ())
        return len(expiring)

    def forget(self) -> None:
        """Let go of files that are locked: all that a forked child may do, as their locks are its parent's."""
        if self._adoption is not None:
            self._adoption.release()

    def _pass(self, adoption: Adoption) -> Iterator[None]:
        yield from adoption.parts()
        if not self._was_retried:
            retrial = Retrial(self._files, self._folder, self._adopting)
            yield from retrial.parts(everything=False)
            self._was_retried = True
            adoption.adopted += retrial.taken
            adoption.errors += retrial.errors

    def restart(self) -> None:
        """Begin anew with what the spool has, where a step was broken off anywhere: what it had read is not known.

        What is in the ledger is passed over; of the group that was on its way, it takes what it lacks.
        """
        self.forget()
        self._adoption = self._parts = None
        with suppress(LedgerError):
            self.writer.close()
        for segment in list(self._tails):
            reader = FrameReader(self._files, segment.descriptor)
            self._tails[segment] = _Tail(reader, self._written.get(segment.name, 0))
        self._open.clear()
        self._carried.clear()
        self._ready = deque(each for each in self._ready if each.segment is None)

    def close(self) -> None:
        """Commit what has ended by now, delete the files that are done with, close the writer. Raises LedgerError."""
        self.forget()
        self._adoption = self._parts = None
        try:
            self._spool.seal()
            while self.step() == GROUP:
                pass
        finally:
            self.writer.close()

    def rest(self) -> None:
        """Give the database back until there are rows again. Raises LedgerError."""
        self.writer.close()

    def status(self) -> DrainCounts:
        """Return a snapshot of the counters."""
        reading = sum(tail.reader.damaged for tail in tuple(self._tails.values()))
        return {
            "committed": self._committed,
            "adopted": self._adopted,
            "interrupted": self._interrupted,
            "damaged": self._damaged + reading,
            "refused": self._own.refused + self._adopting.refused,
            "unreadable": self._unreadable,
            "last_error": self._last_error,
        }

    def held(self) -> int:
        """Return how many attempts wait here that no file has: they go with the process."""
        return sum(each.segment is None for each in tuple(self._ready))

    def _fill(self) -> None:
        # Counted before the files are read: an intent that was spooled before its outcome is then seen before it.
        self.behind = False
        waiting = self._spool.overflow()
        self._spool.reopen()
        segments = self._spool.segments()
        for segment in segments:
            tail = self._tails.get(segment)
            if tail is None:
                tail = self._tails[segment] = _Tail(FrameReader(self._files, segment.descriptor))
            try:
                self._read(segment, tail)
            except OSError as error:
                self.behind = True
                self._note(error)
        for segment in self._tails.keys() - set(segments):
            del self._tails[segment]
            self._written.pop(segment.name, None)
        for _ in range(min(waiting, GROUP - len(self._ready))):
            record = self._spool.take()
            self._open.pop(record.id, None)
            self._ready.append(_Ready(record, None, 0))

    def _read(self, segment: Segment, tail: _Tail) -> None:
        tail.reader.descriptor = segment.descriptor
        while len(self._ready) < GROUP and not tail.exhausted:
            final = self._spool.sealed(segment)
            frames = tail.reader.read(final=final)
            for frame in frames:
                self._match(frame, segment, passed=frame.end <= tail.passed)
            if not frames:
                tail.exhausted = final
                return

    def _match(self, frame: Frame, segment: Segment, *, passed: bool) -> None:
        record = frame.record
        if isinstance(record, JobEnd) or frame.kind != INTENT:
            self._open.pop(record.id, None)
            if not passed:
                self._ready.append(_Ready(record, segment.name, frame.end))
        elif copies := self._carried.pop(record.id, 0):
            # Our own copy; the outcome may have been ahead of it.
            if copies > 1:
                self._carried[record.id] = copies - 1
        else:
            self._open[record.id] = (record, segment)

    def _finished(self) -> list[Segment]:
        """Return the segments that nothing is needed of once the next group is committed.

        Reading stops when a group is full, so what an exhausted segment gave is within that group.
        """
        return [segment for segment, tail in self._tails.items() if tail.exhausted and self._carry(segment)]

    def _carry(self, segment: Segment) -> bool:
        """Copy the open intents of a segment to the present one, so that a long call does not keep a whole file."""
        left = [attempt for attempt, home in self._open.values() if home is segment]
        for attempt in left:
            home = self._spool.carry(attempt)
            if home is None:
                return False
            self._open[attempt.id] = (attempt, home)
            self._carried[attempt.id] += 1
        return not left or self._spool.sync()

    def _note(self, error: Exception) -> None:
        # Only an OSError's words are sure to have nothing of an attempt in them; its own text has the path.
        told = f": {error.strerror}" if isinstance(error, OSError) else ""
        self._last_error = f"{type(error).__name__}{told}"
