"""The ledger, as far as the drain needs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from pixelmeter.core.attempts.record import Attempt

__all__ = ["GROUP", "Writer", "once"]

GROUP = 5000
"""Attempts in one transaction, at most."""


class Writer(Protocol):
    """Puts attempts into a ledger, together with how far the spool files they come from have been read."""

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        """Return the committed position by spool file; one that is not known is not in it."""
        ...

    def write(self, attempts: Sequence[Attempt], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        """Insert the attempts that are new by their id, keep the positions and forget those of finished files.

        All in one transaction. Returns the rows inserted; raises LedgerError, and then nothing is committed.
        """
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


def once(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return the first attempt of each id: a writer compares a group with its table, not with itself."""
    first: dict[str, Attempt] = {}
    for attempt in attempts:
        first.setdefault(attempt.id, attempt)
    return list(first.values())
