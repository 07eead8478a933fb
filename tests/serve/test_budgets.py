"""The gauges of budgets are what the ledger has of them, in as many series as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import update

from pixelmeter import Budget
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.lease import Draw, LeaseKey
from pixelmeter.core.budgets.state import State
from pixelmeter.core.metrics import METRICS
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.budget_tables import BUDGET_SUMS
from pixelmeter.ledger.engine import changing
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports.budgets import overviews
from pixelmeter.serve.budgets import OF_BUDGETS, BudgetGauges, Standing
from pixelmeter.serve.collector import LedgerCollector
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.sinks.exposition import Scrape

USD = 1_000_000_000
DAY_END = 1_780_012_800
"""2026-05-29T00:00:00Z, the midnight after STARTED_AT."""


def scraped(url: str, clock: FakeClock) -> Scrape:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(url, clock=clock))
    return Scrape(registry)


def spent(cost: int, team: str = "growth", **fields: Any) -> Attempt:
    return make_attempt(cost=cost, tags=f'{{"team":"{team}"}}', **fields)


@pytest.fixture
def writer(ledger_url: str) -> Iterator[Any]:
    """A writer of the ledger."""
    with closing(open_writer(ledger_url)) as opened:
        yield opened


def register(writer: Any, *budgets: Budget) -> None:
    writer.register([budget.rule for budget in budgets], STARTED_AT)


def values(scrape: Scrape, budget: str) -> dict[str, float]:
    """Return what is shown of a budget, without what all names begin with."""
    prefix = "pixelmeter_budget_"
    return {
        one.name.removeprefix(prefix): one.value
        for one in scrape.samples
        if one.name.startswith(prefix) and one.labels == {"budget": budget}
    }


def test_a_budget_shows_what_is_spent_reserved_and_left(ledger_url: str, writer: Any, clock: FakeClock) -> None:
    register(writer, Budget(10, per="day", name="daily"))
    writer.write([spent(2 * USD), spent(USD, at_risk=USD // 2), spent(0, outcome="blocked")], {}, [])
    start = (DAY_END - 86_400) * 1_000_000
    writer.draw("p", [Draw(LeaseKey("daily", "", start), 10 * USD, USD, USD, USD, 2 * USD)], STARTED_AT)
    found = values(scraped(ledger_url, clock), "daily")
    elapsed = STARTED_AT / 1e6 - (DAY_END - 86_400)
    assert 3.5 + 3.5 * (86_400 - elapsed) / elapsed == pytest.approx(found.pop("forecast_usd"))
    assert {
        "limit_usd": 10,
        "spent_usd": 3.5,
        "reserved_usd": 1,
        "used_ratio": 0.35,
        "overrun_usd": 0,
        "values_over": 0,
        "reset_timestamp_seconds": DAY_END,
    } == found


def test_what_an_earlier_period_cost_beyond_its_reservations_is_not_of_this_one(
    ledger_url: str, writer: Any, clock: FakeClock
) -> None:
    writer.register([Budget(10, per="day", name="daily").rule], STARTED_AT - 86_400_000_000)
    writer.write([spent(USD, started_at=STARTED_AT - 86_400_000_000), spent(USD)], {}, [])
    with changing(read_address(ledger_url)) as connection:
        of_period = update(BUDGET_SUMS).where(BUDGET_SUMS.c.starts_at < datetime.fromtimestamp(DAY_END - 86_400, UTC))
        assert 1 == connection.execute(of_period.values(overrun=2 * USD)).rowcount
    assert 0 == values(scraped(ledger_url, clock), "daily")["overrun_usd"]


def test_the_numbers_are_those_of_the_report(ledger_url: str, writer: Any, clock: FakeClock) -> None:
    register(writer, Budget("7.5", per="month", name="a"), Budget(1, per="week", name="b", each="model"))
    writer.write(
        [spent(123_456_789), spent(USD, model="x", requested_model="x"), make_attempt(cost=None, at_risk=5)], {}, []
    )
    scrape = scraped(ledger_url, clock)
    with reading_ledger(ledger_url) as reader:
        for one in overviews(reader, clock.now()):
            found = values(scrape, one.rule.name)
            first = one.states[0]
            assert (first.limit / USD, first.spent / USD, first.used) == (
                found["limit_usd"], found["spent_usd"], found["used_ratio"]
            )  # fmt: skip
            assert (one.used_up, (first.forecast or 0) / USD) == (found["values_over"], found["forecast_usd"])


def test_of_a_budget_for_each_team_the_one_that_has_spent_most_is_shown(
    ledger_url: str, writer: Any, clock: FakeClock
) -> None:
    register(writer, Budget(2, per="total", name="teams", each="tag:team"))
    assert {"limit_usd": 2, "spent_usd": 0, "reserved_usd": 0, "used_ratio": 0, "overrun_usd": 0, "values_over": 0} == (
        values(scraped(ledger_url, clock), "teams")
    )
    writer.write([spent(USD, "a"), spent(3 * USD, "b"), spent(2 * USD, "c"), spent(0, "d")], {}, [])
    clock.advance(2_000_000)
    found = values(scraped(ledger_url, clock), "teams")
    assert (3, 1.5, 2) == (found["spent_usd"], found["used_ratio"], found["values_over"])
    assert not {"forecast_usd", "reset_timestamp_seconds"} & found.keys()


def test_what_nobody_knows_of_a_budget_has_no_series(ledger_url: str, writer: Any, clock: FakeClock) -> None:
    register(writer, Budget(1, per="day", name="daily"))
    writer.write([make_attempt(cost=None, cost_reason="no_price")], {}, [])
    found = values(scraped(ledger_url, clock), "daily")
    assert not {"spent_usd", "used_ratio", "forecast_usd"} & found.keys()
    assert (1, 0) == (found["limit_usd"], found["values_over"])
    writer.write([make_attempt(cost=USD // 4)], {}, [])
    clock.advance(2_000_000)
    found = values(scraped(ledger_url, clock), "daily")
    assert (0.25, 0.25) == (found["spent_usd"], found["used_ratio"])


def test_a_budget_of_nothing_has_no_ratio_and_a_removed_one_no_series(
    ledger_url: str, writer: Any, clock: FakeClock
) -> None:
    register(writer, Budget(0, per="day", name="nothing"), Budget(5, per="day", name="gone"))
    before = scraped(ledger_url, clock)
    writer.remove("gone", STARTED_AT)
    clock.advance(2_000_000)
    after = scraped(ledger_url, clock)
    assert (0, 1) == (values(before, "nothing")["limit_usd"], values(before, "nothing")["values_over"])
    assert "used_ratio" not in values(before, "nothing")
    assert 5 == values(before, "gone")["limit_usd"]
    assert {} == values(after, "gone")


def test_a_new_day_begins_with_nothing_spent(ledger_url: str, writer: Any, clock: FakeClock) -> None:
    register(writer, Budget(1, per="day", name="daily"))
    writer.write([spent(USD)], {}, [])
    assert 1 == values(scraped(ledger_url, clock), "daily")["used_ratio"]
    clock.advance(DAY_END * 1_000_000 - STARTED_AT)
    found = values(scraped(ledger_url, clock), "daily")
    assert (0, 0, DAY_END + 86_400) == (found["used_ratio"], found["values_over"], found["reset_timestamp_seconds"])
    assert "forecast_usd" not in found


def test_a_budget_that_cannot_be_read_keeps_nobody_from_the_counters(
    ledger_url: str, writer: Any, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    from sqlalchemy import text

    from pixelmeter.ledger.engine import open_engine

    register(writer, Budget(1, per="day", name="daily"))
    writer.write([make_attempt()], {}, [])
    with open_engine(ledger_url).begin() as connection:
        connection.execute(text("UPDATE pixelmeter_budgets SET definition = '{}'"))
    scrape = scraped(ledger_url, clock)
    assert (1, 1) == (scrape.total("pixelmeter_ledger_up"), scrape.total("pixelmeter_requests_total"))
    assert {} == values(scrape, "daily")
    assert "the budget 'daily' of the ledger cannot be read" in caplog.text


def standing(name: str, spent: int, *, limit: int = 10, over: int = 0, overrun: int = 0) -> Standing:
    rule = Budget(limit, per="total", name=name).rule
    state = State(rule=rule, value="", span=rule.span_of(STARTED_AT), at=STARTED_AT, cost=spent * USD)
    return Standing(name, state, over, overrun * USD)


def shown(gauges: BudgetGauges, found: Sequence[Standing]) -> dict[str, dict[str, float]]:
    """Return what is shown of each metric, by budget."""
    return {
        family.name.removeprefix("pixelmeter_budget_"): {one.labels["budget"]: one.value for one in family.samples}
        for family in gauges.families(found)
    }


def test_budgets_without_room_are_the_one_of_them_that_is_used_most() -> None:
    gauges = BudgetGauges(3 * len(OF_BUDGETS))
    crowd = [
        standing("a", 1), standing("b", 2), standing("c", 3, over=1, overrun=1), standing("d", 9, over=2, overrun=2),
        standing("e", 5, limit=100),
    ]  # fmt: skip
    found = shown(gauges, crowd)
    assert {"a": 1, "b": 2, "other": 9} == found["spent_usd"]
    assert {"a": 10, "b": 10, "other": 10} == found["limit_usd"]
    assert {"a": 0.1, "b": 0.2, "other": 0.9} == found["used_ratio"]
    assert {"a": 0, "b": 0, "other": 3} == found["values_over"] == found["overrun_usd"]
    # Who had series keeps them, whatever comes before it in the order of names.
    assert {"b": 2, "other": 7} == shown(gauges, [standing("Z", 7), standing("b", 2)])["spent_usd"]


def test_any_number_of_budgets_has_no_more_series_than_there_is_room_for() -> None:
    for room in (len(OF_BUDGETS), 50, 170):
        found = shown(BudgetGauges(room), [standing(f"b{number}", number) for number in range(300)])
        assert len(OF_BUDGETS) - 2 <= sum(map(len, found.values())) <= room
    assert 8 == len(OF_BUDGETS) == sum(metric.labels == ("budget",) for metric in METRICS)


def test_a_budget_that_is_called_other_is_among_the_others() -> None:
    found = shown(BudgetGauges(5 * len(OF_BUDGETS)), [standing("other", 4), standing("a", 1)])
    assert {"a": 1, "other": 4} == found["spent_usd"]
