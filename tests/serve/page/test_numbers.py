"""Every number of the page is the sum of the rows that it links to, and what a report says."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import pytest

from pixelmeter import Budget
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.columns import as_json
from pixelmeter.core.reporting.periods import moment, moment_of
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports.report import Question, ask
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.serve.page.browsing import Browser, Cell, Shown, amount, browsing, fill, rows_of

HOUR = 3_600_000_000
NAMES = ["openai/gpt-image-2", "Openai/GPT-image-2", "a*b?", "<b>bold</b>", "", "meta/sam"]
TAGS = ['{"team":"growth"}', '{"team":"art & <i>more</i>"}', '{"customer":"c1","team":"growth"}', "{}"]
SUMS: dict[str, Callable[[list[list[Cell]]], Decimal]] = {
    "Cost": lambda rows: amount(column(rows, "Cost")),
    "All": lambda rows: amount(column(rows, "Cost")),
    "At risk": lambda rows: amount(column(rows, "At risk")),
    "Unknown cost": lambda rows: Decimal(sum(cell.value is None for cell in column(rows, "Cost"))),
    "Attempts": lambda rows: Decimal(len(rows)),
    "Attempts that were sent": lambda rows: Decimal(len(rows)),
    "Images": lambda rows: amount(column(rows, "Images")),
    "Errors": lambda rows: Decimal(len(rows)),
}


def column(rows: list[list[Cell]], heading: str) -> list[Cell]:
    return [cell for row in rows for cell in row if cell.column == heading]


def calls(seed: int, number: int) -> list[Attempt]:
    chance = random.Random(seed)
    found: list[Attempt] = []
    for _ in range(number):
        outcome = chance.choices(["success", "error", "timeout", "blocked", "pending"], [60, 10, 15, 5, 10])[0]
        billing = "billed"
        cost: int | None = chance.randrange(1, 90_000_000)
        risk: int | None = None
        if outcome in {"error", "blocked"}:
            billing, cost = "not_billed", 0
        elif outcome != "success":
            billing, cost, risk = "unknown", None, chance.choice([None, chance.randrange(1, 10**7)])
        elif chance.random() < 0.2:
            cost = None
        found.append(
            make_attempt(
                attempt=chance.choice([0, 0, 0, 1]),
                started_at=STARTED_AT - chance.randrange(35 * 24) * HOUR + chance.randrange(HOUR),
                gateway=chance.choice(["aigateway", "fal", "images.example.com:8443"]),
                model=chance.choice(NAMES),
                operation=chance.choice(["generate", "edit"]),
                outcome=outcome,
                billing=billing,
                cost=cost,
                cost_reason=None if cost is not None else "no_price",
                at_risk=risk,
                images=chance.choice([1, 2, 4]) if outcome == "success" else None,
                tags=chance.choice(TAGS),
                savings=chance.choice([None, None, 1_000_000, -5]),
            )
        )
    return found


@pytest.fixture
def ledger(ledger_url: str) -> str:
    """A ledger with attempts of five weeks, a fifth of them corrected."""
    attempts = calls(3, 400)
    fill(ledger_url, attempts)
    chance = random.Random(4)
    ids = [one.id for one in attempts if one.outcome != "blocked" and chance.random() < 0.2]
    with closing(open_writer(ledger_url)) as writer:
        writer.adjust(ids, lambda now: correct(now, chance), Author("manual", "test", STARTED_AT, "1"))
    return ledger_url


def correct(now: Attempt, chance: random.Random) -> Attempt:
    cost = chance.randrange(10**8)
    return msgspec.structs.replace(now, cost=cost, billing="billed", at_risk=None, cost_reason=None)


PAGES = [
    "/",
    "/?since=last-7-days&step=hour",
    "/?since=this-month&tags=customer",
    "/?tag=team%3Dgrowth",
    "/?tz=Asia%2FKolkata&gateway=aigateway",
    "/?model=openai%2F*&step=week&read=all",
]


@pytest.mark.slow
@pytest.mark.parametrize("path", PAGES)
def test_a_number_is_the_sum_of_the_rows_that_it_links_to(ledger: str, clock: FakeClock, path: str) -> None:
    chance = random.Random(path)
    with browsing(ledger, clock) as browser:
        shown = browser.get(path)
        assert 200 == shown.status, shown.words
        rows = [*(row for rows in shown.tables.values() for row in rows), *shown.totals.values()]
        linked = [
            cell for row in rows for cell in row if cell.column in SUMS and (cell.href or "").startswith("/calls?")
        ]
        assert len(linked) > 20
        checked = set()
        for cell in chance.sample(linked, min(len(linked), 40)):
            checked.add(cell.column)
            check(browser, cell)
        for heading in {cell.column for cell in linked} - checked:
            check(browser, next(cell for cell in linked if cell.column == heading))


def check(browser: Browser, cell: Cell) -> None:
    assert cell.href is not None
    found = rows_of(browser, cell.href)
    told = SUMS[cell.column](found)
    if cell.value is None:
        assert "unknown" == cell.text
        assert not told
        return
    assert Decimal(cell.value) == told, (cell, len(found))


@pytest.mark.slow
def test_cards_link_to_the_rows_that_they_sum(ledger: str, clock: FakeClock) -> None:
    with browsing(ledger, clock) as browser:
        shown = browser.get("/")
        amounts = [one for one in shown.numbers if one.href and one.text.startswith("$")]
        for one in amounts:
            assert one.href is not None
            if "only=at-risk" in one.href or "only=routed" in one.href:
                continue
            assert one.value is not None
            assert Decimal(one.value) == amount(column(rows_of(browser, one.href), "Cost")), one
    assert len(amounts) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_totals_are_those_of_a_report(ledger: str, clock: FakeClock, seed: int) -> None:
    chance = random.Random(seed)
    now = moment_of(clock.now()).replace(microsecond=0)
    with browsing(ledger, clock) as browser, reading_ledger(ledger) as reader:
        for _ in range(8):
            zone = chance.choice(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"])
            since = chance.choice(["last-7-days", "last-30-days", "this-month", "3d", "2026-05-20"])
            model = chance.choice([None, "openai/*", "*b*"])
            gateway = chance.choice([None, "aigateway"])
            tag = chance.choice([None, "growth"])
            by = chance.choice(["model", "gateway", "outcome"])
            filters = Filters(model=model, gateway=gateway, tags={} if tag is None else {"team": tag})
            question = Question(
                since=moment(since, now=now, zone=ZoneInfo(zone)),
                until=now,
                zone=ZoneInfo(zone),
                filters=filters,
                by=(by,),
            )
            report = as_json(ask(reader, question, with_notes=False).report)
            pairs = {"since": since, "tz": zone, "model": model, "gateway": gateway, "tag": tag and f"team={tag}"}
            query = "&".join(f"{key}={value}" for key, value in pairs.items() if value)
            shown = browser.get(f"/?read=all&top=all&{query.replace('+', '%2B')}")
            assert 200 == shown.status
            told = {name: value for name, value in listed(shown, by).items() if value[1] != "0"}
            rows = report["rows"]
            assert isinstance(rows, list)
            wanted = {}
            for row in rows:
                name = row[by] or ("(no model)" if by == "model" else "(none)")
                wanted[name] = (row["cost_usd"], str(row["attempts"]))
            assert wanted == told, (query, by)


def listed(shown: Shown, by: str) -> dict[str, tuple[str | None, str | None]]:
    """Return cost and attempts of each row of a table, added up by the name in its heading."""
    table = {"model": "by-models", "gateway": "by-gateways", "outcome": "by-outcome"}[by]
    found: dict[str, tuple[str | None, str | None]] = {}
    for row in shown.tables.get(table, []):
        cells = {cell.column: cell for cell in row}
        name = row[0].text
        cost, attempts = cells["Cost"].value, cells["Attempts"].value
        if name in found:
            before = found[name]
            known = [Decimal(one) for one in (before[0], cost) if one is not None]
            cost = f"{sum(known):f}" if known else None
            attempts = str(int(before[1] or 0) + int(attempts or 0))
        found[name] = (plain(cost), attempts)
    return found


def plain(usd: str | None) -> str | None:
    if usd is None or "." not in usd:
        return usd
    return usd.rstrip("0").rstrip(".")


def test_days_are_those_of_the_clocks_of_the_zone_also_where_they_change(ledger_url: str, clock: FakeClock) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    clock.set(int(datetime(2026, 10, 26, 12, tzinfo=UTC).timestamp()) * 1_000_000)
    night = int(datetime(2026, 10, 24, 22, tzinfo=UTC).timestamp()) * 1_000_000
    fill(ledger_url, [make_attempt(started_at=night + hour * HOUR, cost=1_000_000_000) for hour in range(26)])
    with browsing(ledger_url, clock) as browser:
        days = browser.get("/?since=last-3-days&tz=Europe/Berlin&step=day")
        hours = browser.get("/?since=2026-10-25&until=2026-10-26&tz=Europe/Berlin&step=hour")

    told = [(row[0].text, next(cell.value for cell in row if cell.column == "All")) for row in days.tables["spend"]]
    assert [("2026-10-24", "0"), ("2026-10-25", "25"), ("2026-10-26", "1")] == told
    names = [row[0].text for row in hours.tables["spend"]]
    assert 25 == len(names) == len(set(names))
    assert ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"] == names[2:4]
    assert all(datetime.fromisoformat(name).astimezone(berlin).isoformat(timespec="minutes") == name for name in names)
    assert "Europe/Berlin" in days.words


def test_days_of_a_zone_that_is_half_an_hour_off_are_read_from_attempts(ledger_url: str, clock: FakeClock) -> None:
    midnight = int(datetime(2026, 5, 27, 18, 30, tzinfo=UTC).timestamp()) * 1_000_000
    fill(ledger_url, [make_attempt(started_at=midnight + shift, cost=10**9) for shift in (-1, 0, 1)])
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/?since=2026-05-27&until=2026-05-29&tz=Asia/Kolkata&step=day")

    told = [(row[0].text, next(cell.value for cell in row if cell.column == "All")) for row in shown.tables["spend"]]
    assert [("2026-05-27", "1"), ("2026-05-28", "2")] == told


def test_a_month_is_compared_with_no_more_than_the_shorter_one_before(ledger_url: str, clock: FakeClock) -> None:
    clock.set(int(datetime(2026, 3, 31, 12, tzinfo=UTC).timestamp()) * 1_000_000)
    first = int(datetime(2026, 1, 20, tzinfo=UTC).timestamp()) * 1_000_000
    fill(ledger_url, [make_attempt(started_at=first + day * 24 * HOUR, cost=10**9) for day in range(71)])
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/?since=this-month")
        compared = [(tag, given) for tag, given in shown.tags if "$28.0000" in (given.get("title") or "")]
        assert 2 == len(compared)
        for _, given in compared:
            assert 28 == len(rows_of(browser, given["href"] or ""))

    assert 2 == shown.words.count("+10.7 %")
    assert "against the period before until the same time" in shown.words


@pytest.mark.slow
def test_what_is_unknown_links_to_the_attempts_that_make_it_so(ledger_url: str, clock: FakeClock) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.register([Budget(1, name="b").rule], STARTED_AT)
    fill(ledger_url, [make_attempt(outcome="timeout", billing="unknown", cost=None, cost_reason="timeout")])
    clock.advance(HOUR // 60)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/")
        rows = [*(row for rows in shown.tables.values() for row in rows), *shown.totals.values()]
        unknown = [cell for row in rows for cell in row if cell.text == "unknown" and cell.href]
        assert {"Cost", "All", "At risk", "Spent"} < {cell.column for cell in unknown}
        for cell in unknown:
            assert 1 == len(rows_of(browser, cell.href or "")), cell

    # Of a cost that nobody knows, nothing can be said of what it will be.
    assert [""] == [cell.text for cell in shown.column("budgets-now", "Forecast")]
