"""Image streams of the openai SDK, sync and async: read to the end, left early, and ended by an error."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from pixelmeter.testing import Gateway
from tests.clients import each, settled
from tests.interop.conftest import Metered
from tests.interop.sdk import told

pytestmark = pytest.mark.anyio


async def test_a_stream_closed_early_is_at_risk(sdk: Any, gateway: Gateway, metered: Metered) -> None:
    stream = await streamed(sdk, gateway, {"gateway": "openai", "chunk": 1000, "hold": 40_000})
    async for event in each(stream):
        assert "image_generation.partial_image" == event.type
        break
    await settled(stream.close())
    gateway.release()
    attempt = metered.attempt()
    assert ("cancelled", "unknown", "outcome_unknown") == (attempt.outcome, attempt.billing, attempt.cost_reason)
    assert attempt.at_risk


async def test_a_stream_that_tells_of_an_error_is_an_error(sdk: Any, gateway: Gateway, metered: Metered) -> None:
    stream = await streamed(sdk, gateway, {"gateway": "openai", "stream_error": True})
    with pytest.raises(openai.APIError, match="could not be finished"):
        async for _ in each(stream):
            pass
    attempt = metered.attempt()
    assert ("error", "server_error", "unknown") == (attempt.outcome, attempt.error_type, attempt.billing)


async def test_the_tokens_of_a_stream_are_its_price(sdk: Any, gateway: Gateway, metered: Metered) -> None:
    stream = await streamed(sdk, gateway, {"gateway": "openai"})
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


async def streamed(sdk: Any, gateway: Gateway, behaviour: dict[str, Any]) -> Any:
    """Start a stream of two partial images and the last one, from the gateway as OpenAI."""
    sdk = sdk.with_options(base_url=gateway.url.replace("127.0.0.1", "localhost"))
    return await settled(
        sdk.images.generate(
            model="gpt-image-2",
            prompt="a red fox",
            quality="low",
            size="1024x1024",
            stream=True,
            partial_images=2,
            extra_headers=told(behaviour),
        )
    )
