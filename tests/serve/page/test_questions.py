"""What a URL of the page may ask, and what it is told where it asks for nonsense."""

from __future__ import annotations

import json
import re
from contextlib import closing
from urllib.parse import quote

import pytest

from pixelmeter import Budget
from pixelmeter.ledger.writer import open_writer
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.serve.page.browsing import Shown, browsing, fill, rows_of

SECOND = 1_000_000


def some(url: str) -> None:
    fill(
        url,
        [
            make_attempt(started_at=STARTED_AT - 9 * SECOND, model="a*", gateway="fal", tags='{"team":"art"}'),
            make_attempt(started_at=STARTED_AT - 8 * SECOND, model="ab", operation="edit", attempt=1),
            make_attempt(started_at=STARTED_AT - 7 * SECOND, model="", cost=None, cost_reason="no_price", tags="{}"),
            make_attempt(
                started_at=STARTED_AT - 6 * SECOND, outcome="timeout", billing="unknown", cost=None, at_risk=7,
                status=None,
            ),
            make_attempt(
                started_at=STARTED_AT - 5 * SECOND, outcome="throttled", billing="not_billed", cost=0, status=429,
                tags='{"team":"x=y"}', savings=3,
            ),
            make_attempt(
                started_at=STARTED_AT - 4 * SECOND, outcome="blocked", billing="not_billed", cost=0, status=None
            ),
        ],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", [4, 5, 6, 7, 8, 9]),
        ("model=a*", [8, 9]),
        ("exact-model=a*", [9]),
        ("gateway=fal", [9]),
        ("operation=edit", [8]),
        ("outcome=timeout", [6]),
        ("billing=unknown", [6]),
        ("status=429", [5]),
        ("tag=team=art", [9]),
        ("tag=team%3Dx%3Dy", [5]),
        ("no-tag=team", [7]),
        ("tag=team%3D", [7]),
        ("only=errors", [5, 6]),
        ("only=failures", [4, 5, 6]),
        ("only=sent", [5, 6, 7, 8, 9]),
        ("only=first", [5, 6, 7, 9]),
        ("only=retries", [8]),
        ("only=unknown-cost", [6, 7]),
        ("only=known-cost", [4, 5, 8, 9]),
        ("only=at-risk", [6]),
        ("only=unestimated", []),
        ("only=routed", [5]),
        ("only=no-model", [7]),
        ("only=errors&only=unknown-cost", [6]),
        ("model=&gateway=&tag=&outcome=throttled", [5]),
        ("since=today&tz=Asia/Kathmandu", [4, 5, 6, 7, 8, 9]),
    ],
)
def test_a_filter_leaves_what_it_says(ledger_url: str, clock: FakeClock, query: str, seconds: list[int]) -> None:
    some(ledger_url)
    with browsing(ledger_url, clock) as browser:
        found = rows_of(browser, f"/calls?{query}")

    assert [f"{40 - second}" for second in seconds] == [row[0].text[-2:] for row in found]


@pytest.mark.parametrize("order", ["", "&sort=cost"])
def test_a_list_goes_on_where_it_ended_and_has_each_attempt_once(ledger_url: str, clock: FakeClock, order: str) -> None:
    costs = [None, 0, 5, 5, 5, 900, None]
    every = [
        make_attempt(started_at=STARTED_AT - 60 * SECOND - number // 3, cost=costs[number % 7]) for number in range(170)
    ]
    fill(ledger_url, every)
    with browsing(ledger_url, clock) as browser:
        found = rows_of(browser, f"/calls?since=1h{order}")
        first = browser.get(f"/calls?since=1h{order}")

    links = [row[0].href for row in found]
    assert {f"/calls/{one.id}" for one in every} == set(links)
    assert len(every) == len(links)
    assert 50 == len(first.tables["attempts"])
    if order:
        values = [next(cell.value for cell in row if cell.column == "Cost") for row in found]
        known = [float(value) for value in values if value is not None]
        assert known == sorted(known, reverse=True)
        assert [None] * (len(values) - len(known)) == values[len(known) :]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/?since=soon", "since: 'soon' is not a time: write a date (2026-05-01)"),
        ("/?since=2026-06-01&until=2026-05-01", "since (2026-06-01) must be before until (2026-05-01)"),
        ("/?tz=Mars/Olympus", "'Mars/Olympus' is not a time zone: give an IANA name such as Europe/Berlin"),
        ("/?outcome=fine", "outcome is 'fine': use success, error"),
        ("/calls?only=all", "only is 'all': use sent, errors"),
        ("/calls?status=ok", "status is 'ok': use an HTTP status such as 429"),
        (f"/calls?status=0429{'9' * 40}", "status is '042999"),
        ("/calls?tag=team", "tag is 'team': write KEY=VALUE"),
        ("/calls?tag=a=1&tag=a=2", "two values: no attempt has both"),
        ("/calls?model=a&model=b", "model is given twice"),
        ("/calls?colour=red", "'colour' is nothing to ask for: use since, until"),
        ("/calls?sort=size", "sort is 'size': use time or cost"),
        ("/calls?after=x", "after is no place in this list"),
        ("/calls?after=99999999999999999999_01a21ec8-b717-74fd-8f52-d8210598bfb1", "after is no place in this list"),
        (f"/calls?model={'m' * 322}", "model is longer than 321 characters"),
        ("/calls?sort=interrupted", "sort is 'interrupted': use time or cost"),
        ("/calls?status=0429", "status is '0429': use an HTTP status such as 429"),
        (f"/calls?status=0429{'9' * 200}", "status is '0429999"),
        ("/calls?model=a%00b", "model has a character that nobody can see"),
        ("/calls?budget=none", "the ledger has no budget 'none'"),
        ("/calls?value=art", "value is that of a budget: give budget too"),
        ("/?step=year", "step is 'year': use hour, day, week, month"),
        ("/?step=hour&since=2024", "hours are shown of a month at most"),
        ("/?step=day&since=2020", "days are shown of three years at most"),
        ("/?since=0001", "the range is longer than 20 years"),
        ("/?since=0002&until=0003", "the range is empty: since (0002) must be before until (0003)"),
        ("/?since=9999-12-01&until=9999-12-31T23:59Z", "the range is empty"),
        (f"/calls?{'&'.join(f'only=x{number}' for number in range(40))}", "a URL may have 30 parameters at most"),
    ],
)
def test_nonsense_is_told_with_what_to_write(sqlite_url: str, clock: FakeClock, path: str, said: str) -> None:
    some(sqlite_url)
    with browsing(sqlite_url, clock) as browser:
        shown = browser.get(path)

    assert 400 == shown.status
    assert said in shown.words


@pytest.mark.parametrize("path", ["/nowhere", "/calls/x", "/budgets?name=none", "/runbooks/Nothing.md",
                                  "/calls/01a21ec8-b717-74fd-8f52-d8210598bfb1"])  # fmt: skip
def test_what_is_not_there_is_said_on_a_page(sqlite_url: str, clock: FakeClock, path: str) -> None:
    some(sqlite_url)
    with browsing(sqlite_url, clock) as browser:
        shown = browser.get(path)

    assert 404 == shown.status
    assert "There is no such page" in shown.words
    assert "Spend" in shown.links


def test_fields_of_a_form_that_nobody_filled_in_are_not_in_the_url(sqlite_url: str, clock: FakeClock) -> None:
    some(sqlite_url)
    with browsing(sqlite_url, clock) as browser:
        answer = browser.client.get("/calls?model=&gateway=fal&tz=UTC&tag=", follow_redirects=False)

    assert (303, "/calls?gateway=fal") == (answer.status_code, answer.headers["location"])


def test_a_filter_can_be_taken_away_and_kept_by_the_form(sqlite_url: str, clock: FakeClock) -> None:
    some(sqlite_url)
    with browsing(sqlite_url, clock) as browser:
        shown = browser.get("/calls?exact-model=a*&tag=team=art&since=this-month")

    removals = {given["aria-label"]: given["href"] for tag, given in shown.tags if tag == "a" and "aria-label" in given}
    assert {
        "Remove filter exact-model a*": "/calls?tag=team%3Dart&since=this-month",
        "Remove filter tag team=art": "/calls?exact-model=a%2A&since=this-month",
    } == removals
    hidden = [(given["name"], given["value"]) for tag, given in shown.tags if given.get("type") == "hidden"]
    assert [("exact-model", "a*"), ("tag", "team=art")] == hidden


def test_spaces_at_the_ends_of_names_count_in_links(ledger_url: str, clock: FakeClock) -> None:
    names = ["art", "art ", " art", " "]
    with closing(open_writer(ledger_url)) as writer:
        writer.register([Budget(1, name="each", each="tag:team ").rule], STARTED_AT)
    fill(ledger_url, [make_attempt(model=name, tags=f'{{"team ":"{name}"," ":"x"}}') for name in names])
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/?tags=team%20")
        budgets = browser.get("/budgets")
        for page, table in ((shown, "tag"), (shown, "by-models"), (budgets, "budgets-now")):
            costs = page.column(table, "Cost")
            assert [1, 1, 1, 1] == [len(rows_of(browser, cell.href or "")) for cell in costs], table
        [of_space] = browser.get("/?tags=%20").column("tag", "Cost")
        assert 4 == len(rows_of(browser, of_space.href or ""))


def test_a_tag_whose_name_has_an_equals_sign_has_no_links_that_would_ask_for_another(
    ledger_url: str, clock: FakeClock
) -> None:
    fill(ledger_url, [make_attempt(tags='{"a=b":"c"}')])
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        [row] = browser.get("/?tags=a%3Db").tables["tag"]

    assert "c" == row[0].text
    assert [None] * len(row) == [cell.href for cell in row]


def test_the_longest_tag_can_be_followed(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [make_attempt(tags=f'{{"{"k" * 64}":"{"v" * 256}"}}')])
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        [cost] = browser.get("/").column("tag", "Cost")
        assert 1 == len(rows_of(browser, cost.href or ""))


def test_what_is_asked_beside_the_range_stays_when_that_changes(ledger_url: str, clock: FakeClock) -> None:
    some(ledger_url)
    with closing(open_writer(ledger_url)) as writer:
        writer.register([Budget(1, name="each", each="tag:team").rule], STARTED_AT)
    with browsing(ledger_url, clock) as browser:
        calls = browser.get("/calls?budget=each&value=art")
        first = browser.get("/?top=all&step=hour&since=24h")
        assert 1 == len(rows_of(browser, calls.links["Today"]))
        assert "/calls" == calls_without(calls, "budget")
        assert "/calls?budget=each" == calls_without(calls, "value")
    assert "top=all" in first.links["7 days"]
    assert "top=all" in first.links["day"]


def calls_without(shown: Shown, name: str) -> str | None:
    return next(
        given["href"]
        for tag, given in shown.tags
        if tag == "a" and (given.get("aria-label") or "").startswith(f"Remove filter {name} ")
    )


@pytest.mark.slow
@pytest.mark.parametrize("since", ["24h", "32d", "33d", "2020"])
def test_every_step_that_is_offered_can_be_asked_for(sqlite_url: str, clock: FakeClock, since: str) -> None:
    some(sqlite_url)
    with browsing(sqlite_url, clock) as browser:
        shown = browser.get(f"/?since={since}")
        steps = [shown.links[name] for name in ("hour", "day", "week", "month") if name in shown.links]
        assert len(steps) >= 2
        assert {200} == {browser.get(path).status for path in steps}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_attempts_can_be_asked_for_from_ever_until_for_ever(sqlite_url: str, clock: FakeClock, zone: str) -> None:
    some(sqlite_url)
    with browsing(sqlite_url, clock) as browser:
        assert 6 == len(rows_of(browser, f"/calls?since=0002&until=9999-12-31T12:00Z&tz={zone}"))


def test_a_budget_without_an_end_links_to_the_attempts_that_count(ledger_url: str, clock: FakeClock) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.register([Budget(1, name="ever", per="total").rule], STARTED_AT)
    some(ledger_url)
    with browsing(ledger_url, clock) as browser:
        [cost] = browser.get("/budgets").column("budgets-now", "Cost")
        assert 6 == len(rows_of(browser, cost.href or ""))
        assert "It counts all attempts." in browser.get("/budgets?name=ever").words


def test_the_form_shows_what_is_asked(sqlite_url: str, clock: FakeClock) -> None:
    some(sqlite_url)
    query = "since=2026-05-01&until=2026-05-29&tz=Europe/Berlin&model=a*&gateway=fal&outcome=timeout&billing=unknown"
    with browsing(sqlite_url, clock) as browser:
        shown, plain = browser.get(f"/calls?{query}"), browser.get("/calls")

    fields = {given["name"]: given.get("value") for tag, given in shown.tags if tag == "input"}
    assert {
        "since": "2026-05-01", "until": "2026-05-29", "tz": "Europe/Berlin", "model": "a*", "gateway": "fal",
    } == {name: fields[name] for name in ("since", "until", "tz", "model", "gateway")}  # fmt: skip
    assert ["timeout", "unknown"] == re.findall(r"<option selected>(\w+)</option>", shown.text)
    assert "<option selected>" not in plain.text


HOSTILE = "<script>alert(1)</script>\"'&=#?/%20"


def test_hostile_names_are_text_and_can_be_followed(ledger_url: str, clock: FakeClock) -> None:
    tags = '{"<img src=x>":"\\"><b onload=x>","team":"' + HOSTILE.replace('"', '\\"') + '"}'
    attempt = make_attempt(model=HOSTILE, gateway=HOSTILE, tags=tags, error_type=HOSTILE, request_id=HOSTILE)
    fill(ledger_url, [attempt])
    clock.advance(SECOND)
    paths = ["/", "/?tags=team", f"/?tags={quote('<img src=x>')}", "/calls", f"/calls/{attempt.id}", "/health"]
    with browsing(ledger_url, clock) as browser:
        for path in paths:
            shown = browser.get(path)
            assert 200 == shown.status, path
            kinds = {tag for tag, _ in shown.tags}
            assert not kinds & {"b", "img"}, path
            assert all(set(given) <= {"src", "defer", "type"} for tag, given in shown.tags if tag == "script")
            assert not any(name == "style" or name.startswith("on") for _, given in shown.tags for name in given), path
            assert HOSTILE in shown.words or path == "/health"
        model = next(row for row in browser.get("/").tables["by-models"])
        assert HOSTILE == model[0].text
        assert model[0].href is not None
        inside = browser.get(model[0].href)
        assert [HOSTILE] == [row[0].text for row in inside.tables["by-models"]]
        value = browser.get("/?tags=team").tables["tag"][0]
        assert value[0].href is not None
        assert 1 == len(rows_of(browser, next(cell.href or "" for cell in value if cell.column == "Cost")))


@pytest.mark.parametrize("name", [" m", "m "])
def test_spaces_around_a_name_are_a_part_of_it(ledger_url: str, clock: FakeClock, name: str) -> None:
    others = [make_attempt(model="m", tags='{"team":"m"}') for _ in range(2)]
    fill(ledger_url, [make_attempt(model=name, tags=json.dumps({"team": name})), *others])
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/?tags=team")
        cells = [*shown.column("by-models", "Attempts"), *shown.column("tag", "Attempts")]
        found = [str(len(rows_of(browser, cell.href or ""))) for cell in cells]

    assert ["2", "1", "2", "1"] == found == [cell.value for cell in cells]


def test_a_tag_of_the_longest_name_and_value_can_be_followed(ledger_url: str, clock: FakeClock) -> None:
    key, value = "k" * 64, "v" * 256
    fill(ledger_url, [make_attempt(tags=json.dumps({key: value}))])
    clock.advance(SECOND)
    with browsing(ledger_url, clock) as browser:
        [row] = browser.get(f"/?tags={key}").tables["tag"]
        assert 1 == len(rows_of(browser, next(cell.href or "" for cell in row if cell.column == "Cost")))


@pytest.mark.parametrize("query", ["since=1970-01-01&until=1970-01-02", "since=2200-12-30&until=2200-12-31T23:59"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_first_and_the_last_range_that_may_be_asked_for_are_answered(
    sqlite_url: str, clock: FakeClock, query: str, zone: str
) -> None:
    some(sqlite_url)
    with browsing(sqlite_url, clock) as browser:
        answers = [browser.get(f"/?{query}&step={step}&tz={zone}").status for step in ("hour", "day", "week", "month")]

    assert set(answers) <= {200, 400}


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have five attempts be as many as nobody reads unasked."""
    monkeypatch.setattr("pixelmeter.reports.overview._FEW", 5)
    monkeypatch.setattr("pixelmeter.reports.calls._FEW", 5)
    monkeypatch.setattr("pixelmeter.reports.calls._MANY", 5)


@pytest.mark.usefixtures("few_are_many")
def test_what_many_attempts_must_be_read_for_is_shown_once_that_is_asked_for(ledger_url: str, clock: FakeClock) -> None:
    some(ledger_url)
    missing = "about 6 attempts must be read for it"
    with browsing(ledger_url, clock) as browser:
        sums = browser.get("/?status=200&tags=team")
        read = browser.get(sums.links["Read them"])
        by_tag = browser.get(sums.links["Read the attempts of the range"])
        listed = browser.get("/calls?status=200")
        added_up = browser.get(listed.links["Add them up"])
        by_cost = browser.get("/calls?sort=cost")
        found = browser.get(by_cost.links["Add them up"])

    assert all(missing in shown.words for shown in (sums, listed, by_cost))
    assert not any(missing in shown.words for shown in (read, by_tag, added_up, found))
    assert ("by-models" in sums.tables, "tag" in sums.tables, "spend" in sums.tables) == (False, False, False)
    assert ["3"] == [cell.value for cell in read.totals["by-models"] if cell.column == "Attempts"]
    assert "spend" in read.tables
    assert "tag" in by_tag.tables
    assert [] == [one for one in listed.numbers if one.column == "attempts"]
    assert ["3"] == [one.value for one in added_up.numbers if one.column == "attempts"]
    assert (3, 0, 6) == tuple(len(shown.tables.get("attempts", ())) for shown in (listed, by_cost, found))


@pytest.mark.usefixtures("few_are_many")
def test_what_sums_are_kept_of_is_shown_however_many_attempts_it_is(ledger_url: str, clock: FakeClock) -> None:
    some(ledger_url)
    with browsing(ledger_url, clock) as browser:
        shown, listed = browser.get("/?tags=team"), browser.get("/calls")

    assert ["6"] == [cell.value for cell in shown.totals["by-models"] if cell.column == "Attempts"]
    assert "tag" in shown.tables
    assert ["6"] == [one.value for one in listed.numbers if one.column == "attempts"]
    assert "must be read" not in shown.words + listed.words


@pytest.mark.usefixtures("few_are_many")
def test_what_a_filter_leaves_out_counts_as_read_too(ledger_url: str, clock: FakeClock) -> None:
    some(ledger_url)
    with browsing(ledger_url, clock) as browser:
        rare = browser.get("/calls?exact-model=ab&status=200")

    assert "about 6 attempts must be read for it" in rare.words
    assert 1 == len(rare.tables["attempts"])
