"""What a process has of a budget, and calls that wait for more of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.lease import Lease
from pixelmeter.core.budgets.sums import Usage

__all__ = ["NEVER", "NO_ANSWER", "Answer", "Ask", "Spender"]

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


class Answer(NamedTuple):
    """What a call that waits is told: the lease from which it was reserved, or what is used up; else it is unknown."""

    lease: Lease | None = None
    usage: Usage | None = None


NO_ANSWER = Answer()
"""The ledger did not say."""


class Ask:
    """A call that waits for a lease. Either the writer answers it, or the call gives up: whoever is first."""

    __slots__ = ("_answer", "_open", "_told", "at", "need", "over", "patience", "spender")

    def __init__(self, spender: Spender, need: int, at: int) -> None:
        self.spender = spender
        self.need = need
        """Nano-dollars."""
        self.at = at
        """When the call began: Unix time in microseconds."""
        self.patience = 0.0
        """How many seconds it is waited for from now on."""
        self.over = threading.Event()
        self._answer = NO_ANSWER
        self._open: list[None] = [None]
        self._told: list[Callable[[], object]] = []

    @property
    def is_open(self) -> bool:
        """Whether it waits for an answer."""
        return bool(self._open)

    def answer(self, answer: Answer) -> bool:
        """Answer it, and return whether it takes that: it has no answer yet, and has not given up before."""
        if not self.is_open:
            return False
        # Known before it is closed: whoever finds it closed finds the answer.
        self._answer = answer
        return self._close()

    def give_up(self) -> Answer | None:
        """Wait no longer; return the answer if there was one before."""
        return None if self._close() else self._answer

    def _close(self) -> bool:
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
