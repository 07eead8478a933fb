"""Sums of attempts by dimensions, from whatever tells them with the least to read.

Ranges are half-open, [since, until). Every value is a parameter, every name in SQL is one of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import islice
from typing import NamedTuple

from pixelmeter.core.reporting.columns import HISTOGRAM, OF_PROGRAMS, sums
from pixelmeter.core.reporting.periods import Period, name_of, windows
from pixelmeter.core.reporting.report import Group, is_period, known, tag_of
from pixelmeter.ledger.dialect import ROUTED, Sql, bucket_of
from pixelmeter.ledger.measures import (
    OF_ATTEMPTS,
    OF_RETRIES,
    OF_ROLLUP,
    OF_ROUTED,
    UNESTIMATED,
    Sum,
    group_of,
    retried,
    selected,
)
from pixelmeter.ledger.queries import EVERYTHING, Filters, spend, started_in, where
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["cost_by_period", "grouped"]

_ROLLED_UP = {"gateway", "provider", "operation", "model", "outcome"}
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
# What a report says of its sums and orders them by, whatever its columns are.
_ALWAYS = frozenset({"attempts", "blocked", "cost", "at_risk", "unknown_cost_attempts", "unestimated_attempts"})
# The bounds of so many windows are in one statement.
_AT_ONCE = 1000
_EXPRESSIONS = {"trace": "trace_id", "call": "CAST(call_id AS TEXT)"}


def grouped(
    reader: LedgerReader,
    by: Sequence[str],
    since: datetime,
    until: datetime,
    zone: tzinfo = UTC,
    filters: Filters = EVERYTHING,
    columns: Collection[str] = OF_PROGRAMS,
) -> Iterator[Group]:
    """Yield sums by dimensions (`pixelmeter.core.reporting.report.DIMENSIONS` or "tag:KEY"), for `summarise` to add up.

    Hours, days, weeks and months are those of `zone`. Only what `columns` are made of is added up
    (`core.reporting.columns.COLUMNS`), and what every report says. Whole UTC days come from the rollup where it can
    tell; retries and routed attempts, which few columns are about, have indexes of their own; all else is read from the
    attempts. They are as their adjustments have made them.
    """
    since, until = _within_ledger(reader, since, until)
    slots = _slots(since, until, zone, [name for name in by if is_period(name)])
    while some := list(islice(slots, _AT_ONCE)):
        yield from _Question(reader, by, some, filters, _ALWAYS | sums(columns)).answer()


def cost_by_period(
    reader: LedgerReader,
    period: Period,
    since: datetime,
    until: datetime,
    zone: tzinfo = UTC,
    filters: Filters = EVERYTHING,
) -> dict[str, int | None]:
    """Return the known nano-dollars of each period of the range, as far as the ledger reaches, in order.

    It is 0 where nothing was spent, and None where attempts were made of which no cost is known.
    """
    since, until = _within_ledger(reader, since, until)
    costs = {name_of(window.first, period): 0 for window in windows(since, until, zone, period)}
    missing = dict.fromkeys(costs, 0)
    for key, found, _ in grouped(reader, (period,), since, until, zone, filters, ("cost",)):
        name = key[0] or ""
        costs[name] += found.get("cost", 0)
        missing[name] += found.get("unknown_cost_attempts", 0)
    return {name: known(cost, missing[name]) for name, cost in costs.items()}


class _Slot(NamedTuple):
    """A part of a range that has one name in each of the periods that are asked for."""

    start: datetime
    end: datetime
    names: Mapping[Period, str]


def _slots(since: datetime, until: datetime, zone: tzinfo, periods: Sequence[Period]) -> Iterator[_Slot]:
    if not periods:
        if since < until:
            yield _Slot(since, until, {})
        return
    for window in windows(since, until, zone, periods[0] if len(periods) == 1 else "day"):
        names: dict[Period, str] = {
            name: name_of(window.first, name) for name in periods if name != "hour" or len(periods) == 1
        }
        if len(names) == len(periods):
            yield _Slot(window.start, window.end, names)
            continue
        # Of hours, the day is that of the window: where clocks jump over midnight, theirs may be another one.
        for hour in windows(window.start, window.end, zone, "hour"):
            yield _Slot(hour.start, hour.end, names | {"hour": name_of(hour.first, "hour")})


class _Source(NamedTuple):
    """Rows that are added up."""

    relation: str
    time: str
    """The column that says which slot a row is in."""
    used: str
    """What the sums are made of."""
    sums: Mapping[str, Sum]
    bucket: str = "0"
    sent: str = ""
    """How many attempts of a latency bucket were sent; empty where that is not asked for."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of consecutive slots."""

    reader: LedgerReader
    by: Sequence[str]
    slots: Sequence[_Slot]
    filters: Filters
    wanted: frozenset[str]

    def answer(self) -> Iterator[Group]:
        """Yield the groups of every source."""
        since, until = self.slots[0].start, self.slots[-1].end
        ragged = [(since, until)]
        if self._rollup_can_tell():
            first, last = _midnight(since - _MICROSECOND + _DAY), _midnight(until)
            if first < last:
                yield from self._of_days(first, last)
                ragged = [(since, first), (last, until)]
        for start, end in ragged:
            if start < end:
                yield from self._of_attempts(start, end)
        if retries := self._asked(OF_RETRIES):
            relation = spend(self.reader)
            early = retried(relation) if any("twice" in name for name in retries) else ""
            used = ", ".join(filter(None, ["billing, cost, at_risk", early]))
            source = _Source(relation, "started_at", used, retries)
            yield from self._groups(source, since, until, self._started(since, until, Sql("attempt > 0")))
        if routed := self._asked(OF_ROUTED):
            used = "baseline_cost, route_fee, savings"
            source = _Source(spend(self.reader), "started_at", used, routed)
            yield from self._groups(source, since, until, self._started(since, until, Sql(f"({ROUTED})")))

    def _asked(self, sums: Mapping[str, Sum]) -> Mapping[str, Sum]:
        return {name: one for name, one in sums.items() if name in self.wanted}

    def _rollup_can_tell(self) -> bool:
        asked = self.wanted & (OF_ATTEMPTS.keys() - {"unestimated_attempts"})
        return (
            self.filters.rolled_up
            and {name for name in self.by if not is_period(name)} <= _ROLLED_UP
            and asked <= OF_ROLLUP.keys()
            and all(slot.start == _midnight(slot.start) for slot in self.slots[1:])
        )

    def _of_days(self, first: datetime, last: datetime) -> Iterator[Group]:
        used = "attempts, calls, images, cost, at_risk, unknown_cost_attempts, outcome"
        source = _Source("pixelmeter_daily", "day", used, self._asked(OF_ROLLUP))
        if HISTOGRAM in self.wanted:
            sent = "coalesce(sum(attempts) FILTER (WHERE outcome <> 'blocked'), 0)"
            source = source._replace(bucket="latency_bucket", sent=sent)
        dialect = self.reader.dialect
        days = Sql("day >= ? AND day < ?", tuple(dialect.midnight(when.date()) for when in (first, last)))
        doubts: dict[tuple[str | None, ...], tuple[int, int]] = {}
        for group in self._groups(source, first, last, [days, *self.filters.conditions(dialect)]):
            if not group.sums["attempts"]:
                continue
            at_risk, unknown = doubts.get(group.key, (0, 0))
            found = group.sums
            doubts[group.key] = at_risk + found["at_risk"], unknown + found["unknown_cost_attempts"]
            yield group
        # It has no count of the attempts that could not be estimated; where something was, that needs no saying.
        if any(unknown and not at_risk for at_risk, unknown in doubts.values()):
            sums = {"unestimated_attempts": Sum("count(*)")}
            source = _Source(spend(self.reader), "started_at", "cost", sums)
            yield from self._groups(source, first, last, self._started(first, last, Sql(UNESTIMATED)))

    def _of_attempts(self, start: datetime, end: datetime) -> Iterator[Group]:
        dialect = self.reader.dialect
        used = "attempt, images, outcome, billing, cost, fee, at_risk"
        if "pixels" in self.wanted:
            used += f", {dialect.pixels} AS pixels"
        source = _Source(spend(self.reader), "started_at", used, self._asked(OF_ATTEMPTS))
        if HISTOGRAM in self.wanted:
            sent = "count(*) FILTER (WHERE outcome <> 'blocked')"
            source = source._replace(bucket=bucket_of(dialect), sent=sent)
        yield from self._groups(source, start, end, self._started(start, end))

    def _started(self, start: datetime, end: datetime, *others: Sql) -> Iterator[Sql]:
        dialect = self.reader.dialect
        yield from started_in(start, end, dialect)
        yield from others
        yield from self.filters.conditions(dialect)

    def _groups(self, source: _Source, start: datetime, end: datetime, conditions: Iterable[Sql]) -> Iterator[Group]:
        """Yield the groups of the rows of a source on which all conditions hold."""
        dialect = self.reader.dialect
        slots = [slot for slot in self.slots if slot.start < end and slot.end > start]
        of = dialect.moment if source.time == "started_at" else lambda when: dialect.midnight(when.date())
        dimensions = [self._dimension(name) for name in self.by if not is_period(name)]
        keys = ", ".join([*(f"key_{number}" for number in range(len(dimensions))), "slot"])
        # The inner query names each expression once: PostgreSQL does not take two parameters for the same one.
        named = [f"{found.text} AS key_{number}" for number, found in enumerate(dimensions)]
        named.append(f"{dialect.rank(source.time, [of(slot.start) for slot in slots[1:]])} AS slot")
        condition = where(conditions)
        rows = (
            f"SELECT {', '.join(named)}, {source.bucket} AS bucket, {source.used}"
            f" FROM {source.relation} AS one {condition.text}"
        )
        columns = list(selected(source.sums, dialect))
        if source.sent:
            parts = ", ".join(f"{column} AS sum_{number}" for number, column in enumerate(columns))
            rows = (
                f"SELECT {keys}, bucket, {parts}, {source.sent} AS sent FROM ({rows}) AS found GROUP BY {keys}, bucket"
            )
            columns = [f"sum(sum_{number})" for number in range(len(columns))]
            columns.append(dialect.joined("bucket || ':' || sent"))
        statement = f"SELECT {keys}, {', '.join(columns)} FROM ({rows}) AS parts GROUP BY {keys}"
        parameters = [value for found in (*dimensions, condition) for value in found.parameters]
        width = len(dialect.wide_sum(""))
        for row in self.reader.rows(statement, parameters):
            values = iter(row)
            own = [next(values) or None for _ in dimensions]
            names = slots[next(values)].names
            others = iter(own)
            key = tuple(names[name] if is_period(name) else next(others) for name in self.by)
            buckets = row[-1] if source.sent else None
            yield group_of(key, source.sums, values, width, buckets)

    def _dimension(self, name: str) -> Sql:
        tag = tag_of(name)
        found = Sql(_EXPRESSIONS.get(name, name)) if tag is None else self.reader.dialect.tag_value(tag)
        return Sql(f"coalesce({found.text}, '')", found.parameters)


def _within_ledger(reader: LedgerReader, since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Cut a range to the UTC days that have attempts, so that no time is spent on years without any."""
    [(first, last)] = reader.rows(reader.dialect.reach)
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if first is None:
        return since, since
    first, last = map(reader.dialect.date, (first, last))
    return max(since, _start(first)), min(until, _start(last) + _DAY)


def _midnight(when: datetime) -> datetime:
    return _start(when.date())


def _start(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
