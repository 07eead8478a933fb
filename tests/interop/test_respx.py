"""Clients whose traffic respx makes up: the same results with a meter as without, and a record for each request.

respx knows httpx and not httpx2.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import respx

import pixelmeter
from tests.clients import Kit, failure, seen, settled
from tests.interop.conftest import Metered

pytestmark = pytest.mark.anyio

REQUESTS = 100
URL = "https://api.aigateway.sh/v1/images/generations"
BODY = {"model": "meta/sam-3-1-image", "prompt": "a fox"}


class Surprise(Exception):
    """What a test's own side effect may raise."""


def answers() -> Iterator[Any]:
    """Yield what the mocked gateway answers, the same sequence every time."""
    source = random.Random(7)
    request = httpx.Request("POST", URL)
    for number in range(REQUESTS):
        data = [{"url": f"https://media.example/{number}-{index}.png"} for index in range(source.randint(1, 4))]
        cents = str(source.randint(1, 900))
        yield source.choice(
            [
                httpx.Response(200, json={"data": data}, headers={"x-cost-cents": cents, "x-request-id": f"r{number}"}),
                httpx.Response(200, json={"data": data}),
                httpx.Response(200, html="<p>not an answer"),
                httpx.Response(202, json={"id": f"job_{number}", "status": "queued"}),
                httpx.Response(402, json={"error": {"type": "budget_exceeded", "code": 402}}),
                httpx.Response(503),
                httpx.ConnectError("refused", request=request),
                httpx.ReadTimeout("slow", request=request),
                Surprise("the mock is broken"),
            ]
        )


KITS = [Kit(httpx, "sync"), Kit(httpx, "asyncio")]


@pytest.mark.slow
@pytest.mark.parametrize("kit", KITS, ids=str)
async def test_a_hundred_mocked_requests_come_out_the_same_and_are_recorded(kit: Kit, metered: Metered) -> None:
    without = await hundred(kit.client().raw)
    with_meter = await hundred(pixelmeter.instrument(kit.client().raw, metered.meter))
    assert without == with_meter

    attempts = metered.attempts()
    assert REQUESTS == len(attempts)
    for told, attempt in zip(answers(), attempts, strict=True):
        if isinstance(told, Exception):
            assert (type(told).__name__, None) == (attempt.error_type, attempt.status)
            assert isinstance(told, httpx.ConnectError) is (attempt.billing == "not_billed")
            continue
        assert (told.status_code, told.headers.get("x-request-id")) == (attempt.status, attempt.request_id)
        if cents := told.headers.get("x-cost-cents"):
            assert int(cents) * 10_000_000 == attempt.cost
            assert len(told.json()["data"]) == attempt.images


@pytest.mark.parametrize("kit", KITS, ids=str)
async def test_a_mock_that_replaces_the_transport_is_recorded_as_well(kit: Kit, metered: Metered) -> None:
    without = await hundred(kit.client().raw, using="httpx")
    with_meter = await hundred(pixelmeter.instrument(kit.client().raw, metered.meter), using="httpx")
    assert without == with_meter
    assert REQUESTS == len(metered.attempts())


async def hundred(client: Any, using: str = "httpcore") -> list[Any]:
    """Send all requests through the mock; return what the caller sees of each answer or error."""
    results: list[Any] = []
    with respx.mock(using=using) as router:
        route = router.post(URL).mock(side_effect=answers())
        for _ in range(REQUESTS):
            try:
                results.append(seen(await settled(client.post(URL, json=BODY))))
            except (httpx.HTTPError, Surprise) as error:
                results.append(failure(error))
        assert REQUESTS == route.call_count
    await settled(client.aclose() if isinstance(client, httpx.AsyncClient) else client.close())
    return results
