"""Hazards of being cancelled: what was sent may be billed, and the cancellation is the caller's."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from contextlib import aclosing
from contextvars import copy_context
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx2
import pytest

import pixelmeter
from tests.clients import TRIO, Body, Client, Kit, each, settled
from tests.hazards.pair import MOCK, URLS, Pair, asked, json_headers
from tests.kits import having, on

ASYNC = having(colour="asyncio")
UNKNOWN = ("cancelled", "unknown", None, 40_000_000)
HELD = [{"hold": "before_headers"}, {"hold": 20, "cost_header": False}]

every_loop = pytest.mark.parametrize("kit", [*ASYNC, *TRIO], ids=str)
asyncio_only = pytest.mark.parametrize("kit", ASYNC, ids=str)


async def reading(client: Client, pair: Pair, behaviour: dict[str, Any], begun: Callable[[], None]) -> None:
    """Read an answer to its end; `begun` is called with the first chunk."""
    async with client.stream(pair.url, **asked(**behaviour)) as response:
        async for _ in each(pair.kit.raw(response)):
            begun()


async def cancelled_by_scope(client: Client, pair: Pair, behaviour: dict[str, Any]) -> bool:
    """Cancel a call while the gateway holds it, and return whether the scope took the cancellation."""
    begun = anyio.Event()
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def run() -> None:
            with scope:
                await reading(client, pair, behaviour, begun.set)

        group.start_soon(run)
        await anyio.to_thread.run_sync(pair.gateway.wait_held, 1)
        if behaviour["hold"] != "before_headers":
            await begun.wait()
        scope.cancel()
    pair.gateway.release()
    return scope.cancelled_caught


@every_loop
@pytest.mark.parametrize("behaviour", HELD, ids=["before headers", "in the body"])
async def test_hazard_09_a_cancelled_call_is_recorded_and_the_scope_ends(pair: Pair, behaviour: dict[str, Any]) -> None:
    async def scene(client: Client) -> object:
        return await cancelled_by_scope(client, pair, behaviour), client.pool

    caught, _ = await pair.both(scene)
    assert caught
    assert UNKNOWN == pair.settlement()
    assert (None if behaviour["hold"] == "before_headers" else 200) == pair.attempt.status


@asyncio_only
@pytest.mark.parametrize("behaviour", HELD, ids=["before headers", "in the body"])
async def test_hazard_09_a_cancelled_task_is_cancelled(pair: Pair, behaviour: dict[str, Any]) -> None:
    async def scene(client: Client) -> object:
        begun = asyncio.Event()
        task = asyncio.create_task(reading(client, pair, behaviour, begun.set))
        await asyncio.to_thread(pair.gateway.wait_held, 1)
        if behaviour["hold"] != "before_headers":
            await begun.wait()
        task.cancel("mine")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        pair.gateway.release()
        return caught.value.args, task.cancelled(), client.pool

    await pair.both(scene)
    assert UNKNOWN == pair.settlement()


@asyncio_only
async def test_hazard_09_a_timeout_around_the_call_is_the_callers(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.post(pair.url, **asked(hold="before_headers")), 0.1)
        pair.gateway.release()
        return client.pool

    await pair.both(scene)
    assert UNKNOWN == pair.settlement()


@on("transports")
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("where", ["before headers", "in the body"])
async def test_hazard_09_what_is_no_exception_goes_through_and_is_recorded(
    pair: Pair, kind: type[BaseException], where: str
) -> None:
    planted = kind()

    def answer(_: Any) -> Any:
        if where == "before headers":
            raise planted
        return pair.kit.response(200, json_headers(), Body(URLS[:20], planted))

    client = pair.metered(transport=pair.kit.wire(answer))
    caught: list[BaseException] = []
    try:
        await client.post(MOCK, **asked())
    except BaseException as error:
        caught.append(error)
    assert [planted] == caught
    assert UNKNOWN == pair.settlement()
    await client.close()


@asyncio_only
async def test_hazard_11_a_stream_may_be_closed_in_another_task_and_context(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        async def opened() -> tuple[Any, Any]:
            with pixelmeter.tags(team="growth"):
                response = await client.send(pair.url, **asked(hold=20, cost_header=False))
                chunks = pair.kit.raw(response)
                await anext(chunks)
                return response, chunks

        response, chunks = await asyncio.create_task(opened(), context=copy_context())
        await asyncio.create_task(chunks.aclose())
        await asyncio.create_task(pair.kit.close(response))
        pair.gateway.release()
        return client.pool

    await pair.both(scene)
    assert UNKNOWN == pair.settlement()
    assert '{"team":"growth"}' == pair.attempt.tags


@asyncio_only
async def test_hazard_11_tags_in_a_generator_that_is_closed_elsewhere_do_not_raise(pair: Pair) -> None:
    client = pair.metered()

    async def tagged() -> Any:
        with pixelmeter.tags(team="growth"):
            async with client.stream(pair.url, **asked()) as response:
                async for chunk in each(pair.kit.raw(response)):
                    yield chunk

    generator = tagged()
    await asyncio.create_task(anext(generator), context=copy_context())
    await asyncio.create_task(generator.aclose(), context=copy_context())
    await client.close()
    assert '{"team":"growth"}' == pair.attempt.tags


@asyncio_only
@pytest.mark.parametrize("behaviour", HELD, ids=["before headers", "in the body"])
async def test_hazard_12_cancelling_twice_leaves_no_more_connections_than_bare(
    pair: Pair, behaviour: dict[str, Any]
) -> None:
    async def scene(client: Client) -> object:
        begun = asyncio.Event()
        task = asyncio.create_task(reading(client, pair, behaviour, begun.set))
        await asyncio.to_thread(pair.gateway.wait_held, 1)
        if behaviour["hold"] != "before_headers":
            await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        pair.gateway.release()
        return client.pool

    await pair.both(scene)
    assert UNKNOWN == pair.settlement()


@on("transports", colour="asyncio")
async def test_hazard_12_the_record_is_out_before_the_inner_stream_begins_to_close(pair: Pair) -> None:
    library = pair.kit.package
    recorded: list[int] = []
    closing = asyncio.Event()

    class Stuck(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        async def __aiter__(self) -> Any:
            yield URLS[:20]
            yield URLS[20:]

        async def aclose(self) -> None:
            recorded.append(len(pair.attempts))
            closing.set()
            await asyncio.Event().wait()

    def answer(_: Any) -> Any:
        return library.Response(200, headers=json_headers(), stream=Stuck())

    client = pair.metered(transport=pair.kit.wire(answer))

    async def read() -> None:
        async with client.stream(MOCK, **asked()) as response, aclosing(pair.kit.raw(response)) as chunks:
            await anext(chunks)

    task = asyncio.create_task(read())
    await closing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [1] == recorded
    assert UNKNOWN == pair.settlement()
    await client.close()


@on("transports")
async def test_hazard_13_metering_adds_no_suspension_no_task_and_no_thread_hop(pair: Pair) -> None:
    """An async client over a wire that never waits runs to its end in one step, like a sync one."""
    straight = Kit(pair.kit.package, "sync")

    def answer(_: Any) -> Any:
        return pair.kit.response(200, json_headers(), Body(URLS[:20], URLS[20:]))

    async def call(client: Client) -> int:
        response = await client.post(MOCK, **asked())
        await client.close()
        status: int = response.status_code
        return status

    assert 200 == straight.run(call(pair.metered(transport=pair.kit.wire(answer))))
    assert ("success", "billed", 40_000_000, None) == pair.settlement()


@on("transports", colour="asyncio")
@pytest.mark.parametrize("at", range(8))
async def test_hazard_13_cancelled_at_every_step_there_is_one_record(pair: Pair, at: int) -> None:
    """The wire and each chunk suspend; the call is thrown out at its n-th suspension."""
    library = pair.kit.package

    class Slow(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        async def __aiter__(self) -> Any:
            for chunk in (URLS[:10], URLS[10:20], URLS[20:]):
                await asyncio.sleep(0)
                yield chunk
            await asyncio.sleep(0)

        async def aclose(self) -> None:
            await asyncio.sleep(0)

    async def answer(_: Any) -> Any:
        await asyncio.sleep(0)
        return library.Response(200, headers=json_headers(), stream=Slow())

    def steps(client: Client) -> list[str]:
        call: Any = client.post(MOCK, **asked())
        taken: list[str] = []
        try:
            for step in range(20):
                if step == at + 1:
                    call.throw(asyncio.CancelledError("mine"))
                else:
                    call.send(None)
                taken.append("suspended")
        except StopIteration:
            taken.append("returned")
        except asyncio.CancelledError as error:
            taken.append(f"cancelled {error.args}")
        return taken

    bare = steps(pair.bare(transport=pair.kit.wire(answer)))
    assert bare == steps(pair.metered(transport=pair.kit.wire(answer)))
    assert 1 == len(pair.attempts)


@pytest.mark.parametrize("kit", [*having("transports", colour="asyncio"), Kit(httpx2, "trio")], ids=str)
async def test_a_stream_left_by_break_leaves_no_generator_to_the_collector_that_bare_would_not(pair: Pair) -> None:
    closed: list[str] = []
    library = pair.kit.package

    class Watched(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        async def __aiter__(self) -> Any:
            try:
                yield URLS[:20]
                yield URLS[20:]
            finally:
                closed.append("generator")

        async def aclose(self) -> None:
            closed.append("stream")

    def answer(_: Any) -> Any:
        return library.Response(200, headers=json_headers(), stream=Watched())

    async def scene(client: Client) -> object:
        closed.clear()
        response = await client.send(MOCK, **asked())
        chunks = pair.kit.raw(response)
        await anext(chunks)
        await chunks.aclose()
        await pair.kit.close(response)
        before = list(closed)
        del chunks
        gc.collect()
        await anyio.lowlevel.checkpoint()
        return before

    await pair.both(scene, transport=lambda: pair.kit.wire(answer))
    assert UNKNOWN == pair.settlement()


async def test_a_request_body_that_raises_is_the_callers_error_and_was_maybe_sent(pair: Pair) -> None:
    async def broken_async() -> Any:
        yield b'{"model":'
        raise ZeroDivisionError("mine")

    def broken() -> Any:
        yield b'{"model":'
        raise ZeroDivisionError("mine")

    async def scene(client: Client) -> object:
        content = broken_async() if pair.kit.is_async else broken()
        return await settled(client.post(pair.url, content=content, headers={"content-type": "application/json"}))

    assert ZeroDivisionError in [kind for kind, *_ in await pair.both(scene)]
    assert ("error", "unknown", None, None) == pair.settlement()
