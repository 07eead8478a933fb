"""Since when a ledger has the attempts themselves: older ones are in its sums only."""

from __future__ import annotations

from datetime import datetime

from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["horizon", "lacking"]


def horizon(reader: LedgerReader) -> datetime | None:
    """Return the UTC midnight before which attempts have been pruned; None where none have.

    Those that began before it are gone, or go just now; rollups and totals have them still.
    """
    [(found,)] = reader.rows("SELECT max(horizon) FROM pixelmeter_prunes")
    return None if found is None else moment_of(reader.dialect.microseconds(found))


def lacking(reader: LedgerReader, since: datetime | None) -> str | None:
    """Return a sentence where attempts since a moment, or all, are asked for and the oldest of them are pruned."""
    found = horizon(reader)
    if found is None or (since is not None and since >= found):
        return None
    return f"attempts from before {found:%Y-%m-%d} are pruned and not among these: only sums have them, as in a report"
