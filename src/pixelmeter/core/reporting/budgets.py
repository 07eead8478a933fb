"""Budgets as programs read them and as people do: how far each is used up, and what counts towards it."""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import Any

from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.state import Reset, State
from pixelmeter.core.reporting.columns import share
from pixelmeter.core.reporting.periods import moment_of, utc_text
from pixelmeter.core.text import dollars, exact_usd

__all__ = [
    "COLUMNS",
    "OF_TABLES",
    "cells",
    "counts",
    "described",
    "listed",
    "listed_reset",
    "minute",
    "of_rule",
    "told_reset",
    "when",
]

COLUMNS: tuple[str, ...] = (
    "budget", "value", "is_active", "per", "tz", "each", "action", "starts_at", "resets_at", "limit_usd", "spent_usd",
    "used", "cost_usd", "at_risk_usd", "credited_usd", "reserved_usd", "room_usd", "forecast_usd", "overrun_usd",
    "overruns", "attempts", "blocked", "unknown_cost_attempts", "leases", "resets", "notices",
)  # fmt: skip
"""The keys of a listed state."""

OF_TABLES: tuple[str, ...] = (
    "budget", "value", "limit", "spent", "used", "reserved", "room", "forecast", "overrun", "blocked", "unknown_cost",
    "resets_at",
)  # fmt: skip
"""The columns of a table."""

_PARTS = 1_000_000


def listed(state: State, *, is_active: bool = True) -> dict[str, Any]:
    """Return a state with a value for each of COLUMNS.

    Money is exact decimal text in USD, and None where nothing is known of it; `used` is a fraction.
    """
    rule, span = state.rule, state.span
    return {
        "budget": rule.name,
        "value": state.value,
        "is_active": is_active,
        "per": rule.per,
        "tz": rule.zone,
        "each": rule.each,
        "action": rule.action,
        "starts_at": None if rule.per == "total" else when(span.start),
        "resets_at": None if span.end is None else when(span.end),
        "limit_usd": exact_usd(state.limit),
        "spent_usd": _exact(state.known_spent),
        "used": state.used if state.known_spent is not None else None,
        "cost_usd": _exact(state.known_cost),
        "at_risk_usd": _exact(state.known_at_risk),
        "credited_usd": exact_usd(state.credited),
        "reserved_usd": exact_usd(state.reserved),
        "room_usd": exact_usd(state.room),
        "forecast_usd": _exact(state.forecast) if state.known_spent is not None else None,
        "overrun_usd": exact_usd(state.overrun),
        "overruns": state.overruns,
        "attempts": state.attempts,
        "blocked": state.blocked,
        "unknown_cost_attempts": state.unknown_cost_attempts,
        "leases": state.leases,
        "resets": state.resets,
        "notices": state.notices,
    }


def cells(state: State) -> dict[str, str]:
    """Return what a table shows of a state; what is nothing in most rows is left empty where it is nothing."""
    rule, spent, end = state.rule, state.known_spent, state.span.end
    return {
        "budget": rule.name,
        "value": state.value or ("(none)" if rule.each else ""),
        "limit": dollars(state.limit),
        "spent": "unknown" if spent is None else dollars(spent),
        "used": "" if spent is None else share(spent, state.limit),
        "reserved": dollars(state.reserved) if state.reserved else "",
        "room": dollars(state.room),
        "forecast": "" if state.forecast is None or spent is None else dollars(state.forecast),
        "overrun": dollars(state.overrun) if state.overrun else "",
        "blocked": f"{state.blocked:,}" if state.blocked else "",
        "unknown_cost": f"{state.unknown_cost_attempts:,}" if state.unknown_cost_attempts else "",
        "resets_at": "never" if end is None else minute(end),
        "starts_at": "" if rule.per == "total" else minute(state.span.start),
        "attempts": f"{state.attempts:,}",
        "cost": "unknown" if state.known_cost is None else dollars(state.known_cost),
        "at_risk": "" if state.known_at_risk == 0 else _shown(state.known_at_risk),
        "credited": dollars(state.credited) if state.credited else "",
    }


def of_rule(rule: Rule) -> dict[str, Any]:
    """Return a budget as programs read it."""
    scope = rule.scope
    return {
        "budget": rule.name,
        "limit_usd": exact_usd(rule.limit),
        "per": rule.per,
        "tz": rule.zone,
        "scope": {
            name: value
            for name in ("gateway", "model", "operation", "tags")
            if (value := getattr(scope, name)) not in (None, {})
        },
        "each": rule.each,
        "action": rule.action,
        "thresholds": [part / _PARTS for part in rule.thresholds],
        "unpriced": rule.unpriced,
        "on_unavailable": rule.on_unavailable,
    }


def counts(rule: Rule) -> str:
    """Return which attempts count, such as "model gpt-image-*, tag team=art, each tag:customer"; else "everything"."""
    scope = rule.scope
    found = [
        f"{name} {value}" for name in ("gateway", "model", "operation") if (value := getattr(scope, name)) is not None
    ]
    found += [f"tag {key}={value}" for key, value in sorted(scope.tags.items())]
    found += [] if rule.each is None else [f"each {rule.each}"]
    return ", ".join(found) or "everything"


def described(rule: Rule) -> str:
    """Return a budget as a sentence, such as "$50.0000 a day in Europe/Berlin, of everything; refuses what is over"."""
    per = "for good" if rule.per == "total" else f"a {rule.per} in {rule.zone}"
    action = "refuses what would go over" if rule.action == "block" else "only warns"
    return f"{dollars(rule.limit)} {per}, of {counts(rule)}; {action}"


def listed_reset(reset: Reset) -> dict[str, Any]:
    """Return a reset as programs read it."""
    return {
        "number": reset.number,
        "budget": reset.budget,
        "value": reset.value,
        "starts_at": when(reset.start),
        "amount_usd": exact_usd(reset.amount),
        "made_at": when(reset.made_at),
        "made_by": reset.made_by,
        "why": reset.why,
    }


def told_reset(reset: Reset, zone: tzinfo, *, is_beside_attempt: bool = False) -> str:
    """Return a reset as a sentence: when, of which budget, by whom, what it took off, and why.

    Beside an attempt that counted towards the budget it says that this stays as it is.
    """
    made = f"{moment_of(reset.made_at).astimezone(zone):%Y-%m-%d %H:%M:%S}"
    of = f"{reset.budget} ({reset.value})" if reset.value else reset.budget
    by = f" by {reset.made_by}" if reset.made_by else ""
    why = f" ({reset.why})" if reset.why else ""
    stays = ", not off this attempt" if is_beside_attempt else ""
    return f"{made} budget reset, {of}{by}: ${exact_usd(reset.amount)} taken off the budget{stays}{why}"


def when(microseconds: int) -> str:
    """Return a Unix time in microseconds as programs read it."""
    return utc_text(moment_of(microseconds))


def minute(microseconds: int) -> str:
    """Return a Unix time in microseconds to read, in UTC."""
    return f"{moment_of(microseconds).astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def _exact(amount: int | None) -> str | None:
    return None if amount is None else exact_usd(amount)


def _shown(amount: int | None) -> str:
    return "unknown" if amount is None else dollars(amount)
