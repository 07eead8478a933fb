"""What dead processes left in a folder, taken into the ledger a part at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Files
from pixelmeter.drain.delivery import Delivery
from pixelmeter.drain.estate import Estate
from pixelmeter.drain.writer import GROUP, Writer, once
from pixelmeter.spool import OUTCOME, sorted_out

__all__ = ["Adoption"]

_TOGETHER = 100
"""Processes in one transaction, each with a file that is open: some systems let one have no more than 256."""
_LOOKED_AT = 500
"""Processes that are looked at in one go."""


class Adoption:
    """One pass over a folder. The files of many processes go into one transaction, and each file is looked at twice.

    Whatever interrupts it can be done again by anybody: outcomes come before intents, so an attempt that is in the
    ledger as it ended stays so, and older files go before younger ones, so an intent never outlives its outcome. What
    fails in one process leaves its files where they are, and the others go on.
    """

    def __init__(self, files: Files, folder: str, writer: Writer, delivery: Delivery, late: dict[str, None]) -> None:
        """`late` has the processes that a database has failed with, to be tried last and alone; it is kept up here."""
        self._files = files
        self._folder = folder
        self._writer = writer
        self._delivery = delivery
        self._late = late
        self._claimed: list[Estate] = []
        self._put_off: dict[str, Sequence[str]] = {}
        self._took = False
        self.adopted = 0
        self.interrupted = 0
        """Those of the adopted that had no outcome."""
        self.damaged = 0
        self.unreadable: dict[str, None] = {}
        """Files left in place; the names, in the order in which that was noticed."""
        self.errors: list[Exception] = []
        """What failed without an end of the pass, one for each process."""

    def parts(self) -> Iterator[None]:
        """Do the work; each part is one transaction at most. Raises LedgerError, and OSError for the folder."""
        try:
            if self._files.exists(self._folder):
                self._files.check_folder(self._folder)
            found = list(sorted_out(self._files.list(self._folder)).spooled.items())
            first, number = 0, _LOOKED_AT
            while first < len(found):
                dead: set[str] = set()
                for position, (process, names) in enumerate(found[first : first + number]):
                    if position and position % _LOOKED_AT == 0:
                        yield
                    if self._is_dead(process, names):
                        dead.add(process)
                # Listed again: who was dead by now has made no file since, and who was not may have.
                spooled = sorted_out(self._files.list(self._folder)).spooled if dead else {}
                for batch in self._batches([each for each in spooled.items() if each[0] in dead]):
                    yield from self._adopt(batch)
                # Soon something is done, and yet a folder of any size is listed a few times only.
                first, number = first + number, number * 2
            for process in [*self._late]:
                if process in self._put_off:
                    yield from self._adopt([self._estate(process, self._put_off[process])])
                else:
                    del self._late[process]
        finally:
            self.release()

    def release(self) -> None:
        """Unlock what is claimed: to be called in a forked child too, which has the locks of its parent."""
        while self._claimed:
            self._claimed.pop().release()

    def _estate(self, process: str, names: Sequence[str]) -> Estate:
        return Estate(self._files, self._folder, process, names)

    def _is_dead(self, process: str, names: Sequence[str]) -> bool:
        try:
            return self._estate(process, names).is_left()
        except Exception:
            # To be told when it is its turn.
            return True

    def _batches(self, dead: Iterable[tuple[str, Sequence[str]]]) -> Iterator[list[Estate]]:
        batch: list[Estate] = []
        for process, names in dead:
            if process in self._late:
                self._put_off[process] = names
                continue
            batch.append(self._estate(process, names))
            if len(batch) == _TOGETHER:
                yield batch
                batch = []
        if batch:
            yield batch

    def _adopt(self, batch: Sequence[Estate]) -> Iterator[None]:
        self._claimed = [estate for estate in batch if self._claim(estate)]
        if not self._claimed:
            return
        try:
            yield from self._commit(self._claimed)
        except Exception:
            if self._delivery.is_answered():
                for estate in batch:
                    # To the end of the queue.
                    self._late.pop(estate.process, None)
                    self._late[estate.process] = None
            raise
        for estate in batch:
            self._late.pop(estate.process, None)

    def _claim(self, estate: Estate) -> bool:
        try:
            return estate.claim()
        except Exception as error:
            self._leave(estate, error)
            return False

    def _commit(self, estates: Sequence[Estate]) -> Iterator[None]:
        """Hand everything to the ledger and delete what is done with.

        Where a file cannot be read, nothing is deleted and no attempt is called interrupted: its outcome may be there.
        """
        committed = dict(self._writer.positions([name for estate in estates for name in estate.names]))
        begun: dict[str, tuple[Attempt, Estate]] = {}
        ended: list[Attempt] = []
        positions: dict[str, int] = {}
        for estate in estates:
            for name, frame in estate.frames():
                if frame.kind != OUTCOME:
                    begun[frame.attempt.id] = frame.attempt, estate
                    continue
                begun.pop(frame.attempt.id, None)
                if frame.end <= committed.get(name, 0):
                    continue
                ended.append(frame.attempt)
                positions[name] = frame.end
                if len(ended) == GROUP:
                    self._write(ended, positions, ())
                    yield
                    ended, positions = [], {}
        whole = [estate for estate in estates if estate.is_whole]
        interrupted = [attempt for attempt, estate in begun.values() if estate.is_whole]
        finished = [name for estate in whole for name in estate.finished()]
        rest = once([*ended, *interrupted])
        while len(rest) > GROUP:
            self._write(rest[:GROUP], {}, ())
            yield
            rest = rest[GROUP:]
        kept = {name: end for name, end in positions.items() if name not in finished}
        if rest or kept or finished:
            self._write(rest, kept, finished)
        self.interrupted += len(interrupted)
        self._clear_away(estates, whole)
        yield

    def _write(self, attempts: Sequence[Attempt], positions: dict[str, int], finished: Sequence[str]) -> None:
        group = once(attempts)
        alone = len(self._claimed) == 1 and self._claimed[0].process in self._late
        refused = self._delivery.write(group, positions, finished, doubtful=alone and self._took)
        self.adopted += len(group) - refused
        self._took = self._took or len(group) > refused

    def _clear_away(self, estates: Sequence[Estate], whole: Sequence[Estate]) -> None:
        for estate in estates:
            self.damaged += estate.damaged()
            self.unreadable |= dict.fromkeys(estate.unreadable())
            if estate in whole:
                estate.remove()
            estate.release()
            if estate.error is not None:
                self._leave(estate, estate.error)
        self._claimed = []

    def _leave(self, estate: Estate, error: Exception) -> None:
        self.errors.append(error)
        self.unreadable |= dict.fromkeys(estate.names)
