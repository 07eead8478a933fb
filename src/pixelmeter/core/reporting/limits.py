"""Limits on what a report says, and which of its rows exceed them: what `pixelmeter check` looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from pixelmeter.core.budgets.state import State
from pixelmeter.core.reporting.columns import share
from pixelmeter.core.reporting.periods import moment_of, utc_text
from pixelmeter.core.reporting.report import Report, Row
from pixelmeter.core.text import dollars, exact_usd, half_even, plural, scaled, signed
from pixelmeter.errors import ConfigError

__all__ = [
    "BUDGETS",
    "COLUMNS",
    "Excess",
    "Limits",
    "exceeded",
    "listed",
    "microseconds_in",
    "nano_in",
    "rate_in",
    "used_up",
]

COLUMNS: tuple[str, ...] = ("attempts", "blocked", "errors", "cost", "at_risk", "unknown_cost", "p95")
"""The columns of a report that limits are compared with."""

BUDGETS = "budgets"
"""The check that a budget is not used up."""

_PARTS = 1_000_000
_MICROSECONDS = 1_000_000
_QUOTED = 40
_UNITS: Mapping[str, int] = {"ms": 1000, "s": _MICROSECONDS, "m": 60 * _MICROSECONDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that each row of a report may have; None does not look."""

    error_rate: int | None = None
    """Of the attempts that were sent, how many may be errors: parts per million."""
    p95: int | None = None
    """Microseconds."""
    spend: int | None = None
    """Nano-dollars of known cost."""
    unknown: int | None = None
    """Attempts of unknown cost."""
    at_risk: int | None = None
    """Nano-dollars."""
    min_attempts: int = 1
    """Of how few attempts error rate and 95th percentile say nothing: a row with fewer is not compared with them."""

    @property
    def are_none(self) -> bool:
        """Whether nothing is looked at."""
        return all(getattr(self, each.name) is None for each in fields(self) if each.name != "min_attempts")


class Excess(NamedTuple):
    """A limit that is exceeded, or of which nobody can say whether it is."""

    check: str
    """The option that gave the limit, such as "max-spend"; or BUDGETS."""
    where: Mapping[str, str | None]
    """Which row of the report, by its dimensions; nothing of the whole. Of a budget its name and value."""
    state: Literal["exceeded", "unknown"]
    value: str | int | float | None
    """What there is: USD as exact text, a fraction, seconds or a number of attempts; None where it is unknown."""
    limit: str | int | float
    """Likewise."""
    unit: Literal["usd", "fraction", "seconds", "attempts"]
    told: str
    """The same in a sentence without its end."""


def exceeded(report: Report, limits: Limits, *, each: bool) -> list[Excess]:
    """Return what exceeds limits: of `each` row of a report, or of its total."""
    rows = report.rows if each else (report.total,)
    return [
        found
        for row in rows
        for found in _of_row(row, dict(zip(report.by, row.key, strict=True)) if each else {}, limits)
    ]


def used_up(state: State, limits: Limits) -> Excess | None:
    """Return what is to be said of a budget that is used up, or of which nothing is known; None of any other."""
    rule, end, limit = state.rule, state.span.end, exact_usd(state.limit)
    where = {"budget": rule.name, "value": state.value}
    name = f"budget {rule.name}" + (f" ({state.value or 'none'})" if rule.each else "")
    if state.is_used_up:
        until = "" if end is None else f"; it resets at {utc_text(moment_of(end))}"
        told = f"{name}: {dollars(state.spent)} of {dollars(state.limit)} are spent{until}"
        return Excess(BUDGETS, where, "exceeded", exact_usd(state.spent), limit, "usd", told)
    if state.known_spent is None and not _in_order(state.unknown_cost_attempts, limits):
        told = f"{name}: spend is unknown: nobody knows what {plural(state.unknown_cost_attempts, 'attempt')} cost"
        return Excess(BUDGETS, where, "unknown", None, limit, "usd", told)
    return None


def listed(one: Excess) -> dict[str, object]:
    """Return it as JSON has it."""
    found: dict[str, object] = one._asdict()
    found["where"] = dict(one.where)
    return found


def rate_in(text: str) -> int:
    """Return the parts per million of "5%" or "0.5 %". ConfigError for any other text."""
    number, percent, rest = text.strip().partition("%")
    rate = scaled(number.strip(), 10_000) if percent and not rest else None
    if rate is None or rate > _PARTS:
        raise ConfigError(f"{text[:_QUOTED]!r} is no percentage from 0% to 100%: write it as 5% or 0.5%")
    return rate


def microseconds_in(text: str) -> int:
    """Return the microseconds of "30s", "1.5s", "500ms" or "2m". ConfigError for any other text."""
    stripped = text.strip()
    number = stripped.rstrip("ms")
    unit = _UNITS.get(stripped[len(number) :])
    found = None if unit is None else scaled(number.strip(), unit)
    if found is None:
        raise ConfigError(f"{text[:_QUOTED]!r} is no duration: write it as 30s, 500ms or 2m")
    return found


def nano_in(text: str) -> int:
    """Return the nano-dollars of "50", "0.25" or "$50". ConfigError for any other text."""
    # What a company spends in a year is more than any attempt costs.
    found = signed(text.strip().removeprefix("$"), 1_000_000_000)
    if found is None or found < 0:
        raise ConfigError(f"{text[:_QUOTED]!r} is no amount of US dollars: write it as 50 or 0.25")
    return found


def _of_row(row: Row, where: Mapping[str, str | None], limits: Limits) -> Iterator[Excess]:
    name = ", ".join(f"{dimension} {value or '(none)'}" for dimension, value in where.items())
    begin = f"{name}: " if name else ""
    sent = row.attempts - row.blocked
    if sent >= max(limits.min_attempts, 1):
        yield from _of_sent(row, sent, where, begin, limits)
    if limits.spend is not None:
        yield from _of_spend(row, where, begin, limits, limits.spend)
    if limits.unknown is not None and row.unknown_cost_attempts > limits.unknown:
        found, most = row.unknown_cost_attempts, limits.unknown
        told = f"{begin}{plural(found, 'attempt')} of unknown cost, more than {most:,}"
        yield Excess("max-unknown", where, "exceeded", found, most, "attempts", told)
    if limits.at_risk is not None:
        at_risk, limit = row.known_at_risk, exact_usd(limits.at_risk)
        if at_risk is None:
            unestimated = plural(row.unestimated_attempts, "attempt")
            told = f"{begin}what is at risk is unknown: there is no estimate of {unestimated}"
            yield Excess("max-at-risk", where, "unknown", None, limit, "usd", told)
        elif at_risk > limits.at_risk:
            told = f"{begin}{dollars(at_risk)} at risk, more than ${limit}"
            yield Excess("max-at-risk", where, "exceeded", exact_usd(at_risk), limit, "usd", told)


def _of_sent(row: Row, sent: int, where: Mapping[str, str | None], begin: str, limits: Limits) -> Iterator[Excess]:
    if limits.error_rate is not None and row.errors * _PARTS > limits.error_rate * sent:
        rate, most = half_even(row.errors * _PARTS, sent) / _PARTS, limits.error_rate / _PARTS
        of = f"{row.errors:,} of {plural(sent, 'attempt')}"
        told = f"{begin}error rate {share(row.errors, sent)} ({of}), more than {_percent(limits.error_rate)}"
        yield Excess("max-error-rate", where, "exceeded", rate, most, "fraction", told)
    p95 = row.p95_seconds
    if limits.p95 is not None and p95 is not None and p95 * _MICROSECONDS > limits.p95:
        most = limits.p95 / _MICROSECONDS
        told = f"{begin}p95 {p95:,.4g} s of {plural(sent, 'attempt')}, more than {most:g} s"
        yield Excess("max-p95", where, "exceeded", p95, most, "seconds", told)


def _of_spend(row: Row, where: Mapping[str, str | None], begin: str, limits: Limits, most: int) -> Iterator[Excess]:
    cost, limit = row.known_cost, exact_usd(most)
    if cost is None:
        if not _in_order(row.unknown_cost_attempts, limits):
            told = f"{begin}spend is unknown: nobody knows what {plural(row.unknown_cost_attempts, 'attempt')} cost"
            yield Excess("max-spend", where, "unknown", None, limit, "usd", told)
    elif cost > most:
        told = f"{begin}{dollars(cost)} spent, more than ${limit}"
        if row.unknown_cost_attempts:
            told += f", and {plural(row.unknown_cost_attempts, 'attempt')} of unknown cost beside it"
        yield Excess("max-spend", where, "exceeded", exact_usd(cost), limit, "usd", told)


def _in_order(unknown: int, limits: Limits) -> bool:
    """Return whether so many attempts of unknown cost are in order, by the limit that they have of their own."""
    return limits.unknown is not None and unknown <= limits.unknown


def _percent(parts: int) -> str:
    return f"{exact_usd(parts * 100_000)} %"
