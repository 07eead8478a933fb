"""Writers of a real ledger that refuse, fail and count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.errors import LedgerError, RowRefused
from pixelmeter.ledger.writer import Writer

__all__ = ["POISON", "Picky", "refused"]

POISON = "模型"
"""The model of attempts that a ledger cannot take."""


def refused() -> Exception:
    return RowRefused("the ledger postgresql://me@host/db refuses an attempt: UntranslatableCharacter (SQLSTATE 22P05)")


class NeverRefuses:
    """A writer that takes every attempt, so that this is never asked of it."""

    def keep_refused(self, attempts: Sequence[Attempt]) -> None:
        raise AssertionError("nothing is refused")

    def keep_leases(self, processes: Sequence[str]) -> None:
        raise AssertionError("nothing is dropped")

    def taken(self, ids: Sequence[str]) -> None:
        raise AssertionError("nothing is refused")


class Picky:
    """A real writer that fails with every group that has a poisoned attempt in it."""

    def __init__(self, writer: Writer, error: Callable[[], Exception] = refused) -> None:
        self._writer = writer
        self._error = error
        self.is_cured = False
        self.is_away = False
        self.asked = 0
        """Transactions that were begun."""

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        self._ask()
        return self._writer.positions(names)

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        self._ask()
        if not self.is_cured and any(isinstance(one, Attempt) and one.model == POISON for one in records):
            raise self._error()
        return self._writer.write(records, positions, finished)

    def keep_refused(self, attempts: Sequence[Attempt]) -> None:
        self._ask()
        self._writer.keep_refused(attempts)

    def keep_leases(self, processes: Sequence[str]) -> None:
        self._ask()
        self._writer.keep_leases(processes)

    def taken(self, ids: Sequence[str]) -> None:
        self._ask()
        self._writer.taken(ids)

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        return ()

    def close(self) -> None:
        self._writer.close()

    def _ask(self) -> None:
        self.asked += 1
        if self.is_away:
            raise LedgerError("the ledger postgresql://me@host/db cannot be used: Connection refused")
