"""What the ledger is asked: which attempts a question is about, and sums of them by dimensions.

Ranges are half-open, [since, until). Every value is a parameter, every name in SQL is one of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from pixelmeter.core.reporting.periods import Period, Window, name_of, windows
from pixelmeter.core.reporting.report import ERRORS, FROM_ATTEMPTS, ROUTING, Group, is_period, known, tag_of
from pixelmeter.ledger.dialect import ROUTED, Dialect, Sql, bucket_of, wide, wide_sum
from pixelmeter.ledger.reader import LedgerReader

__all__ = [
    "EVERYTHING",
    "UNESTIMATED",
    "Filters",
    "TagUse",
    "Unpriced",
    "cost_by_period",
    "grouped",
    "spend",
    "started_in",
    "tag_keys",
    "unpriced",
    "where",
]

_ROLLED_UP = {"gateway", "provider", "operation", "model", "outcome"}
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_ERRORS = ", ".join(f"'{outcome}'" for outcome in ERRORS)
# Of a billed attempt nothing is at risk, also where nobody knows its price.
UNESTIMATED = "cost IS NULL AND at_risk IS NULL AND billing IN ('unknown', 'pending')"
_USED = "attempt, images, outcome, billing, cost, fee, at_risk, baseline_cost, route_fee, savings"


class _Sum(NamedTuple):
    """The SQL of one sum; one that may not fit into 64 bits is two columns, for `wide` to join."""

    text: str
    is_wide: bool = False


def _money(nano_dollars: str) -> _Sum:
    return _Sum(wide_sum(nano_dollars), is_wide=True)


# Each sum by the field of `Group` that it becomes: from the attempts, those that only some columns need, and from the
# day rollup.
_MONEY = {name: _money(name) for name in ("cost", "fee", "at_risk")}
_OF_ATTEMPTS: Mapping[str, _Sum] = {
    "attempts": _Sum("count(*)"),
    "calls": _Sum("count(*) FILTER (WHERE attempt = 0 AND outcome <> 'blocked')"),
    "blocked": _Sum("count(*) FILTER (WHERE outcome = 'blocked')"),
    "images": _Sum("coalesce(sum(images), 0)"),
    "errors": _Sum(f"count(*) FILTER (WHERE outcome IN ({_ERRORS}))"),
    "unknown_cost_attempts": _Sum("count(*) - count(cost)"),
    "unestimated_attempts": _Sum(f"count(*) FILTER (WHERE {UNESTIMATED})"),
    **_MONEY,
}
_FROM_ATTEMPTS_ONLY: Mapping[str, _Sum] = {
    "unknown_fee_attempts": _Sum("count(*) - count(fee)"),
    "priced_images": _Sum("coalesce(sum(images) FILTER (WHERE cost IS NOT NULL), 0)"),
    "retry_cost": _money("CASE WHEN attempt > 0 THEN cost END"),
    "unknown_retries": _Sum("count(*) FILTER (WHERE attempt > 0 AND cost IS NULL)"),
    "failure_cost": _money("CASE WHEN outcome <> 'success' THEN cost END"),
    "unknown_failures": _Sum("count(*) FILTER (WHERE outcome <> 'success' AND cost IS NULL)"),
}
_OF_ROLLUP: Mapping[str, _Sum] = {
    "attempts": _Sum("sum(attempts)"),
    "calls": _Sum("sum(calls)"),
    "blocked": _Sum("coalesce(sum(attempts) FILTER (WHERE outcome = 'blocked'), 0)"),
    "images": _Sum("sum(images)"),
    "errors": _Sum(f"coalesce(sum(attempts) FILTER (WHERE outcome IN ({_ERRORS})), 0)"),
    "unknown_cost_attempts": _Sum("sum(unknown_cost_attempts)"),
    **_MONEY,
}
_COUNT_UNESTIMATED: Mapping[str, _Sum] = {"unestimated_attempts": _Sum("count(*)")}
_OF_ROUTED: Mapping[str, _Sum] = {
    "routed_attempts": _Sum("count(*)"),
    "baseline": _money("baseline_cost"),
    "stated_baselines": _Sum("count(baseline_cost)"),
    "route_fee": _money("route_fee"),
    "stated_route_fees": _Sum("count(route_fee)"),
    "savings": _money("savings"),
    "stated_savings": _Sum("count(savings)"),
}
_NOTHING = dict.fromkeys((name for name in Group._fields if name not in ("key", "bucket")), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which attempts to look at; None asks for nothing."""

    model: str | None = None
    """A shell pattern such as "openai/*"."""
    gateway: str | None = None
    operation: str | None = None
    outcome: str | None = None
    status: int | None = None
    call_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def rolled_up(self) -> bool:
        """Whether the day rollup has all that is asked for."""
        return self.status is None and self.call_id is None and not self.tags

    def conditions(self, dialect: Dialect) -> Iterator[Sql]:
        """Yield the conditions on the rows of a table."""
        for name in ("gateway", "operation", "outcome", "status", "call_id"):
            value = getattr(self, name)
            if value is not None:
                yield Sql(f"{name} = ?", (value,))
        if self.model is not None:
            yield dialect.like("model", self.model)
        for key, text in self.tags.items():
            value = dialect.tag_value(key)
            yield Sql(f"{value.text} = ?", (*value.parameters, text))


EVERYTHING = Filters()
"""No condition at all."""


class Unpriced(NamedTuple):
    """A model of a gateway that has no price, and how many attempts lack it."""

    gateway: str
    model: str
    attempts: int


class TagUse(NamedTuple):
    """A key of tags, how many attempts have it, and how many values it has."""

    tag: str
    attempts: int
    values: int


def grouped(
    reader: LedgerReader,
    by: Sequence[str],
    since: datetime,
    until: datetime,
    zone: tzinfo = UTC,
    filters: Filters = EVERYTHING,
    columns: Collection[str] = (),
) -> Iterator[Group]:
    """Yield sums by dimensions (`pixelmeter.core.reporting.report.DIMENSIONS` or "tag:KEY") and latency bucket.

    Days, weeks and months are those of `zone`. Whole UTC days come from the rollup where it can tell: it has no tags,
    and of `columns` (`core.reporting.columns.COLUMNS`) not those of FROM_ATTEMPTS, which are 0 unless asked for. So are
    those of ROUTING: they come from the attempts too, but from the routed ones alone, which have an index of their own.
    Attempts are as their adjustments have made them.
    """
    since, until = _within_ledger(reader, since, until)
    if since >= until:
        return
    ragged = [(since, until)]
    if _rollup_can_tell(by, zone, filters, columns):
        first, last = _midnight(since - _MICROSECOND + _DAY), _midnight(until)
        if first < last:
            yield from _from_rollup(reader, by, first, last, filters)
            ragged = [(since, first), (last, until)]
    sums = {**_OF_ATTEMPTS, **_FROM_ATTEMPTS_ONLY} if FROM_ATTEMPTS & {*columns} else _OF_ATTEMPTS
    for start, end in ragged:
        yield from _from_attempts(
            reader, by, start, end, zone, filters.conditions(reader.dialect), sums=sums, bucket=bucket_of()
        )
    if ROUTING & {*columns}:
        conditions = [Sql(f"({ROUTED})"), *filters.conditions(reader.dialect)]
        yield from _from_attempts(reader, by, since, until, zone, conditions, sums=_OF_ROUTED, bucket="0")


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
    costs = {name_of(window.first_day, period): 0 for window in windows(since, until, zone, period)}
    missing = dict.fromkeys(costs, 0)
    for group in grouped(reader, (period,), since, until, zone, filters):
        name = group.key[0] or ""
        costs[name] += group.cost
        missing[name] += group.unknown_cost_attempts
    return {name: known(cost, missing[name]) for name, cost in costs.items()}


def unpriced(reader: LedgerReader, since: datetime, until: datetime, filters: Filters = EVERYTHING) -> list[Unpriced]:
    """Return the models that have no price, the most frequent first."""
    condition = where(
        [
            *started_in(since, until, reader.dialect),
            Sql("cost IS NULL AND cost_reason = 'no_price'"),
            *filters.conditions(reader.dialect),
        ]
    )
    statement = f"SELECT gateway, model, count(*) FROM {spend(reader)} {condition.text} GROUP BY gateway, model"
    found = [Unpriced(*row) for row in reader.rows(statement, condition.parameters)]
    return sorted(found, key=lambda one: (-one.attempts, one.model, one.gateway))


def tag_keys(reader: LedgerReader, since: datetime, until: datetime, filters: Filters = EVERYTHING) -> list[TagUse]:
    """Return each key of the tags in a range, the most frequent first."""
    condition = where([*started_in(since, until, reader.dialect), *filters.conditions(reader.dialect)])
    statement = (
        "SELECT member.key, count(*), count(DISTINCT member.value)"
        f" FROM (SELECT tags FROM {spend(reader)} {condition.text}) AS found,"
        f" {reader.dialect.tag_members}(found.tags) AS member"
        " GROUP BY member.key"
    )
    found = [TagUse(*row) for row in reader.rows(statement, condition.parameters)]
    # Here, because each database has an order of letters of its own.
    return sorted(found, key=lambda one: (-one.attempts, one.tag))


def spend(reader: LedgerReader) -> str:
    """Return the relation that has the attempts as they are now, in their columns.

    Without any adjustment that is their table, which takes up to a fifth less time to read.
    """
    return "pixelmeter_spend" if reader.rows("SELECT 1 FROM pixelmeter_adjustments LIMIT 1") else "pixelmeter_attempts"


def started_in(since: datetime | None, until: datetime | None, dialect: Dialect) -> Iterator[Sql]:
    """Yield the conditions on attempts that started in [since, until); None leaves a side open."""
    if since is not None:
        yield Sql("started_at >= ?", (dialect.moment(since),))
    if until is not None:
        yield Sql("started_at < ?", (dialect.moment(until),))


def where(conditions: Iterable[Sql]) -> Sql:
    """Return the WHERE clause of conditions that must all hold; nothing where there are none."""
    every = list(conditions)
    if not every:
        return Sql("", ())
    return Sql(
        f"WHERE {' AND '.join(one.text for one in every)}", tuple(value for one in every for value in one.parameters)
    )


def _within_ledger(reader: LedgerReader, since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Cut a range to the UTC days that have attempts, so that no time is spent on years without any."""
    [(first, last)] = reader.rows(reader.dialect.reach)
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if first is None:
        return since, since
    first, last = map(reader.dialect.date, (first, last))
    return max(since, _start(first)), min(until, _start(last) + _DAY)


def _rollup_can_tell(by: Sequence[str], zone: tzinfo, filters: Filters, columns: Collection[str]) -> bool:
    periods = {name for name in by if is_period(name)}
    return (
        filters.rolled_up
        and not FROM_ATTEMPTS & {*columns}
        and set(by) - periods <= _ROLLED_UP
        and (not periods or str(zone) == "UTC")
    )


def _from_rollup(
    reader: LedgerReader, by: Sequence[str], first: datetime, last: datetime, filters: Filters
) -> Iterator[Group]:
    keys = ", ".join([*("day" if is_period(name) else name for name in by), "latency_bucket"])
    days = Sql("day >= ? AND day < ?", tuple(reader.dialect.midnight(when.date()) for when in (first, last)))
    condition = where([days, *filters.conditions(reader.dialect)])
    statement = f"""
SELECT {keys}, {_selected(_OF_ROLLUP)}
FROM pixelmeter_daily {condition.text}
GROUP BY {keys}
HAVING sum(attempts) <> 0
"""
    doubts: dict[tuple[str | None, ...], tuple[int, int]] = {}
    for row in reader.rows(statement, condition.parameters):
        key = tuple(
            name_of(reader.dialect.date(value), name) if is_period(name) else value or None
            for name, value in zip(by, row[: len(by)], strict=True)
        )
        group = _group(key, row[len(by)], _OF_ROLLUP, iter(row[len(by) + 1 :]))
        at_risk, unknown = doubts.get(key, (0, 0))
        doubts[key] = at_risk + group.at_risk, unknown + group.unknown_cost_attempts
        yield group
    # It has no count of the attempts that could not be estimated; where something was, that needs no saying.
    if any(unknown and not at_risk for at_risk, unknown in doubts.values()):
        conditions = [Sql(UNESTIMATED), *filters.conditions(reader.dialect)]
        yield from _from_attempts(reader, by, first, last, UTC, conditions, sums=_COUNT_UNESTIMATED, bucket="0")


def _from_attempts(
    reader: LedgerReader,
    by: Sequence[str],
    since: datetime,
    until: datetime,
    zone: tzinfo,
    conditions: Iterable[Sql],
    *,
    sums: Mapping[str, _Sum],
    bucket: str,
) -> Iterator[Group]:
    """Yield the groups of the attempts on which all conditions hold; `bucket` is SQL too."""
    conditions = list(conditions)
    dimensions = [_dimension(name, reader.dialect) for name in by if not is_period(name)]
    aliases = [f"dimension_{index}" for index in range(len(dimensions))]
    keys = ", ".join([*aliases, "bucket"])
    relation = spend(reader)
    # The inner query names each expression once: PostgreSQL does not take two parameters for the same one.
    named = [f"{found.text} AS {alias}" for found, alias in zip(dimensions, aliases, strict=True)]
    for window in _windows(since, until, zone, {name for name in by if is_period(name)}):
        condition = where([*started_in(window.start, window.end, reader.dialect), *conditions])
        statement = f"""
SELECT {keys}, {_selected(sums)}
FROM (
  SELECT {", ".join([*named, f"{bucket} AS bucket", _USED])} FROM {relation} {condition.text}
) AS found
GROUP BY {keys}
"""
        parameters = [value for found in (*dimensions, condition) for value in found.parameters]
        for row in reader.rows(statement, parameters):
            values = iter(row)
            key = tuple(name_of(window.first_day, name) if is_period(name) else next(values) or None for name in by)
            yield _group(key, next(values), sums, values)


def _windows(since: datetime, until: datetime, zone: tzinfo, periods: set[Period]) -> Iterable[Window]:
    if not periods:
        return [Window(since.date(), since, until)] if since < until else []
    return windows(since, until, zone, next(iter(periods)) if len(periods) == 1 else "day")


def _selected(sums: Mapping[str, _Sum]) -> str:
    return ", ".join(one.text for one in sums.values())


def _group(key: tuple[str | None, ...], bucket: int, sums: Mapping[str, _Sum], values: Iterator[int]) -> Group:
    found = {name: wide(next(values), next(values)) if one.is_wide else int(next(values)) for name, one in sums.items()}
    return Group(key, bucket, **(_NOTHING | found))


def _dimension(name: str, dialect: Dialect) -> Sql:
    tag = tag_of(name)
    found = Sql(name) if tag is None else dialect.tag_value(tag)
    return Sql(f"coalesce({found.text}, '')", found.parameters)


def _midnight(when: datetime) -> datetime:
    return _start(when.date())


def _start(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
