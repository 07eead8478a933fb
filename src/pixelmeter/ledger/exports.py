"""Attempts and adjustments by the UTC day, for whoever takes all of them: in order, and never all at once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from pixelmeter.core.attempts import adjustment
from pixelmeter.core.attempts.record import FIELDS
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger.dialect import Dialect, Sql
from pixelmeter.ledger.queries import Filters, spend, where
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["ADJUSTMENTS", "ATTEMPTS", "BESIDE", "DayState", "Source", "days", "rows", "span", "state_of"]

_DAY = timedelta(days=1)
_Row = list[Any]

BESIDE: tuple[str, ...] = (
    "started_at", "gateway", "operation", "tags", "outcome_before", "cost_before", "at_risk_before"
)  # fmt: skip
"""What a row of an adjustment has beside its own fields: of its attempt, and of what held before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table whose rows have a time that decides on their day."""

    time: str
    """The column of that time."""
    key: str
    """What puts the rows of one moment in order."""
    table: str
    relation: Callable[[LedgerReader], str]
    """The relation that has the rows as they are now."""
    columns: tuple[str, ...]
    identities: tuple[str, ...]
    moments: tuple[str, ...]
    attempt: str
    """The column that has the id of the attempt."""


class DayState(NamedTuple):
    """What a day has in the ledger. Rows are only added and removed, so another state has other numbers."""

    rows: int
    adjustments: int


def _adjustments(_: LedgerReader) -> str:
    own = ", ".join(f"j.{name}" for name in adjustment.FIELDS)
    before = ", ".join(
        f"CASE WHEN b.number IS NULL THEN a.{name} ELSE b.{name} END AS {name}_before"
        for name in ("outcome", "cost", "at_risk")
    )
    return (
        f"(SELECT {own}, a.started_at, a.gateway, a.operation, a.tags, {before} FROM pixelmeter_adjustments AS j"
        " JOIN pixelmeter_attempts AS a ON a.id = j.attempt_id"
        " LEFT JOIN pixelmeter_adjustments AS b ON b.attempt_id = j.attempt_id AND b.number = j.number - 1) AS told"
    )


ATTEMPTS = Source(
    time="started_at",
    key="id",
    table="pixelmeter_attempts",
    relation=spend,
    columns=FIELDS,
    identities=("id", "call_id"),
    moments=("started_at",),
    attempt="id",
)
"""The attempts as they are now, with their adjustments, by when they started."""

ADJUSTMENTS = Source(
    time="made_at",
    key="attempt_id, number",
    table="pixelmeter_adjustments",
    relation=_adjustments,
    columns=(*adjustment.FIELDS, *BESIDE),
    identities=("attempt_id",),
    moments=("made_at", "started_at"),
    attempt="attempt_id",
)
"""The adjustments, by when they were made."""


def days(reader: LedgerReader, source: Source, since: datetime | None, until: datetime | None) -> Iterator[date]:
    """Yield the UTC days on which there are rows in [since, until), in order; each is found by the index."""
    while True:
        condition = where(_within(source, since, until, reader.dialect))
        [(found,)] = reader.rows(
            f"SELECT min({source.time}) FROM {source.table} {condition.text}", condition.parameters
        )
        if found is None:
            return
        day = moment_of(reader.dialect.microseconds(found)).date()
        yield day
        if day == date.max:
            return
        since = _midnight(day) + _DAY


def span(
    reader: LedgerReader, source: Source, since: datetime | None, until: datetime | None
) -> tuple[date, date] | None:
    """Return the first and the last UTC day on which there are rows in [since, until); None where there are none."""
    condition = where(_within(source, since, until, reader.dialect))
    ends = [
        reader.rows(f"SELECT {one}({source.time}) FROM {source.table} {condition.text}", condition.parameters)[0][0]
        for one in ("min", "max")
    ]
    if ends[0] is None:
        return None
    first, last = (moment_of(reader.dialect.microseconds(end)).date() for end in ends)
    return first, last


def state_of(reader: LedgerReader, source: Source, day: date) -> DayState:
    """Return what a day has, whatever is asked of it."""
    condition = where(_within(source, _midnight(day), _midnight(day) + _DAY, reader.dialect))
    [(number,)] = reader.rows(f"SELECT count(*) FROM {source.table} {condition.text}", condition.parameters)
    if source is ADJUSTMENTS or spend(reader) == source.table:
        return DayState(int(number), 0)
    statement = (
        f"SELECT count(*) FROM (SELECT id FROM {source.table} {condition.text}) AS a"
        " JOIN pixelmeter_adjustments AS j ON j.attempt_id = a.id"
    )
    [(adjusted,)] = reader.rows(statement, condition.parameters)
    return DayState(int(number), int(adjusted))


def rows(
    reader: LedgerReader,
    source: Source,
    day: date,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    filters: Filters,
) -> Generator[list[_Row]]:
    """Yield the rows of a UTC day that are in [since, until) and fit, by their time, some thousand at once.

    They have a value for each of `source.columns`: ids and JSON are text, times Unix microseconds. The filters look at
    attempts as they are now. Whoever does not take all of them closes it.
    """
    start, end = _midnight(day), _midnight(day) + _DAY
    start, end = max(start, since or start), min(end, until or end)
    conditions = [*_within(source, start, end, reader.dialect), *_fitting(reader, source, filters)]
    condition = where(conditions)
    statement = (
        f"SELECT {', '.join(source.columns)} FROM {source.relation(reader)} {condition.text}"
        f" ORDER BY {source.time}, {source.key}"
    )
    changed = [*_conversions(source, reader.dialect)]
    with closing(reader.batches(statement, condition.parameters)) as batches:
        for batch in batches:
            yield [_converted(row, changed) for row in batch]


def _fitting(reader: LedgerReader, source: Source, filters: Filters) -> Iterator[Sql]:
    conditions = [*filters.conditions(reader.dialect)]
    if not conditions or source is ATTEMPTS:
        yield from conditions
        return
    condition = where(conditions)
    yield Sql(f"{source.attempt} IN (SELECT id FROM {spend(reader)} {condition.text})", condition.parameters)


def _within(source: Source, since: datetime | None, until: datetime | None, dialect: Dialect) -> Iterator[Sql]:
    if since is not None:
        yield Sql(f"{source.time} >= ?", (dialect.moment(since),))
    if until is not None:
        yield Sql(f"{source.time} < ?", (dialect.moment(until),))


def _conversions(source: Source, dialect: Dialect) -> Iterator[tuple[int, Callable[[Any], Any]]]:
    for place, name in enumerate(source.columns):
        if name in source.identities:
            yield place, str
        elif name in source.moments:
            yield place, dialect.microseconds
        elif name == "tags":
            yield place, dialect.json_text
        elif name == "byok":
            yield place, bool


def _converted(row: Sequence[Any], changed: Sequence[tuple[int, Callable[[Any], Any]]]) -> _Row:
    values = list(row)
    for place, convert in changed:
        values[place] = convert(values[place])
    return values


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
