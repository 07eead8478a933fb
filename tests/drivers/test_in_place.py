"""A client looks the same after it was instrumented, and whatever else is done to it works as it did."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import httpx2
import openai
import pytest
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_httpx import HTTPXMock

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from tests.clients import Client, Kit, failure, settled
from tests.drivers.wires import ANSWER, BODY, URL, Wire, numbers, posted, wrapping


def looks(thing: object) -> dict[str, Any]:
    """Return what can be seen of an object."""
    return {
        "class": (type(thing), thing.__class__),
        "repr": repr(thing),
        # Python itself adds the one when an object is copied for the first time.
        "names": sorted(set(dir(thing)) - {"__slotnames__"}),
        "attributes": {name: value for name, value in vars(thing).items() if name != "_send_single_request"},
        "hash": hash(thing),
        "pickle": outcome(lambda: len(pickle.dumps(thing))),
        "copy": outcome(lambda: type(copy.copy(thing))),
        "deep copy": outcome(lambda: type(copy.deepcopy(thing))),
    }


def outcome(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except Exception as error:
        return failure(error)


def test_a_client_and_all_that_it_has_look_the_same(kit: Kit, meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    client = kit.client(mounts={"http://mock.test": Wire(kit).transport, "http://bare.test": None}).raw
    transports = [client._transport, *client._mounts.values()]
    parts = [client, *(transport for transport in transports if transport is not None)]
    before = [looks(part) for part in parts]
    pixelmeter.instrument(client, meter)
    assert before == [looks(part) for part in parts]
    assert all(
        one is other for one, other in zip(transports, [client._transport, *client._mounts.values()], strict=True)
    )
    assert all(vars(part) == look["attributes"] for part, look in zip(parts[1:], before[1:], strict=True))
    kit.run(settled(client.aclose() if kit.is_async else client.close()))


def test_its_method_looks_the_same(kit: Kit, meter: Meter) -> None:
    client = kit.client().raw
    before = client._send_single_request
    pixelmeter.instrument(client, meter)
    after = client._send_single_request
    assert (repr(before), before.__name__, before.__doc__, before.__func__, client) == (
        repr(after),
        after.__name__,
        after.__doc__ or before.__doc__,
        after.__func__,
        after.__self__,
    )
    kit.run(settled(client.aclose() if kit.is_async else client.close()))


def answer(request: Any) -> Any:
    """Answer as the gateway does; a function that can be pickled."""
    library: Any = httpx if isinstance(request, httpx.Request) else httpx2
    return library.Response(200, content=ANSWER, headers={"content-type": "application/json"})


def test_a_copy_is_metered_as_well(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    async def scene() -> None:
        client = kit.client(transport=kit.mock(answer))
        pixelmeter.instrument(client.raw, meter)
        again = Client(kit, copy.copy(client.raw))
        for each in (client, again, client):
            assert 200 == (await posted(each)).status_code

    kit.run(scene())
    assert 3 == len(attempts)


def test_a_copy_of_a_transport_below_a_wrapper_sends_by_itself(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    """What is looked at below a retrying transport is a transport of the user's."""
    inner = kit.mock(answer)
    before = looks(inner)

    async def scene() -> None:
        client = kit.client(transport=wrapping(kit, inner, lambda request, handle: handle(request)))
        pixelmeter.instrument(client.raw, meter)
        again = copy.deepcopy(inner)
        again.handler = lambda _: kit.package.Response(503)
        loaded = pickle.loads(pickle.dumps(inner))
        assert [503, 200] == [(await posted(kit.client(transport=each))).status_code for each in (again, loaded)]
        assert [] == attempts
        assert 200 == (await posted(client)).status_code

    kit.run(scene())
    after = looks(inner)
    assert {name: before[name] for name in ("class", "repr", "names", "hash")} == {
        name: after[name] for name in ("class", "repr", "names", "hash")
    }
    assert [(0, "success")] == numbers(attempts)


def closed_transports(kit: Kit) -> dict[str, Any]:
    """Return transports whose attributes cannot be set."""
    handle = "handle_async_request" if kit.is_async else "handle_request"

    async def respond_async(_: Any, request: Any) -> Any:
        return answer(request)

    async def closing(_: Any) -> None:
        pass

    methods = {
        handle: respond_async if kit.is_async else lambda _, request: answer(request),
        "aclose" if kit.is_async else "close": closing if kit.is_async else lambda _: None,
    }
    frozen: Any = dataclass(frozen=True)(type("Frozen", (), dict(methods)))
    return {"slots": type("Slots", (), {"__slots__": (), **methods})(), "frozen": frozen()}


@pytest.mark.parametrize("kind", ["slots", "frozen"])
@pytest.mark.parametrize("below", [False, True], ids=["its transport", "below it"])
def test_a_transport_whose_attributes_cannot_be_set_is_no_hindrance(
    kind: str, below: bool, kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    transport = closed_transports(kit)[kind]
    if below:
        transport = wrapping(kit, transport, lambda request, handle: handle(request))

    async def scene() -> None:
        client = kit.client(transport=transport)
        pixelmeter.instrument(client.raw, meter)
        assert 200 == (await posted(client)).status_code
        await client.close()

    kit.run(scene())
    assert [(0, "success")] == numbers(attempts)


@pytest.mark.parametrize("below", [False, True], ids=["its transport", "below it"])
def test_a_later_patch_of_the_transports_class_is_passed(
    below: bool, kit: Kit, meter: Meter, attempts: list[Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = kit.client().raw._transport
    seen: list[Any] = []

    def patched(transport: Any, request: Any) -> Any:
        seen.append(transport)
        return answer(request)

    async def patched_async(transport: Any, request: Any) -> Any:
        return patched(transport, request)

    async def scene() -> None:
        given = wrapping(kit, transport, lambda request, handle: handle(request)) if below else transport
        client = kit.client(transport=given)
        pixelmeter.instrument(client.raw, meter)
        with monkeypatch.context() as patch:
            name = "handle_async_request" if kit.is_async else "handle_request"
            patch.setattr(type(transport), name, patched_async if kit.is_async else patched)
            assert 200 == (await posted(client)).status_code
        with pytest.raises(kit.package.ConnectError):
            await settled(client.raw.post("http://127.0.0.1:1/v1/images/generations", json=BODY))
        await client.close()

    kit.run(scene())
    assert [transport] == seen
    assert ["success", "error"] == [attempt.outcome for attempt in attempts]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kit", [Kit(httpx, "sync"), Kit(httpx, "asyncio")], ids=str)
def test_pytest_httpx_answers_and_is_recorded(
    when: str, kit: Kit, meter: Meter, attempts: list[Attempt], request: pytest.FixtureRequest
) -> None:
    async def scene() -> None:
        client = kit.client()
        if when == "before":
            pixelmeter.instrument(client.raw, meter)
        mock: HTTPXMock = request.getfixturevalue("httpx_mock")
        mock.add_response(url=URL, json={"data": [{"url": "https://media.test/1.png"}]})
        pixelmeter.instrument(client.raw, meter)
        response = await posted(client)
        assert 1 == len(response.json()["data"])
        assert 1 == len(mock.get_requests())
        await client.close()

    kit.run(scene())
    assert [(0, "success")] == numbers(attempts)


@pytest.mark.parametrize("order", ["ours, theirs, not theirs", "theirs, ours, not theirs", "theirs, not theirs, ours"])
@pytest.mark.parametrize("whole", [False, True], ids=["the client", "the library"])
def test_opentelemetry_comes_and_goes_in_any_order(
    order: str, whole: bool, kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor: Any = (HTTPXClientInstrumentor if kit.package is httpx else HTTPX2ClientInstrumentor)()
    transport = kit.client().raw._transport

    async def scene() -> None:
        client = kit.client(transport=transport)
        turn_on = partial(instrumentor.instrument_client, client.raw)
        turn_off = partial(instrumentor.uninstrument_client, client.raw)
        steps = {
            "ours": partial(pixelmeter.instrument, client.raw, meter),
            "theirs": partial(instrumentor.instrument if whole else turn_on, tracer_provider=provider),
            "not theirs": instrumentor.uninstrument if whole else turn_off,
        }
        done: list[str] = []
        for step in order.split(", "):
            steps[step]()
            done.append(step)
            exporter.clear()
            attempts.clear()
            with pytest.raises(kit.package.ConnectError):
                await settled(client.raw.post("http://127.0.0.1:1/v1/images/generations", json=BODY))
            assert ("ours" in done) is (len(attempts) == 1)
            assert ("theirs" in done and "not theirs" not in done) is (len(exporter.get_finished_spans()) == 1)
        await client.close()

    kit.run(scene())


def test_a_patch_of_the_client_over_ours_and_its_removal_are_passed(
    kit: Kit, meter: Meter, attempts: list[Attempt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What vcrpy does to the class, and a test to its client."""
    calls: list[str] = []

    async def scene() -> None:
        client = kit.client(transport=kit.mock(answer))
        pixelmeter.instrument(client.raw, meter)
        ours = client.raw._send_single_request
        kind = type(client.raw)
        original = kind._send_single_request

        def over_the_class(client: Any, request: Any) -> Any:
            calls.append("class")
            return original(client, request)

        def over_the_client(request: Any) -> Any:
            calls.append("client")
            return ours(request)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "_send_single_request", over_the_class)
            patch.setattr(client.raw, "_send_single_request", over_the_client)
            await posted(client)
        await posted(client)

    kit.run(scene())
    assert ["client", "class"] == calls
    assert 2 == len(attempts)


def test_a_transport_that_is_put_in_later_is_metered(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    async def scene() -> None:
        client = kit.client()
        pixelmeter.instrument(client.raw, meter)
        await client.close()
        client = kit.client()
        pixelmeter.instrument(client.raw, meter)
        before = client.raw._transport
        client.raw._transport = kit.mock(answer)
        await posted(client)
        await settled(before.aclose() if kit.is_async else before.close())

    kit.run(scene())
    assert [(0, "success")] == numbers(attempts)


def test_a_client_of_an_sdks_own_class_stays_of_it(meter: Meter, attempts: list[Attempt]) -> None:
    with openai.OpenAI(api_key="k", base_url="http://mock.test/v1") as sdk:
        sdk._client._transport = httpx2.MockTransport(answer)
        before = type(sdk._client)
        pixelmeter.instrument(sdk, meter)
        assert before is type(sdk._client)
        sdk.images.generate(model=BODY["model"], prompt="a fox")
        sdk.with_options(max_retries=0).images.generate(model=BODY["model"], prompt="a fox")
    assert 2 == len(attempts)


def test_what_the_client_refuses_to_send_is_no_attempt(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    """A stream of the other colour."""

    class Wrong(kit.package.SyncByteStream if kit.is_async else kit.package.AsyncByteStream):  # type: ignore[misc]
        pass

    async def scene() -> None:
        client = kit.client(transport=kit.mock(answer))
        pixelmeter.instrument(client.raw, meter)
        with pytest.raises(RuntimeError, match="Attempted to send"):
            await settled(client.raw.send(kit.package.Request("POST", URL, stream=Wrong())))

    kit.run(scene())
    assert [] == attempts
