from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pixelmeter.core.reporting.latency import bucket
from pixelmeter.core.reporting.report import DIMENSIONS, ERRORS, Group, Row, dimensions, known, summarise, tag_of
from pixelmeter.errors import ConfigError

SINCE, UNTIL = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 2, 12, 30, tzinfo=UTC)


def group(*key: str | None, **overrides: int) -> Group:
    """Return one attempt of a cent in 8 seconds, unless told otherwise."""
    fields = {
        "attempts": 1,
        "calls": 1,
        "images": 1,
        "errors": 0,
        "cost": 10_000_000,
        "fee": 500_000,
        "at_risk": 0,
        "unknown_cost_attempts": 0,
    }
    sums = fields | overrides
    return Group(key, sums, {bucket(8_000_000): sums["attempts"]})


def row(**overrides: int) -> Row:
    """Return the only row of a report on a group."""
    return summarise([group("a", **overrides)], by=["model"], since=SINCE, until=UNTIL).rows[0]


def test_an_empty_report_has_no_rows_and_costs_nothing() -> None:
    report = summarise([], by=["model"], since=SINCE, until=UNTIL)
    assert () == report.rows
    assert (0, 0, None, None) == (
        report.total.known_cost, report.total.known_at_risk, report.total.p50_seconds, report.total.p95_seconds
    )  # fmt: skip


def test_a_sum_of_nothing_is_only_zero_where_nothing_is_missing() -> None:
    assert (0, 5, None, 5) == (known(0, 0), known(5, 0), known(0, 3), known(5, 3))


@pytest.mark.parametrize(
    ("amount", "missing", "name"),
    [
        ("cost", "unknown_cost_attempts", "known_cost"),
        ("fee", "unknown_fee_attempts", "known_fee"),
        ("at_risk", "unestimated_attempts", "known_at_risk"),
        ("retry_cost", "unknown_retries", "known_retry_cost"),
        ("failure_cost", "unknown_failures", "known_failure_cost"),
    ],
)
def test_each_amount_is_unknown_where_only_unknown_ones_were_added(amount: str, missing: str, name: str) -> None:
    found = [getattr(row(**{amount: known, missing: count}), name) for known, count in ((0, 0), (7, 0), (0, 2), (7, 2))]
    assert [0, 7, None, 7] == found


def test_the_total_is_unknown_where_every_row_is() -> None:
    def total(*costs: int) -> int | None:
        groups = [group(str(number), cost=cost, unknown_cost_attempts=1) for number, cost in enumerate(costs)]
        return summarise(groups, by=["model"], since=SINCE, until=UNTIL).total.known_cost

    assert (None, 7) == (total(0, 0), total(0, 7))


def test_the_cost_of_an_image_is_rounded_half_to_even_and_counts_images_that_have_a_price() -> None:
    assert 10_000_000 == row(cost=40_000_000, images=9, priced_images=4).cost_per_image
    assert (2, 4) == (row(cost=5, priced_images=2).cost_per_image, row(cost=7, priced_images=2).cost_per_image)


def test_there_is_no_cost_of_an_image_without_images_or_without_a_cost() -> None:
    assert (None, None) == (
        row(images=3, priced_images=0).cost_per_image,
        row(cost=0, unknown_cost_attempts=1, priced_images=2).cost_per_image,
    )
    assert 0 == row(cost=0, priced_images=2).cost_per_image


def test_groups_of_one_key_are_one_row_and_their_buckets_one_histogram() -> None:
    fast, slow = bucket(1_000_000), bucket(60_000_000)
    counted = [("a", {fast: 90}), ("a", {slow: 7}), ("a", {slow: 3}), ("b", {slow: 1})]
    groups = [Group((key,), {"attempts": sum(buckets.values())}, buckets) for key, buckets in counted]
    row, other = summarise(groups, by=["model"], since=SINCE, until=UNTIL).rows
    assert (("a",), 100, {fast: 90, slow: 10}) == (row.key, row.attempts, row.buckets)
    assert row.p50_seconds == pytest.approx(1, rel=0.05)
    assert row.p95_seconds == other.p50_seconds == pytest.approx(60, rel=0.05)


def test_the_dearest_row_comes_first() -> None:
    groups = [group("cheap"), group("dear", cost=10**12), group("risky", cost=0, at_risk=5), group(None, cost=0)]
    report = summarise(groups, by=["model"], since=SINCE, until=UNTIL)
    assert ["dear", "cheap", "risky", None] == [row.key[0] for row in report.rows]


def test_rows_of_the_same_cost_are_in_the_order_of_their_risk_and_then_of_their_attempts() -> None:
    groups = [
        group("few", attempts=1),
        group("many", attempts=7),
        group("risky", attempts=2, at_risk=5),
        group("also many", attempts=7),
    ]
    report = summarise(groups, by=["model"], since=SINCE, until=UNTIL)
    assert ["risky", "also many", "many", "few"] == [row.key[0] for row in report.rows]


def test_every_sum_of_a_row_and_of_the_total_is_that_of_its_groups() -> None:
    names = [name for name, value in vars(Row).items() if type(value) is int and not name.startswith("__")]
    assert set(names) == set(Row.__annotations__)
    first = {name: 10 + number for number, name in enumerate(names)}
    second = {name: 1000 * (number + 1) for number, name in enumerate(names)}
    report = summarise([group("a", **first), group("a", **second)], by=["model"], since=SINCE, until=UNTIL)
    for row in (report.rows[0], report.total):
        assert {name: first[name] + second[name] for name in names} == {name: getattr(row, name) for name in names}


def test_retries_alone_have_a_latency_and_what_counts_no_attempt_has_none() -> None:
    assert row(calls=0, attempts=5).p50_seconds is not None
    assert Row(("a",)).p50_seconds is None


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
    with pytest.raises(ConfigError, match=r"model, hour, day, week, .* or tag:KEY"):
        dimensions(text)


def test_a_dimension_that_may_be_a_tag_is_refused_with_how_to_write_that() -> None:
    with pytest.raises(ConfigError, match=r"'team' is not a dimension: .*; for the tag of that name write tag:team$"):
        dimensions("model,team")
    with pytest.raises(ConfigError, match="or tag:KEY$"):
        dimensions("tag:")


@pytest.mark.parametrize("cost", [1, 30_000_000])
def test_a_value_that_is_called_as_the_others_are_is_one_row_with_them(cost: int) -> None:
    groups = [group("a", cost=20_000_000), group("b", cost=2), group("(others)", cost=cost), group("c", cost=3)]
    report = summarise(groups, by=["tag:team"], since=SINCE, until=UNTIL, top=1 if cost == 1 else 2)

    assert [("a",), ("(others)",)] == [row.key for row in report.rows]
    assert report.total.cost == sum(row.cost for row in report.rows)
    assert report.total.attempts == sum(row.attempts for row in report.rows)
