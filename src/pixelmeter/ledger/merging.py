"""When a writer of a PostgreSQL ledger merges deltas, so that about one in a second does, however many there are."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress

import psycopg

from pixelmeter.ledger.address import Address
from pixelmeter.ledger.postgres_session import Merged, Session, last_row
from pixelmeter.ledger.postgres_sums import MOST_DELTAS, merging

__all__ = ["Merger", "Pace", "merge_all"]

_log = logging.getLogger("pixelmeter")

_SHORTEST = 1.0
_LONGEST = 600.0
_FIRST = 60.0
_FEW = 16
_YOUNG = 0.5
# A process that ends before its time has come merges at each so many-th delta of the ledger.
_EACH = 64
_OWN = 1000
# No more than a tenth of the time is spent on merging.
_REST = 10


class Pace:
    """Says when to merge. Each process slows down where others merge as well, and where there is little to merge."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._interval = _SHORTEST
        self._has_merged = False
        self._own = 0
        self._earliest = clock()
        self._next = self._earliest + _FIRST

    def is_due(self, number: int, *, is_urgent: bool) -> bool:
        """Return whether to merge, after a commit that has appended the delta of this number."""
        self._own += 1
        now = self._clock()
        if now < self._earliest:
            return False
        is_shared = not self._has_merged and number % _EACH == 0
        return is_urgent or is_shared or now >= self._next or self._own >= _OWN

    def done(self, found: Merged, began: float) -> None:
        """Take note of what a merge that began at a time of the clock has found."""
        is_idle = found.deltas < _FEW or found.age < _YOUNG
        self._interval = min(max(self._interval * 2 if is_idle else self._interval / 2, _SHORTEST), _LONGEST)
        self._has_merged = True
        self._own = 0
        now = self._clock()
        self._earliest = now + max(_SHORTEST, (now - began) * _REST)
        self._next = max(self._earliest, now + self._interval)


class Merger:
    """Merges what was appended, after a commit and never in place of one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace(clock)
        self._suspects: set[tuple[str, str]] = set()
        self._most = MOST_DELTAS
        self._is_told = False

    def committed(self, session: Session, number: int, suspects: Collection[tuple[str, str]]) -> None:
        """Merge, where it is time to, after a commit that has appended a delta; psycopg.Error where that fails."""
        self._suspects |= set(suspects)
        if not self._pace.is_due(number, is_urgent=bool(self._suspects)):
            return
        began = self._clock()
        found = Merged(0, 0.0)
        try:
            found = session.merge(self._most)
            self._most = min(self._most * 2, MOST_DELTAS)
            if self._suspects:
                session.look_for_wide(self._suspects)
                self._suspects.clear()
        except psycopg.DataError:
            # One of them does not fit into its row of sums. Fewer are tried each time, until it is alone.
            if self._most == 1:
                session.set_apart()
            self._most = max(self._most // 2, 1)
        except psycopg.Error as error:
            self._tell(error)
            raise
        finally:
            self._pace.done(found, began)

    def _tell(self, error: psycopg.Error) -> None:
        if not self._is_told:
            self._is_told = True
            with suppress(Exception):  # a handler of the host may raise anything
                _log.warning(
                    "the sums of the ledger could not be merged (SQLSTATE %s); reports stay right and take longer, "
                    "`pixelmeter doctor` says more",
                    error.sqlstate,
                )


def merge_all(connection: psycopg.Connection, address: Address) -> None:
    """Merge all deltas that can be, in the transaction of a connection, which keeps writers out."""
    statements = merging(address)
    with psycopg.ClientCursor(connection) as cursor:
        deltas = MOST_DELTAS
        while deltas == MOST_DELTAS:
            cursor.execute(statements, (MOST_DELTAS,))
            deltas = last_row(cursor)[0]
