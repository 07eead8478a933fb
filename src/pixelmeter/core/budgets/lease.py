"""The part of a budget that a process may spend without asking, and what its calls take of it."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from pixelmeter.core.budgets.sums import Usage

__all__ = ["Charge", "Draw", "Drawn", "Lease", "LeaseKey"]


class LeaseKey(NamedTuple):
    """Of which budget, for which of its values, in which span; and which lease of its process that is."""

    budget: str
    value: str
    start: int
    """When the span begins: Unix time in microseconds."""
    number: int = 0
    """One that has ended, perhaps without its process, is never taken for one that came after it."""


class Draw(NamedTuple):
    """What a process asks of a budget: all of `total`, where there is not so much at least `least`, with luck more."""

    key: LeaseKey
    limit: int
    least: int
    total: int
    more: int
    """What it would rather have, where the budget has `plenty` left."""
    plenty: int


class Drawn(NamedTuple):
    """What a process got."""

    key: LeaseKey
    amount: int
    usage: Usage


class Charge(NamedTuple):
    """What of a lease is spent for good by an attempt, once its row is in the ledger."""

    key: LeaseKey
    amount: int
    overrun: int
    """What the attempt cost beyond its reservation."""


class Lease:
    """What is left of a lease, in nano-dollars.

    Calls take from it and give back in any thread, in signal handlers and in finalizers: nothing here waits.
    """

    __slots__ = ("_parts", "full_at", "key", "start", "until", "usage", "used_at")

    def __init__(self, key: LeaseKey) -> None:
        self.key = key
        self.start = key.start
        self.until = 0
        """Up to when calls may take from it: Unix time in microseconds."""
        self.used_at = 0
        """When the latest call did."""
        self.usage: Usage | None = None
        """What the ledger last said of its budget and span."""
        self.full_at: int | None = None
        """When it last said no, in microseconds of the monotonic clock; None where it never did."""
        # Popping and appending are atomic. What one thread holds for a moment others do not see: they ask for more.
        self._parts: deque[int] = deque()

    def take(self, amount: int) -> bool:
        """Take so much, all or nothing."""
        parts = self._parts
        taken = 0
        try:
            while taken < amount:
                taken += parts.pop()
        except IndexError:
            if taken:
                parts.append(taken)
            return False
        if taken > amount:
            parts.append(taken - amount)
        return True

    def give(self, amount: int) -> None:
        """Put something into it."""
        if amount:
            self._parts.append(amount)

    def left(self) -> int:
        """Return about how much is left."""
        return sum(self._parts.copy())

    def empty(self) -> int:
        """Take all that is left; return how much that was."""
        taken = 0
        try:
            while True:
                taken += self._parts.pop()
        except IndexError:
            return taken
