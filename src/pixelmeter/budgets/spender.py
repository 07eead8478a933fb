"""What a process has of a budget, and calls that wait for more of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.lease import Lease
from pixelmeter.core.budgets.sums import Usage

__all__ = ["NEVER", "Ask", "Spender"]

NEVER = 2**62
"""A time, in microseconds, that does not come; before it lies one that has not been."""


class Spender:
    """A budget, for one of its values: what this process has of it."""

    __slots__ = ("lease", "rule", "value")

    def __init__(self, rule: Rule, value: str) -> None:
        self.rule = rule
        self.value = value
        self.lease: Lease | None = None
        """The latest one."""


class Ask:
    """A call that waits for a lease. Either the writer answers it, or the call gives up: whoever closes it first.

    Its answer counts only where the writer did.
    """

    __slots__ = ("_open", "_told", "at", "lease", "need", "over", "patience", "spender", "usage")

    def __init__(self, spender: Spender, need: int, at: int) -> None:
        self.spender = spender
        self.need = need
        """Nano-dollars."""
        self.at = at
        """When the call began: Unix time in microseconds."""
        self.patience = 0.0
        """How many seconds it is waited for from now on."""
        self.over = threading.Event()
        self.lease: Lease | None = None
        """From which it was reserved."""
        self.usage: Usage | None = None
        """What is used up, where it was refused."""
        self._open: list[None] = [None]
        self._told: list[Callable[[], object]] = []

    @property
    def is_open(self) -> bool:
        """Whether it waits for an answer."""
        return bool(self._open)

    def close(self) -> bool:
        """Return whether nobody has closed it before."""
        try:
            self._open.pop()
        except IndexError:
            return False
        return True

    def then(self, tell: Callable[[], object]) -> None:
        """Have something called, in any thread, once it is answered; at once where it is."""
        self._told.append(tell)
        if self.over.is_set():
            self._tell()

    def end(self) -> None:
        """Tell the call that there is an answer."""
        self.over.set()
        self._tell()

    def _tell(self) -> None:
        while self._told:
            try:
                tell = self._told.pop()
            except IndexError:
                return
            tell()
