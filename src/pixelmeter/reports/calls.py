"""Single attempts for people to look through: a part of a list at a time, and what all of it adds up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Clock
from pixelmeter.core.reporting.report import Row, summarise
from pixelmeter.ledger.attempts import Place, attempts
from pixelmeter.ledger.grouping import grouped, needs_attempts, widened
from pixelmeter.ledger.queries import names_in_use
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import lacking
from pixelmeter.reports.report import Question, Reading, expected

__all__ = ["Names", "Stretch", "names", "stretch", "sum_of"]

_COLUMNS = ("attempts", "images", "cost", "at_risk", "unknown_cost")
_FEW = 20_000
_MOST_NAMES = 200


class Stretch(NamedTuple):
    """A part of a list of attempts."""

    attempts: Sequence[Attempt]
    following: Place | None
    """Where the list goes on; None where it ends."""
    lacking: str | None
    """What the ledger has no attempts of any more."""


class Names(NamedTuple):
    """What may be asked for, for whoever types it."""

    models: Sequence[str]
    gateways: Sequence[str]


def stretch(
    reader: LedgerReader, question: Question, *, limit: int, by_cost: bool = False, after: Place | None = None
) -> Stretch:
    """Return the newest attempts of a range, or the most expensive ones, at most so many and those after a place."""
    found = attempts(
        reader,
        since=question.since,
        until=question.until,
        filters=question.filters,
        limit=limit + 1,
        by_cost=by_cost,
        after=after,
    )
    shown = found[:limit]
    following = Place(shown[-1].cost, shown[-1].started_at, shown[-1].id) if len(found) > limit else None
    lack = lacking(reader, question.since) if following is None or by_cost else None
    return Stretch(shown, following, lack)


def sum_of(reader: LedgerReader, question: Question, clock: Clock, *, reads_all: bool) -> Row | Reading:
    """Return the sums of the attempts of a range, or what must be read for them, which is done if `reads_all`."""
    question = replace(question, by=(), columns=_COLUMNS)
    if not reads_all and needs_attempts(reader, (), question.zone, question.filters):
        reading = expected(reader, question, clock, worth_saying=_FEW)
        if reading is not None:
            return reading
    since, until = widened(reader, (), question.since, question.until, question.filters)
    groups = grouped(reader, (), since, until, question.zone, question.filters, _COLUMNS)
    return summarise(groups, by=(), since=since, until=until).total


def names(reader: LedgerReader) -> Names:
    """Return the models and gateways that the ledger has ever seen, as far as totals tell them apart."""
    found = names_in_use(reader)
    models = sorted({model for _, model in found if model})[:_MOST_NAMES]
    return Names(models, sorted({gateway for gateway, _ in found})[:_MOST_NAMES])
