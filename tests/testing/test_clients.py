"""Real SDKs against the gateway: what they return is what it billed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest
from openai.types import ImageGenCompletedEvent

from pixelmeter.testing import Gateway


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """The OpenAI SDK, pointed at the gateway."""
    with openai.OpenAI(base_url=gateway.url, api_key="sk-test") as sdk:
        yield sdk


def told(**behaviour: Any) -> dict[str, str]:
    return {"x-test-behaviour": json.dumps(behaviour)}


def test_the_sdk_generates(client: openai.OpenAI, gateway: Gateway) -> None:
    raw = client.images.with_raw_response.generate(model="meta/sam-3-1-image", prompt="a fox", n=2)
    images = raw.parse().data or []
    line = gateway.billing()[-1]
    assert (2, "2", 20_000_000) == (len(images), raw.headers["x-cost-cents"], line["charged_nano"])
    assert raw.headers["x-request-id"] == line["request_id"]


def test_the_sdk_edits_with_two_files(client: openai.OpenAI, gateway: Gateway) -> None:
    client.images.edit(model="bria/fibo-edit/edit", prompt="a fox", image=[b"first", b"second"], n=1)
    line = gateway.billing()[-1]
    assert ("edit", "bria/fibo-edit/edit", 2, 42_000_000) == (
        line["operation"],
        line["model"],
        line["input_images"],
        line["charged_nano"],
    )


def test_the_sdk_varies(client: openai.OpenAI, gateway: Gateway) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated"):
        client.images.create_variation(image=b"png", model="meta/sam-3-1-image", n=3)  # pyright: ignore[reportDeprecated]
    assert ("variation", 3) == (gateway.billing()[-1]["operation"], gateway.billing()[-1]["images"])


@pytest.mark.parametrize("pieces", [None, 1, 1000])
def test_the_sdk_streams(client: openai.OpenAI, gateway: Gateway, pieces: int | None) -> None:
    gateway.tell(gateway="openai", chunk=pieces)
    events = list(
        client.images.generate(
            model="gpt-image-2", prompt="a fox", size="64x64", stream=True, partial_images=2, quality="low"
        )
    )
    assert ["image_generation.partial_image"] * 2 + ["image_generation.completed"] == [event.type for event in events]
    completed = events[-1]
    assert isinstance(completed, ImageGenCompletedEvent)
    assert completed.usage.output_tokens * 30_000 + completed.usage.input_tokens * 5_000 == gateway.billed_nano()


def test_a_stream_can_end_in_an_error(client: openai.OpenAI, gateway: Gateway) -> None:
    gateway.tell(stream_error=True)
    with pytest.raises(openai.APIError, match="could not be finished"):
        list(client.images.generate(model="gpt-image-2", prompt="a fox", stream=True, partial_images=1))
    assert [("error", 0)] == [(line["outcome"], line["charged_nano"]) for line in gateway.billing()]


def test_the_sdk_retries_what_the_header_tells_attempt_by_attempt(client: openai.OpenAI, gateway: Gateway) -> None:
    soon = {"retry-after-ms": "1"}
    behaviour = json.dumps([{"status": 429, "headers": soon}, {"status": 503, "headers": soon}, {}])
    client.images.generate(model="gpt-image-2", prompt="a fox", extra_headers={"x-test-behaviour": behaviour})
    assert [(429, 0), (503, 1), (200, 2)] == [(line["status"], line["retry_count"]) for line in gateway.billing()]


def test_the_sdk_does_not_retry_a_budget(client: openai.OpenAI, gateway: Gateway) -> None:
    with pytest.raises(openai.APIStatusError, match="cap reached"):
        client.images.generate(model="gpt-image-2", prompt="a fox", extra_headers=told(status=402))
    assert 1 == len(gateway.billing())


def test_a_job_is_an_answer_without_images(client: openai.OpenAI) -> None:
    assert client.images.generate(model="black-forest-labs/flux-2-flex", prompt="a fox").data is None


def test_the_async_sdk_generates_edits_and_streams(gateway: Gateway) -> None:
    async def run() -> tuple[int, list[str]]:
        async with openai.AsyncOpenAI(base_url=gateway.url, api_key="sk-test") as client:
            made = await asyncio.gather(
                *(client.images.generate(model="meta/sam-3-1-image", prompt="a fox", n=n) for n in range(1, 9))
            )
            await client.images.edit(model="gpt-image-2", prompt="a fox", image=[b"one", b"two"])
            stream = await client.images.generate(model="gpt-image-2", prompt="a fox", stream=True)
            return sum(len(answer.data or []) for answer in made), [event.type async for event in stream]

    assert (36, ["image_generation.completed"]) == asyncio.run(run())
    bill = gateway.billing()
    assert 36 * 10_000_000 == sum(line["charged_nano"] for line in bill if line["model"] == "meta/sam-3-1-image")
    assert [("edit", 2), ("generate", 0)] == [
        (line["operation"], line["input_images"]) for line in bill if line["model"] == "gpt-image-2"
    ]


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_an_answer_of_64_megabytes_is_streamed_without_being_held(gateway: Gateway, library: Any) -> None:
    seen = 0
    headers = told(image_bytes=64_000_000)
    with library.stream(
        "POST", f"{gateway.url}/images/generations", json={"model": "gpt-image-2"}, headers=headers
    ) as answer:
        for data in answer.iter_raw():
            seen += len(data)
    assert int(answer.headers["content-length"]) == seen > 64_000_000
    memory = Path(f"/proc/{gateway.pid}/status")
    if memory.exists():
        peak = int(memory.read_text().partition("VmHWM:")[2].split()[0])
        assert peak < 120_000


def test_the_sdk_reads_an_answer_of_64_megabytes(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        model="gpt-image-2", prompt="a fox", extra_headers=told(image_bytes=64_000_000, gateway="openai")
    )
    assert [64_000_000] == [len(image.b64_json or "") for image in answer.data or []]


def test_a_large_upload_is_taken(client: openai.OpenAI, gateway: Gateway) -> None:
    client.images.edit(model="gpt-image-2", prompt="a fox", image=[bytes(12_000_000), bytes(12_000_000)])
    assert (200, 2) == (gateway.billing()[-1]["status"], gateway.billing()[-1]["input_images"])
