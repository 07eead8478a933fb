"""What attempts have spent of leases that are in no spool and will be no row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pixelmeter.core.budgets.lease import Charge, Lease
from pixelmeter.ledger.writer import BudgetWriter

__all__ = ["Charged", "Losses"]

Charged = Sequence[tuple[Lease, Charge]]


class _Loss(NamedTuple):
    id: str
    charged: Charged


class Losses:
    """Has the ledger keep reserved for good what dropped attempts have spent: a limit holds without their rows."""

    def __init__(self, charges: dict[str, Charged], unmark: Callable[[], Callable[[], object] | None]) -> None:
        """`charges` has what attempts are charged by their ids.

        `unmark` forgets what marks this process as one that has dropped some, and returns what deletes it.
        """
        self._charges = charges
        self._unmark = unmark
        self._marks: list[Callable[[], object]] = []
        self._new: deque[_Loss] = deque()
        self._known: Sequence[_Loss] = ()

    def drop(self, id: str) -> bool:
        """Take an attempt that is dropped; return whether it has spent of a lease. For any thread: it takes no lock."""
        charged = self._charges.pop(id, ())
        if charged:
            self._new.append(_Loss(id, charged))
        return bool(charged)

    def keep(self, writer: BudgetWriter, process: str, at: int) -> Charged:
        """Tell the ledger of what was dropped so far; return what is not of the process's leases any more.

        LedgerError where it does not take it; then it is told again.
        """
        # First: what is dropped from now on gets another mark.
        if (mark := self._unmark()) is not None:
            self._marks.append(mark)
        kept: list[tuple[Lease, Charge]] = []
        while self._known or self._new:
            # A group comes again as it was, so that it is kept once.
            self._known = self._known or [self._new.popleft() for _ in range(len(self._new))]
            charged = [each for loss in self._known for each in loss.charged]
            writer.keep_dropped(process, self._known[0].id, [charge for _, charge in charged], at)
            self._known = ()
            kept += charged
        while self._marks:
            self._marks.pop()()
        return kept
