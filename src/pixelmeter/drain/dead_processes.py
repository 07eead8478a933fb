"""What dead processes left in a folder, taken into the ledger a part at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pixelmeter.core.attempts.jobs import Record
from pixelmeter.core.ports import Files
from pixelmeter.drain.delivery import GROUP, Delivery
from pixelmeter.ledger.writer import Writer, first_of_each_id
from pixelmeter.spool import INTENT, JOB_END, Frame, FrameReader, is_mark, sorted_out

__all__ = ["Adoption"]

_TOGETHER = 100
"""Processes in one transaction, each with a file that is open: some systems let one have no more than 256."""
_LOOKED_AT = 500
"""Processes that are looked at in one go."""


class DeadProcess:
    """All spool files of one process that is dead, read in order as one stream.

    Whoever has locked the oldest of them has them all, so a process may have left more files than can be open at once.
    """

    def __init__(self, files: Files, folder: str, process: str, names: Sequence[str]) -> None:
        """`names` are those of all its files, oldest first."""
        self.process = process
        self.names = names
        self.error: Exception | None = None
        """Why a file could not be read or deleted."""
        self._files = files
        self._folder = folder
        self._oldest: int | None = None
        self._is_complete = True
        self._readers: dict[str, FrameReader] = {}

    def is_dead(self) -> bool:
        """Return whether nobody has locked any of the files, as a process does that lives. Raises OSError."""
        for name in self.names:
            descriptor = self._files.adopt(self._path(name))
            if descriptor is None:
                return False
            self._files.close(descriptor)
        return True

    def claim(self) -> bool:
        """Lock the files; False while somebody else has them. Raises OSError."""
        self._oldest = self._files.adopt(self._path(self.names[0]))
        return self._oldest is not None

    def frames(self) -> Iterator[tuple[str, Frame]]:
        """Give the frames that can be read, each with the name of its file."""
        for name in self.names:
            try:
                yield from self._frames(name)
            except Exception as error:
                self.error = error

    @property
    def is_whole(self) -> bool:
        """Whether all of it could be read: else the outcome of an attempt may be where nothing can be told."""
        is_readable = not any(reader.foreign for reader in self._readers.values())
        return self.error is None and self._is_complete and is_readable

    @property
    def is_marked(self) -> bool:
        """Whether it has dropped attempts that had spent of its leases."""
        return any(map(is_mark, self.names))

    def damaged(self) -> int:
        """Return the bytes that belong to no frame."""
        return sum(reader.damaged for reader in self._readers.values())

    def unreadable(self) -> list[str]:
        """Return the files that only a newer pixelmeter can read, and those with bytes but no frame."""
        found = self._readers.items()
        return [name for name, reader in found if reader.foreign or (reader.damaged and not reader.frames)]

    def finished(self) -> list[str]:
        """Return the files that nobody needs any more once the ledger has what is in them."""
        kept = self.unreadable()
        return [name for name in self.names if name not in kept]

    def remove(self) -> None:
        """Delete those files, oldest first, so that an intent never outlives its outcome."""
        for name in self.finished():
            try:
                if name == self.names[0] and self._oldest is not None:
                    oldest, self._oldest = self._oldest, None
                    self._files.discard(self._path(name), oldest)
                else:
                    self._files.remove(self._path(name))
            except Exception as error:
                self.error = error

    def release(self) -> None:
        """Unlock the files."""
        oldest, self._oldest = self._oldest, None
        if oldest is not None:
            try:
                self._files.close(oldest)
            except Exception as error:
                self.error = error

    def _frames(self, name: str) -> Iterator[tuple[str, Frame]]:
        is_oldest = name == self.names[0]
        descriptor = self._oldest if is_oldest else self._files.adopt(self._path(name))
        if descriptor is None:
            # Somebody looks at it just now.
            self._is_complete = False
            return
        try:
            reader = self._readers[name] = FrameReader(self._files, descriptor)
            while frames := reader.read(final=True):
                for frame in frames:
                    yield name, frame
        finally:
            if not is_oldest:
                self._files.close(descriptor)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"


class Adoption:
    """One pass over a folder. The files of many processes go into one transaction, and each file is looked at twice.

    Whatever interrupts it can be done again by anybody: outcomes come before intents, so an attempt that is in the
    ledger as it ended stays so, and older files go before younger ones, so an intent never outlives its outcome. What
    fails in one process leaves its files where they are, and the others go on.
    """

    def __init__(self, files: Files, folder: str, writer: Writer, delivery: Delivery, late: dict[str, None]) -> None:
        """`late` names the processes with which the database has failed: they are tried last and alone.

        It is changed here: a process is added where the database fails with it, and removed once it is written.
        """
        self._files = files
        self._folder = folder
        self._writer = writer
        self._delivery = delivery
        self._late = late
        self._claimed: list[DeadProcess] = []
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
                    yield from self._adopt([self._dead_process(process, self._put_off[process])])
                else:
                    del self._late[process]
        finally:
            self.release()

    def release(self) -> None:
        """Unlock what is claimed: to be called in a forked child too, which has the locks of its parent."""
        while self._claimed:
            self._claimed.pop().release()

    def _dead_process(self, process: str, names: Sequence[str]) -> DeadProcess:
        return DeadProcess(self._files, self._folder, process, names)

    def _is_dead(self, process: str, names: Sequence[str]) -> bool:
        try:
            return self._dead_process(process, names).is_dead()
        except Exception:
            # The error comes again when the files are read, and is kept then.
            return True

    def _batches(self, dead: Iterable[tuple[str, Sequence[str]]]) -> Iterator[list[DeadProcess]]:
        batch: list[DeadProcess] = []
        for process, names in dead:
            if process in self._late:
                self._put_off[process] = names
                continue
            batch.append(self._dead_process(process, names))
            if len(batch) == _TOGETHER:
                yield batch
                batch = []
        if batch:
            yield batch

    def _adopt(self, batch: Sequence[DeadProcess]) -> Iterator[None]:
        self._claimed = [dead for dead in batch if self._claim(dead)]
        if not self._claimed:
            return
        try:
            yield from self._commit(self._claimed)
        except Exception:
            if self._delivery.is_answered():
                for dead in batch:
                    # To the end of the queue.
                    self._late.pop(dead.process, None)
                    self._late[dead.process] = None
            raise
        for dead in batch:
            self._late.pop(dead.process, None)

    def _claim(self, dead: DeadProcess) -> bool:
        try:
            return dead.claim()
        except Exception as error:
            self._leave(dead, error)
            return False

    def _commit(self, processes: Sequence[DeadProcess]) -> Iterator[None]:
        """Hand everything to the ledger and delete what is done with.

        Where a file cannot be read, nothing is deleted and no attempt is called interrupted: its outcome may be there.
        """
        committed = dict(self._writer.positions([name for dead in processes for name in dead.names]))
        begun: dict[str, tuple[Record, DeadProcess]] = {}
        ended: list[Record] = []
        positions: dict[str, int] = {}
        for dead in processes:
            for name, frame in dead.frames():
                if frame.kind == INTENT:
                    begun[frame.record.id] = frame.record, dead
                    continue
                begun.pop(frame.record.id, None)
                if frame.end <= committed.get(name, 0) and frame.kind != JOB_END:
                    # An older pixelmeter reads past the ends of jobs; heard of twice, they are harmless.
                    continue
                ended.append(frame.record)
                positions[name] = frame.end
                if len(ended) == GROUP:
                    self._write(ended, positions, ())
                    yield
                    ended, positions = [], {}
        whole = [dead for dead in processes if dead.is_whole]
        interrupted = [record for record, dead in begun.values() if dead.is_whole]
        finished = [name for dead in whole for name in dead.finished()]
        rest = first_of_each_id([*ended, *interrupted])
        while len(rest) > GROUP:
            self._write(rest[:GROUP], {}, ())
            yield
            rest = rest[GROUP:]
        kept = {name: end for name, end in positions.items() if name not in finished}
        if marked := [dead.process for dead in whole if dead.is_marked]:
            # Before their leases end, with the last of their files.
            self._writer.keep_leases(marked)
        if rest or kept or finished:
            self._write(rest, kept, finished)
        self.interrupted += len(interrupted)
        self._clear_away(processes, whole)
        yield

    def _write(self, records: Sequence[Record], positions: dict[str, int], finished: Sequence[str]) -> None:
        group = first_of_each_id(records)
        alone = len(self._claimed) == 1 and self._claimed[0].process in self._late
        refused = self._delivery.write(group, positions, finished, doubtful=alone and self._took)
        self.adopted += len(group) - refused
        self._took = self._took or len(group) > refused

    def _clear_away(self, processes: Sequence[DeadProcess], whole: Sequence[DeadProcess]) -> None:
        for dead in processes:
            self.damaged += dead.damaged()
            self.unreadable |= dict.fromkeys(dead.unreadable())
            if dead in whole:
                dead.remove()
            dead.release()
            if dead.error is not None:
                self._leave(dead, dead.error)
        self._claimed = []

    def _leave(self, dead: DeadProcess, error: Exception) -> None:
        self.errors.append(error)
        self.unreadable |= dict.fromkeys(dead.names)
