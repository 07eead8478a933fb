"""What was spent, for programs that ask in code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypedDict
from zoneinfo import ZoneInfo

from pixelmeter.core.reporting.periods import moment, open_period
from pixelmeter.core.reporting.report import Report, Row, dimensions, forecast, summarise
from pixelmeter.core.text import exact_usd
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.grouping import grouped, widened
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import reading_ledger

__all__ = ["Spend", "SpendQuestion", "SpendRow", "spent"]


class SpendQuestion(TypedDict, total=False):
    """What may be asked of a range, beside its ends."""

    by: str
    """The dimensions of rows, such as "model,day,tag:team"; without it there are no rows."""
    top: int
    """How many of the most expensive rows there are; the others are added up in one more."""
    tz: str
    """The zone of days and of moments without an offset, by its IANA name; UTC where none is given."""
    tags: Mapping[str, str]
    """Only attempts with all of these."""
    model: str
    """Only models that match a shell pattern, such as "openai/*"."""
    gateway: str
    operation: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRow:
    """The sums of one row. Amounts are exact US dollars, None where no amount is known."""

    key: Mapping[str, str | None]
    """The value of each dimension, such as `{"model": "openai/gpt-image-2"}`: None where attempts have none, "(others)"
    in the row that adds up what is not among the `top` rows. Empty in the total."""
    cost: Decimal | None
    """The known cost, adjustments included. Attempts of unknown cost are not in it."""
    at_risk: Decimal | None
    """The estimate for attempts of which nobody knows whether they were billed; never in `cost`."""
    unknown_cost_attempts: int
    """How many attempts have an unknown cost."""
    calls: int
    """How many calls there were; the retries of an SDK are not counted again."""
    attempts: int
    """How many requests for images there were, those that a budget refused included."""
    images: int
    """How many images were delivered."""
    errors: int
    """How many attempts ended in `error`, `timeout`, `throttled` or `rejected`."""
    p50_seconds: float | None
    """The median duration of an attempt in seconds, within 5 %; None where no attempt was sent."""
    p95_seconds: float | None
    """The duration in seconds that 95 % of the attempts did not exceed, within 5 %."""
    p99_seconds: float | None
    """The same for 99 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """The answer of `Meter.spend`.

    Of attempts that were pruned only sums are left: a range that begins among them is widened to whole hours or days.
    """

    since: datetime
    """The beginning of the range, in UTC; it is in the range."""
    until: datetime
    """The end of the range, in UTC; it is not in the range."""
    rows: tuple[SpendRow, ...]
    """One row for each value of the dimensions. In the order of time where a dimension is an hour, day, week or month,
    else the most expensive first. Empty without `by`."""
    total: SpendRow
    """The sums of all rows."""
    forecast: Decimal | None
    """What the whole period will cost in US dollars if spend goes on as so far. Only for a period that has not ended,
    such as "this-month"; None otherwise, and where no cost is known."""


def spent(address: Address, since: str | datetime, until: str | datetime, asked: SpendQuestion) -> Spend:
    """Return what a ledger says was spent; ConfigError for a question that is none, LedgerError without an answer."""
    known = SpendQuestion.__annotations__
    if unknown := asked.keys() - known.keys():
        raise ConfigError(f"{min(unknown)!r} cannot be asked for: use {', '.join(known)}")
    by, top, tags = asked.get("by", ""), asked.get("top"), asked.get("tags", {})
    filters = Filters(
        tags=tags,
        model=asked.get("model"),
        gateway=asked.get("gateway"),
        operation=asked.get("operation"),
        outcome=asked.get("outcome"),
    )
    if not isinstance(tags, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"tags is a {type(tags).__name__}: give a dict")
    if top is not None and top < 1:
        raise ConfigError(f"top is {top}: use 1 or more")
    zone, now = _zone(asked.get("tz", "UTC")), datetime.now(UTC)
    start, end = _moment("since", since, now, zone), _moment("until", until, now, zone)
    if start >= end:
        raise ConfigError(f"since ({start.isoformat()}) must be before until ({end.isoformat()})")
    # The total of a report needs some dimension; of this one there are few values.
    names = dimensions(by) if by else ("gateway",)
    columns = ("calls", "attempts", "images", "errors", "cost", "at_risk", "p50")
    with reading_ledger(address) as reader:
        start, end = widened(reader, names, start, end, filters)
        groups = grouped(reader, names, start, end, zone, filters, columns)
        report = summarise(groups, by=names, since=start, until=end, top=top)
    period = open_period(since, now=now, zone=zone) if isinstance(since, str) and end == now else None
    return Spend(
        since=start,
        until=end,
        rows=tuple(_row(report, row) for row in report.rows) if by else (),
        total=_row(report, report.total),
        forecast=None if period is None else _usd(forecast(report, period.start, period.end).cost),
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ConfigError(f"{name[:40]!r} is not a time zone: give an IANA name such as Europe/Berlin") from None


def _moment(name: str, given: str | datetime, now: datetime, zone: ZoneInfo) -> datetime:
    if isinstance(given, str):
        return moment(given, now=now, zone=zone)
    if given.tzinfo is None:
        raise ConfigError(f"{name} has no time zone: use datetime.now(UTC) or the like")
    return given.astimezone(UTC)


def _row(report: Report, row: Row) -> SpendRow:
    return SpendRow(
        key=dict(zip(report.by, row.key, strict=False)),
        cost=_usd(row.known_cost),
        at_risk=_usd(row.known_at_risk),
        unknown_cost_attempts=row.unknown_cost_attempts,
        calls=row.calls,
        attempts=row.attempts,
        images=row.images,
        errors=row.errors,
        p50_seconds=row.p50_seconds,
        p95_seconds=row.p95_seconds,
        p99_seconds=row.p99_seconds,
    )


def _usd(nano: int | None) -> Decimal | None:
    return None if nano is None else Decimal(exact_usd(nano))
