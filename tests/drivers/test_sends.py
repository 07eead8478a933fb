"""Each send is an attempt with a row of its own, and what is wrapped around a send is none."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.instrumentor import PixelmeterInstrumentor
from tests.clients import Client, Kit, settled
from tests.drivers.wires import BODY, URL, Gate, Wire, handle_of, metered_transport, numbers, posted, wrapping

TEN = 10


def gated(kit: Kit, wire: Wire, gate: Gate) -> Any:
    """Return a transport that answers once all of them are under way."""
    if kit.is_async:

        async def answer_async(request: Any) -> Any:
            await gate.passed()
            return wire.answer(request)

        return kit.wire(answer_async)

    def answer(request: Any) -> Any:
        kit.run(gate.passed())
        return wire.answer(request)

    return kit.wire(answer)


async def sent(client: Client, request: Any) -> None:
    response = await settled(client.raw.send(request))
    assert 200 == response.status_code


def test_one_request_object_sent_ten_times_at_once_is_ten_attempts(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit)

    async def scene() -> None:
        client = kit.client(transport=gated(kit, wire, Gate(kit, TEN)))
        pixelmeter.instrument(client.raw, meter)
        request = client.raw.build_request("POST", URL, json=BODY)
        await kit.together([lambda: sent(client, request)] * TEN)
        await client.close()

    kit.run(scene())
    assert TEN == len(wire.sent)
    assert [(number, "success") for number in range(TEN)] == numbers(attempts)
    assert TEN == len({attempt.id for attempt in attempts})


def test_one_request_object_sent_at_once_by_two_clients_is_an_attempt_of_each(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    """Hedging: whichever answers first wins, and both are billed."""
    wire, gate = Wire(kit), Gate(kit, 2)

    async def scene() -> None:
        clients = [kit.client(transport=gated(kit, wire, gate)) for _ in range(2)]
        request = clients[0].raw.build_request("POST", URL, json=BODY)
        for client in clients:
            pixelmeter.instrument(client.raw, meter)
        await kit.together([lambda client=client: sent(client, request) for client in clients])  # type: ignore[misc]
        for client in clients:
            await client.close()

    kit.run(scene())
    assert [(0, "success"), (1, "success")] == numbers(attempts)


def test_one_request_object_sent_again_and_again_is_one_call(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    wire = Wire(kit, 503, 503, 200)

    async def scene() -> None:
        client = kit.client(transport=wire.transport)
        pixelmeter.instrument(client.raw, meter)
        request = client.raw.build_request("POST", URL, json=BODY)
        for _ in range(3):
            await settled(client.raw.send(request))
        await client.close()

    kit.run(scene())
    assert [(0, "error"), (1, "error"), (2, "success")] == numbers(attempts)


def test_copies_of_a_request_that_follow_it_go_on_with_its_call_also_when_sent_at_once(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    """Redirects of two sends of one request: four attempts, four numbers."""
    gate = Gate(kit, 2)

    def redirected(request: Any) -> Any:
        if request.url.path.startswith("/v1"):
            return kit.package.Response(307, headers={"location": "/v2/images/generations"})
        return Wire(kit).answer(request)

    async def scene() -> None:
        async def held_async(request: Any) -> Any:
            if request.url.path.startswith("/v1"):
                await gate.passed()
            return redirected(request)

        def held(request: Any) -> Any:
            if request.url.path.startswith("/v1"):
                kit.run(gate.passed())
            return redirected(request)

        transport = kit.wire(held_async if kit.is_async else held)
        client = kit.client(transport=transport, follow_redirects=True)
        pixelmeter.instrument(client.raw, meter)
        request = client.raw.build_request("POST", URL, json=BODY)
        await kit.together([lambda: sent(client, request)] * 2)
        await client.close()

    kit.run(scene())
    assert [0, 1, 2, 3] == [number for number, _ in numbers(attempts)]
    assert {BODY["model"]} == {attempt.requested_model for attempt in attempts}


@pytest.mark.parametrize("layers", ["client, transport", "client, client", "transport, transport", "all"])
def test_layers_of_ours_around_each_other_make_one_attempt(
    layers: str, kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit)

    async def scene() -> None:
        transport = wire.transport
        inner: Client | None = None
        if layers in ("client, transport", "transport, transport", "all"):
            transport = metered_transport(kit, meter, transport)
        if layers in ("transport, transport", "all"):
            transport = metered_transport(kit, meter, transport)
        if layers in ("client, client", "all"):
            inner = kit.client(transport=transport)
            pixelmeter.instrument(inner.raw, meter)
            transport = through(kit, inner)
        client = kit.client(transport=transport)
        pixelmeter.instrument(client.raw, meter)
        assert 200 == (await posted(client)).status_code
        await client.close()
        if inner is not None:
            await inner.close()

    kit.run(scene())
    assert [(0, "success")] == numbers(attempts)
    assert 1 == len(wire.sent)


def through(kit: Kit, client: Client) -> Any:
    """Return a transport that sends with another client, a request of its own."""

    def send(request: Any) -> Any:
        rebuilt = client.raw.build_request(
            request.method, request.url, headers=dict(request.headers), content=request.content
        )
        return client.raw.send(rebuilt, stream=True)

    transport = kit.wire(send)
    transport.client = client.raw
    return transport


def test_a_client_over_another_one_is_one_attempt_where_all_clients_are_metered(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    """Zero code: the inner client is made anew for each request, so nothing holds it."""
    wire = Wire(kit)
    instrumentor = PixelmeterInstrumentor()
    instrumentor.instrument(meter=meter)

    async def scene() -> None:
        if kit.is_async:

            async def send_async(request: Any) -> Any:
                inner = kit.client(transport=wire.transport).raw
                return await inner.post(str(request.url), headers=dict(request.headers), content=request.content)

            transport = kit.wire(send_async)
        else:

            def send(request: Any) -> Any:
                inner = kit.client(transport=wire.transport).raw
                return inner.post(str(request.url), headers=dict(request.headers), content=request.content)

            transport = kit.wire(send)
        client = kit.client(transport=transport)
        assert 200 == (await posted(client)).status_code
        await client.close()

    try:
        kit.run(scene())
    finally:
        instrumentor.uninstrument()
    assert [(0, "success")] == numbers(attempts)


@pytest.mark.parametrize("copied", [True, False], ids=["with the context", "without"])
def test_a_transport_that_hops_to_another_thread_is_one_attempt(
    copied: bool, meter: Meter, attempts: list[Attempt]
) -> None:
    kit = Kit(httpx, "sync")
    wire = Wire(kit)
    client = kit.client(transport=hopping(kit, metered_transport(kit, meter, wire.transport), copied=copied))
    pixelmeter.instrument(client.raw, meter)
    for _ in range(3):
        client.raw.post(URL, json=BODY)
    client.raw.close()
    assert (3, 3) == (len(wire.sent), len(attempts))
    assert 3 == len({attempt.call_id for attempt in attempts})


def hopping(kit: Kit, inner: Any, *, copied: bool) -> Any:
    """Return a transport that sends in a thread."""

    def send(request: Any, handle: Any) -> Any:
        run = contextvars.copy_context().run if copied else contextvars.Context().run
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(run, handle, request).result()

    return wrapping(kit, inner, send)


@pytest.mark.parametrize("copied", [True, False], ids=["with the context", "without"])
def test_one_request_sent_at_once_through_a_transport_that_hops_is_as_many_attempts(
    copied: bool, meter: Meter, attempts: list[Attempt]
) -> None:
    kit = Kit(httpx, "sync")
    wire = Wire(kit)
    transport = hopping(kit, metered_transport(kit, meter, gated(kit, wire, Gate(kit, TEN))), copied=copied)
    client = kit.client(transport=transport)
    pixelmeter.instrument(client.raw, meter)
    request = client.raw.build_request("POST", URL, json=BODY)
    kit.run(kit.together([lambda: sent(client, request)] * TEN))
    client.raw.close()
    assert TEN == len(wire.sent)
    assert [(number, "success") for number in range(TEN)] == numbers(attempts)


def test_an_async_transport_that_sends_in_a_worker_thread_is_one_attempt(meter: Meter, attempts: list[Attempt]) -> None:
    sync = Kit(httpx, "sync")
    wire = Wire(sync)

    class Threaded(httpx.AsyncBaseTransport):
        def __init__(self) -> None:
            self.inner = metered_transport(sync, meter, wire.transport)

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await anyio.to_thread.run_sync(self.inner.handle_request, request)
            return httpx.Response(response.status_code, content=response.read())

    async def scene() -> None:
        async with httpx.AsyncClient(transport=Threaded()) as client:
            pixelmeter.instrument(client, meter)
            await client.post(URL, json=BODY)

    asyncio.run(scene())
    assert [(0, "success")] == numbers(attempts)


def test_tasks_of_a_group_that_send_at_once_are_calls_of_their_own(meter: Meter, attempts: list[Attempt]) -> None:
    kit = Kit(httpx, "asyncio")
    wire = Wire(kit)

    async def scene() -> None:
        async with httpx.AsyncClient(transport=gated(kit, wire, Gate(kit, TEN))) as client:
            pixelmeter.instrument(client, meter)
            async with anyio.create_task_group() as group:
                for _ in range(TEN):
                    group.start_soon(lambda: posted(Client(kit, client)))

    asyncio.run(scene())
    assert TEN == len(attempts) == len({attempt.call_id for attempt in attempts})


def test_a_transport_that_sends_to_two_places_at_once_makes_two_attempts_of_a_call(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    """The first answer is handed on; the other one is billed as well."""
    wire, gate = Wire(kit), Gate(kit, 2)
    places = [gated(kit, wire, gate), gated(kit, wire, gate)]

    async def both(request: Any) -> Any:
        makers = [lambda place=place: settled(handle_of(kit, place)(request)) for place in transport.places]
        answers = await kit.together(makers)
        await kit.close(answers[1])
        return answers[0]

    def both_in_threads(request: Any) -> Any:
        handles = [handle_of(kit, place) for place in transport.places]
        contexts = [contextvars.copy_context() for _ in handles]
        with ThreadPoolExecutor(2) as pool:
            waiting = [
                pool.submit(context.run, handle, request) for context, handle in zip(contexts, handles, strict=True)
            ]
            answers = [each.result() for each in waiting]
        answers[1].close()
        return answers[0]

    transport = kit.wire(both if kit.is_async else both_in_threads)
    transport.places = places

    async def scene() -> None:
        client = kit.client(transport=transport)
        pixelmeter.instrument(client.raw, meter)
        assert 200 == (await posted(client)).status_code
        await client.close()

    kit.run(scene())
    assert 2 == len(wire.sent)
    assert [0, 1] == [number for number, _ in numbers(attempts)]
    assert {"success", "cancelled"} == {attempt.outcome for attempt in attempts}


def test_another_image_call_in_the_middle_of_a_send_is_a_call_of_its_own(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    """A transport that asks for another picture with a client that it does not hold."""
    sync = Kit(kit.package, "sync")
    wire, other = Wire(kit), Wire(sync)
    asking = sync.client(transport=other.transport)
    pixelmeter.instrument(asking.raw, meter)

    def answer(request: Any) -> Any:
        asking.raw.post(URL, json={"model": "black-forest-labs/flux-2-klein-9b", "prompt": "another"})
        return wire.answer(request)

    async def scene() -> None:
        client = kit.client(transport=kit.wire(answer))
        pixelmeter.instrument(client.raw, meter)
        await posted(client)
        await client.close()

    kit.run(scene())
    asking.raw.close()
    assert 2 == len({attempt.call_id for attempt in attempts})
    assert {"black-forest-labs/flux-2-klein-9b": "success", BODY["model"]: "success"} == {
        attempt.requested_model: attempt.outcome for attempt in attempts
    }


def test_a_client_that_is_not_metered_stays_so_when_it_shares_a_transport(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit)
    shared = wrapping(kit, wire.transport, lambda request, handle: handle(request))

    async def scene() -> None:
        metered, bare = kit.client(transport=shared), kit.client(transport=shared)
        pixelmeter.instrument(metered.raw, meter)
        await posted(metered)
        await posted(bare)
        await metered.close()
        await bare.close()

    kit.run(scene())
    assert (2, 1) == (len(wire.sent), len(attempts))


def test_two_metered_clients_that_share_a_transport_make_an_attempt_for_each_send(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit)
    shared = wrapping(kit, wire.transport, lambda request, handle: handle(request))

    async def scene() -> None:
        clients = [kit.client(transport=shared) for _ in range(2)]
        for client in clients:
            pixelmeter.instrument(client.raw, meter)
        for client in clients:
            await posted(client)
            await client.close()

    kit.run(scene())
    assert 2 == len(attempts) == len({attempt.call_id for attempt in attempts})


def test_a_thread_that_was_started_in_the_middle_of_a_send_makes_calls_of_its_own(
    meter: Meter, attempts: list[Attempt]
) -> None:
    """It keeps the context in which it was started, long after the send is over."""
    kit = Kit(httpx, "sync")
    over = threading.Event()
    later: list[threading.Thread] = []
    wire = Wire(kit)

    def answered(request: Any) -> Any:
        if not later:
            context = contextvars.copy_context()
            later.append(threading.Thread(target=context.run, args=(post_later,)))
            later[0].start()
        return wire.answer(request)

    def post_later() -> None:
        over.wait(60)
        client.raw.post(URL, json=BODY)

    client = kit.client(transport=kit.wire(answered))
    pixelmeter.instrument(client.raw, meter)
    client.raw.post(URL, json=BODY)
    over.set()
    later[0].join()
    client.raw.close()
    assert 2 == len(attempts) == len({attempt.call_id for attempt in attempts})
