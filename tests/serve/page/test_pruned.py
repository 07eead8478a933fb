"""Attempts that were pruned are in sums, and the page says what it has of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from pixelmeter.core.reporting.periods import microseconds_of
from pixelmeter.ledger.pruning import prune
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.reports.report import Question, ask
from tests.conftest import FakeClock
from tests.factories import STARTED_AT
from tests.ledger.test_pruning import at
from tests.serve.page.browsing import Browser, Cell, browsing, fill, rows_of

DAY = 86_400_000_000
HORIZON = datetime(2026, 5, 20, tzinfo=UTC)


def test_sums_of_pruned_attempts_are_shown_and_what_is_missing_is_said(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [at(STARTED_AT - day * DAY - 10**6, cost=10**9) for day in range(20)])
    prune(ledger_url, HORIZON, STARTED_AT)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/")
        ragged = browser.get("/?since=2026-05-12T10:20")
        listed = browser.get("/calls")
        days = browser.get("/?tz=Asia/Kolkata&since=2026-05-10")
        reading = browser.get("/?tz=Asia/Kolkata&since=2026-05-10&read=all")

    assert [200, 200, 200, 400, 200] == [page.status for page in (shown, ragged, listed, days, reading)]
    assert "20" == next(cell.value for cell in shown.totals["by-models"] if cell.column == "Attempts")
    assert "20" == shown.totals["by-models"][2].value
    assert "whole hours or days are known: this is 2026-05-12T10:00:00Z to" in ragged.words
    assert "pixelmeter report --savings reads the routed attempts" in shown.words
    assert 9 == len(listed.tables["attempts"])
    assert "attempts from before 2026-05-20 are pruned" in listed.words
    for page in (days, reading):
        assert "have been pruned, and this report needs them: ask for a later time" in page.words


ART = '{"team":"art"}'


def sum_told(browser: Browser, path: str, name: str) -> str | None:
    """Return a number of the sums above a list of attempts."""
    shown = browser.get(path)
    assert 200 == shown.status, (path, shown.words)
    return next((one.value for one in shown.numbers if one.column == name), None)


@pytest.mark.parametrize(
    ("query", "month"),
    [
        ("", 28),
        ("since=this-month", 28),
        ("tz=Asia/Kolkata&since=3d", 29),
        ("tz=America/St_Johns&since=3d", 28),
        ("tz=Europe/Berlin&since=3d&tag=team%3Dart", 29),
    ],
)
def test_today_and_this_month_are_told_where_a_part_of_them_or_of_the_month_before_was_pruned(
    ledger_url: str, clock: FakeClock, query: str, month: int
) -> None:
    fill(ledger_url, [at(STARTED_AT - day * DAY - 10**6, cost=10**9, tags=ART) for day in range(70)])
    prune(ledger_url, HORIZON, STARTED_AT)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get(f"/?{query}")
        assert 200 == shown.status, shown.words
        amounts = [one for one in shown.numbers if one.href and one.text.startswith("$")]
        assert ["1", str(month)] == [one.value for one in amounts[:2]]
        for one in amounts:
            assert one.value == sum_told(browser, one.href or "", "cost"), one
        begins_earlier = "as attempts were pruned" in shown.words
    assert begins_earlier == ("tz=" in query)


@pytest.mark.slow
def test_attempts_that_are_left_are_listed_also_where_no_sums_tell_of_the_others(
    ledger_url: str, clock: FakeClock
) -> None:
    fill(ledger_url, [at(STARTED_AT - day * DAY - 10**6, cost=10**9, tags=ART) for day in range(20)])
    prune(ledger_url, HORIZON, STARTED_AT)
    with browsing(ledger_url, clock) as browser:
        for query in ("status=200", "only=first", "tag=team%3Dart&gateway=aigateway"):
            for more in ("", "&sort=cost", "&read=all"):
                path = f"/calls?{query}{more}"
                assert 9 == len(rows_of(browser, path))
                assert "9" == sum_told(browser, path, "attempts")
                assert "attempts from before 2026-05-20 are pruned" in browser.get(path).words
        assert "0" == sum_told(browser, "/calls?since=2026-05-12&until=2026-05-13T10:30&status=200", "attempts")
        assert "0" == sum_told(
            browser, "/calls?since=2026-05-12&until=2026-05-13T10:30&status=200&sort=cost", "attempts"
        )


def test_sums_by_a_tag_say_since_when_they_are(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [at(STARTED_AT - hour * DAY // 24, cost=10**9, tags=ART) for hour in range(1, 20 * 24)])
    prune(ledger_url, HORIZON, STARTED_AT)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/?since=2026-05-12T10:20&tags=team")
        cells: list[Cell] = [*shown.tables["tag"][0], *shown.totals["tag"]]
        costs = [cell for cell in cells if cell.column == "Cost"]
        assert 2 == len(costs)
        for cell in costs:
            assert cell.value == sum_told(browser, cell.href or "", "cost")
        whole = Decimal(shown.totals["by-models"][2].value or "")

    assert "pruned whole days are known: this is 2026-05-12T00:00:00Z to" in shown.words
    assert costs[0].value == costs[1].value == str(whole + 10)


def test_a_list_says_what_it_lacks_where_that_would_stand_and_one_by_cost_at_once(
    ledger_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelmeter.serve.page.app._LIMIT", 5)
    fill(ledger_url, [at(STARTED_AT - day * DAY - 10**6, cost=10**9) for day in range(20)])
    prune(ledger_url, HORIZON, STARTED_AT)
    with browsing(ledger_url, clock) as browser:
        newest, by_cost = browser.get("/calls"), browser.get("/calls?sort=cost")
        last = browser.get(newest.links["The next 5"])

    assert [False, True, True] == ["are pruned" in shown.words for shown in (newest, by_cost, last)]


def test_a_range_that_is_widened_is_compared_with_the_time_before_it_and_not_with_itself(
    ledger_url: str, clock: FakeClock
) -> None:
    begin = datetime(2026, 5, 12, 8, 30, tzinfo=UTC)
    fill(ledger_url, [at(microseconds_of(begin + timedelta(minutes=95 * n)), cost=(n + 1) * 10**9) for n in (0, 1)])
    fill(ledger_url, [at(STARTED_AT - DAY)])
    prune(ledger_url, HORIZON, STARTED_AT)
    question = Question(
        since=datetime(2026, 5, 12, 10, 20, tzinfo=UTC), until=datetime(2026, 5, 12, 11, 20, tzinfo=UTC), zone=UTC,
        columns=("cost", "before"),
    )  # fmt: skip
    with browsing(ledger_url, clock) as browser, reading_ledger(ledger_url) as reader:
        shown = browser.get("/?since=2026-05-12T10:20&until=2026-05-12T11:20")
        told = ask(reader, question, with_notes=False).report.total
        before = browser.get(shown.links["+100.0 %"])

    assert (2 * 10**9, 10**9) == (told.known_cost, told.known_before)
    assert ["1"] == [one.value for one in before.numbers if one.column == "cost"]
