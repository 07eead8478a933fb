"""Single attempts for people to look through: a part of a list at a time, and what all of it adds up to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Clock
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.core.reporting.report import Row, summarise
from pixelmeter.ledger.attempts import Place, attempts
from pixelmeter.ledger.grouping import grouped, needs_attempts, widened
from pixelmeter.ledger.looking import places_to_look
from pixelmeter.ledger.queries import names_in_use
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import horizon, lacking
from pixelmeter.reports.report import Question, Reading, expected

__all__ = ["Names", "Stretch", "most_expensive_reads", "names", "stretch", "sum_of"]

_COLUMNS = ("attempts", "images", "cost", "at_risk", "unknown_cost")
_FEW = 20_000
_MANY = 300_000
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
    found: list[Attempt] = []
    places = [(question.since, question.until)] if by_cost else _places(reader, question, after)
    for since, until in places:
        missing = limit + 1 - len(found)
        found += attempts(
            reader, since=since, until=until, filters=question.filters, limit=missing, by_cost=by_cost, after=after
        )
        if len(found) > limit:
            break
    shown = found[:limit]
    following = Place(shown[-1].cost, shown[-1].started_at, shown[-1].id) if len(found) > limit else None
    lack = lacking(reader, question.since) if following is None or by_cost else None
    return Stretch(shown, following, lack)


def _places(reader: LedgerReader, question: Question, after: Place | None) -> Iterator[tuple[datetime, datetime]]:
    """Yield the parts of a range where attempts are that come after a place in a list, the latest first."""
    until = question.until
    if after is not None:
        until = min(until, moment_of(after.started_at + 1))
    if question.since < until:
        yield from places_to_look(reader, question.since, until, question.filters)


def sum_of(reader: LedgerReader, question: Question, clock: Clock, *, reads_all: bool) -> Row | Reading:
    """Return the sums of the attempts of a range, or what must be read for them, which is done if `reads_all`.

    Where attempts were pruned of which no sums tell, it is those of the attempts that are left.
    """
    question = replace(question, by=(), columns=_COLUMNS)
    if needs_attempts(reader, (), question.zone, question.filters):
        question = _left(reader, question)
        if question.since >= question.until:
            return Row(())
        reading = None if reads_all else expected(reader, question, clock, worth_saying=_FEW)
        if reading is not None:
            return reading
    since, until = widened(reader, (), question.since, question.until, question.filters)
    groups = grouped(reader, (), since, until, question.zone, question.filters, _COLUMNS)
    return summarise(groups, by=(), since=since, until=until).total


def most_expensive_reads(reader: LedgerReader, question: Question, clock: Clock) -> Reading | None:
    """Return what is read to find the most expensive attempts of a range; None where that is not much."""
    # No rollup tells sizes apart, so these sums read as much.
    sums = replace(_left(reader, question), by=("size",), columns=_COLUMNS)
    return expected(reader, sums, clock, worth_saying=_MANY)


def _left(reader: LedgerReader, question: Question) -> Question:
    """Return the question about the attempts that have not been pruned."""
    begin = horizon(reader)
    return question if begin is None else replace(question, since=min(max(question.since, begin), question.until))


def names(reader: LedgerReader) -> Names:
    """Return the models and gateways that the ledger has ever seen, as far as totals tell them apart."""
    found = names_in_use(reader)
    models = sorted({model for _, model in found if model})[:_MOST_NAMES]
    return Names(models, sorted({gateway for gateway, _ in found})[:_MOST_NAMES])
