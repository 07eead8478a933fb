"""Each number of a budget stands under its heading, with the attempts behind it, and nothing unknown is a zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import pytest

from pixelmeter import Budget
from pixelmeter.core.budgets.lease import Draw, LeaseKey
from pixelmeter.core.text import dollars
from pixelmeter.ledger.budget_changes import ResetAuthor
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import LedgerWriter, open_writer
from pixelmeter.reports.budgets import overviews
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.serve.page.browsing import Browser, Cell, browsing, rows_of

USD = 1_000_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND
DAILY = Budget(10, per="day", tz="Asia/Kolkata", name="daily").rule
TEAMS = Budget(4, per="day", name="teams", each="tag:team").rule
EVER = Budget(50, per="total", name="ever").rule


@pytest.fixture
def writer(ledger_url: str) -> Iterator[LedgerWriter]:
    """A writer of an empty ledger."""
    with closing(open_writer(ledger_url)) as opened:
        yield opened


def named(row: Sequence[Cell]) -> dict[str, Cell]:
    return {cell.column: cell for cell in row}


def costs(browser: Browser, cell: Cell) -> list[str | None]:
    """Return the costs of the attempts that a number links to."""
    assert cell.href is not None
    return [named(row)["Cost"].value for row in rows_of(browser, cell.href)]


def test_each_number_stands_under_its_heading_with_its_attempts_behind_it(
    writer: LedgerWriter, ledger_url: str, clock: FakeClock
) -> None:
    writer.register([DAILY], STARTED_AT)
    lost = {"cost": None, "outcome": "timeout", "billing": "unknown"}
    writer.write(
        [
            make_attempt(cost=3 * USD, started_at=STARTED_AT - 9),
            make_attempt(at_risk=USD // 2, started_at=STARTED_AT - 8, **lost),
            make_attempt(cost=None, cost_reason="no_price", started_at=STARTED_AT - 7),
            make_attempt(outcome="blocked", billing="not_billed", cost=0, status=None, started_at=STARTED_AT - 6),
        ],
        {},
        [],
    )
    writer.reset("daily", None, ResetAuthor(STARTED_AT - 5, "ann", "a wrong price"))
    writer.write([make_attempt(cost=USD // 4, started_at=STARTED_AT - 4)], {}, [])
    key = LeaseKey("daily", "", DAILY.span_of(STARTED_AT).start)
    writer.draw("here-1", [Draw(key, DAILY.limit, 2 * USD, 2 * USD, 2 * USD, 2 * USD)], STARTED_AT)
    with reading_ledger(ledger_url) as reader:
        [state] = overviews(reader, STARTED_AT + SECOND)[0].states
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        [row] = browser.get("/budgets?tz=Asia/Kolkata").tables["budgets-now"]
        found = named(row)
        spent = costs(browser, found["Spent"])
        others = {name: costs(browser, found[name]) for name in ("At risk", "Refused", "Unknown cost")}

    assert {
        "Budget": "daily",
        "Used": "2.5 %",
        "Spent": "$0.2500",
        "Limit": "$10.0000",
        "Resets at": "2026-05-30 00:00",
        "Cost": "$3.2500",
        "At risk": "$0.5000",
        "Taken off by resets": "$3.5000",
        "Reserved": "$2.0000",
        "Forecast": dollars(state.forecast or 0),
        "Refused": "1",
        "Unknown cost": "2",
    } == {name: cell.text for name, cell in found.items()}
    assert ["0.25", "0", None, None, "3"] == spent
    assert {"At risk": [None], "Refused": ["0"], "Unknown cost": [None, None]} == others


def test_what_is_unknown_of_a_budget_is_not_shown_as_nothing(
    writer: LedgerWriter, ledger_url: str, clock: FakeClock
) -> None:
    writer.register([DAILY], STARTED_AT)
    writer.write([make_attempt(cost=None, cost_reason="no_price")], {}, [])
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        [row] = browser.get("/budgets").tables["budgets-now"]

    found = named(row)
    assert {"Spent": "unknown", "Cost": "unknown", "Used": "", "Forecast": ""} == {
        name: found[name].text for name in ("Spent", "Cost", "Used", "Forecast")
    }
    assert {None} == {found[name].value for name in ("Spent", "Cost", "Used", "Forecast")}


def test_the_numbers_of_a_budget_for_good_link_to_all_that_ever_counted(
    writer: LedgerWriter, ledger_url: str, clock: FakeClock
) -> None:
    writer.register([EVER], STARTED_AT)
    writer.write([make_attempt(cost=USD, started_at=STARTED_AT - days * DAY) for days in (0, 400)], {}, [])
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/budgets?name=ever")
        [row] = shown.tables["now"]
        found = named(row)
        spent = costs(browser, found["Spent"])

    assert ("$2.0000", "never", "") == tuple(found[name].text for name in ("Spent", "Resets at", "Forecast"))
    assert ["1", "1"] == spent
    assert "It counts all attempts." in shown.words


def test_a_budget_that_was_removed_is_told_of_with_its_attempts(
    writer: LedgerWriter, ledger_url: str, clock: FakeClock
) -> None:
    writer.register([DAILY, EVER], STARTED_AT)
    writer.write([make_attempt(cost=USD)], {}, [])
    writer.remove("daily", STARTED_AT)
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        listed = [row[0].text for row in browser.get("/budgets").tables["budgets-now"]]
        removed, kept = (browser.get(f"/budgets?name={name}") for name in ("daily", "ever"))
        [row] = removed.tables["now"]
        spent = costs(browser, named(row)["Spent"])

    assert ["ever"] == listed
    assert ["1"] == spent
    assert "It was removed" in removed.words
    assert "It was removed" not in kept.words


def test_a_budget_for_each_value_says_how_many_values_are_not_shown(
    writer: LedgerWriter, ledger_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelmeter.serve.page.app.MOST", 2)
    writer.register([TEAMS], STARTED_AT)
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        [unused] = browser.get("/budgets").tables["budgets-now"]
        tags = ['{"team":"a"}', '{"team":"b"}', '{"team":"c"}', "{}"]
        writer.write([make_attempt(cost=cost * USD, tags=tags[cost]) for cost in range(4)], {}, [])
        most, second, more = browser.get("/budgets").tables["budgets-now"]
        none = costs(browser, named(most)["Spent"])

    assert ("teams", "$0.0000") == (unused[0].text, named(unused)["Spent"].text)
    assert ["(none)", "c", "2 more"] == [named(row)["Value"].text for row in (most, second, more)]
    assert ["3"] == none


def test_all_that_became_of_a_budget_is_on_its_page(writer: LedgerWriter, ledger_url: str, clock: FakeClock) -> None:
    writer.register([TEAMS], STARTED_AT - DAY)
    art = '{"team":"art"}'
    writer.write([make_attempt(cost=USD, tags=art, started_at=STARTED_AT - DAY)], {}, [])
    writer.write([make_attempt(cost=7 * USD // 2, tags=art)], {}, [])
    key = LeaseKey("teams", "art", TEAMS.span_of(STARTED_AT).start)
    writer.draw("here-1", [Draw(key, TEAMS.limit, USD // 2, USD // 2, USD // 2, USD // 2)], STARTED_AT)
    times = (STARTED_AT, STARTED_AT)
    with browsing(ledger_url, clock) as browser:
        claimed = writer.claim_notices("here-1", frozenset(["teams"]), times, STARTED_AT - DAY)
        before = browser.get("/budgets?name=teams&tz=Europe/Berlin").words
        writer.notices_sent([one.key for one in claimed.passed], STARTED_AT)
        shown = browser.get("/budgets?name=teams&tz=Europe/Berlin")
        [earlier] = shown.tables["earlier-periods"]

    assert "80 % passed at 2026-05-28 22:26 (art), nobody was told yet" in before
    assert "80 % passed at 2026-05-28 22:26 (art), told" in shown.words
    assert "here-1: $0.5000 of art, renewed at 2026-05-28 22:26" in shown.words
    told = named(earlier)
    assert ("2026-05-27 02:00", "art", "$1.0000", "25.0 %") == tuple(
        told[name].text for name in ("Began at", "Value", "Spent", "Used")
    )
