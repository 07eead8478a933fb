"""What became of attempts: their adjustments, and what each of them changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pixelmeter.core.attempts.adjustment import Adjustment, Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.adjusting import history
from pixelmeter.ledger.attempts import attempts_of
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["changes_of"]


def changes_of(reader: LedgerReader, ids: Iterable[str]) -> dict[str, Sequence[Change]]:
    """Return the changes of attempts, oldest first; attempts without any are left out."""
    adjustments = history(reader, ids)
    return {one.id: list(_steps(one, adjustments[one.id])) for one in attempts_of(reader, adjustments)}


def _steps(attempt: Attempt, adjustments: Iterable[Adjustment]) -> Iterator[Change]:
    before = attempt
    for adjustment in adjustments:
        after = adjustment.laid_over(before)
        yield Change(adjustment, before, after)
        before = after
