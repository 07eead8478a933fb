"""Statements and attempts of one gateway in May 2026, for tests that care about some of their fields only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from pixelmeter.core.reconciling.matching import match
from pixelmeter.core.reconciling.ours import Ours
from pixelmeter.core.reconciling.result import Result
from pixelmeter.core.reconciling.statement import Statement, month

MAY = month("2026-05")
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
NOON = MAY.start + 10 * DAY + 12 * HOUR
LATER = MAY.end + 40 * DAY
CENT = 10_000_000


def theirs(number: int = 1, **fields: Any) -> Statement:
    """Return a statement of one request of 4 cents, made at NOON."""
    said: dict[str, Any] = {
        "gateway": "aigateway", "source": "recent", "external_id": f"row_{number}", "grain": "request",
        "starts_at": NOON, "ends_at": None, "ids": (f"req_{number}",), "model": "openai/gpt-image-2",
        "amount": 4 * CENT, "images": 1, "requests": 1, "status": "succeeded", "label": None,
        "raw": "{}", "read_at": LATER,
    }  # fmt: skip
    return Statement(**{**said, **fields})


def summed(number: int = 1, **fields: Any) -> Statement:
    """Return the sum of the day of NOON."""
    start = NOON // DAY * DAY
    return theirs(number, **{"grain": "day", "starts_at": start, "ends_at": start + DAY, "ids": (), **fields})


def ours(number: int = 1, **fields: Any) -> Ours:
    """Return an attempt of 4 cents, made at NOON."""
    said: dict[str, Any] = {
        "id": str(UUID(int=number)), "started_at": NOON, "request_id": f"req_{number}", "job_id": None,
        "model": "openai/gpt-image-2", "requested_model": "openai/gpt-image-2", "outcome": "success", "status": 200,
        "billing": "billed", "cost": 4 * CENT, "cost_reason": None, "at_risk": None, "byok": False,
    }  # fmt: skip
    return Ours(**{**said, **fields})


def at_risk(number: int = 1, **fields: Any) -> Ours:
    """Return an attempt that timed out: it has no name of the gateway, and nobody knows whether it was billed."""
    said: dict[str, Any] = {
        "request_id": None, "outcome": "timeout", "status": None, "billing": "unknown", "cost": None,
        "cost_reason": "outcome_unknown", "at_risk": 4 * CENT,
    }  # fmt: skip
    return ours(number, **{**said, **fields})


def refused(number: int = 1, **fields: Any) -> Ours:
    """Return an attempt that the gateway refused, and that cost nothing."""
    said: dict[str, Any] = {
        "outcome": "rejected", "status": 400, "billing": "not_billed", "cost": 0, "cost_reason": "rejected",
    }  # fmt: skip
    return ours(number, **{**said, **fields})


def matched(
    statements: Iterable[Statement], attempts: Iterable[Ours], *, now: int = LATER, covered_from: int | None = None
) -> Result:
    """Return what comes of them with a lag of a day and a window of two minutes."""
    return match(statements, attempts, period=MAY, now=now, lag=DAY, window=120 * SECOND, covered_from=covered_from)


def classes(result: Result) -> dict[str, Sequence[str]]:
    """Return the ids that each class has, without those that have none: of matches, their statements and attempts."""
    found: dict[str, list[str]] = {
        kind: [f"{_named(one.statements)}={_named(one.attempts)}" for one in result.of_kind(kind)]
        for kind in ("equal", "differs", "unsettled")
    }
    found["own_key"] = [f"{_named(one.statements)}={_named(one.attempts)}" for one in result.own_key]
    found["only_theirs"] = [_named([one.statement]) for one in result.only_theirs]
    for name in ("only_ours", "young_statements", "young_attempts", "not_charged", "byok", "repeated", "not_covered",
                 "outside_statements", "outside_attempts"):  # fmt: skip
        found[name] = [_named([one]) for one in getattr(result, name)]
    return {name: sorted(ids) for name, ids in found.items() if ids}


def _named(some: Iterable[Statement | Ours]) -> str:
    return ",".join(
        sorted(one.external_id[4:] if isinstance(one, Statement) else str(UUID(one.id).int) for one in some)
    )
