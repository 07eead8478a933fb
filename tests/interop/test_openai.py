"""The openai SDK, sync and async: all it offers around an image call works as without a meter, and is metered."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

import pixelmeter
from pixelmeter.testing import Gateway
from tests.clients import each, settled
from tests.interop.conftest import Metered

pytestmark = pytest.mark.anyio

SAM = "meta/sam-3-1-image"
SOON = {"retry-after-ms": "1"}


class Counting(io.BytesIO):
    """A file that counts the bytes that are read from it."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.given = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        self.given += len(content)
        return content


@pytest.fixture(params=[openai.OpenAI, openai.AsyncOpenAI], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Any:
    """The class of client under test."""
    return request.param


@asynccontextmanager
async def opened(client: Any) -> AsyncIterator[Any]:
    """Give a client of either kind, and close it."""
    try:
        yield client
    finally:
        await settled(client.close())


@pytest.fixture
async def bare(kind: Any, gateway: Gateway) -> AsyncIterator[Any]:
    """A client that is not metered."""
    async with opened(kind(base_url=gateway.url, api_key="sk-test")) as client:
        yield client


@pytest.fixture
async def client(kind: Any, gateway: Gateway, metered: Metered) -> AsyncIterator[Any]:
    """A metered client."""
    async with opened(kind(base_url=gateway.url, api_key="sk-test")) as client:
        yield pixelmeter.instrument(client, metered.meter)


def told(*steps: dict[str, Any]) -> dict[str, str]:
    return {"x-test-behaviour": json.dumps(list(steps))}


async def test_the_raw_response_is_there_with_its_headers(client: Any, gateway: Gateway, metered: Metered) -> None:
    raw = await settled(client.images.with_raw_response.generate(model=SAM, prompt="a fox", n=2))
    images = raw.parse().data
    attempt = metered.attempt()
    assert (2, "2", gateway.billing()[0]["request_id"]) == (
        len(images),
        raw.headers["x-cost-cents"],
        raw.headers["x-request-id"],
    )
    assert (2, 20_000_000, raw.headers["x-request-id"]) == (attempt.images, attempt.cost, attempt.request_id)


async def test_a_streamed_response_that_is_read_is_metered(client: Any, metered: Metered) -> None:
    manager = client.images.with_streaming_response.generate(model=SAM, prompt="a fox", response_format="b64_json")
    if hasattr(manager, "__aenter__"):
        async with manager as response:
            body = b"".join([chunk async for chunk in response.iter_bytes(100)])
    else:
        with manager as response:
            body = b"".join(response.iter_bytes(100))
    assert 1 == len(json.loads(body)["data"])
    attempt = metered.attempt()
    assert ("success", 1, len(body)) == (attempt.outcome, attempt.images, attempt.response_bytes)


async def test_a_streamed_response_that_is_left_unread_has_its_price_from_the_header(
    client: Any, metered: Metered
) -> None:
    manager = client.images.with_streaming_response.generate(
        model=SAM, prompt="a fox", response_format="b64_json", extra_headers=told({"image_bytes": 5_000_000})
    )
    if hasattr(manager, "__aenter__"):
        async with manager as response:
            status = response.status_code
    else:
        with manager as response:
            status = response.status_code
    attempt = metered.attempt()
    assert (200, "cancelled", "billed", 10_000_000) == (status, attempt.outcome, attempt.billing, attempt.cost)


async def test_copies_of_a_client_are_metered_like_the_client(client: Any, metered: Metered) -> None:
    for copy in (client.with_options(timeout=9), client.copy(), client.with_options(max_retries=0)):
        await settled(copy.images.generate(model=SAM, prompt="a fox"))
        pixelmeter.instrument(copy, metered.meter)
    assert [10_000_000] * 3 == [attempt.cost for attempt in metered.attempts()]


@pytest.mark.parametrize(("retries", "statuses"), [(0, [503]), (1, [503, 503]), (3, [503, 503, 429, 200])])
async def test_every_retry_is_an_attempt_of_one_call(
    retries: int, statuses: list[int], client: Any, metered: Metered
) -> None:
    headers = told(
        {"status": 503, "headers": SOON}, {"status": 503, "headers": SOON}, {"status": 429, "headers": SOON}, {}
    )
    impatient = client.with_options(max_retries=retries)
    with contextlib.nullcontext() if statuses[-1] == 200 else pytest.raises(openai.InternalServerError):
        await settled(impatient.images.generate(model=SAM, prompt="a fox", extra_headers=headers))
    attempts = metered.attempts()
    assert [(status, number) for number, status in enumerate(statuses)] == [
        (attempt.status, attempt.attempt) for attempt in attempts
    ]
    assert {attempts[0].id} == {attempt.call_id for attempt in attempts}


async def test_two_calls_after_another_are_two_calls(client: Any, metered: Metered) -> None:
    headers = told({"status": 429, "headers": SOON}, {})
    for _ in range(2):
        await settled(client.images.generate(model=SAM, prompt="a fox", extra_headers=headers))
    attempts = metered.attempts()
    assert [0, 1, 0, 1] == [attempt.attempt for attempt in attempts]
    assert [attempts[0].id] * 2 + [attempts[2].id] * 2 == [attempt.call_id for attempt in attempts]


async def test_a_timeout_is_at_risk_and_its_retry_is_priced(client: Any, gateway: Gateway, metered: Metered) -> None:
    gateway.tell(hold="before_headers", times=1)
    quick = client.with_options(timeout=httpx2.Timeout(5, read=0.3), max_retries=1)
    await settled(quick.images.generate(model=SAM, prompt="a fox"))
    gateway.release()
    first, second = metered.attempts()
    assert ("timeout", "unknown", None, 10_000_000) == (first.outcome, first.billing, first.cost, first.at_risk)
    assert ("success", 10_000_000, first.id) == (second.outcome, second.cost, second.call_id)
    assert gateway.billed_nano() == (first.at_risk or 0) + (second.cost or 0)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503])
async def test_errors_are_of_the_same_class_with_the_same_body(
    status: int, client: Any, bare: Any, metered: Metered
) -> None:
    errors: list[openai.APIStatusError] = []
    for one in (bare, client):
        with pytest.raises(openai.APIStatusError) as caught:
            impatient = one.with_options(max_retries=0)
            await settled(impatient.images.generate(model=SAM, prompt="a fox", extra_headers=told({"status": status})))
        errors.append(caught.value)
    without, with_meter = errors
    assert type(without) is type(with_meter)
    assert (without.body, without.code, without.type, without.message, str(without)) == (
        with_meter.body,
        with_meter.code,
        with_meter.type,
        with_meter.message,
        str(with_meter),
    )
    attempt = metered.attempt()
    assert (status, with_meter.request_id, with_meter.type) == (attempt.status, attempt.request_id, attempt.error_type)


async def test_a_refused_connection_is_the_same_error_and_costs_nothing(kind: Any, metered: Metered) -> None:
    async with opened(kind(base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0)) as client:
        pixelmeter.instrument(client, metered.meter)
        with pytest.raises(openai.APIConnectionError) as caught:
            await settled(client.images.generate(model=SAM, prompt="a fox"))
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)
    attempt = metered.attempt()
    assert ("error", "ConnectError", "not_billed", "not_sent") == (
        attempt.outcome,
        attempt.error_type,
        attempt.billing,
        attempt.cost_reason,
    )


async def test_files_are_sent_whole_and_read_once(
    client: Any, bare: Any, gateway: Gateway, metered: Metered, tmp_path: Path
) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(b"png" * 1000)
    given = []
    for one in (bare, client):
        first = Counting(b"png" * 100_000)
        await settled(one.images.edit(model=SAM, prompt="a fox", image=[first, path], mask=Counting(b"mask")))
        given.append(first.given)
    assert given[0] == given[1]
    attempt = metered.attempt()
    assert (2, 2, 10_000_000, "edit") == (
        gateway.billing()[1]["input_images"],
        attempt.input_images,
        attempt.cost,
        attempt.operation,
    )
    assert (attempt.request_bytes or 0) > 303_000


async def test_a_variation_is_metered(client: Any, metered: Metered) -> None:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        await settled(client.images.create_variation(model=SAM, image=b"png", n=2, size="512x512"))
    attempt = metered.attempt()
    assert ("variation", SAM, 2, 1, "512x512", 20_000_000) == (
        attempt.operation,
        attempt.model,
        attempt.images,
        attempt.input_images,
        attempt.requested_size,
        attempt.cost,
    )


async def test_a_stream_closed_early_is_at_risk(client: Any, gateway: Gateway, metered: Metered) -> None:
    stream = await streamed(client, gateway, {"gateway": "openai", "chunk": 1000, "hold": 40_000})
    async for event in each(stream):
        assert "image_generation.partial_image" == event.type
        break
    await settled(stream.close())
    gateway.release()
    attempt = metered.attempt()
    assert ("cancelled", "unknown", "outcome_unknown") == (attempt.outcome, attempt.billing, attempt.cost_reason)
    assert attempt.at_risk


async def test_a_stream_that_tells_of_an_error_is_an_error(client: Any, gateway: Gateway, metered: Metered) -> None:
    stream = await streamed(client, gateway, {"gateway": "openai", "stream_error": True})
    with pytest.raises(openai.APIError, match="could not be finished"):
        async for _ in each(stream):
            pass
    attempt = metered.attempt()
    assert ("error", "server_error", "unknown") == (attempt.outcome, attempt.error_type, attempt.billing)


async def test_the_tokens_of_a_stream_are_its_price(client: Any, gateway: Gateway, metered: Metered) -> None:
    stream = await streamed(client, gateway, {"gateway": "openai"})
    events = [event async for event in each(stream)]
    attempt = metered.attempt()
    assert (events[-1].usage.input_tokens, 0, 272 + 200, events[-1].usage.output_tokens) == (
        attempt.input_text_tokens,
        attempt.input_image_tokens,
        attempt.output_image_tokens,
        attempt.output_image_tokens,
    )
    assert (gateway.billed_nano(), "priced", "low", "1024x1024", 1) == (
        attempt.cost,
        attempt.cost_source,
        attempt.quality,
        attempt.size,
        attempt.images,
    )


async def streamed(client: Any, gateway: Gateway, behaviour: dict[str, Any]) -> Any:
    """Start a stream of two partial images and the last one, from the gateway as OpenAI."""
    client = client.with_options(base_url=gateway.url.replace("127.0.0.1", "localhost"))
    return await settled(
        client.images.generate(
            model="gpt-image-2",
            prompt="a red fox",
            quality="low",
            size="1024x1024",
            stream=True,
            partial_images=2,
            extra_headers=told(behaviour),
        )
    )


@pytest.mark.parametrize("kind", [openai.AzureOpenAI, openai.AsyncAzureOpenAI], ids=["sync", "async"])
async def test_a_deployment_of_azure_is_priced_as_the_model_it_runs(
    kind: Any, gateway: Gateway, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = (Path(pixelmeter.__file__).parent / "gateways" / "azure.toml").read_text()
    mine = tmp_path / "azure.toml"
    mine.write_text(profile + '\n[deployments]\nimg-prod = "gpt-image-2"\n')
    monkeypatch.setenv("PIXELMETER_PROFILES", str(mine))
    with pixelmeter.Meter(sqlite_url, gateways={"127.0.0.1:*": "azure"}) as meter:
        azure = kind(azure_endpoint=gateway.root, api_key="k", api_version="2025-04-01-preview")
        async with opened(pixelmeter.instrument(azure, meter)):
            ask = {"model": "img-prod", "prompt": "a red fox", "size": "1024x1024"}
            await settled(azure.images.generate(**ask, quality="low"))
            await settled(azure.images.edit(**ask, image=[b"one", b"two"], quality="high"))
        attempts = Metered(meter).attempts()
    bill = gateway.billing()
    assert "/openai/deployments/img-prod/images/generations" == bill[0]["path"]
    assert [(line["charged_nano"], f"apim-{line['request_id']}", line["operation"]) for line in bill] == [
        (attempt.cost, attempt.request_id, attempt.operation) for attempt in attempts
    ]
    assert [("azure", "img-prod", "gpt-image-2", 0), ("azure", "img-prod", "gpt-image-2", 2)] == [
        (attempt.gateway, attempt.requested_model, attempt.model, attempt.input_images) for attempt in attempts
    ]


@pytest.fixture
def module(gateway: Gateway) -> Iterator[Any]:
    """The module itself as a client, pointed at the gateway."""
    openai.api_key, openai.base_url = "sk-test", f"{gateway.url}/"
    try:
        yield openai
    finally:
        openai.api_key = openai.base_url = openai.http_client = None
        openai._reset_client()


def test_calls_on_the_module_are_metered_through_its_http_client(
    module: Any, gateway: Gateway, metered: Metered
) -> None:
    with openai.DefaultHttpxClient() as http_client:
        module.http_client = pixelmeter.instrument(http_client, metered.meter)
        module.images.generate(model=SAM, prompt="a fox", n=3)
    assert gateway.billed_nano() == metered.attempt().cost == 30_000_000
