"""Groups of attempts on their way into the ledger, without those that it will never take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drain.writer import Writer
from pixelmeter.errors import LedgerError, RowRefused, SchemaOutdated, SchemaTooNew
from pixelmeter.spool import Spool

__all__ = ["Delivery", "Refusal"]

_PATIENCE = 30
"""Failures to look for the first attempt that the ledger does take: twice the halvings of the largest group."""

Refusal = tuple[Attempt, Exception]


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
        self._kept: set[str] = set()
        self.refused = 0
        """Attempts set aside so far."""

    def write(
        self, attempts: Sequence[Attempt], positions: Mapping[str, int], finished: Sequence[str], *, doubtful: bool
    ) -> int:
        """Commit a group; return how many of its attempts were set aside.

        What fails is tried without the attempts at fault: at once for `RowRefused` and for what is no LedgerError, else
        where it is `doubtful` that the database is the cause. Then an attempt is at fault if the ledger takes others.
        Raises LedgerError, or what the writer raises; a repetition is harmless then.
        """
        group = [attempt for attempt in attempts if attempt.id not in self._kept] if self._kept else attempts
        refused: Sequence[Refusal] = ()
        try:
            self._writer.write(group, positions, finished)
        except Exception as error:
            if not group or not self._may_be_the_data(error, doubtful=doubtful):
                raise
            refused = self._isolate(group, error, doubtful=doubtful)
            self.set_aside(refused)
            self._kept.update(attempt.id for attempt, _ in refused)
            self.refused += len(refused)
            for reason, number in Counter(_reason(error) for _, error in refused).items():
                self._tell(number, reason)
            self._writer.write((), positions, finished)
        self._kept.clear()
        return len(attempts) - len(group) + len(refused)

    def _isolate(
        self, attempts: Sequence[Attempt], error: Exception, *, doubtful: bool, suspected: bool = False
    ) -> Sequence[Refusal]:
        """Write what the ledger takes of a group that failed with an error; return the rest."""
        alone: list[Refusal] = []
        takes = False
        failures = 0
        parts: list[tuple[Sequence[Attempt], Exception]] = [(attempts, error)]
        while parts:
            part, error = parts.pop()
            if len(part) == 1:
                alone.append((part[0], error))
                continue
            middle = len(part) // 2
            for half in (part[middle:], part[:middle]):
                failed = self._failure(half)
                if failed is None:
                    takes = True
                    continue
                parts.append((half, failed))
                failures += not isinstance(failed, RowRefused)
                is_hopeless = failures > _PATIENCE and not takes
                if is_hopeless or not self._may_be_the_data(failed, doubtful=doubtful):
                    raise failed
        refused: list[Refusal] = []
        for attempt, error in alone:
            if suspected or isinstance(error, RowRefused):
                refused.append((attempt, error))
            elif not takes:
                raise error
            elif (again := self._failure([attempt])) is not None:
                # The first failure may have been the database's after all.
                if not self._may_be_the_data(again, doubtful=doubtful):
                    raise again
                refused.append((attempt, again))
        return refused

    def set_aside(self, refused: Sequence[Refusal]) -> None:
        """Keep attempts in files of their own; LedgerError where the disk does not take them."""
        reasons: dict[str, list[Attempt]] = {}
        for attempt, error in refused:
            reasons.setdefault(_reason(error), []).append(attempt)
        for reason, attempts in reasons.items():
            try:
                self._spool.set_aside(attempts, reason)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                why = error.strerror if isinstance(error, OSError) else type(error).__name__
                told = f"the ledger refuses {len(attempts)} attempts ({reason})"
                raise LedgerError(f"{told}, and the spool cannot set them aside: {why}") from None

    def refusals(self, attempts: Sequence[Attempt]) -> Sequence[Refusal]:
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

    def _failure(self, attempts: Sequence[Attempt]) -> Exception | None:
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


def _reason(error: Exception) -> str:
    """Return why the ledger refuses an attempt, in a few words without anything of the attempt."""
    if not isinstance(error, LedgerError):
        return type(error).__name__
    # What stands before is which ledger it is.
    return str(error).partition(": ")[2] or str(error)
