"""The openai SDK and a budget that does not let its calls go: no second try, and an error that its users catch."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import httpx2
import openai
import pytest

import pixelmeter
from pixelmeter import BudgetExceeded
from tests.clients import Kit, settled
from tests.drivers.limits import MakeLimited, instrumented
from tests.drivers.wires import BODY, Wire, metered_transport


class Renamed(openai.OpenAI):
    """A class of the user's own."""


SDKS = pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI, Renamed], ids=lambda kind: kind.__name__)


def openai_kit(kind: Any, library: Any) -> Kit:
    return Kit(library, "asyncio" if kind is openai.AsyncOpenAI else "sync")


@SDKS
@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
def test_an_instrumented_openai_client_lets_the_exception_pass_without_a_second_try(
    limited: MakeLimited, kind: Any, library: Any
) -> None:
    kit = openai_kit(kind, library)
    tiny, wire = limited(0), Wire(kit)

    async def scene() -> None:
        http_client = kit.client(transport=wire.transport).raw
        sdk = pixelmeter.instrument(
            kind(base_url="http://mock.test/v1", api_key="k", http_client=http_client), tiny.meter
        )
        with pytest.raises(openai.OpenAIError) as caught:
            await settled(sdk.images.generate(model=BODY["model"], prompt="a fox"))
        assert isinstance(caught.value, BudgetExceeded)
        await settled(sdk.close())

    kit.run(scene())
    assert (["blocked"], []) == (tiny.outcomes(), wire.sent)


@SDKS
@pytest.mark.parametrize("given", ["instrumented", "transport"])
def test_an_openai_client_that_is_given_an_instrumented_one_is_told_by_its_requests(
    limited: MakeLimited, kind: Any, given: str
) -> None:
    kit = openai_kit(kind, httpx2)
    tiny, wire = limited(0), Wire(kit)

    async def scene() -> None:
        if given == "transport":
            client = kit.client(transport=metered_transport(kit, tiny.meter, wire.transport))
        else:
            client = instrumented(kit, tiny, transport=wire.transport)
        sdk = kind(base_url="http://mock.test/v1", api_key="k", http_client=client.raw)
        # Requests of a class with another name look like those of another SDK, which would try an exception again.
        expected: Any = openai.APIStatusError if kind is Renamed else BudgetExceeded
        with pytest.raises(expected) as caught:
            await settled(sdk.images.generate(model=BODY["model"], prompt="a fox"))
        if kind is Renamed:
            assert (402, "budget_exceeded") == (caught.value.status_code, caught.value.type)
        await settled(sdk.close())

    kit.run(scene())
    assert (["blocked"], []) == (tiny.outcomes(), wire.sent)


@SDKS
def test_with_respond_an_openai_client_raises_its_own_error_of_402_without_a_second_try(
    limited: MakeLimited, kind: Any
) -> None:
    kit = openai_kit(kind, httpx2)
    tiny, wire = limited(0, refuse="respond"), Wire(kit)

    async def scene() -> None:
        http_client = kit.client(transport=wire.transport).raw
        sdk = pixelmeter.instrument(
            kind(base_url="http://mock.test/v1", api_key="k", http_client=http_client), tiny.meter
        )
        with pytest.raises(openai.APIStatusError) as caught:
            await settled(sdk.images.generate(model=BODY["model"], prompt="a fox"))
        assert (402, "budget_exceeded", "402") == (caught.value.status_code, caught.value.type, caught.value.code)
        await settled(sdk.close())

    kit.run(scene())
    assert (["blocked"], []) == (tiny.outcomes(), wire.sent)


def test_the_stream_of_an_openai_client_is_refused_before_it_begins(limited: MakeLimited) -> None:
    kit = Kit(httpx2, "asyncio")
    tiny, wire = limited(0), Wire(kit)

    async def scene() -> None:
        http_client = kit.client(transport=wire.transport).raw
        sdk = openai.AsyncOpenAI(base_url="http://mock.test/v1", api_key="k", http_client=http_client)
        pixelmeter.instrument(sdk, tiny.meter)
        with pytest.raises(BudgetExceeded):
            await sdk.images.generate(model=BODY["model"], prompt="a fox", stream=True)
        with pytest.raises(BudgetExceeded):
            async with sdk.images.with_streaming_response.generate(model=BODY["model"], prompt="a fox"):
                raise AssertionError("entered")
        await sdk.close()

    asyncio.run(scene())
    assert [] == wire.sent
