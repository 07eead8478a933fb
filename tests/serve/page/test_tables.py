"""Which rows and columns the tables of the first page have, what is left over, and where their links lead."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pixelmeter.reports.report import Reading
from pixelmeter.serve.page.sections import reading_told
from pixelmeter.serve.page.tables import share_of
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.serve.page.browsing import Cell, Shown, browsing, fill

USD = 1_000_000_000
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
AT = STARTED_AT - HOUR


def named(row: Sequence[Cell]) -> dict[str, Cell]:
    return {cell.column: cell for cell in row}


def fourteen_models(url: str) -> None:
    """Fill a ledger with a model for each whole number of dollars up to 14, on one day."""
    fill(url, [make_attempt(started_at=AT, model=f"m-{usd}", cost=usd * USD) for usd in range(1, 15)])


def test_models_beyond_the_twelve_most_expensive_are_one_row_that_leads_to_all(
    ledger_url: str, clock: FakeClock
) -> None:
    fourteen_models(ledger_url)
    with browsing(ledger_url, clock) as browser:
        *first, others = browser.get("/").tables["by-models"]
        assert others[0].href is not None
        every = browser.get(others[0].href).tables["by-models"]

    assert [f"m-{usd}" for usd in range(14, 2, -1)] == [row[0].text for row in first]
    assert ("2 others", "$3.0000", "2.9 %", "2") == (
        others[0].text, *(named(others)[name].text for name in ("Cost", "Share", "Attempts"))
    )  # fmt: skip
    assert ("13.3 %", "1") == tuple(named(first[0])[name].text for name in ("Share", "Attempts"))
    assert [f"m-{usd}" for usd in range(14, 0, -1)] == [row[0].text for row in every]


def test_models_beyond_the_six_most_expensive_are_one_column_over_time(ledger_url: str, clock: FakeClock) -> None:
    fourteen_models(ledger_url)
    unknown = {"cost": None, "cost_reason": "no_price", "started_at": AT - DAY}
    fill(ledger_url, [make_attempt(model="m-1", **unknown), make_attempt(model="m-14", **unknown)])
    with browsing(ledger_url, clock) as browser:
        before, today = browser.get("/?since=last-2-days&step=day").tables["spend"]

    models = [cell.column for cell in today[1:8]]
    assert [*(f"m-{usd}" for usd in range(14, 8, -1)), "other"] == models
    assert ("36", "105") == (named(today)["other"].value, named(today)["All"].value)
    assert ["unknown"] * 3 == [named(before)[name].text for name in ("m-14", "other", "All")]
    assert [None] * 3 == [named(before)[name].value for name in ("m-14", "other", "All")]
    assert named(before)["m-13"].value == "0"


def test_outcomes_are_the_most_frequent_first_with_their_shares_of_the_attempts(
    ledger_url: str, clock: FakeClock
) -> None:
    fill(
        ledger_url,
        [
            *(make_attempt(started_at=AT, outcome="error", billing="not_billed", cost=0) for _ in range(3)),
            make_attempt(started_at=AT, cost=USD),
        ],
    )
    with browsing(ledger_url, clock) as browser:
        rows = browser.get("/").tables["by-outcome"]

    assert [("error", "75.0 %", "$0.0000"), ("success", "25.0 %", "$1.0000")] == [
        (row[0].text, named(row)["Share"].text, named(row)["Cost"].text) for row in rows
    ]


def test_a_day_leads_to_its_sums_and_a_model_to_its_own_with_the_filters_that_are_on(
    ledger_url: str, clock: FakeClock
) -> None:
    fill(
        ledger_url,
        [
            make_attempt(started_at=AT - days * DAY, cost=(days + 1) * USD, gateway=gateway, model=model)
            for days in range(3)
            for gateway in ("fal", "aigateway")
            for model in ("a", "b")
        ],
    )
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/?gateway=fal&since=last-3-days&step=day")
        days = [(row[0].href, named(row)["All"].value) for row in shown.tables["spend"]]
        inside = [browser.get(href or "").totals["by-models"][2].value for href, _ in days]
        models = [(row[0].href, named(row)["Cost"].value) for row in shown.tables["by-models"]]
        of_models = [browser.get(href or "").totals["by-models"][2].value for href, _ in models]
        of_today = browser.get(shown.links["Today"]).totals["by-models"][2].value

    assert ["6", "4", "2"] == [value for _, value in days] == inside
    assert ["6", "6"] == [value for _, value in models] == of_models
    assert "2" == of_today


@pytest.mark.slow
def test_only_steps_that_can_be_shown_are_offered(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [make_attempt(started_at=AT)])
    offered: dict[str, Sequence[str]] = {}
    with browsing(ledger_url, clock) as browser:
        for since in ("last-30-days", "780h", "2022"):
            links = browser.get(f"/?since={since}").links
            steps = [name for name in ("hour", "day", "week", "month") if name in links]
            assert {200} == {browser.get(links[name]).status for name in steps}
            offered[since] = steps

    assert {
        "last-30-days": ["hour", "day", "week", "month"],
        "780h": ["day", "week", "month"],
        "2022": ["week", "month"],
    } == offered


def test_the_tag_that_is_shown_first_has_few_values_and_is_of_the_range(ledger_url: str, clock: FakeClock) -> None:
    many = [make_attempt(started_at=AT, tags=f'{{"customer":"c{number}","team":"art"}}') for number in range(61)]
    later = [make_attempt(started_at=STARTED_AT - SECOND, tags='{"campaign":"june"}') for _ in range(90)]
    fill(ledger_url, [*many, *later])
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/?since=today&until=30m")

    assert ["art"] == [row[0].text for row in shown.tables["tag"]]
    assert "campaign" not in shown.links
    assert {"customer", "team"} <= shown.links.keys()


def test_tags_are_those_of_the_newest_attempts(
    ledger_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelmeter.serve.page.first._SAMPLE", 2)
    fill(ledger_url, [make_attempt(started_at=AT - n, tags=f'{{"{["new", "old"][n // 2]}":"x"}}') for n in range(4)])
    with browsing(ledger_url, clock) as browser:
        links = browser.get("/").links

    assert ("new" in links, "old" in links) == (True, False)


def test_a_list_can_be_begun_anew_and_ordered_otherwise_from_its_middle(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [make_attempt(started_at=AT - number, cost=number) for number in range(60)])
    with browsing(ledger_url, clock) as browser:
        first = browser.get("/calls?gateway=aigateway")
        second = browser.get(first.links["The next 50"])
        again = browser.get(second.links["Back to the first"])
        by_cost = browser.get(second.links["most expensive first"])
        hidden = [given["name"] for tag, given in second.tags if tag == "input" and given.get("type") == "hidden"]

    assert (50, 10) == (len(first.tables["attempts"]), len(second.tables["attempts"]))
    assert "Back to the first" not in first.links
    assert [row[0].href for row in first.tables["attempts"]] == [row[0].href for row in again.tables["attempts"]]
    assert "0.000000059" == by_cost.column("attempts", "Cost")[0].value
    assert (["newest first"], ["most expensive first"]) == (current(first), current(by_cost))
    assert [] == hidden


def current(shown: Shown) -> list[str]:
    """Return in which of the two orders a list says that it is."""
    here = {given["href"] for _, given in shown.tags if given.get("aria-current") == "true"}
    return [order for order in ("newest first", "most expensive first") if shown.links[order] in here]


def test_a_ledger_without_attempts_says_what_to_do(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [])
    with browsing(ledger_url, clock) as browser:
        empty = browser.get("/")
        fill(ledger_url, [make_attempt(started_at=AT)])
        filled = browser.get("/")

    assert [True, False] == ["wrap a client with pixelmeter.instrument" in shown.words for shown in (empty, filled)]


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "1 s"), (99.4, "99 s"), (150, "2 minutes"), (3600, "60 minutes")])
def test_how_long_attempts_are_read_is_told_in_seconds_or_minutes(seconds: float, told: str) -> None:
    assert reading_told(Reading(30_000, seconds)).endswith(
        f"about 30,000 attempts must be read for it, which takes about {told}."
    )


def test_there_is_a_share_only_of_what_is_known_and_not_below_nothing() -> None:
    assert ["33.3 %", "0.0 %", "", "", ""] == [
        share_of(part, whole).text for part, whole in ((1, 3), (0, 3), (-1, 3), (None, 3), (1, 0))
    ]
