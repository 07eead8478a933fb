"""Sums over the ledger by dimensions.

Ranges are half-open, [since, until). Every value is a bound parameter, every name comes from the schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, case, func, select

from pixelmeter.core.periods import Period, Window, name_of, windows
from pixelmeter.core.report import ERRORS, Group, is_period, tag_of
from pixelmeter.ledger.expressions import bucket_of, tag_value, wide, wide_sum
from pixelmeter.ledger.filters import EVERYTHING, Filters, started_in
from pixelmeter.ledger.schema import ATTEMPTS, DAILY

__all__ = ["cost_by_period", "grouped", "unpriced"]

_ROLLED_UP = {"gateway", "provider", "operation", "model", "outcome"}
_DAY = timedelta(days=1)
_MICROSECOND = timedelta(microseconds=1)


def grouped(
    connection: Connection,
    by: Sequence[str],
    since: datetime,
    until: datetime,
    zone: tzinfo = UTC,
    filters: Filters = EVERYTHING,
) -> Iterator[Group]:
    """Yield sums by dimensions (`pixelmeter.core.report.DIMENSIONS` or "tag:KEY") and latency bucket.

    Days, weeks and months are those of `zone`. Whole UTC days come from the rollup where it can tell.
    """
    since, until = _within_ledger(connection, since, until)
    if since >= until:
        return
    ragged = [(since, until)]
    if _rollup_can_tell(by, zone, filters):
        first, last = _midnight(since - _MICROSECOND + _DAY), _midnight(until)
        if first < last:
            yield from _from_rollup(connection, by, first.date(), last.date(), filters)
            ragged = [(since, first), (last, until)]
    for start, end in ragged:
        yield from _from_attempts(connection, by, start, end, zone, filters)


def cost_by_period(
    connection: Connection,
    period: Period,
    since: datetime,
    until: datetime,
    zone: tzinfo = UTC,
    filters: Filters = EVERYTHING,
) -> dict[str, int]:
    """Return the known nano-dollars of each period of the range, as far as the ledger reaches, in order; 0 included."""
    since, until = _within_ledger(connection, since, until)
    costs = {name_of(window.first_day, period): 0 for window in windows(since, until, zone, period)}
    for group in grouped(connection, (period,), since, until, zone, filters):
        costs[group.key[0] or ""] += group.cost
    return costs


def unpriced(
    connection: Connection, since: datetime, until: datetime, filters: Filters = EVERYTHING
) -> list[tuple[str, int]]:
    """Return the models that have no price, with how many attempts lack it, the most frequent first."""
    count = func.count()
    statement = (
        select(ATTEMPTS.c.model, count)
        .where(
            *started_in(since, until),
            ATTEMPTS.c.cost.is_(None),
            ATTEMPTS.c.cost_reason == "no_price",
            *filters.conditions(ATTEMPTS, connection.dialect.name),
        )
        .group_by(ATTEMPTS.c.model)
        .order_by(count.desc(), ATTEMPTS.c.model)
    )
    return [(model, number) for model, number in connection.execute(statement)]


def _within_ledger(connection: Connection, since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Cut a range to the UTC days that have attempts, so that no time is spent on years without any."""
    first, last = connection.execute(select(func.min(DAILY.c.day), func.max(DAILY.c.day))).one()
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if first is None:
        return since, since
    return max(since, _start(first)), min(until, _start(last) + _DAY)


def _rollup_can_tell(by: Sequence[str], zone: tzinfo, filters: Filters) -> bool:
    periods = {name for name in by if is_period(name)}
    return filters.rolled_up and set(by) - periods <= _ROLLED_UP and (not periods or str(zone) == "UTC")


def _from_rollup(
    connection: Connection, by: Sequence[str], first: date, last: date, filters: Filters
) -> Iterator[Group]:
    columns = [DAILY.c.day if is_period(name) else DAILY.c[name] for name in by]
    counts = [func.sum(DAILY.c[name]) for name in ("attempts", "calls", "images")]
    errors = func.sum(case((DAILY.c.outcome.in_(ERRORS), DAILY.c.attempts), else_=0))
    statement = (
        select(
            *columns, DAILY.c.latency_bucket, *counts, errors, *_money(DAILY), func.sum(DAILY.c.unknown_cost_attempts)
        )
        .where(DAILY.c.day >= first, DAILY.c.day < last, *filters.conditions(DAILY, connection.dialect.name))
        .group_by(*columns, DAILY.c.latency_bucket)
    )
    for row in connection.execute(statement):
        key = tuple(
            name_of(value, name) if is_period(name) else value or None
            for name, value in zip(by, row[: len(by)], strict=True)
        )
        yield _group(key, row[len(by) :])


def _from_attempts(
    connection: Connection, by: Sequence[str], since: datetime, until: datetime, zone: tzinfo, filters: Filters
) -> Iterator[Group]:
    dialect = connection.dialect.name
    names = [name for name in by if not is_period(name)]
    periods: set[Period] = {name for name in by if is_period(name)}
    for window in _windows(since, until, zone, periods):
        # The inner query names each expression once: PostgreSQL does not take two parameters for the same one.
        rows = (
            select(
                *(_dimension(name, dialect).label(f"dimension_{index}") for index, name in enumerate(names)),
                bucket_of().label("bucket"),
                *(ATTEMPTS.c[name] for name in ("attempt", "images", "outcome", "cost", "fee", "at_risk")),
            )
            .where(*started_in(window.start, window.end), *filters.conditions(ATTEMPTS, dialect))
            .subquery()
        )
        keys = [rows.c[f"dimension_{index}"] for index in range(len(names))] + [rows.c.bucket]
        for row in connection.execute(_sums(rows, keys)):
            values = iter(row)
            key = tuple(name_of(window.first_day, name) if is_period(name) else next(values) or None for name in by)
            yield _group(key, list(values))


def _windows(since: datetime, until: datetime, zone: tzinfo, periods: set[Period]) -> Iterable[Window]:
    if not periods:
        return [Window(since.date(), since, until)] if since < until else []
    return windows(since, until, zone, next(iter(periods)) if len(periods) == 1 else "day")


def _sums(rows: FromClause, keys: Sequence[ColumnElement[Any]]) -> Select[Any]:
    return select(
        *keys,
        func.count(),
        func.sum(case((rows.c.attempt == 0, 1), else_=0)),
        func.coalesce(func.sum(rows.c.images), 0),
        func.sum(case((rows.c.outcome.in_(ERRORS), 1), else_=0)),
        *_money(rows),
        func.sum(case((rows.c.cost.is_(None), 1), else_=0)),
    ).group_by(*keys)


def _money(rows: FromClause) -> list[ColumnElement[int]]:
    return [half for name in ("cost", "fee", "at_risk") for half in wide_sum(rows.c[name])]


def _group(key: tuple[str | None, ...], values: Sequence[int]) -> Group:
    bucket, number, calls, images, errors, cost, cost_low, fee, fee_low, at_risk, at_risk_low, unknown = values
    # PostgreSQL's sums are Decimals.
    return Group(
        key=key,
        bucket=bucket,
        attempts=int(number),
        calls=int(calls),
        images=int(images),
        errors=int(errors),
        cost=wide(cost, cost_low),
        fee=wide(fee, fee_low),
        at_risk=wide(at_risk, at_risk_low),
        unknown_cost_attempts=int(unknown),
    )


def _dimension(name: str, dialect: str) -> ColumnElement[str]:
    tag = tag_of(name)
    column = ATTEMPTS.c[name] if tag is None else tag_value(tag, dialect)
    return func.coalesce(column, "")


def _midnight(when: datetime) -> datetime:
    return _start(when.date())


def _start(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
