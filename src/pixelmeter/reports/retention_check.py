"""Whether a ledger is looked after: months ahead, and prunes that came to their end."""

from __future__ import annotations

from collections.abc import Iterator

from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.core.text import plural
from pixelmeter.ledger.partitions import months_of
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.reports.finding import Finding

__all__ = ["check_retention"]


def check_retention(reader: LedgerReader, at: int) -> Iterator[Finding]:
    """Yield how far back attempts go and how far ahead months, at a Unix time in microseconds."""
    rows = reader.rows("SELECT horizon, ended_at FROM pixelmeter_prunes ORDER BY horizon DESC")
    if rows:
        day = moment_of(reader.dialect.microseconds(rows[0][0])).date()
        if any(ended is None for _, ended in rows):
            told = f"a prune to {day} was broken off: attempts from before are told of no more, and take up room"
            yield Finding("retention", "warning", told, "run `pixelmeter db prune` again, which goes on there")
        else:
            yield Finding("retention", "ok", f"attempts since {day}; those from before are in the sums")
    months = months_of(reader, at)
    if months is None:
        return
    advice = "let the owner of the tables run `pixelmeter db upgrade`, now and then or by a timer"
    if months.without:
        told = f"there is no partition for the month of {plural(months.without, 'attempt')}"
        advice += "; what is there still has a time that is months ahead, by the clock of a machine"
        yield Finding("months", "warning", told, advice)
    elif months.ahead < 1:
        which = "the next one" if months.ahead == 0 else "the present one"
        yield Finding("months", "warning", f"{which} has no partition", advice)
    else:
        yield Finding("months", "ok", f"{months.ahead} are made ahead")
