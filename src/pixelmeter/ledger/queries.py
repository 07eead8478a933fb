"""Sums over the ledger by dimensions.

Ranges are half-open, [since, until). Every value is a parameter, every name in SQL is one of ours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from pixelmeter.core.reporting.periods import Period, Window, name_of, windows
from pixelmeter.core.reporting.report import ERRORS, FROM_ATTEMPTS, Group, is_period, known, tag_of
from pixelmeter.ledger.expressions import Sql, bucket_of, tag_value, wide, wide_sum
from pixelmeter.ledger.filters import EVERYTHING, Filters, started_in, where
from pixelmeter.ledger.reader import Dialect, Reader

__all__ = ["cost_by_period", "grouped", "tag_keys", "unpriced"]

_ROLLED_UP = {"gateway", "provider", "operation", "model", "outcome"}
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)
_MONEY = ("cost", "fee", "at_risk")
_ERRORS = ", ".join(f"'{outcome}'" for outcome in ERRORS)
# Of a billed attempt nothing is at risk, also where nobody knows its price.
_UNESTIMATED = "cost IS NULL AND at_risk IS NULL AND billing IN ('unknown', 'pending')"
_USED = "attempt, images, outcome, billing, cost, fee, at_risk"
_SUMS = f"""
  count(*),
  count(*) FILTER (WHERE attempt = 0),
  coalesce(sum(images), 0),
  count(*) FILTER (WHERE outcome IN ({_ERRORS})),
  count(*) - count(cost),
  {", ".join(map(wide_sum, _MONEY))},
  count(*) FILTER (WHERE {_UNESTIMATED})"""
_MORE_SUMS = f"""
  count(*) - count(fee),
  coalesce(sum(images) FILTER (WHERE cost IS NOT NULL), 0),
  count(*) FILTER (WHERE attempt > 0 AND cost IS NULL),
  count(*) FILTER (WHERE outcome <> 'success' AND cost IS NULL),
  {wide_sum("CASE WHEN attempt > 0 THEN cost END")},
  {wide_sum("CASE WHEN outcome <> 'success' THEN cost END")}"""
_ROLLED_UP_SUMS = 2 * len(_MONEY)


def grouped(
    reader: Reader,
    by: Sequence[str],
    since: datetime,
    until: datetime,
    zone: tzinfo = UTC,
    filters: Filters = EVERYTHING,
    columns: Collection[str] = (),
) -> Iterator[Group]:
    """Yield sums by dimensions (`pixelmeter.core.reporting.report.DIMENSIONS` or "tag:KEY") and latency bucket.

    Days, weeks and months are those of `zone`. Whole UTC days come from the rollup where it can tell: it has no tags,
    and of `columns` (`core.reporting.report.COLUMNS`) not those of FROM_ATTEMPTS, which are 0 unless asked for.
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
    sums = ", ".join([_SUMS, _MORE_SUMS] if FROM_ATTEMPTS & {*columns} else [_SUMS])
    for start, end in ragged:
        for key, bucket, found in _from_attempts(
            reader, by, start, end, zone, filters.conditions(reader.dialect), sums, bucket_of()
        ):
            yield _group(key, bucket, found)


def cost_by_period(
    reader: Reader,
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


def unpriced(
    reader: Reader, since: datetime, until: datetime, filters: Filters = EVERYTHING
) -> list[tuple[str, str, int]]:
    """Return gateway and model of what has no price, with how many attempts lack it, the most frequent first."""
    condition = where(
        [
            *started_in(since, until, reader.dialect),
            Sql("cost IS NULL AND cost_reason = 'no_price'"),
            *filters.conditions(reader.dialect),
        ]
    )
    statement = f"SELECT gateway, model, count(*) FROM pixelmeter_attempts {condition.text} GROUP BY gateway, model"
    found = [(gateway, model, number) for gateway, model, number in reader.rows(statement, condition.parameters)]
    return sorted(found, key=lambda one: (-one[2], one[1], one[0]))


def tag_keys(
    reader: Reader, since: datetime, until: datetime, filters: Filters = EVERYTHING
) -> list[tuple[str, int, int]]:
    """Return each key of the tags in a range, with how many attempts have it and how many values it has there.

    The most frequent come first.
    """
    members = "jsonb_each_text" if reader.dialect == "postgresql" else "json_each"
    condition = where([*started_in(since, until, reader.dialect), *filters.conditions(reader.dialect)])
    statement = (
        "SELECT member.key, count(*), count(DISTINCT member.value)"
        f" FROM (SELECT tags FROM pixelmeter_attempts {condition.text}) AS found, {members}(found.tags) AS member"
        " GROUP BY member.key"
    )
    found = [(key, attempts, values) for key, attempts, values in reader.rows(statement, condition.parameters)]
    # Here, because each database has an order of letters of its own.
    return sorted(found, key=lambda one: (-one[1], one[0]))


def _within_ledger(reader: Reader, since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Cut a range to the UTC days that have attempts, so that no time is spent on years without any."""
    [(first, last)] = reader.rows("SELECT min(day), max(day) FROM pixelmeter_daily")
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if first is None:
        return since, since
    return max(since, _start(_day(first))), min(until, _start(_day(last)) + _DAY)


def _rollup_can_tell(by: Sequence[str], zone: tzinfo, filters: Filters, columns: Collection[str]) -> bool:
    periods = {name for name in by if is_period(name)}
    return (
        filters.rolled_up
        and not FROM_ATTEMPTS & {*columns}
        and set(by) - periods <= _ROLLED_UP
        and (not periods or str(zone) == "UTC")
    )


def _from_rollup(
    reader: Reader, by: Sequence[str], first: datetime, last: datetime, filters: Filters
) -> Iterator[Group]:
    keys = ", ".join([*("day" if is_period(name) else name for name in by), "latency_bucket"])
    days = Sql("day >= ? AND day < ?", tuple(_as_day(when, reader.dialect) for when in (first, last)))
    condition = where([days, *filters.conditions(reader.dialect)])
    statement = f"""
SELECT {keys}, sum(attempts), sum(calls), sum(images),
  coalesce(sum(attempts) FILTER (WHERE outcome IN ({_ERRORS})), 0), sum(unknown_cost_attempts),
  {", ".join(map(wide_sum, _MONEY))}
FROM pixelmeter_daily {condition.text}
GROUP BY {keys}
"""
    doubts: dict[tuple[str | None, ...], tuple[int, int]] = {}
    for row in reader.rows(statement, condition.parameters):
        key = tuple(
            name_of(_day(value), name) if is_period(name) else value or None
            for name, value in zip(by, row[: len(by)], strict=True)
        )
        group = _group(key, row[len(by)], row[len(by) + 1 :])
        at_risk, unknown = doubts.get(key, (0, 0))
        doubts[key] = at_risk + group.at_risk, unknown + group.unknown_cost_attempts
        yield group
    # It has no count of the attempts that could not be estimated; where something was, that needs no saying.
    if any(unknown and not at_risk for at_risk, unknown in doubts.values()):
        for key, _, sums in _from_attempts(
            reader, by, first, last, UTC, [Sql(_UNESTIMATED), *filters.conditions(reader.dialect)], "count(*)", "0"
        ):
            yield Group(key, 0, 0, 0, 0, 0, 0, 0, 0, 0, unestimated_attempts=int(sums[0]))


def _from_attempts(
    reader: Reader,
    by: Sequence[str],
    since: datetime,
    until: datetime,
    zone: tzinfo,
    conditions: Iterable[Sql],
    sums: str,
    bucket: str,
) -> Iterator[tuple[tuple[str | None, ...], int, Sequence[int]]]:
    """Yield key, bucket and sums of the attempts on which all conditions hold."""
    conditions = list(conditions)
    dimensions = [_dimension(name, reader.dialect) for name in by if not is_period(name)]
    aliases = [f"dimension_{index}" for index in range(len(dimensions))]
    keys = ", ".join([*aliases, "bucket"])
    # The inner query names each expression once: PostgreSQL does not take two parameters for the same one.
    named = [f"{found.text} AS {alias}" for found, alias in zip(dimensions, aliases, strict=True)]
    for window in _windows(since, until, zone, {name for name in by if is_period(name)}):
        condition = where([*started_in(window.start, window.end, reader.dialect), *conditions])
        statement = f"""
SELECT {keys}, {sums}
FROM (
  SELECT {", ".join([*named, f"{bucket} AS bucket", _USED])} FROM pixelmeter_attempts {condition.text}
) AS found
GROUP BY {keys}
"""
        parameters = [value for found in (*dimensions, condition) for value in found.parameters]
        for row in reader.rows(statement, parameters):
            values = iter(row)
            key = tuple(name_of(window.first_day, name) if is_period(name) else next(values) or None for name in by)
            yield key, next(values), list(values)


def _windows(since: datetime, until: datetime, zone: tzinfo, periods: set[Period]) -> Iterable[Window]:
    if not periods:
        return [Window(since.date(), since, until)] if since < until else []
    return windows(since, until, zone, next(iter(periods)) if len(periods) == 1 else "day")


def _group(key: tuple[str | None, ...], bucket: int, sums: Sequence[int]) -> Group:
    attempts, calls, images, errors, unknown, *rest = sums
    cost, fee, at_risk = (wide(*halves) for halves in zip(rest[0:6:2], rest[1:6:2], strict=True))
    group = Group(key, bucket, int(attempts), int(calls), int(images), int(errors), cost, fee, at_risk, int(unknown))
    if len(rest) == _ROLLED_UP_SUMS:
        return group
    unestimated, *more = rest[6:]
    group = group._replace(unestimated_attempts=int(unestimated))
    if not more:
        return group
    unknown_fee, priced_images, unknown_retries, unknown_failures, *halves = more
    return group._replace(
        unknown_fee_attempts=int(unknown_fee),
        priced_images=int(priced_images),
        retry_cost=wide(*halves[:2]),
        unknown_retries=int(unknown_retries),
        failure_cost=wide(*halves[2:]),
        unknown_failures=int(unknown_failures),
    )


def _dimension(name: str, dialect: Dialect) -> Sql:
    tag = tag_of(name)
    found = Sql(name) if tag is None else tag_value(tag, dialect)
    return Sql(f"coalesce({found.text}, '')", found.parameters)


def _midnight(when: datetime) -> datetime:
    return _start(when.date())


def _start(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _day(value: date | str) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _as_day(midnight: datetime, dialect: Dialect) -> date | str:
    return midnight.date() if dialect == "postgresql" else midnight.date().isoformat()
