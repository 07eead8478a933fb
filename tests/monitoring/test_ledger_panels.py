"""What the panels that ask the ledger say of a ledger that is known row by row, on a real PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from psycopg import Connection

from pixelmeter import Budget
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.monitoring.asking import Row, ledger, panels, rows, statement

pytestmark = pytest.mark.slow

Ask = Callable[..., Row]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
BARS = ("Spend by day and model", "Spend by day and gateway", "Spend by day and tag")


def spent(dollars: float, at: datetime) -> Attempt:
    return make_attempt(
        cost=round(dollars * 10**9), cost_source="priced", started_at=(at - EPOCH) // timedelta(microseconds=1)
    )


def unknown(at: datetime) -> Attempt:
    started_at = (at - EPOCH) // timedelta(microseconds=1)
    return make_attempt(cost=None, cost_source="none", cost_reason="no_price", started_at=started_at)


def asked(connection: Connection[Row], title: str, days: int = 1, **chosen: str) -> list[Row]:
    """Return the rows that a panel gets."""
    [target] = [target for panel, target in panels("grafana-postgresql-datasource") if panel["title"] == title]
    return rows(connection, statement(target, days, **chosen))


@pytest.fixture
def connection(postgres_url: str) -> Iterator[Connection[Row]]:
    """A connection to a new ledger, in a transaction, so that it is one moment for all statements."""
    open_writer(postgres_url).close()
    with ledger(postgres_url) as opened:
        yield opened


@pytest.fixture
def now(connection: Connection[Row]) -> datetime:
    """The moment that the ledger takes for now."""
    moment: datetime = rows(connection, "SELECT now() AS moment")[0]["moment"]
    return moment.astimezone(UTC)


@pytest.fixture
def ask(connection: Connection[Row], postgres_url: str) -> Ask:
    """Write attempts to the ledger, and return the one row that a panel gets."""

    def told(title: str, *attempts: Attempt) -> Row:
        with closing(open_writer(postgres_url)) as writer:
            writer.write(attempts, {}, [])
        [row] = asked(connection, title)
        return row

    return told


@pytest.mark.parametrize(("oldest", "counted"), [(300, 6), (3, 3), (1, 1)])
def test_the_forecast_spreads_a_batch_over_the_week_or_the_age_of_the_ledger(
    ask: Ask, now: datetime, oldest: int, counted: int
) -> None:
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    month = midnight.replace(day=1)
    next_month = (month + 31 * DAY).replace(day=1)
    yesterday = midnight - DAY
    answer = ask("Forecast for the month", spent(0, midnight - oldest * DAY), spent(100, yesterday))

    so_far = 100 if yesterday >= month else 0
    a_day = 100 / ((now - midnight) / DAY + counted)
    assert math.isclose(so_far + a_day * ((next_month - now) / DAY), answer["forecast"], rel_tol=1e-9)


def refused(at: datetime) -> Attempt:
    started_at = (at - EPOCH) // timedelta(microseconds=1)
    return make_attempt(cost=0, billing="not_billed", outcome="rejected", started_at=started_at)


def lost(at: datetime, at_risk: int | None = None) -> Attempt:
    started_at = (at - EPOCH) // timedelta(microseconds=1)
    return make_attempt(cost=None, billing="unknown", outcome="timeout", at_risk=at_risk, started_at=started_at)


@pytest.mark.parametrize("title", ["Spend this month", "Spend, by the ledger", "Forecast for the month", *BARS])
def test_a_cost_of_zero_beside_unknown_cost_is_no_spend_of_zero(ask: Ask, now: datetime, title: str) -> None:
    *_, value = ask(title, unknown(now), refused(now)).values()

    assert value is None


def test_what_a_tag_spent_and_has_at_risk_is_unknown_where_nobody_knows_it(ask: Ask, now: datetime) -> None:
    assert (None, None) == amounts(ask("Spend by tag", lost(now), refused(now)))
    assert (None, 0.005) == amounts(ask("Spend by tag", lost(now, at_risk=5_000_000)))
    assert (1.5, 0.005) == amounts(ask("Spend by tag", spent(1.5, now)))


def test_a_tag_without_any_cost_spent_nothing_and_has_nothing_at_risk(ask: Ask, now: datetime) -> None:
    assert (0, 0) == amounts(ask("Spend by tag", refused(now)))


def test_what_is_at_risk_this_month_is_unknown_where_nothing_of_it_can_be_estimated(ask: Ask, now: datetime) -> None:
    title = "At risk this month"
    answers = [ask(title, *attempts)["value"] for attempts in ([], [refused(now)], [unknown(now)], [lost(now)])]
    assert [0, 0, 0, None] == answers
    assert 0.005 == float(ask(title, lost(now, at_risk=5_000_000))["value"])


def test_at_risk_by_reason_is_unknown_where_nothing_of_it_can_be_estimated(ask: Ask, now: datetime) -> None:
    assert 0 == ask("Unknown cost and at risk", unknown(now))["At risk"]


def amounts(row: Row) -> tuple[float | None, ...]:
    return tuple(None if row[name] is None else float(row[name]) for name in ("Spend", "At risk"))


@pytest.mark.parametrize("title", ["Spend this month", "Spend, by the ledger", "Forecast for the month", *BARS])
def test_unknown_cost_alone_is_no_spend_of_zero(ask: Ask, now: datetime, title: str) -> None:
    *_, value = ask(title, unknown(now), unknown(now)).values()

    assert value is None


@pytest.mark.parametrize("title", ["Spend this month", "Spend, by the ledger", *BARS])
def test_known_cost_beside_unknown_cost_is_spend(ask: Ask, now: datetime, title: str) -> None:
    *_, value = ask(title, unknown(now), spent(1.5, now)).values()

    assert 1.5 == value


@pytest.mark.parametrize("title", ["Spend this month", "Spend, by the ledger", "Forecast for the month"])
def test_where_nothing_was_sent_nothing_was_spent(ask: Ask, title: str) -> None:
    *_, value = ask(title).values()

    assert 0 == value


@pytest.mark.parametrize("title", ["Spend this month", "Spend, by the ledger", *BARS])
def test_what_is_corrected_is_spend_at_the_time_of_its_attempt(
    ask: Ask, now: datetime, title: str, postgres_url: str
) -> None:
    attempt = spent(1.5, now)
    author = Author(kind="reconciled", source="statement", made_at=attempt.started_at, version="0.1.0")
    with closing(open_writer(postgres_url)) as writer:
        writer.write([attempt], {}, [])
        writer.adjust([attempt.id], lambda known: msgspec.structs.replace(known, cost=2 * 10**9), author)
    *_, value = ask(title).values()

    assert 2 == value


def test_a_job_that_ended_is_no_longer_at_risk(ask: Ask, now: datetime, postgres_url: str) -> None:
    started_at = (now - EPOCH) // timedelta(microseconds=1)
    job = make_attempt(
        cost=None, cost_source="none", cost_reason="pending_job", billing="pending", outcome="pending", job_id="j",
        at_risk=5_000_000, started_at=started_at,
    )  # fmt: skip
    end = JobEnd(
        id="01900000-0000-7000-8000-000000000001", gateway=job.gateway, job_id="j", heard_at=started_at, source="poll",
        outcome="success", images=1, reported_cost=3 * 10**9,
    )  # fmt: skip
    assert 0.005 == float(ask("At risk this month", job)["value"])

    with closing(open_writer(postgres_url)) as writer:
        writer.write([end], {}, [])

    assert 0 == ask("At risk this month")["value"]
    assert (3, 0) == amounts(ask("Spend by tag"))


def of_team(dollars: float, at: datetime, tags: str) -> Attempt:
    return msgspec.structs.replace(spent(dollars, at), tags=tags)


def values_of(found: list[Row]) -> dict[str, list[float | None]]:
    """Return the values of each series, in the order of time."""
    values: dict[str, list[float | None]] = {}
    for row in found:
        values.setdefault(row["metric"], []).append(None if row["value"] is None else float(row["value"]))
    return values


@pytest.mark.parametrize("chosen", [{}, {"gateway": "aigateway"}], ids=["from the sums", "from the attempts"])
def test_days_are_told_apart_by_the_values_of_the_tag_and_by_its_absence(
    connection: Connection[Row], now: datetime, postgres_url: str, chosen: dict[str, str]
) -> None:
    with closing(open_writer(postgres_url)) as writer:
        growth, none = '{"team":"growth"}', '{"feature":"hero"}'
        attempts = [
            of_team(1, now, growth),
            of_team(2, now, growth),
            of_team(4, now, none),
            of_team(8, now - DAY, none),
        ]
        writer.write(attempts, {}, [])

    found = values_of(asked(connection, "Spend by day and tag", days=3, **chosen))
    assert {"growth": [3.0], "(none)": [8.0, 4.0]} == found


def test_a_tag_with_too_many_values_to_be_summed_up_is_counted_from_the_attempts(
    connection: Connection[Row], now: datetime, postgres_url: str
) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.write([of_team(1, now, f'{{"team":"t{number % 1001}"}}') for number in range(1002)], {}, [])

    assert 2 == max(row["value"] for row in asked(connection, "Spend by day and tag"))


def test_the_month_adds_up_beside_the_one_before_and_below_the_limits_of_its_budgets(
    connection: Connection[Row], now: datetime, postgres_url: str
) -> None:
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = (month - DAY).replace(day=1)
    with closing(open_writer(postgres_url)) as writer:
        at = (now - EPOCH) // timedelta(microseconds=1)
        writer.register([Budget(50, per="month", name="images").rule, Budget(5, per="day", name="daily").rule], at)
        attempts = [spent(1, month), spent(2, now), spent(4, before), spent(8, before + DAY), spent(99, before - DAY)]
        writer.write(attempts, {}, [])

    found = values_of(asked(connection, "Month so far"))
    assert [4.0, 12.0] == found["the month before"]
    assert 3.0 == found["this month"][-1]
    assert [50.0, 50.0] == found["limit of images"]
    assert {"this month", "the month before", "limit of images"} == set(found)
    days = [row["time"] for row in asked(connection, "Month so far") if row["metric"] == "the month before"]
    assert [month, month + DAY] == [day.astimezone(UTC) for day in days]


def test_days_of_which_nobody_knows_the_cost_add_nothing_to_the_month_and_do_not_begin_it_with_zero(
    connection: Connection[Row], now: datetime, postgres_url: str
) -> None:
    before = (now.replace(day=1) - DAY).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    with closing(open_writer(postgres_url)) as writer:
        days = [unknown(before), refused(before), spent(4, before + DAY), unknown(before + 2 * DAY)]
        writer.write(days, {}, [])

    rows = asked(connection, "Month so far")
    assert [None, 4.0, 4.0] == [row["value"] for row in rows if row["metric"] == "the month before"]


def test_a_month_begins_with_its_first_moment(ask: Ask, now: datetime) -> None:
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = month - timedelta(microseconds=1)
    both = [
        attempt
        for at, factor in ((month, 1), (before, 10))
        for attempt in (spent(factor, at), lost(at, at_risk=factor * 10**9))
    ]
    assert 1 == ask("Spend this month", *both)["value"]
    assert 1 == ask("At risk this month")["value"]
    assert 1 == ask("Unknown cost this month")["value"]


def test_what_gateways_report_is_compared_with_the_price_book_where_both_are_known(
    connection: Connection[Row], now: datetime, postgres_url: str
) -> None:
    at = (now - EPOCH) // timedelta(microseconds=1)
    costs = {
        "by tokens": {"reported_cost": 3 * 10**9, "token_cost": 2 * 10**9, "image_cost": None},
        "by images": {"reported_cost": 10**9, "token_cost": None, "image_cost": 5 * 10**9},
        "not reported": {"reported_cost": None, "token_cost": 10**9},
        "not priced": {"reported_cost": 10**9, "token_cost": None, "image_cost": None},
    }
    with closing(open_writer(postgres_url)) as writer:
        writer.write([make_attempt(model=model, started_at=at, **fields) for model, fields in costs.items()], {}, [])

    assert [("by images", 1, 1, 5, -4), ("by tokens", 1, 3, 2, 1)] == [
        tuple(row.values()) for row in asked(connection, "Reported against priced")
    ]


def test_a_call_costs_what_its_attempts_do_and_takes_as_long_as_all_of_them(
    connection: Connection[Row], now: datetime, postgres_url: str
) -> None:
    at = (now - EPOCH) // timedelta(microseconds=1) - 60_000_000
    first = make_attempt(started_at=at, cost=10**9, duration=10_000_000)
    of_call = {"call_id": first.id, "duration": 8_000_000}
    with closing(open_writer(postgres_url)) as writer:
        attempts = [
            make_attempt(started_at=at - 99_000_000, cost=2 * 10**9),
            first,
            make_attempt(started_at=at + 20_000_000, attempt=1, cost=3 * 10**9, **of_call),
            make_attempt(
                started_at=at + 50_000_000, attempt=2, cost=0, billing="not_billed", outcome="blocked", **of_call
            ),
            make_attempt(started_at=at, cost=0),
        ]
        writer.write(attempts, {}, [])

    names = ("Cost", "Attempts", "Duration", "Tag")
    assert [(4, 2, 28, "growth"), (2, 1, pytest.approx(8.123456), "growth")] == [
        tuple(float(value) if name != "Tag" else value for name, value in row.items() if name in names)
        for row in asked(connection, "Most expensive calls")
    ]


def test_attempts_of_unknown_cost_are_told_apart_by_their_reason(
    connection: Connection[Row], now: datetime, postgres_url: str
) -> None:
    outcome_unknown = msgspec.structs.replace(lost(now), cost_reason="outcome_unknown", model="m")
    with closing(open_writer(postgres_url)) as writer:
        attempts = [unknown(now), unknown(now), outcome_unknown, spent(1, now)]
        writer.write(attempts, {}, [])

    assert [("no_price", "openai/gpt-image-2", 2, 0), ("outcome_unknown", "m", 1, None)] == [
        tuple(row.values()) for row in asked(connection, "Unknown cost and at risk")
    ]
    [row] = asked(connection, "Spend by tag")
    assert (3, 4) == (row["Unknown"], row["Images"])


def test_a_month_of_unknown_cost_alone_is_no_month_of_zero(ask: Ask, now: datetime) -> None:
    assert None is ask("Month so far", unknown(now))["value"]
