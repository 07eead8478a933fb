"""hishel's caching transports, of both libraries: what the gateway never saw is never billed."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import hishel
import hishel.httpx
import hishel.httpx2
import pytest

import pixelmeter
import pixelmeter.httpx
import pixelmeter.httpx2
from pixelmeter.testing import Gateway
from tests.clients import KITS, Kit, settled
from tests.conftest import unavailable
from tests.interop.conftest import Metered

pytestmark = pytest.mark.anyio

REQUESTS = 100
MODELS = 10


@pytest.fixture(params=KITS, ids=str)
def kit(request: pytest.FixtureRequest) -> Kit:
    """A library, sync and async."""
    kit: Kit = request.param
    return kit


@pytest.fixture
def posts_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """hishel 2 caches GET and HEAD only; version 1 cached POSTs as well where it was told to."""
    for module in (hishel.httpx._sync, hishel.httpx._async, hishel.httpx2._sync, hishel.httpx2._async):
        monkeypatch.setattr(module, "CACHEABLE_METHODS", frozenset({"GET", "HEAD", "POST"}))


@asynccontextmanager
async def caching(kit: Kit, folder: Path, inner: Any = None, **options: Any) -> AsyncIterator[Any]:
    """Give a client whose transport caches what `inner` answers."""
    integration = {"httpx": hishel.httpx, "httpx2": hishel.httpx2}[kit.package.__name__]
    if kit.is_async:
        if importlib.util.find_spec("anysqlite") is None:
            unavailable("hishel's async storage needs the package anysqlite", "pip install 'hishel[async]'")
        storage: Any = hishel.AsyncSqliteStorage(database_path=folder / "cache.db")
        transport = integration.AsyncCacheTransport(inner or kit.package.AsyncHTTPTransport(), storage, **options)
    else:
        storage = hishel.SqliteStorage(database_path=folder / "cache.db")
        transport = integration.CacheTransport(inner or kit.package.HTTPTransport(), storage, **options)
    client = kit.client(transport=transport)
    try:
        yield client.raw
    finally:
        await client.close()


def meter_transport(kit: Kit, meter: pixelmeter.Meter) -> Any:
    binding = {"httpx": pixelmeter.httpx, "httpx2": pixelmeter.httpx2}[kit.package.__name__]
    return binding.AsyncMeterTransport(meter) if kit.is_async else binding.MeterTransport(meter)


async def hundred(client: Any, gateway: Gateway) -> list[tuple[int, bytes, bool]]:
    """Ask for ten pictures ten times each; return status, body and whether the cache had it."""
    answers = []
    for number in range(REQUESTS):
        # The cache goes by the URL, so the URL names the picture.
        url = f"{gateway.url}/images/generations?picture={number % MODELS}"
        body = {"model": "meta/sam-3-1-image", "prompt": "a fox", "n": number % MODELS + 1}
        answer = await settled(client.post(url, json=body))
        answers.append((answer.status_code, answer.content, answer.extensions["caching"]["from_cache"]))
    return answers


@pytest.mark.usefixtures("posts_are_cached")
async def test_a_meter_under_the_cache_sees_what_left_and_nothing_else(
    kit: Kit, gateway: Gateway, metered: Metered, tmp_path: Path
) -> None:
    async with caching(kit, tmp_path, meter_transport(kit, metered.meter)) as client:
        answers = await hundred(client, gateway)
    assert [number >= MODELS for number in range(REQUESTS)] == [hit for _, _, hit in answers]
    assert answers[:MODELS] * 9 == [(status, body, False) for status, body, _ in answers[MODELS:]]
    attempts = metered.attempts()
    assert MODELS == len(attempts) == len(gateway.billing())
    assert gateway.billed_nano() == sum(attempt.cost or 0 for attempt in attempts) == 55 * 10_000_000


@pytest.mark.slow
@pytest.mark.usefixtures("posts_are_cached")
async def test_a_meter_over_the_cache_bills_no_hit(
    kit: Kit, gateway: Gateway, metered: Metered, tmp_path: Path
) -> None:
    async with caching(kit, tmp_path) as client:
        pixelmeter.instrument(client, metered.meter)
        answers = await hundred(client, gateway)
    assert [number >= MODELS for number in range(REQUESTS)] == [hit for _, _, hit in answers]
    assert answers[:MODELS] * 9 == [(status, body, False) for status, body, _ in answers[MODELS:]]
    attempts = metered.attempts()
    assert (REQUESTS, MODELS) == (len(attempts), len(gateway.billing()))
    sent, hits = attempts[:MODELS], attempts[MODELS:]
    assert [line["charged_nano"] for line in gateway.billing()] == [attempt.cost for attempt in sent]
    assert [line["request_id"] for line in gateway.billing()] == [attempt.request_id for attempt in sent]
    assert {("success", "not_billed", 0, "none", "cached", None, None)} == {
        (hit.outcome, hit.billing, hit.cost, hit.cost_source, hit.cost_reason, hit.reported_cost, hit.request_id)
        for hit in hits
    }
    assert [number % MODELS + 1 for number in range(MODELS, REQUESTS)] == [hit.images for hit in hits]


@pytest.mark.slow
@pytest.mark.parametrize("over", [False, True], ids=["under", "over"])
async def test_a_cache_by_the_rules_of_http_lets_every_image_call_through(
    kit: Kit, over: bool, gateway: Gateway, metered: Metered, tmp_path: Path
) -> None:
    gateway.tell(headers={"cache-control": "max-age=3600"})
    inner = None if over else meter_transport(kit, metered.meter)
    rfc = hishel.CacheOptions(supported_methods=["GET", "POST"])
    async with caching(kit, tmp_path, inner, rfc=rfc) as client:
        if over:
            pixelmeter.instrument(client, metered.meter)
        answers = await hundred(client, gateway)
    assert {(200, False)} == {(status, hit) for status, _, hit in answers}
    attempts = metered.attempts()
    assert [line["charged_nano"] for line in gateway.billing()] == [attempt.cost for attempt in attempts]
    assert REQUESTS == len(attempts)


async def test_version_1_of_the_cache_is_understood(kit: Kit, metered: Metered) -> None:
    body = {"created": 1, "data": [{"url": "http://localhost/1.png"}]}

    def answer(_: Any) -> Any:
        headers = {"x-cost-cents": "4", "x-request-id": "req_1"}
        return kit.package.Response(200, json=body, headers=headers, extensions={"hishel_from_cache": True})

    client = pixelmeter.instrument(kit.client(transport=kit.mock(answer)).raw, metered.meter)
    await settled(client.post("http://127.0.0.1:9/v1/images/generations", json={"model": "meta/sam-3-1-image"}))
    attempt = metered.attempt()
    assert ("not_billed", 0, "cached") == (attempt.billing, attempt.cost, attempt.cost_reason)
