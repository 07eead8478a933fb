"""The openai SDK, sync and async: all it offers around an image call works as without a meter, and is metered."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

import pixelmeter
from pixelmeter.testing import Gateway
from tests.clients import settled
from tests.interop.conftest import Metered
from tests.interop.sdk import SAM, opened, told

pytestmark = pytest.mark.anyio

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


async def test_the_raw_response_is_there_with_its_headers(sdk: Any, gateway: Gateway, metered: Metered) -> None:
    raw = await settled(sdk.images.with_raw_response.generate(model=SAM, prompt="a fox", n=2))
    images = raw.parse().data
    attempt = metered.attempt()
    assert (2, "2", gateway.billing()[0]["request_id"]) == (
        len(images),
        raw.headers["x-cost-cents"],
        raw.headers["x-request-id"],
    )
    assert (2, 20_000_000, raw.headers["x-request-id"]) == (attempt.images, attempt.cost, attempt.request_id)


async def test_a_streamed_response_that_is_read_is_metered(sdk: Any, metered: Metered) -> None:
    manager = sdk.images.with_streaming_response.generate(model=SAM, prompt="a fox", response_format="b64_json")
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
    sdk: Any, metered: Metered
) -> None:
    manager = sdk.images.with_streaming_response.generate(
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


async def test_copies_of_a_client_are_metered_like_the_client(sdk: Any, metered: Metered) -> None:
    for copy in (sdk.with_options(timeout=9), sdk.copy(), sdk.with_options(max_retries=0)):
        await settled(copy.images.generate(model=SAM, prompt="a fox"))
        pixelmeter.instrument(copy, metered.meter)
    assert [10_000_000] * 3 == [attempt.cost for attempt in metered.attempts()]


@pytest.mark.parametrize(("retries", "statuses"), [(0, [503]), (1, [503, 503]), (3, [503, 503, 429, 200])])
async def test_every_retry_is_an_attempt_of_one_call(
    retries: int, statuses: list[int], sdk: Any, metered: Metered
) -> None:
    headers = told(
        {"status": 503, "headers": SOON}, {"status": 503, "headers": SOON}, {"status": 429, "headers": SOON}, {}
    )
    impatient = sdk.with_options(max_retries=retries)
    with contextlib.nullcontext() if statuses[-1] == 200 else pytest.raises(openai.InternalServerError):
        await settled(impatient.images.generate(model=SAM, prompt="a fox", extra_headers=headers))
    attempts = metered.attempts()
    assert [(status, number) for number, status in enumerate(statuses)] == [
        (attempt.status, attempt.attempt) for attempt in attempts
    ]
    assert {attempts[0].id} == {attempt.call_id for attempt in attempts}


async def test_two_calls_after_another_are_two_calls(sdk: Any, metered: Metered) -> None:
    headers = told({"status": 429, "headers": SOON}, {})
    for _ in range(2):
        await settled(sdk.images.generate(model=SAM, prompt="a fox", extra_headers=headers))
    attempts = metered.attempts()
    assert [0, 1, 0, 1] == [attempt.attempt for attempt in attempts]
    assert [attempts[0].id] * 2 + [attempts[2].id] * 2 == [attempt.call_id for attempt in attempts]


async def test_a_timeout_is_at_risk_and_its_retry_is_priced(sdk: Any, gateway: Gateway, metered: Metered) -> None:
    gateway.tell(hold="before_headers", times=1)
    quick = sdk.with_options(timeout=httpx2.Timeout(5, read=0.3), max_retries=1)
    await settled(quick.images.generate(model=SAM, prompt="a fox"))
    gateway.release()
    first, second = metered.attempts()
    assert ("timeout", "unknown", None, 10_000_000) == (first.outcome, first.billing, first.cost, first.at_risk)
    assert ("success", 10_000_000, first.id) == (second.outcome, second.cost, second.call_id)
    assert gateway.billed_nano() == (first.at_risk or 0) + (second.cost or 0)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503])
async def test_errors_are_of_the_same_class_with_the_same_body(
    status: int, sdk: Any, bare_sdk: Any, metered: Metered
) -> None:
    errors: list[openai.APIStatusError] = []
    for one in (bare_sdk, sdk):
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


async def test_a_refused_connection_is_the_same_error_and_costs_nothing(sdk_kind: Any, metered: Metered) -> None:
    async with opened(sdk_kind(base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0)) as sdk:
        pixelmeter.instrument(sdk, metered.meter)
        with pytest.raises(openai.APIConnectionError) as caught:
            await settled(sdk.images.generate(model=SAM, prompt="a fox"))
    assert isinstance(caught.value.__cause__, httpx2.ConnectError)
    attempt = metered.attempt()
    assert ("error", "ConnectError", "not_billed", "not_sent") == (
        attempt.outcome,
        attempt.error_type,
        attempt.billing,
        attempt.cost_reason,
    )


async def test_files_are_sent_whole_and_read_once(
    sdk: Any, bare_sdk: Any, gateway: Gateway, metered: Metered, tmp_path: Path
) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(b"png" * 1000)
    given = []
    for one in (bare_sdk, sdk):
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


async def test_a_variation_is_metered(sdk: Any, metered: Metered) -> None:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        await settled(sdk.images.create_variation(model=SAM, image=b"png", n=2, size="512x512"))
    attempt = metered.attempt()
    assert ("variation", SAM, 2, 1, "512x512", 20_000_000) == (
        attempt.operation,
        attempt.model,
        attempt.images,
        attempt.input_images,
        attempt.requested_size,
        attempt.cost,
    )
