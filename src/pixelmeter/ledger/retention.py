"""Since when a ledger has the attempts themselves: older ones are in its sums only."""

from __future__ import annotations

from datetime import datetime

from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["horizon"]


def horizon(reader: LedgerReader) -> datetime | None:
    """Return the UTC midnight before which attempts have been pruned; None where none have.

    Those that began before it are gone, or go just now; rollups and totals have them still.
    """
    [(found,)] = reader.rows("SELECT max(horizon) FROM pixelmeter_prunes")
    return None if found is None else moment_of(reader.dialect.microseconds(found))
