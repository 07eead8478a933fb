"""aiohttp below other libraries, and below budgets: what leaves is one attempt, whoever has seen it on its way."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiohttp
import httpx2
import openai
import pytest

import pixelmeter
from pixelmeter import BudgetExceeded, Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drivers.aiohttp import meter_client, patch
from pixelmeter.testing import Gateway
from tests.drivers.limits import PRICE, MakeLimited
from tests.drivers.wires import BODY

KLEIN = "black-forest-labs/flux-2-klein-9b"


@pytest.fixture(params=["the client", "all sessions", "both"])
def meters(request: pytest.FixtureRequest, meter: Meter) -> Iterator[Callable[[Any], None]]:
    """Meters a client of openai, what it sends through, or both."""
    undo = patch(lambda: None if request.param == "the client" else meter)
    yield lambda client: None if request.param == "all sessions" else pixelmeter.instrument(client, meter)
    undo()


@asynccontextmanager
async def over_aiohttp(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client of openai that sends through aiohttp."""
    http_client = openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key="sk-test", http_client=http_client) as client:
        yield client


Call = Callable[[openai.AsyncOpenAI], Awaitable[Any]]


async def generate(client: openai.AsyncOpenAI) -> None:
    await client.images.generate(model=KLEIN, prompt="a fox")


async def edit(client: openai.AsyncOpenAI) -> None:
    await client.images.edit(model="bria/fibo-edit/edit", prompt="a fox", image=("a.png", io.BytesIO(b"\x89PNG")))


async def stream(client: openai.AsyncOpenAI) -> None:
    events = await client.images.generate(model="gpt-image-2", prompt="a fox", stream=True, partial_images=1)
    assert [event.type async for event in events]


async def retried(client: openai.AsyncOpenAI) -> None:
    soon = {"retry-after-ms": "1"}
    headers = {"x-test-behaviour": json.dumps([{"status": 503, "headers": soon}, {}])}
    await client.images.generate(model=KLEIN, prompt="a fox", extra_headers=headers)


@pytest.mark.parametrize(
    ("call", "outcomes"),
    [(generate, ["success"]), (edit, ["success"]), (stream, ["success"]), (retried, ["error", "success"])],
)
def test_a_call_of_openais_client_over_aiohttp_is_one_attempt_each_time_it_is_sent(
    attempts: list[Attempt], gateway: Gateway, meters: Callable[[Any], None], call: Call, outcomes: list[str]
) -> None:
    async def scene() -> None:
        async with over_aiohttp(gateway) as client:
            meters(client)
            await call(client)

    asyncio.run(scene())
    assert outcomes == [attempt.outcome for attempt in attempts]
    assert 1 == len({attempt.call_id for attempt in attempts})
    assert len(outcomes) == len(gateway.billing())
    assert gateway.billed_nano() == sum(attempt.cost or 0 for attempt in attempts)


def test_a_server_that_hangs_up_on_openais_client_over_aiohttp_may_have_billed(
    attempts: list[Attempt], gateway: Gateway, meters: Callable[[Any], None]
) -> None:
    async def scene() -> None:
        async with over_aiohttp(gateway) as client:
            meters(client)
            headers = {"x-test-behaviour": json.dumps({"cut": "before_headers"})}
            with pytest.raises(openai.APIConnectionError):
                await client.with_options(max_retries=0).images.generate(
                    model=KLEIN, prompt="a fox", extra_headers=headers
                )

    asyncio.run(scene())
    [attempt] = attempts
    assert ("error", "unknown", "ServerDisconnectedError") == (attempt.outcome, attempt.billing, attempt.error_type)


def test_a_gateway_that_nobody_reaches_over_aiohttp_has_billed_nothing(
    attempts: list[Attempt], gateway: Gateway, meters: Callable[[Any], None]
) -> None:
    async def scene() -> None:
        async with over_aiohttp(gateway) as client:
            client.base_url = "http://127.0.0.1:1/v1"
            meters(client)
            with pytest.raises(openai.APIConnectionError):
                await client.with_options(max_retries=0).images.generate(model=KLEIN, prompt="a fox")

    asyncio.run(scene())
    [attempt] = attempts
    assert ("error", "not_billed", 0) == (attempt.outcome, attempt.billing, attempt.cost)


def test_another_image_that_a_transport_asks_for_inside_a_call_is_an_attempt_of_its_own(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    url = f"{gateway.url}/images/generations"

    class Two(httpx2.AsyncBaseTransport):
        def __init__(self, session: aiohttp.ClientSession) -> None:
            self.session = session

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            contents: list[bytes] = []
            for body in ({"model": KLEIN, "prompt": "another"}, json.loads(request.content)):
                async with self.session.post(url, json=body) as response:
                    contents.append(await response.read())
            return httpx2.Response(200, content=contents[-1])

    async def scene() -> None:
        async with aiohttp.ClientSession() as session, httpx2.AsyncClient(transport=Two(session)) as client:
            meter_client(session, meter, provisional=False)
            pixelmeter.instrument(client, meter)
            await client.post(url, content=json.dumps({"model": KLEIN, "prompt": "a fox"}))

    asyncio.run(scene())
    assert ["success", "success"] == [attempt.outcome for attempt in attempts]
    assert 2 == len(gateway.billing())


@pytest.mark.parametrize("refuse", ["raise", "respond"])
def test_a_call_over_the_limit_is_not_sent(limited: MakeLimited, gateway: Gateway, refuse: str) -> None:
    tiny = limited(1, refuse=refuse)
    seen: list[Any] = []

    async def scene() -> None:
        async with aiohttp.ClientSession() as session:
            meter_client(session, tiny.meter, provisional=False)
            for _ in range(2):
                try:
                    async with session.post(f"{gateway.url}/images/generations", json=BODY) as response:
                        seen.append((response.status, response.reason, response.ok, await response.json()))
                except aiohttp.ClientError as error:
                    seen.append(error)

    asyncio.run(scene())
    refused = seen[1]
    if refuse == "raise":
        assert isinstance(refused, BudgetExceeded)
        assert Decimal("0.01") == refused.needed
    else:
        assert (402, "Payment Required", False, "budget_exceeded") == (*refused[:3], refused[3]["error"]["type"])
    assert 1 == len(gateway.billing())
    assert ["success", "blocked"] == tiny.outcomes()
    assert (PRICE, 0, 0, 1) == tiny.sums()


def test_a_response_in_its_place_goes_through_what_the_session_does_with_responses(
    limited: MakeLimited, gateway: Gateway
) -> None:
    tiny = limited(0, refuse="respond")
    statuses: list[int] = []

    async def noting(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        statuses.append(response.status)
        return response

    async def scene() -> None:
        async with aiohttp.ClientSession(raise_for_status=True, middlewares=[noting]) as session:
            meter_client(session, tiny.meter, provisional=False)
            with pytest.raises(aiohttp.ClientResponseError, match="402"):
                await session.post(f"{gateway.url}/images/generations", json=BODY)
            reads = session.post(f"{gateway.url}/images/generations", json=BODY, raise_for_status=False)
            async with reads as response:
                assert [b"{", b'"err'] == [await response.content.read(1), await response.content.read(4)]
                assert b"" != await response.content.readany()
                assert b"" == await response.content.readany()

    asyncio.run(scene())
    assert [402, 402] == statuses


def test_openais_client_over_aiohttp_is_told_of_a_refusal_once_and_by_its_own_rules(
    limited: MakeLimited, gateway: Gateway
) -> None:
    tiny = limited(0)

    async def scene() -> None:
        async with over_aiohttp(gateway) as client:
            pixelmeter.instrument(client, tiny.meter)
            with pytest.raises(BudgetExceeded):
                await client.images.generate(model=KLEIN, prompt="a fox")

    undo = patch(lambda: tiny.meter)
    try:
        asyncio.run(scene())
    finally:
        undo()
    assert [] == gateway.billing()
    assert ["blocked"] == tiny.outcomes()
