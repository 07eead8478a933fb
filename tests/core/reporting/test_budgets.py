"""What is said of a budget: each number under its own name, and nothing of what nobody knows."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.budgets.state import Reset, State
from pixelmeter.core.reporting.budgets import cells, counts, described, listed, told_reset
from tests.factories import STARTED_AT

USD = 1_000_000_000
MONTH = Budget(100, per="month", name="images", action="block").rule
SPAN = MONTH.span_of(STARTED_AT)
STATE = State(
    rule=MONTH,
    value="",
    span=SPAN,
    at=(SPAN.start + (SPAN.end or 0)) // 2,
    attempts=11,
    blocked=12,
    unknown_cost_attempts=13,
    cost=50 * USD,
    at_risk=6 * USD,
    credited=16 * USD,
    reserved=7 * USD,
    overrun=8 * USD,
    overruns=14,
    leases=15,
    resets=16,
    notices=17,
)


def test_each_number_is_listed_under_its_own_name() -> None:
    found = listed(STATE)
    assert {
        "limit_usd": "100",
        "spent_usd": "40",
        "used": 0.4,
        "cost_usd": "50",
        "at_risk_usd": "6",
        "credited_usd": "16",
        "reserved_usd": "7",
        "room_usd": "53",
        "forecast_usd": "96",
        "overrun_usd": "8",
        "overruns": 14,
        "attempts": 11,
        "blocked": 12,
        "unknown_cost_attempts": 13,
        "leases": 15,
        "resets": 16,
        "notices": 17,
        "starts_at": "2026-05-01T00:00:00Z",
        "resets_at": "2026-06-01T00:00:00Z",
    } == {name: value for name, value in found.items() if name.endswith(("_usd", "_at", "s")) or name in NUMBERS}


NUMBERS = ("used", "blocked")


def test_each_number_is_shown_in_its_own_column() -> None:
    assert {
        "limit": "$100.0000",
        "spent": "$40.0000",
        "used": "40.0 %",
        "reserved": "$7.0000",
        "room": "$53.0000",
        "forecast": "$96.0000",
        "overrun": "$8.0000",
        "blocked": "12",
        "unknown_cost": "13",
        "attempts": "11",
        "cost": "$50.0000",
        "at_risk": "$6.0000",
        "credited": "$16.0000",
        "starts_at": "2026-05-01T00:00Z",
        "resets_at": "2026-06-01T00:00Z",
    } == {name: text for name, text in cells(STATE).items() if name not in {"budget", "value"}}


def test_of_what_nobody_knows_there_is_no_share_and_no_forecast() -> None:
    unknown = State(rule=MONTH, value="", span=SPAN, at=STATE.at, attempts=1, unknown_cost_attempts=1)
    found, shown = listed(unknown), cells(unknown)
    assert {None} == {found[name] for name in ("spent_usd", "used", "cost_usd", "at_risk_usd", "forecast_usd")}
    assert ["unknown", "unknown", "unknown", "", ""] == [
        shown[name] for name in ("spent", "cost", "at_risk", "used", "forecast")
    ]


@pytest.mark.parametrize(
    ("zone", "said"), [(UTC, "2026-05-28 20:26:40"), (ZoneInfo("Asia/Kolkata"), "2026-05-29 01:56:40")]
)
def test_a_reset_is_told_at_the_time_of_the_zone(zone: ZoneInfo, said: str) -> None:
    reset = Reset(1, "images", "art", SPAN.start, 3 * USD // 2, STARTED_AT, "ann", "a wrong price")
    told = f"{said} budget reset, images (art) by ann: $1.5 taken off the budget"
    assert f"{told} (a wrong price)" == told_reset(reset, zone)
    assert f"{told}, not off this attempt (a wrong price)" == told_reset(reset, zone, is_beside_attempt=True)


def test_a_budget_is_described_by_what_it_counts_and_does() -> None:
    scope = {"model": "gpt-*", "gateway": "fal", "tags": {"team": "art", "env": "prod"}}
    assert "gateway fal, model gpt-*, tag env=prod, tag team=art, each tag:customer" == counts(
        Budget(1, scope=scope, each="tag:customer").rule
    )
    assert "$100.0000 a month in UTC, of everything; refuses what would go over" == described(MONTH)
    assert "$5.0000 for good, of everything; only warns" == described(
        Budget(5, per="total", name="b", action="warn").rule
    )
