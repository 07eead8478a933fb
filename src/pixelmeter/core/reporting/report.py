"""Sums of attempts by chosen dimensions, with what is not known said beside what is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeGuard

from pixelmeter.core.attempts.record import Outcome
from pixelmeter.core.reporting.latency import percentile
from pixelmeter.core.reporting.periods import PERIODS, Period
from pixelmeter.core.text import half_even
from pixelmeter.errors import ConfigError

__all__ = [
    "DIMENSIONS",
    "ERRORS",
    "ONLY",
    "OTHERS",
    "Forecast",
    "Group",
    "Report",
    "Row",
    "dimensions",
    "forecast",
    "is_period",
    "known",
    "summarise",
    "tag_of",
]

DIMENSIONS: tuple[str, ...] = (
    "model", *PERIODS, "gateway", "provider", "operation", "outcome", "size", "quality", "trace", "call"
)  # fmt: skip
"""What a report can be grouped by, beside "tag:KEY"."""

ERRORS: tuple[Outcome, ...] = ("error", "timeout", "throttled", "rejected")
"""The outcomes that count as errors."""

ONLY: tuple[str, ...] = (
    "sent", "errors", "failures", "first", "retries", "known-cost", "unknown-cost", "at-risk", "unestimated", "routed",
    "no-model",
)  # fmt: skip
"""The names of filters on the attempts that a column of a report adds up."""

OTHERS = "(others)"
"""What stands in the dimensions of the row that adds up all those that are not among the most expensive."""

_TAG = "tag:"
_QUOTED = 40
_MEGAPIXEL = 1_000_000


class Group(NamedTuple):
    """Sums of attempts that agree in the dimensions; several groups may have the same key."""

    key: tuple[str | None, ...]
    sums: Mapping[str, int]
    """By the names of the sums of a `Row`; those that are not there are 0."""
    buckets: Mapping[int, int] = {}
    """How many attempts that were sent fell into each latency bucket (`pixelmeter.core.reporting.latency`)."""


class Row:
    """One line of a report; the values of the dimensions are None where the ledger does not know them.

    Money is in nano-dollars, and a sum has what is known; how many attempts it lacks is counted beside it. What was
    not asked for is 0.
    """

    calls: int = 0
    """Attempts numbered 0 that were sent, so that the calls of parts add up."""
    attempts: int = 0
    blocked: int = 0
    """Of the attempts, those that a budget refused: nothing was sent."""
    images: int = 0
    errors: int = 0
    cost: int = 0
    unknown_cost_attempts: int = 0
    fee: int = 0
    unknown_fee_attempts: int = 0
    at_risk: int = 0
    """What attempts of unknown billing may have cost, estimated; not in `cost`."""
    unestimated_attempts: int = 0
    """Of those whose billing is unknown or pending, how many have no estimate; they are not in `at_risk`."""
    priced_images: int = 0
    """The images of attempts whose cost is known."""
    pixels: int = 0
    """The delivered pixels of attempts whose cost, images and size are known."""
    pixel_cost: int = 0
    """What those attempts cost."""
    retry_cost: int = 0
    """Of attempts that repeated an earlier one."""
    unknown_retries: int = 0
    failure_cost: int = 0
    """Of attempts that did not succeed."""
    unknown_failures: int = 0
    paid_twice: int = 0
    """Calls of which two or more attempts were billed, each counted with the second one."""
    paid_twice_cost: int = 0
    """Of billed attempts, those after the first one of their call."""
    unknown_paid_twice: int = 0
    paid_twice_at_risk: int = 0
    """Of attempts of unknown billing whose call has another that was billed."""
    unestimated_paid_twice: int = 0
    routed_attempts: int = 0
    """Attempts of which the gateway said something of its choice of a model; the sums below are theirs."""
    baseline: int = 0
    """What the models would have cost with which the gateway compared its choice, as far as it says."""
    stated_baselines: int = 0
    route_fee: int = 0
    stated_route_fees: int = 0
    savings: int = 0
    """Negative where the choices were more expensive."""
    stated_savings: int = 0
    before: int = 0
    """The cost of the time before that the range is compared with."""
    unknown_before: int = 0

    def __init__(self, key: tuple[str | None, ...]) -> None:
        self.key = key
        self.buckets: dict[int, int] = {}
        """How many attempts that were sent fell into each latency bucket."""

    @property
    def known_cost(self) -> int | None:
        """The cost in nano-dollars as far as it is known; None where nothing of it is."""
        return known(self.cost, self.unknown_cost_attempts)

    @property
    def known_fee(self) -> int | None:
        """The fee, likewise."""
        return known(self.fee, self.unknown_fee_attempts)

    @property
    def known_at_risk(self) -> int | None:
        """What is at risk, likewise: None where there are attempts of unknown billing and no estimate of any."""
        return known(self.at_risk, self.unestimated_attempts)

    @property
    def known_retry_cost(self) -> int | None:
        """The cost of attempts that repeated an earlier one, likewise."""
        return known(self.retry_cost, self.unknown_retries)

    @property
    def known_failure_cost(self) -> int | None:
        """The cost of attempts that did not succeed, likewise."""
        return known(self.failure_cost, self.unknown_failures)

    @property
    def known_paid_twice_cost(self) -> int | None:
        """The cost of attempts that were billed after another one of their call, likewise."""
        return known(self.paid_twice_cost, self.unknown_paid_twice)

    @property
    def known_paid_twice_at_risk(self) -> int | None:
        """What calls may have been charged beside an attempt that was billed, likewise."""
        return known(self.paid_twice_at_risk, self.unestimated_paid_twice)

    @property
    def known_baseline(self) -> int | None:
        """What the gateway says that the routed attempts would have cost; None where it says nothing of it.

        Also where it is 0 and the gateway says it of some only.
        """
        return self._stated(self.baseline, self.stated_baselines)

    @property
    def known_route_fee(self) -> int | None:
        """What the gateway says that it takes for choosing models, likewise; not in the cost."""
        return self._stated(self.route_fee, self.stated_route_fees)

    @property
    def known_savings(self) -> int | None:
        """What the gateway says that its choices saved, likewise."""
        return self._stated(self.savings, self.stated_savings)

    @property
    def known_before(self) -> int | None:
        """The cost of the time before, as far as it is known; None where nothing of it is."""
        return known(self.before, self.unknown_before)

    @property
    def cost_per_image(self) -> int | None:
        """The known cost for each image of the attempts that have one, half-even; None without such images."""
        cost = self.known_cost
        return None if cost is None or not self.priced_images else half_even(cost, self.priced_images)

    @property
    def cost_per_megapixel(self) -> int | None:
        """What a million delivered pixels cost, half-even; None without attempts of known cost, images and size."""
        return half_even(self.pixel_cost * _MEGAPIXEL, self.pixels) if self.pixels else None

    @property
    def p50_seconds(self) -> float | None:
        """The median duration of an attempt, within 5 %; None without attempts that were sent."""
        return self._seconds(0.5)

    @property
    def p95_seconds(self) -> float | None:
        """The duration that 95 % of the attempts stayed below, within 5 %; None without attempts."""
        return self._seconds(0.95)

    @property
    def p99_seconds(self) -> float | None:
        """The same of 99 %."""
        return self._seconds(0.99)

    def _seconds(self, share: float) -> float | None:
        found = percentile(self.buckets, share)
        return None if found is None else round(found, 3)

    def _stated(self, amount: int, attempts: int) -> int | None:
        return known(amount, self.routed_attempts - attempts) if attempts else None

    def add(self, sums: Mapping[str, int], buckets: Mapping[int, int]) -> None:
        """Count sums by their names in."""
        mine = self.__dict__
        for name, value in sums.items():
            if value:
                mine[name] = mine.get(name, 0) + value
        own = self.buckets
        if not own:
            own.update(buckets)
            return
        for bucket, number in buckets.items():
            own[bucket] = own.get(bucket, 0) + number

    def add_row(self, row: Row) -> None:
        """Count another line in."""
        self.add({name: value for name, value in row.__dict__.items() if name not in {"key", "buckets"}}, row.buckets)


class Forecast(NamedTuple):
    """What a period costs in the end if it goes on as so far."""

    until: datetime
    """When it ends."""
    cost: int | None
    """Nano-dollars; None where nothing is known of the cost so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The rows of [since, until) and their total; by time where a dimension is a period, else the most expensive
    first."""

    by: tuple[str, ...]
    since: datetime
    until: datetime
    rows: tuple[Row, ...]
    total: Row
    forecast: Forecast | None = None
    """Where the range is what is over of a period that goes on."""


def summarise(
    groups: Iterable[Group], *, by: Sequence[str], since: datetime, until: datetime, top: int | None = None
) -> Report:
    """Add up groups into a report; all but the `top` most expensive rows in one, or in one for each period."""
    rows: dict[tuple[str | None, ...], Row] = {}
    total = Row(())
    for key, sums, buckets in groups:
        row = rows.get(key)
        if row is None:
            row = rows[key] = Row(key)
        row.add(sums, buckets)
        total.add(sums, buckets)
    # Of some, all that was counted has been taken off again.
    kept = [row for row in rows.values() if row.attempts or row.before or row.unknown_before]
    found = kept if top is None else _most_expensive(kept, by, top)
    return Report(by=tuple(by), since=since, until=until, rows=tuple(sorted(found, key=_order(by))), total=total)


def forecast(report: Report, start: datetime, end: datetime) -> Forecast:
    """Return what the period [start, end) costs in the end, where the report has what is over of it."""
    cost, elapsed = report.total.known_cost, report.until - start
    if cost is None or not elapsed:
        return Forecast(end, None)
    microsecond = elapsed.resolution
    return Forecast(end, half_even(cost * ((end - start) // microsecond), elapsed // microsecond))


def known(amount: int, unknown: int) -> int | None:
    """Return a sum of what is known, or None if it is nothing while `unknown` attempts are not in it."""
    return None if unknown and not amount else amount


def dimensions(text: str) -> tuple[str, ...]:
    """Return the dimensions of a list such as "model,day,tag:team"; ConfigError names the one that is not known."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in found:
        if name not in DIMENSIONS and not tag_of(name):
            tag = f"; for the tag of that name write tag:{name[:_QUOTED]}" if not name.startswith(_TAG) else ""
            raise ConfigError(f"{name[:_QUOTED]!r} is not a dimension: use {', '.join(DIMENSIONS)} or tag:KEY{tag}")
    if not found:
        raise ConfigError(f"name at least one dimension: {', '.join(DIMENSIONS)} or tag:KEY")
    return found


def tag_of(dimension: str) -> str | None:
    """Return the key of a "tag:KEY" dimension; None for any other."""
    return dimension.removeprefix(_TAG) or None if dimension.startswith(_TAG) else None


def is_period(dimension: str) -> TypeGuard[Period]:
    """Tell whether a dimension is an hour, day, week or month."""
    return dimension in PERIODS


def _most_expensive(rows: Iterable[Row], by: Sequence[str], top: int) -> list[Row]:
    """Return the rows of the most expensive keys, and the others added up; periods are no part of such a key."""
    places = [place for place, name in enumerate(by) if not is_period(name)] or list(range(len(by)))
    merged: dict[tuple[str | None, ...], Row] = {}
    kept = list(rows)
    for row in kept:
        part = tuple(row.key[place] for place in places)
        merged.setdefault(part, Row(part)).add_row(row)
    best = {row.key for row in sorted(merged.values(), key=_by_cost)[:top]}
    found: dict[tuple[str | None, ...], Row] = {}
    for row in kept:
        is_kept = tuple(row.key[place] for place in places) in best
        key = row.key if is_kept else tuple(OTHERS if place in places else one for place, one in enumerate(row.key))
        # What is named as the others are is one row with them: nothing is lost of either.
        found.setdefault(key, Row(key)).add_row(row)
    return list(found.values())


def _order(by: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    if any(is_period(name) for name in by):
        return lambda row: tuple(map(_sortable, by, row.key))
    return lambda row: (OTHERS in row.key, *_by_cost(row))


def _sortable(name: str, value: str | None) -> tuple[Any, ...]:
    if name == "hour" and value and value != OTHERS:
        # The hour that clocks are put back to is there twice, and its text does not tell which came first.
        return (False, datetime.fromisoformat(value).timestamp())
    return (value == OTHERS, value or "")


def _by_cost(row: Row) -> tuple[Any, ...]:
    return (-row.cost, -row.at_risk, -row.attempts, tuple(value or "" for value in row.key))
