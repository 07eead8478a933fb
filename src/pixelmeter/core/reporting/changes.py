"""What adjustments have changed of an attempt: as programs read it, and as people do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import tzinfo

from pixelmeter.core.attempts.adjustment import ADJUSTABLE, Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.listing import OF_PROGRAMS, listed
from pixelmeter.core.reporting.periods import moment_of, utc_text

__all__ = ["differences", "listed_changes", "told", "told_differences"]

_MICROSECONDS_PER_SECOND = 1_000_000
_COLUMNS = tuple(OF_PROGRAMS.get(name, name) for name in ADJUSTABLE)
_UNKNOWN = ("cost_usd", "fee_usd", "images")
_UNTOLD = ("priced_parts",)


def listed_changes(changes: Sequence[Change]) -> list[dict[str, object]]:
    """Return the changes of an attempt, oldest first, each with what differs in the units of `listed`."""
    return [
        {
            "number": adjustment.number,
            "kind": adjustment.kind,
            "source": adjustment.source,
            "made_at": utc_text(moment_of(adjustment.made_at)),
            "made_by": adjustment.made_by,
            "why": adjustment.why,
            "job_duration_seconds": None
            if adjustment.job_duration is None
            else adjustment.job_duration / _MICROSECONDS_PER_SECOND,
            "version": adjustment.version,
            "changed": {name: {"before": was, "after": now} for name, was, now in differences(before, after)},
        }
        for adjustment, before, after in changes
    ]


def differences(before: Attempt, after: Attempt) -> Iterator[tuple[str, object, object]]:
    """Yield each column in which two states of an attempt differ, with both values, as `listed` has them."""
    was, now = listed(before), listed(after)
    for name in _COLUMNS:
        if was[name] != now[name]:
            yield name, was[name], now[name]


def told(change: Change, zone: tzinfo) -> str:
    """Return a change as a sentence: when, of which kind, from where and by whom, what differs, and why."""
    adjustment, before, after = change
    made = f"{moment_of(adjustment.made_at).astimezone(zone):%Y-%m-%d %H:%M:%S}"
    by = f" by {adjustment.made_by}" if adjustment.made_by else ""
    why = f" ({adjustment.why})" if adjustment.why else ""
    return f"{made} {adjustment.kind}, {adjustment.source}{by}: {told_differences(before, after)}{why}"


def told_differences(before: Attempt, after: Attempt) -> str:
    """Return what differs between two states of an attempt, such as "cost unknown -> $0.04, at risk $0.04 -> none"."""
    found = [
        f"{name.removesuffix('_usd').replace('_', ' ')} {_text(name, was)} -> {_text(name, now)}"
        for name, was, now in differences(before, after)
        if name not in _UNTOLD
    ]
    return ", ".join(found) or "nothing"


def _text(name: str, value: object) -> str:
    if value is None:
        return "unknown" if name in _UNKNOWN else "none"
    if value == "":
        return "(empty)"
    if not name.endswith("_usd"):
        return str(value)
    amount = str(value)
    return f"-${amount[1:]}" if amount.startswith("-") else f"${amount}"
