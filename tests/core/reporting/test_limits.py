"""Which rows of a report exceed limits, and how limits are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.budgets.state import State
from pixelmeter.core.reporting.latency import bucket
from pixelmeter.core.reporting.limits import (
    Excess,
    Limits,
    exceeded,
    microseconds_in,
    nano_in,
    rate_in,
    used_up,
)
from pixelmeter.core.reporting.report import Group, Report, summarise
from pixelmeter.errors import ConfigError
from tests.factories import STARTED_AT

CENT = 10_000_000
DAY = datetime(2026, 5, 1, tzinfo=UTC)


def report(**rows: Mapping[str, int]) -> Report:
    groups = [Group((name,), sums, {bucket(20_000_000): sums["attempts"]}) for name, sums in rows.items()]
    return summarise(groups, by=("model",), since=DAY, until=DAY.replace(day=2))


def told(found: Report, *, each: bool = False, **limits: int) -> list[str]:
    return [one.told for one in exceeded(found, Limits(**limits), each=each)]


def test_an_amount_that_is_the_limit_is_in_order() -> None:
    found = report(a={"attempts": 20, "errors": 1, "cost": 5 * CENT, "at_risk": CENT, "unknown_cost_attempts": 2})
    assert [] == told(found, error_rate=50_000, spend=5 * CENT, at_risk=CENT, unknown=2)
    assert [
        "error rate 5.0 % (1 of 20 attempts), more than 4.9999 %",
        "$0.0500 spent, more than $0.049999999, and 2 attempts of unknown cost beside it",
        "2 attempts of unknown cost, more than 1",
        "$0.0100 at risk, more than $0.009999999",
    ] == told(found, error_rate=49_999, spend=5 * CENT - 1, at_risk=CENT - 1, unknown=1)


def test_the_95th_percentile_is_compared_in_seconds() -> None:
    found = report(a={"attempts": 20})
    [one] = exceeded(found, Limits(p95=15_000_000), each=False)
    assert ("max-p95", 15.0, "seconds") == (one.check, one.limit, one.unit)
    assert isinstance(one.value, float)
    assert 19 < one.value < 21
    assert [] == told(found, p95=25_000_000)


def test_attempts_that_were_not_sent_are_in_no_rate() -> None:
    found = report(a={"attempts": 110, "blocked": 100, "errors": 1})
    assert ["error rate 10.0 % (1 of 10 attempts), more than 5 %"] == told(found, error_rate=50_000)
    assert [] == told(report(a={"attempts": 3, "blocked": 3}), error_rate=0, p95=0)


def test_of_few_attempts_rates_say_nothing_and_money_does() -> None:
    found = report(a={"attempts": 2, "errors": 2, "cost": CENT})
    assert ["$0.0100 spent, more than $0"] == told(found, error_rate=0, p95=0, spend=0, min_attempts=3)
    assert 3 == len(told(found, error_rate=0, p95=0, spend=0, min_attempts=2))


def test_each_row_has_to_keep_the_limit_or_the_sum_has_to() -> None:
    found = report(a={"attempts": 1, "cost": 3 * CENT}, b={"attempts": 1, "cost": 4 * CENT})
    assert ["$0.0700 spent, more than $0.05"] == told(found, spend=5 * CENT)
    assert [] == told(found, spend=5 * CENT, each=True)
    [one] = exceeded(found, Limits(spend=3 * CENT), each=True)
    assert (
        Excess(
            "max-spend", {"model": "b"}, "exceeded", "0.04", "0.03", "usd", "model b: $0.0400 spent, more than $0.03"
        )
        == one
    )


def test_what_nobody_knows_is_neither_kept_nor_exceeded() -> None:
    found = report(a={"attempts": 2, "unknown_cost_attempts": 2, "unestimated_attempts": 1})
    one, two = exceeded(found, Limits(spend=0, at_risk=0), each=False)
    assert ("max-spend", "unknown", None) == (one.check, one.state, one.value)
    assert ("max-at-risk", "unknown", None) == (two.check, two.state, two.value)


def test_unknown_costs_that_are_in_order_leave_the_spend_to_what_is_known() -> None:
    found = report(a={"attempts": 2, "unknown_cost_attempts": 2})
    assert [] == told(found, spend=0, unknown=2)
    assert ["unknown", "exceeded"] == [one.state for one in exceeded(found, Limits(spend=0, unknown=1), each=False)]


def test_nothing_exceeds_nothing() -> None:
    assert [] == told(report(), error_rate=0, p95=0, spend=0, unknown=0, at_risk=0)


@pytest.mark.parametrize(
    ("each", "value", "name"),
    [(None, "", "images"), ("tag:team", "", "images (none)"), ("tag:team", "a", "images (a)")],
)
def test_a_budget_is_a_finding_once_its_limit_is_spent(each: Any, value: str, name: str) -> None:
    rule = Budget(10, per="day", name="images", each=each).rule
    span = rule.span_of(STARTED_AT)
    spent = State(rule=rule, value=value, span=span, at=STARTED_AT, cost=10**10)
    found = used_up(spent, Limits())
    assert found is not None
    assert {"budget": "images", "value": value} == found.where
    assert f"budget {name}: $10.0000 of $10.0000 are spent; it resets at 2026-05-29T00:00:00Z" == found.told
    assert used_up(State(rule=rule, value=value, span=span, at=STARTED_AT, cost=10**10 - 1), Limits()) is None


@pytest.mark.parametrize(("in_order", "states"), [(None, ["unknown"]), (1, ["unknown"]), (2, [])])
def test_a_budget_of_which_nothing_is_known_is_not_in_order(in_order: int | None, states: list[str]) -> None:
    rule = Budget(10, per="day", name="images").rule
    lost = State(
        rule=rule, value="", span=rule.span_of(STARTED_AT), at=STARTED_AT, attempts=2, unknown_cost_attempts=2
    )  # fmt: skip
    found = [one for one in [used_up(lost, Limits(unknown=in_order))] if one is not None]
    assert states == [one.state for one in found]
    assert {"budget images: spend is unknown: nobody knows what 2 attempts cost"} >= {one.told for one in found}


def test_a_budget_without_an_end_says_of_none() -> None:
    rule = Budget(0, per="total", name="images").rule
    found = used_up(State(rule=rule, value="", span=rule.span_of(STARTED_AT), at=STARTED_AT), Limits())
    assert found is not None
    assert "budget images: $0.0000 of $0.0000 are spent" == found.told


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (rate_in, "5%", 50_000),
        (rate_in, " 0.5 % ", 5_000),
        (rate_in, "0%", 0),
        (rate_in, "100%", 1_000_000),
        (microseconds_in, "30s", 30_000_000),
        (microseconds_in, "1.5s", 1_500_000),
        (microseconds_in, "500ms", 500_000),
        (microseconds_in, "2m", 120_000_000),
        (nano_in, "50", 50 * 10**9),
        (nano_in, "$0.25", 250_000_000),
        (nano_in, "0", 0),
        (nano_in, "2500000", 2_500_000 * 10**9),
    ],
)
def test_limits_are_exact(read: Callable[[str], int], text: str, expected: int) -> None:
    assert expected == read(text)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((rate_in, text) for text in ("5", "%", "-1%", "101%", "5%%", "1e99%", "nan%", "")),
        *((microseconds_in, text) for text in ("30", "s", "-1s", "5h", "5sm", "5mm", "inf s", "")),
        *((nano_in, text) for text in ("-1", "a", "$", "50 USD", "1e99", "", "9" * 50)),
    ],
)
def test_what_is_no_limit_is_told_with_an_example(read: Callable[[str], int], text: str) -> None:
    with pytest.raises(ConfigError, match="write it as"):
        read(text)
