"""What the page shows first: what a range cost, on what, how it went, and what nobody knows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from pixelmeter.core.ports import Clock
from pixelmeter.core.reporting.periods import OpenPeriod, Period, Window, name_of, open_period, windows
from pixelmeter.core.reporting.report import Forecast, Group, Report, Row, forecast, summarise
from pixelmeter.ledger.grouping import grouped, needs_attempts, widened
from pixelmeter.ledger.queries import routed_at_least
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import horizon
from pixelmeter.reports.report import Question, Reading, expected

__all__ = ["Overview", "Part", "Spell", "TagSpend", "overview", "tag_spend"]

_COLUMNS = ("calls", "attempts", "images", "errors", "blocked", "cost", "at_risk", "unknown_cost", "p50")
_ROUTED = ("savings", "baseline", "route_fee")
_COST = ("attempts", "cost", "at_risk", "unknown_cost")
_SUMS = ("attempts", "cost", "at_risk", "unknown_cost_attempts", "unestimated_attempts", "blocked")
# Reading so many attempts takes less than the rest of the page.
_FEW = 20_000
_MANY_ROUTED = 20_000
_NO_SUMS = frozenset({"key", "buckets"})
_BREAKDOWN = ("gateway", "model", "outcome")


_Key = tuple[str | None, ...]
Range = tuple[datetime, datetime]
"""A beginning, and an end that is not in it."""


class Part(NamedTuple):
    """Sums of a range by one dimension, the most expensive first, or by time."""

    rows: Sequence[Row]
    total: Row


class Spell(NamedTuple):
    """What a period that goes on cost so far, and as much of the one before."""

    period: OpenPeriod
    since: datetime
    """When its sums begin: before the period does, where attempts of that time have been pruned."""
    until: datetime
    total: Row
    before_range: Range
    before: Row
    forecast: Forecast


@dataclass(kw_only=True)
class Overview:
    """The sums of a range. A part is None where it would have to be added up from many attempts: see `reading`."""

    since: datetime
    until: datetime
    windows: Mapping[str, Window]
    """The periods of the range by their names, in order."""
    total: Row | None = None
    before: Row | None = None
    """Of the range before."""
    before_range: Range | None = None
    steps: Part | None = None
    """By the period that was asked for."""
    models: Part | None = None
    """By gateway and model."""
    gateways: Part | None = None
    outcomes: Part | None = None
    of_models: Mapping[tuple[str, str], Row] = field(default_factory=dict[tuple[str, str], Row])
    """By period and model; empty where the two are not known together."""
    has_savings: bool = True
    """False where so many attempts were routed that their sums would have to be added up one by one."""
    spells: Sequence[Spell] = ()
    """Today and this month."""
    reading: Reading | None = None
    """What must be read for the parts that are missing."""


class _Days:
    """What was spent by the day, so that ranges that overlap are read once."""

    def __init__(self, reader: LedgerReader, question: Question) -> None:
        self._reader = reader
        self._question = question
        self._known: dict[tuple[datetime, datetime], Row] = {}
        self._by_day = not needs_attempts(reader, ("day",), question.zone, question.filters)

    def learn(self, days: Iterable[Window], rows: Iterable[Row]) -> None:
        """Take in sums that have been read, by the names of the days."""
        named = {row.key[0]: row for row in rows}
        for day in days:
            self._known[day.start, day.end] = named.get(name_of(day.first, "day"), Row(()))

    def read(self, since: datetime, until: datetime) -> None:
        """Read the days of a range, where a rollup has them."""
        if self._by_day and since < until:
            rows = _report(self._reader, replace(self._question, since=since, until=until), ("day",), _COST).rows
            self.learn(windows(since, until, self._question.zone, "day"), rows)

    def total(self, since: datetime, until: datetime) -> Row:
        """Return the sums of a range; what has not been read is."""
        total = Row(())
        missing: list[tuple[datetime, datetime]] = []
        for day in windows(since, until, self._question.zone, "day"):
            known = self._known.get((day.start, day.end))
            if known is not None:
                total.add({name: getattr(known, name) for name in _SUMS}, {})
            elif missing and missing[-1][1] == day.start:
                missing[-1] = (missing[-1][0], day.end)
            else:
                missing.append((day.start, day.end))
        for start, end in missing:
            question = replace(self._question, since=start, until=end)
            total.add_row(_report(self._reader, question, (), _COST).total)
        return total


class TagSpend(NamedTuple):
    """What was spent by the values of one tag."""

    tag: str
    report: Report


def overview(
    reader: LedgerReader,
    question: Question,
    step: Period,
    clock: Clock,
    *,
    now: datetime,
    reads_all: bool,
) -> Overview:
    """Return the sums of a question, whose dimensions and columns are not looked at, and what `now` is today's.

    Where they would have to be added up from many attempts, they are only if `reads_all`.
    """
    since, until = widened(reader, (*_BREAKDOWN, step), question.since, question.until, question.filters)
    asked = replace(question, since=since, until=until)
    found = Overview(
        since=since,
        until=until,
        windows={name_of(one.first, step): one for one in windows(since, until, question.zone, step)},
    )
    columns: Sequence[str] = _COLUMNS
    begin = horizon(reader)
    if (begin is not None and since < begin) or routed_at_least(reader, since, until, _MANY_ROUTED):
        found.has_savings = False
    else:
        columns = (*columns, *_ROUTED)
    readable = _Readable(reader, asked, clock, reads_all=reads_all)
    if readable((*_BREAKDOWN, step)):
        _add_all(found, _groups(reader, asked, (*_BREAKDOWN, step), columns))
    else:
        if readable((step,)):
            report = _report(reader, asked, (step,), columns)
            found.steps, found.total = Part(report.rows, report.total), report.total
        if readable(_BREAKDOWN):
            _add_breakdown(found, _groups(reader, asked, _BREAKDOWN, columns))
        if found.total is None and readable(()):
            found.total = _report(reader, asked, (), columns).total
        found.reading = readable.reading
    if found.total is not None and readable(()):
        _compare(reader, asked, found, step, now)
    return found


def _compare(reader: LedgerReader, asked: Question, found: Overview, step: Period, now: datetime) -> None:
    """Add what the range is compared with, and today and this month."""
    days = _Days(reader, asked)
    if step == "day" and found.steps is not None:
        days.learn(found.windows.values(), found.steps.rows)
    found.before_range = widened(reader, (), *asked.before, asked.filters)
    days.read(*found.before_range)
    found.before = days.total(*found.before_range)
    found.spells = list(_spells(reader, days, asked, now))


def _spells(reader: LedgerReader, days: _Days, asked: Question, now: datetime) -> Iterator[Spell]:
    """Yield today and this month, as far as they are over."""
    for text in ("today", "this-month"):
        period = open_period(text, now=now, zone=asked.zone)
        if period is None or period.start >= now:
            continue
        question = replace(asked, since=period.start, until=now, period=period)
        since, until = widened(reader, (), period.start, now, asked.filters)
        before = widened(reader, (), *question.before, asked.filters)
        total = days.total(since, until)
        report = Report(by=(), since=since, until=until, rows=(), total=total)
        yield Spell(
            period, since, until, total, before, days.total(*before), forecast(report, period.start, period.end)
        )


def tag_spend(
    reader: LedgerReader, question: Question, tag: str, top: int, *, reads_all: bool = False
) -> TagSpend | None:
    """Return what was spent by a tag; None where no rollup has that, unless `reads_all`."""
    by = (f"tag:{tag}",)
    if not reads_all and needs_attempts(reader, by, question.zone, question.filters):
        return None
    since, until = widened(reader, by, question.since, question.until, question.filters)
    groups = grouped(reader, by, since, until, question.zone, question.filters, _COST)
    return TagSpend(tag, summarise(groups, by=by, since=since, until=until, top=top))


class _Readable:
    """Whether sums by some dimensions may be added up; remembers what those would read that may not."""

    def __init__(self, reader: LedgerReader, question: Question, clock: Clock, *, reads_all: bool) -> None:
        self._reader = reader
        self._question = question
        self._clock = clock
        self._reads_all = reads_all
        self.reading: Reading | None = None

    def __call__(self, by: Sequence[str]) -> bool:
        question = replace(self._question, by=by, columns=_COST)
        if self._reads_all or not needs_attempts(self._reader, by, question.zone, question.filters):
            return True
        if self.reading is not None:
            return False
        self.reading = expected(self._reader, question, self._clock, worth_saying=_FEW)
        return self.reading is None


def _groups(reader: LedgerReader, question: Question, by: Sequence[str], columns: Sequence[str]) -> list[Group]:
    return list(grouped(reader, by, question.since, question.until, question.zone, question.filters, columns))


def _report(reader: LedgerReader, question: Question, by: Sequence[str], columns: Sequence[str]) -> Report:
    groups = grouped(reader, by, question.since, question.until, question.zone, question.filters, columns)
    return summarise(groups, by=by, since=question.since, until=question.until)


def _add_all(found: Overview, groups: Sequence[Group]) -> None:
    """Fill all parts from sums by gateway, model, outcome and period."""
    outcomes = _merged(groups, lambda key: (key[2],), has_buckets=False)
    # Histograms are long: those of all outcomes are added up before anything else is made of them.
    by_step = _again(_merged(groups, lambda key: (key[0], key[1], key[3])))
    steps = _merged(by_step, lambda key: (key[2],))
    models = _again(_merged(by_step, lambda key: (key[0], key[1])))
    whole = _whole(_again(steps))
    found.total = whole
    order = {name: place for place, name in enumerate(found.windows)}
    found.steps = Part(sorted(steps, key=lambda row: order.get(row.key[0] or "", 0)), whole)
    found.models = _part(_merged(models, lambda key: key), whole)
    found.gateways = _part(_merged(models, lambda key: (key[0],)), whole)
    found.outcomes = _part(outcomes, whole)
    of_models = _merged(by_step, lambda key: (key[2], key[1]), has_buckets=False)
    found.of_models = {(row.key[0] or "", row.key[1] or ""): row for row in of_models}


def _add_breakdown(found: Overview, groups: Sequence[Group]) -> None:
    """Fill the parts that are not by time, from sums by gateway, model and outcome."""
    models = _again(_merged(groups, lambda key: (key[0], key[1])))
    whole = _whole(models)
    found.total = found.total or whole
    found.models = _part(_merged(models, lambda key: key), whole)
    found.gateways = _part(_merged(models, lambda key: (key[0],)), whole)
    found.outcomes = _part(_merged(groups, lambda key: (key[2],), has_buckets=False), whole)


def _merged(groups: Iterable[Group], key: Callable[[_Key], _Key], *, has_buckets: bool = True) -> list[Row]:
    """Return the rows of sums that have the same key."""
    merged: dict[_Key, Row] = {}
    for group in groups:
        own = key(group.key)
        into = merged.get(own)
        if into is None:
            into = merged[own] = Row(own)
        into.add(group.sums, group.buckets if has_buckets else {})
    return list(merged.values())


def _again(rows: Iterable[Row]) -> list[Group]:
    """Return rows as sums to be added up once more."""
    return [
        Group(row.key, {name: value for name, value in row.__dict__.items() if name not in _NO_SUMS}, row.buckets)
        for row in rows
    ]


def _whole(groups: Iterable[Group]) -> Row:
    return next(iter(_merged(groups, lambda _: ())), Row(()))


def _part(rows: Iterable[Row], total: Row) -> Part:
    kept = [row for row in rows if row.attempts]
    return Part(sorted(kept, key=lambda row: (-row.cost, -row.at_risk, -row.attempts, _text(row.key))), total)


def _text(key: _Key) -> tuple[str, ...]:
    return tuple(value or "" for value in key)
