"""Sums of attempts by chosen dimensions, with what is not known said beside what is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeGuard

from pixelmeter.core.latency import percentile
from pixelmeter.core.money import exact_usd
from pixelmeter.core.periods import PERIODS, Period, utc_text
from pixelmeter.core.record import Outcome
from pixelmeter.errors import ConfigError

__all__ = ["DIMENSIONS", "ERRORS", "Group", "Report", "Row", "dimensions", "is_period", "summarise", "tag_of"]

DIMENSIONS: tuple[str, ...] = ("model", *PERIODS, "gateway", "provider", "operation", "outcome", "size", "quality")
"""What a report can be grouped by, beside "tag:KEY"."""

ERRORS: tuple[Outcome, ...] = ("error", "timeout", "throttled", "rejected")
"""The outcomes that count as errors."""

_TAG = "tag:"


class Group(NamedTuple):
    """Attempts that agree in the dimensions and in their latency bucket; several groups may have the same key.

    Money is in nano-dollars. `calls` counts the attempts numbered 0, so that the calls of parts add up.
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


@dataclass(slots=True)
class Row:
    """One line of a report; the values of the dimensions are None where the ledger does not know them."""

    key: tuple[str | None, ...]
    calls: int = 0
    attempts: int = 0
    images: int = 0
    errors: int = 0
    cost: int = 0
    """Nano-dollars that are known; what is unknown is counted in `unknown_cost_attempts`."""
    fee: int = 0
    at_risk: int = 0
    """Nano-dollars that attempts of unknown billing may have cost, estimated; not in `cost`."""
    unknown_cost_attempts: int = 0
    buckets: Counter[int] = field(default_factory=Counter[int])
    """How many attempts fell into each latency bucket (`pixelmeter.core.latency`)."""

    @property
    def p50_seconds(self) -> float | None:
        """The median duration of an attempt, within 5 %; None without attempts."""
        return _milliseconds(percentile(self.buckets, 0.5))

    @property
    def p95_seconds(self) -> float | None:
        """The duration that 95 % of the attempts stayed below, within 5 %; None without attempts."""
        return _milliseconds(percentile(self.buckets, 0.95))

    def add(self, group: Group) -> None:
        """Count a group in."""
        self.calls += group.calls
        self.attempts += group.attempts
        self.images += group.images
        self.errors += group.errors
        self.cost += group.cost
        self.fee += group.fee
        self.at_risk += group.at_risk
        self.unknown_cost_attempts += group.unknown_cost_attempts
        self.buckets[group.bucket] += group.attempts

    def as_json(self, by: Sequence[str], *, fees: bool) -> dict[str, object]:
        """Return the row with a key for each dimension; money is exact decimal text in USD."""
        money = {"cost_usd": exact_usd(self.cost), "at_risk_usd": exact_usd(self.at_risk)}
        if fees:
            money["fee_usd"] = exact_usd(self.fee)
        return {
            **dict(zip(by, self.key, strict=False)),
            "calls": self.calls,
            "attempts": self.attempts,
            "images": self.images,
            "errors": self.errors,
            **money,
            "unknown_cost_attempts": self.unknown_cost_attempts,
            "p50_seconds": self.p50_seconds,
            "p95_seconds": self.p95_seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The rows of [since, until) and their total; by time where a dimension is a period, else the dearest first."""

    by: tuple[str, ...]
    since: datetime
    until: datetime
    rows: tuple[Row, ...]
    total: Row

    def as_json(self, *, fees: bool = False) -> dict[str, object]:
        """Return the report as JSON has it, the gateway's fees included when asked for."""
        return {
            "since": utc_text(self.since),
            "until": utc_text(self.until),
            "rows": [row.as_json(self.by, fees=fees) for row in self.rows],
            "total": self.total.as_json((), fees=fees),
        }


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


def dimensions(text: str) -> tuple[str, ...]:
    """Return the dimensions of a list such as "model,day,tag:team"; ConfigError names the one that is not known."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in found:
        if name not in DIMENSIONS and not tag_of(name):
            raise ConfigError(f"{name[:40]!r} is not a dimension: use {', '.join(DIMENSIONS)} or tag:KEY")
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
