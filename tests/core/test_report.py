from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pixelmeter.core.latency import bucket
from pixelmeter.core.report import DIMENSIONS, ERRORS, Group, dimensions, summarise, tag_of
from pixelmeter.errors import ConfigError

SINCE, UNTIL = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 2, 12, 30, tzinfo=UTC)


def group(*key: str | None, **overrides: int) -> Group:
    """Return one attempt of a cent in 8 seconds, unless told otherwise."""
    fields = {
        "bucket": bucket(8_000_000),
        "attempts": 1,
        "calls": 1,
        "images": 1,
        "errors": 0,
        "cost": 10_000_000,
        "fee": 500_000,
        "at_risk": 0,
        "unknown_cost_attempts": 0,
    }
    return Group(key=key, **(fields | overrides))


def test_a_report_is_printed_with_exactly_the_documented_keys() -> None:
    unknown = group("a/b", cost=0, fee=0, at_risk=40_000_000, unknown_cost_attempts=1, errors=1, images=0, calls=0)
    report = summarise([group("a/b"), unknown], by=["model"], since=SINCE, until=UNTIL)
    sums = {
        "calls": 1,
        "attempts": 2,
        "images": 1,
        "errors": 1,
        "cost_usd": "0.01",
        "at_risk_usd": "0.04",
        "unknown_cost_attempts": 1,
        "p50_seconds": 8.158,
        "p95_seconds": 8.158,
    }
    expected = {
        "since": "2026-05-01T00:00:00Z",
        "until": "2026-05-02T12:30:00Z",
        "rows": [{"model": "a/b", **sums}],
        "total": sums,
    }
    assert expected == report.as_json()
    assert ["model", *sums] == list(
        summarise([unknown], by=["model"], since=SINCE, until=UNTIL).rows[0].as_json(["model"], fees=False)
    )


def test_fees_are_a_key_of_their_own() -> None:
    total = summarise([group("a"), group("a")], by=["model"], since=SINCE, until=UNTIL).as_json(fees=True)["total"]
    assert isinstance(total, dict)
    assert ("0.02", "0.001") == (total["cost_usd"], total["fee_usd"])


def test_nothing_costs_zero_and_has_no_latency() -> None:
    report = summarise([], by=["model"], since=SINCE, until=UNTIL)
    assert () == report.rows
    assert ("0", None, None) == tuple(
        report.total.as_json((), fees=False)[key] for key in ("cost_usd", "p50_seconds", "p95_seconds")
    )


def test_groups_of_one_key_are_one_row_and_their_buckets_one_histogram() -> None:
    fast, slow = bucket(1_000_000), bucket(60_000_000)
    groups = [group("a", bucket=fast, attempts=90), group("a", bucket=slow, attempts=10), group("b", bucket=slow)]
    row, other = summarise(groups, by=["model"], since=SINCE, until=UNTIL).rows
    assert (("a",), 100, {fast: 90, slow: 10}) == (row.key, row.attempts, row.buckets)
    assert row.p50_seconds == pytest.approx(1, rel=0.05)
    assert row.p95_seconds == other.p50_seconds == pytest.approx(60, rel=0.05)


def test_the_dearest_row_comes_first() -> None:
    groups = [group("cheap"), group("dear", cost=10**12), group("risky", cost=0, at_risk=5), group(None, cost=0)]
    report = summarise(groups, by=["model"], since=SINCE, until=UNTIL)
    assert ["dear", "cheap", "risky", None] == [row.key[0] for row in report.rows]


def test_rows_of_periods_are_in_the_order_of_the_dimensions() -> None:
    groups = [group("2026-05-02", "a", cost=9), group("2026-05-01", "b", cost=1), group("2026-05-01", None, cost=5)]
    report = summarise(groups, by=["day", "model"], since=SINCE, until=UNTIL)
    expected = [("2026-05-01", None), ("2026-05-01", "b"), ("2026-05-02", "a")]
    assert expected == [row.key for row in report.rows]


def test_errors_are_what_the_caller_would_call_a_failure_of_the_gateway() -> None:
    assert ("error", "timeout", "throttled", "rejected") == ERRORS


def test_dimensions_are_read_from_a_list() -> None:
    assert ("model", "day", "tag:team") == dimensions("model, day,tag:team,,model")
    assert DIMENSIONS == dimensions(",".join(DIMENSIONS))
    assert "a:b" == tag_of("tag:a:b")


@pytest.mark.parametrize("text", ["cost", "tag:", "model;DROP TABLE x", "Model", "", " , "])
def test_an_unknown_dimension_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(ConfigError, match=r"model, day, week, .* or tag:KEY"):
        dimensions(text)
