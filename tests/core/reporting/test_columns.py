from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from pixelmeter.core.reporting.columns import (
    COLUMNS,
    OF_PROGRAMS,
    OF_TABLES,
    as_json,
    cells,
    columns,
    csv_columns,
    forecast_told,
    notes,
    share,
    values,
)
from pixelmeter.core.reporting.report import Forecast, Group, Report, summarise
from pixelmeter.errors import ConfigError

SINCE, UNTIL = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 2, 12, 30, tzinfo=UTC)
MONEY = ("cost", "at_risk", "fee", "retry_cost", "failure_cost")


def group(model: str | None = "a/b", **overrides: int) -> Group:
    """Return a thousand attempts of half a second, unless told otherwise."""
    fields = {
        "attempts": 1000,
        "calls": 999,
        "images": 1200,
        "errors": 3,
        "cost": 0,
        "fee": 0,
        "at_risk": 0,
        "unknown_cost_attempts": 0,
    }
    sums = fields | overrides
    return Group((model,), sums, {66: sums["attempts"]})


def report(*groups: Group) -> Report:
    return summarise(groups, by=["model"], since=SINCE, until=UNTIL)


def nothing_known() -> Group:
    return group(
        unknown_cost_attempts=3, unestimated_attempts=3, unknown_fee_attempts=3, unknown_retries=1, unknown_failures=1
    )


def test_a_report_in_json_has_exactly_the_documented_keys() -> None:
    found = as_json(report(group(cost=10_000_000, at_risk=40_000_000, unknown_cost_attempts=1)))
    sums = {
        "calls": 999,
        "attempts": 1000,
        "images": 1200,
        "errors": 3,
        "cost_usd": "0.01",
        "at_risk_usd": "0.04",
        "unknown_cost_attempts": 1,
        "p50_seconds": 0.514,
        "p95_seconds": 0.514,
    }
    expected = {
        "since": "2026-05-01T00:00:00Z",
        "until": "2026-05-02T12:30:00Z",
        "rows": [{"model": "a/b", **sums}],
        "total": sums,
    }
    assert expected == found
    assert list(sums) == list(values(report().total, report()))
    assert ("model", *sums) == csv_columns(report())


def test_what_is_known_to_be_nothing_is_zero() -> None:
    found = report(group())
    assert ["0"] * len(MONEY) == [values(found.total, found, [name])[COLUMNS[name]] for name in MONEY]
    shown = cells(found.total, found)
    assert ("$0.0000", "$0.0000", "", "", "", "") == tuple(
        shown[name] for name in ("cost", "fee", "at_risk", "retry_cost", "failure_cost", "share")
    )


@pytest.mark.parametrize("is_total", [True, False], ids=["total", "row"])
def test_what_nobody_knows_is_null_and_is_called_unknown(is_total: bool) -> None:
    found = report(nothing_known())
    row = found.total if is_total else found.rows[0]
    assert [None] * len(MONEY) == [values(row, found, [name])[COLUMNS[name]] for name in MONEY]
    assert ["unknown"] * len(MONEY) == [cells(row, found)[name] for name in MONEY]
    assert (None, "") == (values(row, found, ["share"])["share"], cells(row, found)["share"])
    assert (None, "unknown") == (
        values(row, found, ["cost_per_image"])["cost_per_image_usd"], cells(row, found)["cost_per_image"]
    )  # fmt: skip


def test_a_row_of_unknown_cost_has_no_share_of_a_known_total() -> None:
    found = report(nothing_known(), group("c", cost=3), group("d", cost=0))
    assert {"c": 1.0, "d": 0.0, "a/b": None} == {
        row.key[0]: values(row, found, ["share"])["share"] for row in found.rows
    }
    assert {"c": "100.0 %", "d": "0.0 %", "a/b": ""} == {row.key[0]: cells(row, found)["share"] for row in found.rows}


@pytest.mark.parametrize(
    ("cost", "before", "fraction", "text"),
    [(5, 5, 0.0, "+0.0 %"), (6, 5, 0.2, "+20.0 %"), (4, 5, -0.2, "-20.0 %"), (1, -2, 1.5, "+150.0 %")],
)
def test_a_change_is_up_or_down_from_what_was_also_where_that_was_a_credit(
    cost: int, before: int, fraction: float, text: str
) -> None:
    found = report(group(cost=cost, before=before))
    assert fraction == values(found.total, found, ["change"])["change"]
    assert text == cells(found.total, found)["change"]


@pytest.mark.parametrize("costs", [(0, 0), (3, -3), (3, -4)])
def test_there_is_no_share_of_nothing_and_of_less(costs: tuple[int, int]) -> None:
    found = report(*(group(name, cost=cost) for name, cost in zip("ab", costs, strict=True)))
    assert [None, None] == [values(row, found, ["share"])["share"] for row in found.rows]
    assert ["", ""] == [cells(row, found)["share"] for row in found.rows]


def test_a_share_in_json_is_a_fraction_of_six_places_half_to_even() -> None:
    found = report(group("a", cost=1), group("b", cost=2))
    assert [0.666667, 0.333333] == [values(row, found, ["share"])["share"] for row in found.rows]


def test_the_cells_of_a_row_are_ready_to_read() -> None:
    found = report(
        group(None, cost=1_234_500_000_000, fee=5, at_risk=5, unknown_cost_attempts=2000, priced_images=3, retry_cost=7)
    )
    expected = {
        "model": "(none)",
        "calls": "999",
        "attempts": "1,000",
        "images": "1,200",
        "errors": "3",
        "blocked": "0",
        "cost": "$1,234.5000",
        "share": "100.0 %",
        "at_risk": "<$0.0001",
        "fee": "<$0.0001",
        "unknown_cost": "2,000",
        "cost_per_image": "$411.5000",
        "retry_cost": "<$0.0001",
        "failure_cost": "",
        "p50": "514 ms",
        "p95": "514 ms",
        "p99": "514 ms",
        "cost_per_megapixel": "",
        "paid_twice": "",
        "paid_twice_cost": "",
        "paid_twice_at_risk": "",
        "before": "$0.0000",
        "change": "new",
        "baseline": "",
        "route_fee": "",
        "savings": "",
    }
    assert expected == cells(found.rows[0], found)
    assert expected.keys() - {"model"} == cells(found.total, found).keys()


ROUTING = ("baseline", "route_fee", "savings")


@pytest.mark.parametrize(
    ("sums", "known", "shown"),
    [
        ({}, None, ""),
        ({"routed_attempts": 2}, None, "unknown"),
        ({"routed_attempts": 2, "stated": 1}, None, "unknown"),
        ({"routed_attempts": 2, "stated": 2}, "0", "$0.0000"),
        ({"routed_attempts": 2, "stated": 1, "amount": -15_000_000}, "-0.015", "-$0.0150"),
    ],
)
def test_what_the_gateway_says_of_its_choices_is_null_unless_it_says_it(
    sums: dict[str, int], known: str | None, shown: str
) -> None:
    amount, stated = sums.pop("amount", 0), sums.pop("stated", 0)
    routed = group("a/b", **sums, baseline=amount, route_fee=amount, savings=amount,
                   stated_baselines=stated, stated_route_fees=stated, stated_savings=stated)  # fmt: skip
    found = report(group(), routed)
    for row in (found.total, found.rows[0]):
        assert [known] * 3 == [values(row, found, [name])[COLUMNS[name]] for name in ROUTING]
        assert [shown] * 3 == [cells(row, found)[name] for name in ROUTING]


def test_a_note_says_of_how_many_routed_attempts_something_is_missing() -> None:
    found = report(group(routed_attempts=1200, stated_baselines=1200, stated_route_fees=1199, stated_savings=100))
    assert [
        "The gateway does not say the route fee of 1 of 1,200 routed attempts.",
        "The gateway does not say the savings of 1,100 of 1,200 routed attempts.",
    ] == notes(found, [])
    assert [] == notes(report(group()), [])


@pytest.mark.parametrize(
    ("cost", "zone", "told"),
    [
        (80_000_000, UTC, "Forecast: $0.0800 until 2026-05-02T12:30:00Z, if spending continues at this rate."),
        (
            80_000_000,
            ZoneInfo("Europe/Berlin"),
            "Forecast: $0.0800 until 2026-05-02T14:30:00+02:00, if spending continues at this rate.",
        ),
        (
            None,
            ZoneInfo("Asia/Kolkata"),
            "Forecast: unknown until 2026-05-02T18:00:00+05:30; nothing is known of the cost so far.",
        ),
    ],
)
def test_a_forecast_ends_by_the_clock_of_the_report(cost: int | None, zone: tzinfo, told: str) -> None:
    assert told == forecast_told(Forecast(UNTIL, cost), zone)


def test_where_no_image_came_there_is_nothing_to_say_of_its_cost() -> None:
    found = report(group(cost=5, images=0))
    assert "" == cells(found.total, found)["cost_per_image"]


@pytest.mark.parametrize(
    ("bucket", "text"), [(0, "1 ms"), (66, "514 ms"), (72, "911 ms"), (73, "1.0 s"), (150, "1,542.4 s")]
)
def test_durations_are_milliseconds_below_a_second_and_seconds_above(bucket: int, text: str) -> None:
    found = report(group()._replace(buckets={bucket: 7}))
    assert text == cells(found.total, found)["p50"]


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 3, "33.3 %"),
        (2, 3, "66.7 %"),
        (3, 3, "100.0 %"),
        (0, 3, "0.0 %"),
        (-1, 8, "-12.5 %"),
        (1, 2000, "0.1 %"),
        (1, 2001, "0.0 %"),
        (1, 0, ""),
        (2, -1, ""),
    ],
)
def test_a_share_in_a_table_has_one_decimal(part: int, whole: int, text: str) -> None:
    assert text == share(part, whole)


def test_columns_are_chosen_by_either_name_in_the_order_given() -> None:
    assert ("retry_cost", "cost", "p50") == columns(" retry_cost, cost_usd,p50,cost,")
    assert tuple(COLUMNS) == columns(",".join(COLUMNS)) == columns(",".join(COLUMNS.values()))
    assert {*OF_PROGRAMS, *OF_TABLES} <= COLUMNS.keys()


@pytest.mark.parametrize("text", ["price", "", " , ", "cost;DROP", "model"])
def test_an_unknown_column_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(ConfigError, match="calls, attempts, .*, savings$"):
        columns(text)
