"""Attempts that were pruned are in sums, and the page says what it has of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pixelmeter.core.reporting.periods import microseconds_of
from pixelmeter.ledger.pruning import prune
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.reports.report import Question, ask
from tests.conftest import FakeClock
from tests.factories import STARTED_AT
from tests.ledger.test_pruning import at
from tests.serve.page.browsing import browsing, fill

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
