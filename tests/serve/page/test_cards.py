"""What the cards of the first page say, and what they compare with."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from tests.conftest import FakeClock
from tests.factories import make_attempt
from tests.serve.page.browsing import Browser, Cell, Shown, amount, browsing, fill, rows_of

USD = 1_000_000_000


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def spent(when: str, usd: int, gateway: str = "aigateway") -> Attempt:
    return make_attempt(started_at=at(when), cost=usd * USD, gateway=gateway)


@pytest.fixture
def spent_url(ledger_url: str) -> str:
    """A ledger of two months: more was spent today and this month than before, less by one of the gateways."""
    fill(
        ledger_url,
        [
            spent("2026-04-10T10:00", 4),
            spent("2026-04-28T22:00", 8),
            spent("2026-05-10T10:00", 1),
            spent("2026-05-27T10:00", 2),
            spent("2026-05-27T22:00", 5),
            spent("2026-05-28T10:00", 3),
            spent("2026-05-27T11:00", 6, "fal"),
            spent("2026-05-28T11:00", 3, "fal"),
        ],
    )
    return ledger_url


def directions(shown: Shown) -> list[str | None]:
    return [given["class"] for tag, given in shown.tags if tag == "span" and given.get("class") in {"up", "down"}]


def costs(browser: Browser, href: str) -> Decimal:
    return amount([cell for row in rows_of(browser, href) for cell in row if cell.column == "Cost"])


def test_today_and_this_month_are_compared_with_as_much_of_the_time_before(spent_url: str, clock: FakeClock) -> None:
    with browsing(spent_url, clock) as browser:
        shown = browser.get("/?gateway=aigateway")
        changes = {text: costs(browser, href) for text, href in shown.links.items() if text.endswith(" %")}

    assert ["3", "11", "11"] == [one.value for one in shown.numbers if one.href and one.text.startswith("$")][:3]
    assert {"+50.0 %": 2, "+175.0 %": 4, "-8.3 %": 12} == changes
    assert ["up", "up", "down"] == directions(shown)
    assert all(f"against {name}" in shown.words for name in (
        "yesterday until the same time", "last month until the same time", "the time before, which is as long",
    ))  # fmt: skip


def test_less_than_yesterday_is_down_and_a_month_after_one_of_nothing_has_no_change(
    spent_url: str, clock: FakeClock
) -> None:
    with browsing(spent_url, clock) as browser:
        shown = browser.get("/?gateway=fal")

    assert "-50.0 %" in shown.links
    assert ["down"] == directions(shown)
    assert "last month until the same time: $0.0000" in shown.words


def test_a_month_that_is_longer_than_the_one_before_is_compared_with_all_of_that(
    ledger_url: str, clock: FakeClock
) -> None:
    clock.set(at("2026-03-30T12:00"))
    fill(ledger_url, [spent("2026-02-20T10:00", 4), spent("2026-03-01T10:00", 5), spent("2026-03-29T10:00", 1)])
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/?since=this-month")
        compared = costs(browser, shown.links["+50.0 %"])

    assert 4 == compared


def test_an_attempt_of_a_clock_that_is_ahead_is_not_of_today_before_its_time(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [spent("2026-05-28T10:00", 3), spent("2026-05-28T20:27", 5), spent("2026-05-28T21:00", 7)])
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/")
        today = next(one for one in shown.numbers if one.href and one.text.startswith("$"))
        listed = costs(browser, today.href or "")

    assert "3" == today.value == f"{listed:f}"


def test_a_forecast_goes_on_at_the_rate_since_the_period_began(spent_url: str, clock: FakeClock) -> None:
    with browsing(spent_url, clock) as browser:
        shown = browser.get("/?gateway=aigateway")

    of_the_day, of_the_month = 3 * Decimal(86_400) / 73_600, 11 * Decimal(31 * 86_400) / (27 * 86_400 + 73_600)
    assert f"forecast ${of_the_day:.4f}" in shown.words
    assert f"forecast ${of_the_month:.4f}" in shown.words


def test_a_range_with_an_end_of_its_own_is_compared_with_the_time_directly_before(
    spent_url: str, clock: FakeClock
) -> None:
    fill(spent_url, [spent("2026-04-25T10:00", 2, "other"), spent("2026-05-05T10:00", 1, "other")])
    fill(spent_url, [spent("2026-04-05T10:00", 9, "other")])
    with browsing(spent_url, clock) as browser:
        shown = browser.get("/?gateway=other&since=this-month&until=2026-05-10")
        compared = costs(browser, shown.links["-50.0 %"])

    assert 2 == compared


def test_counts_of_cards_link_to_as_many_attempts(ledger_url: str, clock: FakeClock) -> None:
    first = make_attempt(started_at=at("2026-05-28T10:00"), images=4)
    routed = {"baseline_cost": 5 * USD, "route_fee": USD, "savings": 3 * USD}
    fill(
        ledger_url,
        [
            first,
            make_attempt(started_at=at("2026-05-28T11:00"), call_id=first.id, attempt=1, **routed),
            make_attempt(started_at=at("2026-05-28T11:00"), cost=None, cost_reason="no_price"),
            make_attempt(started_at=at("2026-05-28T11:00"), cost=None, cost_reason="no_tokens"),
            make_attempt(
                started_at=at("2026-05-28T12:00"), outcome="timeout", billing="unknown", cost=None, at_risk=USD,
                images=None,
            ),
            *(
                make_attempt(
                    started_at=at("2026-05-28T13:00"), outcome="blocked", billing="not_billed", cost=0, images=None
                )
                for _ in range(5)
            ),
        ],
    )  # fmt: skip
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/")
        counts: dict[str, list[tuple[int, int]]] = {}
        for one in shown.numbers:
            if one.href is not None and one.text.isdigit():
                counts.setdefault(one.href.partition("&only=")[2], []).append((int(one.text), len(rows(browser, one))))
        at_risk = next(one for one in shown.numbers if one.href and "only=at-risk" in one.href)
        estimated = amount([cell for row in rows(browser, at_risk) for cell in row if cell.column == "At risk"])

    assert {
        "": [(5, 5), (7, 10), (10, 10)],
        "first": [(4, 4)],
        "errors": [(1, 1)],
        "unknown-cost": [(3, 3)] * 3,
        "routed": [(1, 1)],
    } == {name: sorted(found) for name, found in counts.items()}
    assert "1 errors, 20.0 %" in shown.words
    assert "1" == at_risk.value == str(estimated)
    saved = [one for one in shown.numbers if one.href and one.href.endswith("only=routed")]
    assert ["$3.0000", "$5.0000", "$1.0000", "1"] == [one.text for one in saved]


def rows(browser: Browser, one: Cell) -> list[list[Cell]]:
    assert one.href is not None
    return rows_of(browser, one.href)


def test_a_risk_that_nobody_can_estimate_is_said_to_be_unknown(ledger_url: str, clock: FakeClock) -> None:
    lost = make_attempt(started_at=at("2026-05-28T12:00"), outcome="timeout", billing="unknown", cost=None)
    fill(ledger_url, [lost])
    with browsing(ledger_url, clock) as browser:
        first, listed = browser.get("/"), browser.get("/calls")

    assert "at risk unknown more" in first.words
    assert "at risk unknown more" in listed.words
    assert "at risk $0" not in first.words + listed.words


def test_the_cards_and_tables_of_latency_have_each_percentile_in_its_place(ledger_url: str, clock: FakeClock) -> None:
    seconds = [1] * 90 + [10] * 8 + [60] * 2
    with closing(open_writer(ledger_url)) as writer:
        when = at("2026-05-28T12:00")
        writer.write([make_attempt(started_at=when, duration=each * 1_000_000) for each in seconds], {}, [])
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/?since=today&step=day")

    cards = [float(one.value or 0) for one in shown.numbers if one.text.endswith((" s", " ms"))]
    over_time, by_model = (
        [float(next(iter(shown.column(table, name))).value or 0) for name in names]
        for table, names in (("durations", ["p50", "p95", "p99"]), ("by-models", ["p50", "p95"]))
    )
    assert [1, 10, 60] == pytest.approx(cards, rel=0.06)
    assert [1, 10, 60] == pytest.approx(over_time, rel=0.06)
    assert [1, 10] == pytest.approx(by_model, rel=0.06)
