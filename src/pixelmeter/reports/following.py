"""Attempts as they come into the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.attempts import adjusted_attempts_of, attempts, identities
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["followed"]

_INTERVAL = 1.0
# Attempts reach the ledger when they end, so a new one may have started this long ago.
_LONGEST = timedelta(minutes=15)


def followed(
    reader: LedgerReader, *, since: datetime | None, filters: Filters, limit: int
) -> Iterator[Sequence[Attempt]]:
    """Yield the newest attempts, then those that are committed meanwhile, once a second and without end.

    Each time they come oldest first. An attempt that ran for more than 15 minutes is not followed.
    """
    seen = identities(reader, since=datetime.now(UTC) - _LONGEST, filters=filters)
    newest = attempts(reader, since=since, filters=filters, limit=limit)
    seen.update(one.id for one in newest)
    yield newest[::-1]
    while True:
        reader.refresh()
        time.sleep(_INTERVAL)
        present = identities(reader, since=datetime.now(UTC) - _LONGEST, filters=filters)
        yield adjusted_attempts_of(reader, present - seen)
        seen = present
