"""What a program asks in code: what a call of its own has cost, and what the ledger says was spent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

import pixelmeter
from pixelmeter.errors import ConfigError, LedgerError
from pixelmeter.ledger.writer import open_writer
from pixelmeter.testing import capture_calls
from tests.factories import STARTED_AT, make_attempt

URL = "https://api.aigateway.sh/v1/images/generations"
BODY = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
IMAGE = {"data": [{"url": "u"}]}


def paid(cents: str) -> httpx.Response:
    return httpx.Response(200, headers={"x-cost-cents": cents}, json=IMAGE)


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[pixelmeter.Meter]:
    """A meter of a new ledger."""
    with pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def client_of(meter: pixelmeter.Meter, answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    return pixelmeter.instrument(httpx.Client(transport=httpx.MockTransport(answer)), meter)


def test_a_call_knows_what_its_attempts_have_cost_as_soon_as_they_have_ended(meter: pixelmeter.Meter) -> None:
    answers = iter([httpx.Response(429, json={}), paid("4"), paid("2.5")])
    with client_of(meter, lambda _: next(answers)) as client, pixelmeter.call() as call:
        assert (Decimal(0), Decimal(0)) == (call.cost, call.at_risk)
        for _ in range(3):
            client.post(URL, json=BODY)
        assert Decimal("0.065") == call.cost
    assert (Decimal("0.065"), Decimal(0)) == (call.cost, call.at_risk)


def test_a_call_of_unknown_cost_costs_nothing_that_is_known_and_may_cost_its_estimate(meter: pixelmeter.Meter) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with client_of(meter, answer) as client, pixelmeter.call() as call, pytest.raises(httpx.ReadTimeout):
        client.post(URL, json=BODY)
    assert call.cost is None
    assert call.at_risk is not None
    assert 0 < call.at_risk < 1


def test_an_attempt_that_was_billed_at_a_price_nobody_knows_has_no_more_at_risk(meter: pixelmeter.Meter) -> None:
    answer = httpx.Response(200, json={"data": [{"url": "u"}]})
    with client_of(meter, lambda _: answer) as client, pixelmeter.call() as call:
        client.post(URL, json={**BODY, "model": "acme/unheard-of"})
    assert (None, Decimal(0)) == (call.cost, call.at_risk)


def test_an_attempt_that_still_runs_is_not_one_that_cost_nothing(meter: pixelmeter.Meter) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"x-cost-cents": "4"}, content=iter([b'{"data":[', b'{"url":"u"}]}']))

    with client_of(meter, answer) as client, pixelmeter.call() as call:
        with client.stream("POST", URL, json=BODY) as response:
            assert (None, None) == (call.cost, call.at_risk)
            response.read()
        assert (Decimal("0.04"), Decimal(0)) == (call.cost, call.at_risk)


def test_calls_in_tasks_and_in_threads_have_each_their_own_cost(meter: pixelmeter.Meter) -> None:
    async def ask(client: httpx.AsyncClient, cents: int) -> Decimal | None:
        with pixelmeter.call() as call:
            await client.post(URL, json=BODY, headers={"cents": str(cents)})
        return call.cost

    async def main() -> list[Decimal | None]:
        transport = httpx.MockTransport(lambda request: paid(request.headers["cents"]))
        async with pixelmeter.instrument(httpx.AsyncClient(transport=transport), meter) as client:
            return await asyncio.gather(*(ask(client, cents) for cents in range(1, 20)))

    assert [Decimal(cents) / 100 for cents in range(1, 20)] == asyncio.run(main())
    found: list[Decimal | None] = []

    def work(cents: str) -> None:
        with client_of(meter, lambda _: paid(cents)) as client, pixelmeter.call() as call:
            client.post(URL, json=BODY)
        found.append(call.cost)

    threads = [threading.Thread(target=work, args=(str(cents),)) for cents in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [Decimal("0.01"), Decimal("0.02")] == sorted(cost for cost in found if cost is not None)


def test_of_nested_calls_each_has_what_was_asked_in_it(meter: pixelmeter.Meter) -> None:
    with client_of(meter, lambda _: paid("4")) as client, pixelmeter.call() as outer:
        client.post(URL, json=BODY)
        with pixelmeter.call() as inner:
            client.post(URL, json=BODY)
            client.post(URL, json=BODY)
    assert (Decimal("0.04"), Decimal("0.08")) == (outer.cost, inner.cost)


def test_an_amount_is_exact_whatever_precision_a_program_works_with(meter: pixelmeter.Meter) -> None:
    with client_of(meter, lambda _: paid("12.3456789")) as client, pixelmeter.call() as call, localcontext() as context:
        client.post(URL, json=BODY)
        context.prec = 2
        assert "0.123456789" == str(call.cost)


def test_a_call_that_a_test_looks_at_has_a_cost_as_well(meter: pixelmeter.Meter) -> None:
    with client_of(meter, lambda _: paid("4")) as client, capture_calls() as attempts, pixelmeter.call() as call:
        client.post(URL, json=BODY)
    assert [40_000_000] == [one.cost for one in attempts]
    assert Decimal("0.04") == call.cost


def test_what_was_spent_has_the_attempts_that_have_just_ended(meter: pixelmeter.Meter) -> None:
    assert Decimal(0) == meter.spend().total.cost
    with client_of(meter, lambda _: paid("4")) as client:
        for team in ("growth", "growth", "art"):
            with pixelmeter.tags(team=team):
                client.post(URL, json=BODY)
        client.post(URL, json=BODY)
    found = meter.spend("1h", by="tag:team")
    costs = [(row.key, row.cost, row.attempts) for row in found.rows]
    assert [
        ({"tag:team": "growth"}, Decimal("0.08"), 2),
        ({"tag:team": None}, Decimal("0.04"), 1),
        ({"tag:team": "art"}, Decimal("0.04"), 1),
    ] == costs
    assert (Decimal("0.16"), Decimal(0), {}) == (found.total.cost, found.total.at_risk, found.total.key)
    assert Decimal("0.08") == meter.spend("1h", tags={"team": "growth"}).total.cost
    assert () == meter.spend("1h").rows


def test_a_month_that_goes_on_has_a_forecast(meter: pixelmeter.Meter) -> None:
    with client_of(meter, lambda _: paid("4")) as client:
        client.post(URL, json=BODY)
    month, hour = meter.spend("this-month"), meter.spend("1h")
    assert month.forecast is not None
    assert month.forecast >= Decimal("0.04")
    assert hour.forecast is None
    # A range with an end of its own does not go on.
    assert meter.spend("this-year", until="1m").forecast is None


@pytest.fixture
def filled(ledger_url: str) -> Iterator[pixelmeter.Meter]:
    """A meter of a ledger with attempts of three models."""
    with closing(open_writer(ledger_url)) as writer:
        unknown: dict[str, Any] = {"cost": None, "outcome": "timeout", "billing": "unknown"}
        writer.write(
            [
                make_attempt(model="a/one", cost=3),
                make_attempt(model="a/two", cost=2),
                make_attempt(model="b/one", cost=1, gateway="other"),
                make_attempt(model="b/lost", **unknown),
            ],
            {},
            [],
        )
    with pixelmeter.Meter(ledger_url) as meter:
        yield meter


def test_what_is_asked_says_which_attempts_count_and_how_they_are_told_apart(filled: pixelmeter.Meter) -> None:
    since = datetime.fromtimestamp(STARTED_AT / 1e6, UTC) - timedelta(hours=1)
    everything = filled.spend(since, by="model", top=1)
    assert [("a/one", Decimal("3E-9")), ("(others)", Decimal("3E-9"))] == [
        (row.key["model"], row.cost) for row in everything.rows
    ]
    assert (None, None, 1) == (
        (lost := filled.spend(since, model="*lost").total).cost, lost.at_risk, lost.unknown_cost_attempts
    )  # fmt: skip
    assert Decimal("1E-9") == filled.spend(since, gateway="other").total.cost
    # In Tokyo it was the morning of the 29th.
    days = [("2026-05-28", "2026-05-29"), ("2026-05-29", "2026-05-30")]
    assert [0, 4] == [filled.spend(*day, tz="Asia/Tokyo").total.attempts for day in days]


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ({"since": "soon"}, "'soon' is not a time"),
        ({"since": datetime(2026, 5, 1)}, "since has no time zone"),  # noqa: DTZ001 - that is what is refused
        ({"since": "0m"}, "must be before until"),
        ({"by": "colour"}, "'colour' is not a dimension"),
        ({"tz": "Mars"}, "'Mars' is not a time zone"),
        ({"top": 0}, "top is 0: use 1 or more"),
        ({"tags": "team=x"}, "tags is a str: give a dict"),
        ({"provider": "x"}, "'provider' cannot be asked for: use by, top, tz, tags, model"),
    ],
)
def test_a_question_that_is_none_is_refused_with_what_to_ask(
    meter: pixelmeter.Meter, asked: dict[str, Any], advice: str
) -> None:
    with pytest.raises(ConfigError, match=advice):
        meter.spend(**asked)


def test_a_ledger_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/folder.db", spool_dir=str(tmp_path / "spool"))
    with pytest.raises(LedgerError):
        meter.spend()
