"""Sums of attempts by chosen dimensions, with what is not known said beside what is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
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
    "FROM_ATTEMPTS",
    "ROUTING",
    "Group",
    "Report",
    "Row",
    "dimensions",
    "is_period",
    "known",
    "summarise",
    "tag_of",
]

DIMENSIONS: tuple[str, ...] = ("model", *PERIODS, "gateway", "provider", "operation", "outcome", "size", "quality")
"""What a report can be grouped by, beside "tag:KEY"."""

ERRORS: tuple[Outcome, ...] = ("error", "timeout", "throttled", "rejected")
"""The outcomes that count as errors."""

FROM_ATTEMPTS = frozenset({"fee", "cost_per_image", "retry_cost", "failure_cost"})
"""The columns that need the attempts themselves, because the day rollup does not have what they are made of."""

ROUTING = frozenset({"baseline", "route_fee", "savings"})
"""The columns of attempts whose model the gateway chose."""

_TAG = "tag:"
_QUOTED = 40


class Group(NamedTuple):
    """Attempts that agree in the dimensions and in their latency bucket; several groups may have the same key.

    Money is in nano-dollars. `calls` counts the attempts numbered 0 that were sent, so that the calls of parts add up.
    """

    key: tuple[str | None, ...]
    bucket: int
    attempts: int
    calls: int
    images: int
    errors: int
    cost: int
    fee: int
    at_risk: int
    unknown_cost_attempts: int
    unestimated_attempts: int = 0
    """Of those whose billing is unknown or pending, how many have no estimate; they are not in `at_risk`."""
    unknown_fee_attempts: int = 0
    priced_images: int = 0
    """The images of attempts whose cost is known."""
    retry_cost: int = 0
    """What is known of the cost of attempts that repeated an earlier one."""
    unknown_retries: int = 0
    failure_cost: int = 0
    """What is known of the cost of attempts that did not succeed."""
    unknown_failures: int = 0
    routed_attempts: int = 0
    """How many have anything that the gateway said of its choice of a model."""
    baseline: int = 0
    """What the models would have cost with which the gateway compared its choice, as far as it says."""
    stated_baselines: int = 0
    """Of how many attempts it says that."""
    route_fee: int = 0
    stated_route_fees: int = 0
    savings: int = 0
    stated_savings: int = 0
    blocked: int = 0
    """Of the attempts, those that a budget refused: nothing was sent."""


@dataclass(slots=True)
class Row:
    """One line of a report; the values of the dimensions are None where the ledger does not know them."""

    key: tuple[str | None, ...]
    calls: int = 0
    attempts: int = 0
    blocked: int = 0
    images: int = 0
    errors: int = 0
    cost: int = 0
    """Nano-dollars that are known; what is unknown is counted in `unknown_cost_attempts`."""
    fee: int = 0
    at_risk: int = 0
    """Nano-dollars that attempts of unknown billing may have cost, estimated; not in `cost`."""
    unknown_cost_attempts: int = 0
    unestimated_attempts: int = 0
    unknown_fee_attempts: int = 0
    priced_images: int = 0
    retry_cost: int = 0
    unknown_retries: int = 0
    failure_cost: int = 0
    unknown_failures: int = 0
    routed_attempts: int = 0
    """Attempts of which the gateway said something of its choice of a model; the sums below are theirs."""
    baseline: int = 0
    stated_baselines: int = 0
    route_fee: int = 0
    stated_route_fees: int = 0
    savings: int = 0
    """Nano-dollars; negative where the choices were the dearer ones."""
    stated_savings: int = 0
    buckets: Counter[int] = field(default_factory=Counter[int])
    """How many attempts fell into each latency bucket (`pixelmeter.core.reporting.latency`)."""

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
    def cost_per_image(self) -> int | None:
        """The known cost for each image of the attempts that have one, half-even; None without such images."""
        cost = self.known_cost
        return None if cost is None or not self.priced_images else half_even(cost, self.priced_images)

    @property
    def p50_seconds(self) -> float | None:
        """The median duration of an attempt, within 5 %; None without attempts that were sent."""
        return _milliseconds(percentile(self.buckets, 0.5))

    @property
    def p95_seconds(self) -> float | None:
        """The duration that 95 % of the attempts stayed below, within 5 %; None without attempts."""
        return _milliseconds(percentile(self.buckets, 0.95))

    def _stated(self, amount: int, attempts: int) -> int | None:
        return known(amount, self.routed_attempts - attempts) if attempts else None

    def add(self, group: Group) -> None:
        """Count a group in."""
        # Written out: a loop over the names takes twice as long, and a report by a tag has many groups.
        self.calls += group.calls
        self.attempts += group.attempts
        self.blocked += group.blocked
        self.images += group.images
        self.errors += group.errors
        self.cost += group.cost
        self.fee += group.fee
        self.at_risk += group.at_risk
        self.unknown_cost_attempts += group.unknown_cost_attempts
        self.unestimated_attempts += group.unestimated_attempts
        self.unknown_fee_attempts += group.unknown_fee_attempts
        self.priced_images += group.priced_images
        self.retry_cost += group.retry_cost
        self.unknown_retries += group.unknown_retries
        self.failure_cost += group.failure_cost
        self.unknown_failures += group.unknown_failures
        if group.routed_attempts:
            self.routed_attempts += group.routed_attempts
            self.baseline += group.baseline
            self.stated_baselines += group.stated_baselines
            self.route_fee += group.route_fee
            self.stated_route_fees += group.stated_route_fees
            self.savings += group.savings
            self.stated_savings += group.stated_savings
        # What was never sent took no time.
        if sent := group.attempts - group.blocked:
            self.buckets[group.bucket] += sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The rows of [since, until) and their total; by time where a dimension is a period, else the dearest first."""

    by: tuple[str, ...]
    since: datetime
    until: datetime
    rows: tuple[Row, ...]
    total: Row


def summarise(groups: Iterable[Group], *, by: Sequence[str], since: datetime, until: datetime) -> Report:
    """Add up groups into a report."""
    rows: dict[tuple[str | None, ...], Row] = {}
    total = Row(())
    for group in groups:
        rows.setdefault(group.key, Row(group.key)).add(group)
        total.add(group)
    return Report(
        by=tuple(by), since=since, until=until, rows=tuple(sorted(rows.values(), key=_order(by))), total=total
    )


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
    """Tell whether a dimension is a day, week or month."""
    return dimension in PERIODS


def _order(by: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    if any(is_period(name) for name in by):
        return lambda row: tuple(value or "" for value in row.key)
    return lambda row: (-row.cost, -row.at_risk, -row.attempts, tuple(value or "" for value in row.key))


def _milliseconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
