from __future__ import annotations

from datetime import UTC, datetime

from pixelmeter.core.reporting.columns import gateway_hint, notes, sparkline
from pixelmeter.core.reporting.report import Group, Report, summarise


def report(*, cost: int = 0, at_risk: int = 0, unknown: int = 0, unestimated: int = 0) -> Report:
    """Return a report of a thousand attempts."""
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    sums = {"cost": cost, "at_risk": at_risk, "unknown_cost_attempts": unknown, "unestimated_attempts": unestimated}
    return summarise([Group(("a/b",), sums)], by=["model"], since=moment, until=moment)


def test_a_report_where_all_is_known_needs_no_notes() -> None:
    assert [] == notes(report(cost=5), [])


def test_what_the_sums_leave_out_is_said() -> None:
    unpriced = [("foo/bar", 1), ("", 1), ("foo/bar", 1)]
    assert [
        "At risk: $0.0400 more may have been charged for attempts whose billing is unknown; the sums leave it out.",
        "4 attempts of unknown cost are not in the sums.",
        "3 attempts of 2 models have no price: foo/bar, (no model)",
    ] == notes(report(at_risk=40_000_000, unknown=4), unpriced)
    assert [
        "1 attempt of unknown cost is not in the sums.",
        "1 attempt of 1 model has no price: foo/bar",
    ] == notes(report(unknown=1), [("foo/bar", 1)])


def test_a_risk_that_nobody_can_estimate_is_said_to_be_unknown() -> None:
    assert [
        "At risk: unknown; of the attempts whose billing is unknown, none can be estimated.",
        "1 attempt of unknown cost is not in the sums.",
    ] == notes(report(unknown=1, unestimated=1), [])


def test_many_models_without_a_price_are_named_up_to_five() -> None:
    def said(count: int) -> str:
        return notes(report(), [(f"m{index}", 1) for index in range(count)])[-1]

    assert "5 attempts of 5 models have no price: m0, m1, m2, m3, m4" == said(5)
    assert "7 attempts of 7 models have no price: m0, m1, m2, m3, m4 and 2 more" == said(7)


def test_a_hint_names_the_host_and_what_to_set() -> None:
    assert (
        "10.0.0.7:8080 is no gateway that pixelmeter knows. If it is aigateway by another name, calls of "
        "meta/sam-3-1-image get a price from then on with PIXELMETER_GATEWAYS=10.0.0.7:8080=aigateway"
    ) == gateway_hint("10.0.0.7:8080", {"meta/sam-3-1-image": ["aigateway"]})


def test_a_hint_goes_by_the_profiles_that_know_every_model_where_there_are_some() -> None:
    both = gateway_hint("h", {"a": ["one", "two"], "b": ["two"]})
    assert "If it is two by another name, calls of a, b get" in both
    assert both.endswith("PIXELMETER_GATEWAYS=h=two")
    assert "If it is one or two by another name" in gateway_hint("h", {"a": ["one"], "b": ["two"]})


def test_strokes_show_the_largest_at_full_height_and_only_nothing_at_the_lowest() -> None:
    assert "▁▂▅█▁" == sparkline([0, 1, 4_000, 8_000, -5])
    assert "▁▁" == sparkline([0, 0])
    assert "" == sparkline([])


def test_a_stroke_of_which_nothing_is_known_is_a_question_mark() -> None:
    assert "▁?█" == sparkline([0, None, 7])
    assert "?" == sparkline([None])
