"""The gauges of reconciliations are what the latest month of each report came to, within a bound of series."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from pixelmeter.ledger.statements import keep_reconciliation
from pixelmeter.serve.collector import LedgerCollector
from pixelmeter.serve.reconciliations import OF_RECONCILIATIONS, ReconciliationGauges
from tests.conftest import FakeClock
from tests.factories import STARTED_AT
from tests.ledger.test_statements import came_to
from tests.sinks.exposition import Scrape

USD = 1_000_000_000
PREFIX = "pixelmeter_reconciliation_"


def shown(scrape: Scrape) -> dict[tuple[str, str], dict[str, float]]:
    """Return what is shown of each gateway and source."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for one in scrape.samples:
        if one.name.startswith(PREFIX):
            key = one.labels["gateway"], one.labels["source"]
            found.setdefault(key, {})[one.name.removeprefix(PREFIX)] = one.value
    return found


def test_the_latest_month_of_each_report_is_shown_by_its_latest_run(ledger_url: str, clock: FakeClock) -> None:
    keep_reconciliation(ledger_url, came_to(month="2026-04", theirs=7 * USD))
    keep_reconciliation(ledger_url, came_to(theirs=3 * USD, coverage=500_000))
    last = came_to(theirs=3 * USD, drift=-USD // 4, coverage=910_000, run_at=STARTED_AT + 1_000_000)
    keep_reconciliation(ledger_url, last)
    keep_reconciliation(ledger_url, came_to(gateway="openai", source="openai_costs", theirs=0, drift=0, coverage=None))
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger_url, clock=clock))
    assert {
        ("aigateway", "aigateway_recent"): {
            "coverage_ratio": 0.91,
            "charged_usd": 3.0,
            "drift_usd": -0.25,
            "timestamp_seconds": pytest.approx((STARTED_AT + 1_000_000) / 1e6),
        },
        ("openai", "openai_costs"): {
            "charged_usd": 0.0,
            "drift_usd": 0.0,
            "timestamp_seconds": pytest.approx(STARTED_AT / 1e6),
        },
    } == shown(Scrape(registry))


def test_reports_without_room_are_one_which_shows_the_worst_covered() -> None:
    gauges = ReconciliationGauges(2 * len(OF_RECONCILIATIONS))
    found = [
        came_to(gateway="a", theirs=USD, matched=USD),
        came_to(gateway="b", theirs=5 * USD, matched=4 * USD),
        came_to(gateway="c", theirs=9 * USD, matched=5 * USD),
    ]
    for _ in range(2):
        charged = next(each for each in gauges.families(found) if each.name == f"{PREFIX}charged_usd")
        values = {(each.labels["gateway"], each.labels["source"]): each.value for each in charged.samples}
        assert {("a", "aigateway_recent"): 1.0, ("other", "other"): 9.0} == values
