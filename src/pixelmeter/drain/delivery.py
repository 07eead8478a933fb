"""Groups of attempts on their way into the ledger, without those that it refuses; and another try with those."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from pixelmeter.core.attempts.jobs import Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Files
from pixelmeter.core.text import plural
from pixelmeter.errors import AttemptPruned, LedgerError, RowRefused, SchemaOutdated, SchemaTooNew
from pixelmeter.ledger.writer import Writer, first_of_each_id
from pixelmeter.spool import FrameReader, Spool, sorted_out

__all__ = ["GROUP", "Delivery", "Refusal", "Retrial"]

GROUP = 5000
"""Attempts in one transaction, at most."""

_PATIENCE = 30
"""Failures to look for the first attempt that the ledger does take: twice the halvings of the largest group."""
_PROBES = 3
"""Files of a reason that are looked at for an attempt to try first."""


class Refusal(NamedTuple):
    """An attempt that the ledger does not take, and what it said."""

    record: Record
    error: Exception


class Delivery:
    """Writes groups. Of one that fails because of its data, the attempts that are at fault are found by halving.

    They go into files of their own in the spool folder before the position behind them is committed, so a kill at any
    moment loses none; those that were in the ledger by then are there once, as always, by their ids.
    """

    def __init__(self, writer: Writer, spool: Spool, tell: Callable[[int, str], None]) -> None:
        """`tell` takes how many attempts were set aside, and why."""
        self._writer = writer
        self._spool = spool
        self._tell = tell
        self._kept: dict[str, Record] = {}
        self.refused = 0
        """Attempts set aside so far."""

    def write(
        self, attempts: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str], *, doubtful: bool
    ) -> int:
        """Commit a group; return how many of its attempts were set aside.

        What fails is tried without the attempts at fault: at once for `RowRefused` and for what is no LedgerError, else
        where it is `doubtful` that the database is the cause. Then an attempt is at fault if the ledger takes others.
        Raises LedgerError, or what the writer raises; a repetition is harmless then.
        """
        group = [attempt for attempt in attempts if attempt.id not in self._kept] if self._kept else attempts
        refused: Sequence[Refusal] = ()
        self._reserve()
        try:
            self._writer.write(group, positions, finished)
        except Exception as error:
            if not group or not self._may_be_the_data(error, doubtful=doubtful):
                raise
            refused = self._isolate(group, error, doubtful=doubtful)
            self.set_aside(refused)
            self._kept |= {one.record.id: one.record for one in refused}
            self.refused += len(refused)
            for reason, number in Counter(_reason(one.error) for one in refused).items():
                self._tell(number, reason)
            self._reserve()
            self._writer.write((), positions, finished)
        self._kept.clear()
        return len(attempts) - len(group) + len(refused)

    def taken(self, attempts: Sequence[Record]) -> None:
        """Take note that the ledger has attempts which it refused before."""
        if ids := [attempt.id for attempt in attempts if isinstance(attempt, Attempt)]:
            self._writer.taken(ids)

    def _reserve(self) -> None:
        """Have budgets keep what the attempts that were set aside cost: they are spent, though no sum has them.

        Before the position behind them is committed, with which the leases of a dead process end.
        """
        if attempts := [record for record in self._kept.values() if isinstance(record, Attempt)]:
            self._writer.keep_refused(attempts)

    def _isolate(
        self, attempts: Sequence[Record], error: Exception, *, doubtful: bool, suspected: bool = False
    ) -> Sequence[Refusal]:
        """Write what the ledger takes of a group that failed with an error; return the rest."""
        alone: list[Refusal] = []
        takes = False
        failures = 0
        parts: list[tuple[Sequence[Record], Exception]] = [(attempts, error)]
        while parts:
            part, error = parts.pop()
            pieces: Sequence[Sequence[Record]]
            if old := _pruned(part, error):
                # All that are at fault: to find thousands by halving would take as many transactions.
                alone += [Refusal(record, error) for record in old.values()]
                young = [record for record in part if record.id not in old]
                pieces = [young] if young else []
            elif len(part) == 1:
                alone.append(Refusal(part[0], error))
                continue
            else:
                middle = len(part) // 2
                pieces = part[middle:], part[:middle]
            for piece in pieces:
                failed = self._failure(piece)
                if failed is None:
                    takes = True
                    continue
                parts.append((piece, failed))
                failures += not isinstance(failed, RowRefused)
                is_hopeless = failures > _PATIENCE and not takes
                if is_hopeless or not self._may_be_the_data(failed, doubtful=doubtful):
                    raise failed
        refused: list[Refusal] = []
        for attempt, error in alone:
            if suspected or isinstance(error, RowRefused):
                refused.append(Refusal(attempt, error))
            elif not takes:
                raise error
            elif (again := self._failure([attempt])) is not None:
                # The first failure may have been the database's after all.
                if not self._may_be_the_data(again, doubtful=doubtful):
                    raise again
                refused.append(Refusal(attempt, again))
        return refused

    def set_aside(self, refused: Sequence[Refusal]) -> None:
        """Keep attempts in files of their own; LedgerError where the disk does not take them."""
        reasons: dict[str, list[Record]] = {}
        for attempt, error in refused:
            reasons.setdefault(_reason(error), []).append(attempt)
        for reason, attempts in reasons.items():
            try:
                self._spool.set_aside(attempts, reason)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                why = error.strerror if isinstance(error, OSError) else type(error).__name__
                told = f"the ledger refuses {plural(len(attempts), 'attempt')} ({reason})"
                raise LedgerError(f"{told}, and the spool cannot set them aside: {why}") from None

    def refusals(self, attempts: Sequence[Record]) -> Sequence[Refusal]:
        """Write what the ledger takes of a group that it has refused before; return the rest. Raises as `write`."""
        error = self._failure(attempts)
        if error is None:
            return ()
        if not self._may_be_the_data(error, doubtful=True):
            raise error
        return self._isolate(attempts, error, doubtful=True, suspected=True)

    def is_answered(self) -> bool:
        """Return whether the ledger can be asked just now."""
        try:
            self._writer.positions(["-"])
        except Exception:
            return False
        return True

    def _failure(self, attempts: Sequence[Record]) -> Exception | None:
        try:
            self._writer.write(attempts, {}, ())
        except Exception as error:
            return error
        return None

    def _may_be_the_data(self, error: Exception, *, doubtful: bool) -> bool:
        if isinstance(error, RowRefused):
            return True
        if isinstance(error, SchemaOutdated | SchemaTooNew) or (isinstance(error, LedgerError) and not doubtful):
            return False
        return self.is_answered()


class Retrial:
    """One pass over the files of attempts that were set aside, with the errors that it went on after."""

    def __init__(self, files: Files, folder: str, delivery: Delivery) -> None:
        self._files = files
        self._folder = folder
        self._delivery = delivery
        self.taken = 0
        self.errors: list[Exception] = []

    def parts(self, *, everything: bool) -> Iterator[None]:
        """Do the work, a file at a time; unless it is to be everything, only where one attempt shows that it helps.

        What causes a refusal, such as the encoding of a database, is the same for all that are refused for that reason.
        Raises LedgerError when the database fails, and OSError for the folder.
        """
        for names in sorted_out(self._files.list(self._folder)).refused.values():
            if not everything and not self._helps(names):
                continue
            for name in names:
                try:
                    self._retry(name)
                except OSError as error:
                    self.errors.append(error)
                yield

    def _helps(self, names: Sequence[str]) -> bool:
        for name in names[: -_PROBES - 1 : -1]:
            try:
                found = self._attempts(name, first=True)
            except OSError:
                continue
            if found:
                return not self._delivery.refusals(found[:1])
        return False

    def _attempts(self, name: str, *, first: bool) -> Sequence[Record]:
        descriptor = self._files.adopt(self._path(name))
        if descriptor is None:
            return ()
        try:
            return _read(FrameReader(self._files, descriptor), first=first)
        finally:
            self._files.close(descriptor)

    def _retry(self, name: str) -> None:
        descriptor = self._files.adopt(self._path(name))
        if descriptor is None:
            return
        is_done = False
        try:
            reader = FrameReader(self._files, descriptor)
            attempts = first_of_each_id(_read(reader, first=False))
            refused = [
                refusal
                for start in range(0, len(attempts), GROUP)
                for refusal in self._delivery.refusals(attempts[start : start + GROUP])
            ]
            left = {refusal.record.id for refusal in refused}
            self._delivery.taken([attempt for attempt in attempts if attempt.id not in left])
            self.taken += len(attempts) - len(refused)
            if len(refused) < len(attempts) and not reader.foreign:
                self._delivery.set_aside(refused)
                is_done = True
        finally:
            if is_done:
                self._files.discard(self._path(name), descriptor)
            else:
                self._files.close(descriptor)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}"


def _pruned(records: Iterable[Record], error: Exception) -> dict[str, Record]:
    """Return the records, by id, that an error says are from before what has been pruned."""
    if not isinstance(error, AttemptPruned):
        return {}
    return {one.id: one for one in records if isinstance(one, Attempt) and one.started_at < error.horizon}


def _reason(error: Exception) -> str:
    """Return why the ledger refuses an attempt, in a few words without anything of the attempt."""
    if not isinstance(error, LedgerError):
        return type(error).__name__
    # What stands before is which ledger it is.
    return str(error).partition(": ")[2] or str(error)


def _read(reader: FrameReader, *, first: bool) -> Sequence[Record]:
    attempts: list[Record] = []
    while frames := reader.read(final=True):
        attempts += [frame.record for frame in frames]
        if first:
            break
    return attempts
