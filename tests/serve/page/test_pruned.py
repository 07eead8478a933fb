"""Attempts that were pruned are in sums, and the page says what it has of them."""

from __future__ import annotations

from datetime import UTC, datetime

from pixelmeter.ledger.pruning import prune
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
