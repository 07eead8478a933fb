"""Hazards of the response object: it is the caller's, and stays what it was."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import pytest

from pixelmeter.meter import intake_of
from pixelmeter.testing import Gateway
from tests.clients import Body, Client, each, seen, timeless
from tests.hazards.pair import MOCK, URLS, Pair, asked, json_headers
from tests.hazards.process import run_python
from tests.kits import on

BILLED = ("success", "billed", 40_000_000, None)


async def test_hazard_01_the_response_looks_the_same_with_the_same_extensions(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        response = await client.send(pair.url, **asked())
        unread = seen(response)
        await pair.kit.read(response)
        return unread, seen(response), client.pool

    await pair.both(scene)
    assert BILLED == pair.settlement()


@on("transports")
async def test_hazard_01_and_06_the_response_is_the_same_object(pair: Pair) -> None:
    made: list[Any] = []

    def answer(_: Any) -> Any:
        made.append(pair.kit.response(200, json_headers(), Body(URLS)))
        return made[-1]

    client = pair.metered(transport=pair.kit.wire(answer))
    response = await client.send(MOCK, **asked())
    assert response is made[0]
    await pair.kit.read(response)
    await client.close()
    assert BILLED == pair.settlement()


@on("extensions")
async def test_hazard_02_request_extensions_reach_the_wire_and_the_trace_is_the_same(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        events: list[str] = []

        def trace(name: str, _: dict[str, Any]) -> None:
            events.append(name)

        async def async_trace(name: str, _: dict[str, Any]) -> None:
            events.append(name)

        extensions = {"trace": async_trace if pair.kit.is_async else trace, "mine": 1}
        response = await client.post(pair.url, extensions=extensions, **asked())
        return events, response.request.extensions["mine"], set(response.request.extensions) - {"pixelmeter"}

    events, _, _ = await pair.both(scene)
    assert "http11.response_closed.complete" in events
    assert BILLED == pair.settlement()


@on("extensions")
async def test_hazard_02_the_request_is_the_same_object_with_the_callers_timeout(pair: Pair) -> None:
    sent: list[Any] = []

    def answer(request: Any) -> Any:
        sent.append(request)
        return pair.kit.package.Response(200, content=URLS)

    client = pair.metered(transport=pair.kit.wire(answer))
    request = client.raw.build_request("POST", MOCK, timeout=3.5, **asked())
    extensions = request.extensions
    response = client.raw.send(request)
    if pair.kit.is_async:
        await response
    assert sent[0] is request
    assert request.extensions is extensions
    assert 3.5 == extensions["timeout"]["read"]
    await client.close()


async def test_hazard_02_and_34_the_callers_timeout_ends_a_request_that_is_held(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        return await client.post(pair.url, timeout=0.1, **asked(hold="before_headers"))

    view = await pair.both(scene)
    assert ("timeout", "unknown", None, 40_000_000) == pair.settlement()
    assert pair.kit.error_behind(view).__name__ == pair.attempt.error_type
    pair.gateway.release()


@on("transports")
async def test_hazard_03_an_answer_that_was_read_before_it_came_to_us_is_recorded(pair: Pair) -> None:
    def handler(_: Any) -> Any:
        return pair.kit.package.Response(200, content=URLS, headers={"content-type": "application/json"})

    async def scene(client: Client) -> object:
        response = await client.post(MOCK, **asked())
        return seen(response), response.json()

    await pair.both(scene, transport=lambda: pair.kit.mock(handler))
    assert BILLED == pair.settlement()
    assert len(URLS) == pair.attempt.response_bytes


@on("transports")
@pytest.mark.parametrize("encoding", [None, "gzip"])
async def test_hazard_03_an_answer_that_an_inner_transport_has_read_is_recorded(
    pair: Pair, encoding: str | None
) -> None:
    """What a cache or a retrying layer does."""

    def reading() -> Any:
        inner = pair.kit.client().raw._transport
        if pair.kit.is_async:

            async def read_async(request: Any) -> Any:
                response = await inner.handle_async_request(request)
                await response.aread()
                return response

            return pair.kit.wire(read_async, inner.aclose)

        def read(request: Any) -> Any:
            response = inner.handle_request(request)
            response.read()
            return response

        return pair.kit.wire(read, inner.close)

    async def scene(client: Client) -> object:
        return seen(await client.post(pair.url, **asked(encoding=encoding)))

    await pair.both(scene, transport=reading)
    assert BILLED == pair.settlement()


@on("transports")
async def test_hazard_03_a_mock_that_streams_is_recorded(pair: Pair) -> None:
    def handler(_: Any) -> Any:
        return pair.kit.response(200, json_headers(), Body(URLS[:10], URLS[10:]))

    async def scene(client: Client) -> object:
        return seen(await client.post(MOCK, **asked()))

    await pair.both(scene, transport=lambda: pair.kit.mock(handler))
    assert BILLED == pair.settlement()


@pytest.mark.slow
@pytest.mark.parametrize("order", ["alias, pixelmeter", "pixelmeter, alias"])
def test_hazard_04_httpx_as_an_alias_of_httpx2_is_metered(gateway: Gateway, order: str, tmp_path: Any) -> None:
    lines = {"alias": "import httpx2; httpx2.alias_httpx()", "pixelmeter": "import pixelmeter"}
    code = "\n".join(lines[word] for word in order.split(", "))
    code += f"""
import httpx
assert httpx.Client is httpx2.Client
from pixelmeter.httpx import MeterTransport
from pixelmeter.testing.capture import capture_calls
meter = pixelmeter.Meter("sqlite:///{tmp_path}/l.db", gateways={{"127.0.0.1:*": "aigateway"}})
with capture_calls() as attempts:
    clients = [pixelmeter.instrument(httpx.Client(), meter), httpx.Client(transport=MeterTransport(meter))]
    for client in clients:
        with client:
            client.post({gateway.url!r} + "/images/generations", json={{"model": "meta/sam-3-1-image", "prompt": "p"}})
print([attempt.outcome for attempt in attempts])
"""
    ended = run_python(code)
    assert ("['success', 'success']\n", "") == (ended.stdout, ended.stderr)


@on("transports")
@pytest.mark.parametrize("wrong", [None, "", "no response"])
async def test_hazard_06_a_wrong_answer_of_an_inner_transport_is_handed_on_as_it_is(pair: Pair, wrong: object) -> None:
    metered = pair.meter_transport(pair.kit.wire(lambda request: wrong))
    request = pair.kit.package.Request("POST", MOCK, json={"model": "m", "prompt": "p"})
    if pair.kit.is_async:
        assert wrong is await metered.handle_async_request(request)
    else:
        assert wrong is metered.handle_request(request)
    assert ("cancelled", "unknown", None, None) == pair.settlement()
    # The one failure that this test wants; the fixture must not see it.
    intake_of(pair.meter).failures._counts.pop("response")


@on("transports")
async def test_hazard_08_the_exception_is_the_same_object_with_nothing_around_it(pair: Pair) -> None:
    library = pair.kit.package
    cause = OSError("reset by peer")
    planted = library.ReadError("broken")
    planted.__cause__ = cause

    def answer(_: Any) -> Any:
        raise planted

    client = pair.metered(transport=pair.kit.wire(answer))
    with pytest.raises(library.ReadError) as caught:
        await client.post(MOCK, **asked())
    assert caught.value is planted
    assert cause is planted.__cause__
    assert planted.request.url == MOCK
    assert planted.__context__ is None
    assert ("error", "unknown", None, 40_000_000) == pair.settlement()


@on("transports")
async def test_hazard_08_an_exception_in_the_body_is_the_same_object(pair: Pair) -> None:
    library = pair.kit.package
    planted = library.ReadError("broken")

    def answer(_: Any) -> Any:
        stream = pair.kit.stream(Body(URLS[:10], planted))
        return library.Response(200, headers=json_headers(), stream=stream)

    client = pair.metered(transport=pair.kit.wire(answer))
    with pytest.raises(library.ReadError) as caught:
        await client.post(MOCK, **asked())
    assert caught.value is planted
    assert ("error", "unknown", None, 40_000_000) == pair.settlement()
    assert (10, 200) == (pair.attempt.response_bytes, pair.attempt.status)


async def test_hazard_08_the_exceptions_of_real_sockets_are_the_same(pair: Pair) -> None:
    for behaviour in (
        {"cut": "before_headers"},
        {"cut": 10},
        {"reset": True},
        {"cut": 10, "reset": True},
        {"body": "truncated", "length_error": 50},
        {"status": 101},
    ):
        pair.attempts.clear()

        async def scene(client: Client, behaviour: dict[str, Any] = behaviour) -> object:
            return pair.kit.status(await client.post(pair.url, **asked(**behaviour)))

        await pair.both(scene)
        assert 1 == len(pair.attempts)


@on("pickles")
async def test_hazard_19_a_read_response_pickles_and_counts_the_same(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        response = await client.post(pair.url, **asked(encoding="gzip"))
        copy = pickle.loads(pickle.dumps(response))
        return (
            seen(response),
            timeless(copy.content),
            copy.num_bytes_downloaded,
            copy.is_closed,
            hasattr(copy, "_elapsed"),
        )

    _, _, downloaded, *_ = await pair.both(scene)
    assert BILLED == pair.settlement()
    assert downloaded == pair.attempt.response_bytes


@pytest.mark.slow
async def test_hazard_17_the_response_dies_when_its_caller_lets_go(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        response = await client.post(pair.url, **asked())
        reference = weakref.ref(response)
        del response
        gc.collect()
        return reference() is None

    assert await pair.both(scene)
    assert BILLED == pair.settlement()


@on("transports")
async def test_hazard_32_an_upgraded_connection_passes_untouched(pair: Pair) -> None:
    library = pair.kit.package
    streams: list[Any] = []

    def answer(_: Any) -> Any:
        streams.append(pair.kit.stream(Body()))
        return library.Response(101, stream=streams[-1], extensions={"network_stream": streams})

    transport = pair.meter_transport(pair.kit.wire(answer))
    request = library.Request("POST", MOCK, json={"model": "m", "prompt": "p"})
    if pair.kit.is_async:
        response = await transport.handle_async_request(request)
    else:
        response = transport.handle_request(request)
    assert response.stream is streams[0]
    assert response.extensions["network_stream"] is streams
    assert 101 == pair.attempt.status


async def test_hazard_32_a_websocket_handshake_is_no_image_call(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        headers = {"connection": "upgrade", "upgrade": "websocket"}
        response = await client.send(pair.url, method="GET", headers=headers)
        await pair.kit.close(response)
        return pair.kit.status(response)

    await pair.both(scene)
    assert [] == pair.attempts


async def test_hazard_33_an_informational_answer_makes_no_second_record(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        response = await client.post(pair.url, **asked(informational=pair.kit.informational))
        return seen(response)

    await pair.both(scene)
    assert BILLED == pair.settlement()


async def test_hazard_33_a_cost_in_a_trailer_is_not_seen_and_not_zero(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        response = await client.post(pair.url, **asked(cost_header=False, trailers={"x-cost-cents": "9"}))
        return seen(response)

    await pair.both(scene)
    assert BILLED == pair.settlement()
    assert ("priced", None) == (pair.attempt.cost_source, pair.attempt.reported_cost)


@on("hooks")
async def test_a_response_hook_may_read_the_body(pair: Pair) -> None:
    kept: list[bytes] = []

    def hook(response: Any) -> None:
        kept.append(response.read())

    async def async_hook(response: Any) -> None:
        kept.append(await response.aread())

    async def scene(client: Client) -> object:
        response = await client.post(pair.url, **asked())
        return timeless(kept.pop()), seen(response)

    await pair.both(scene, event_hooks={"response": [async_hook if pair.kit.is_async else hook]})
    assert BILLED == pair.settlement()


@on("hooks")
async def test_a_response_hook_that_raises_leaves_one_record(pair: Pair) -> None:
    def hook(response: Any) -> None:
        response.raise_for_status()

    async def async_hook(response: Any) -> None:
        response.raise_for_status()

    async def scene(client: Client) -> object:
        return await client.post(pair.url, **asked(status=503))

    hooks = {"response": [async_hook if pair.kit.is_async else hook]}
    [(kind, *_)] = await pair.both(scene, event_hooks=hooks)
    assert pair.kit.package.HTTPStatusError is kind
    assert ("error", "unknown", None, 40_000_000) == pair.settlement()


async def test_text_and_lines_come_out_the_same(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        async with client.stream(pair.url, **asked(chunk=7)) as response:
            return [timeless(line.encode()) async for line in each(pair.kit.lines(response))]

    await pair.both(scene)
    assert BILLED == pair.settlement()
