from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pixelmeter.core.report import Group, Report, summarise
from pixelmeter.core.report_text import lines, notes, share, sparkline


def report(model: str | None = "a/b", *, cost: int = 0, at_risk: int = 0, unknown: int = 0) -> Report:
    """Return a report of a thousand attempts of half a second."""
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    group = Group((model,), 66, 1000, 999, 1200, 3, cost, 0, at_risk, unknown)
    return summarise([group], by=["model"], since=moment, until=moment)


def test_the_cells_of_a_report_are_ready_to_read() -> None:
    rows, total = lines(report(None, cost=1_234_500_000_000, at_risk=5, unknown=2000))
    expected = {
        "model": "(none)",
        "calls": "999",
        "attempts": "1,000",
        "images": "1,200",
        "errors": "3",
        "cost": "$1,234.5000",
        "share": "100.0 %",
        "at_risk": "<$0.0001",
        "fee": "$0.0000",
        "unknown_cost": "2,000",
        "p50": "514 ms",
        "p95": "514 ms",
    }
    assert [expected] == rows
    assert expected | {"model": "total"} == total


def test_a_cost_of_which_nothing_is_known_is_not_zero() -> None:
    (row,), total = lines(report(unknown=3))
    assert [("unknown", "")] * 2 == [(cells["cost"], cells["share"]) for cells in (row, total)]
    (free,), _ = lines(report())
    assert "$0.0000" == free["cost"]


def test_a_report_where_all_is_known_needs_no_notes() -> None:
    assert [] == notes(report(cost=5), [])


def test_what_the_sums_leave_out_is_said() -> None:
    unpriced = [("foo/bar", 2), ("", 1)]
    assert [
        "At risk: $0.0400 more may have been charged for attempts whose billing is unknown; the sums leave it out.",
        "4 attempts of unknown cost are not in the sums.",
        "3 attempts of 2 models have no price: foo/bar, (no model)",
    ] == notes(report(at_risk=40_000_000, unknown=4), unpriced)
    assert [
        "1 attempt of unknown cost is not in the sums.",
        "1 attempt of 1 model has no price: foo/bar",
    ] == notes(report(unknown=1), [("foo/bar", 1)])


def test_many_models_without_a_price_are_named_up_to_five() -> None:
    unpriced = [(f"m{index}", 1) for index in range(7)]
    assert "7 attempts of 7 models have no price: m0, m1, m2, m3, m4 and 2 more" == notes(report(), unpriced)[-1]


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1, 3, "33.3 %"),
        (2, 3, "66.7 %"),
        (3, 3, "100.0 %"),
        (0, 3, "0.0 %"),
        (-1, 8, "-12.5 %"),
        (1, 0, ""),
        (2, -1, ""),
    ],
)
def test_a_share_has_one_decimal(part: int, whole: int, text: str) -> None:
    assert text == share(part, whole)


def test_strokes_show_the_largest_at_full_height_and_only_nothing_at_the_lowest() -> None:
    assert "▁▂▅█▁" == sparkline([0, 1, 4_000, 8_000, -5])
    assert "▁▁" == sparkline([0, 0])
    assert "" == sparkline([])
