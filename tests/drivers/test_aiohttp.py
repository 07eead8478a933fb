"""The driver of aiohttp: what is its own beside the hazards, which it meets as every driver does."""

from __future__ import annotations

import asyncio
import functools
import gc
import io
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drivers.aiohttp import is_client, meter_client, patch, refuse_another
from pixelmeter.errors import ConfigError
from pixelmeter.testing import Gateway

KLEIN = "black-forest-labs/flux-2-klein-9b"
BODY = {"model": KLEIN, "prompt": "a fox"}
BILLED = ("success", "billed", 40_000_000)


@pytest.fixture
def url(gateway: Gateway) -> str:
    """Where the stand-in makes images."""
    return f"{gateway.url}/images/generations"


def run(scene: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(scene)


def behaving(**behaviour: Any) -> dict[str, str]:
    """Return the headers of a request that is to be answered with this behaviour."""
    return {"x-test-behaviour": json.dumps(behaviour)}


def metered(meter: Meter, **options: Any) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(**options)
    meter_client(session, meter, provisional=False)
    return session


def settled(attempts: list[Attempt]) -> tuple[Any, ...]:
    [attempt] = attempts
    return attempt.outcome, attempt.billing, attempt.cost


async def by_chunks(chunks: Any) -> bytes:
    return b"".join([chunk async for chunk in chunks])


async def by_tuples(response: aiohttp.ClientResponse) -> bytes:
    return b"".join([chunk async for chunk, _ in response.content.iter_chunks()])


async def until_empty(take: Callable[[], Awaitable[bytes]]) -> bytes:
    found = b""
    while chunk := await take():
        found += chunk
    return found


async def as_json(response: aiohttp.ClientResponse) -> bytes:
    return json.dumps(await response.json(), separators=(",", ":")).encode()


async def as_text(response: aiohttp.ClientResponse) -> bytes:
    return (await response.text()).encode()


READING: dict[str, Callable[[aiohttp.ClientResponse], Awaitable[bytes]]] = {
    "read": lambda response: response.read(),
    "json": as_json,
    "text": as_text,
    "iter_any": lambda response: by_chunks(response.content.iter_any()),
    "iter_chunked": lambda response: by_chunks(response.content.iter_chunked(7)),
    "iter_chunks": by_tuples,
    "lines": lambda response: by_chunks(response.content),
    "readline": lambda response: until_empty(response.content.readline),
    "readany": lambda response: until_empty(response.content.readany),
    "readchunk": lambda response: until_empty(lambda: response.content.read(9)),
}


@pytest.mark.parametrize("way", READING)
@pytest.mark.parametrize("behaviour", [{}, {"encoding": "gzip"}, {"transfer": "chunked", "chunk": 5}], ids=str)
def test_a_body_is_seen_in_whatever_way_it_is_read_and_before_its_reader_has_all_of_it(
    meter: Meter, attempts: list[Attempt], url: str, way: str, behaviour: dict[str, Any]
) -> None:
    async def scene(session: aiohttp.ClientSession) -> bytes:
        async with session, session.post(url, json=BODY, headers=behaving(created=0, **behaviour)) as response:
            return await READING[way](response)

    async def both() -> tuple[bytes, bytes]:
        return await scene(aiohttp.ClientSession()), await scene(metered(meter))

    bare, seen = run(both())
    assert without_id(bare) == without_id(seen)
    assert BILLED == settled(attempts)


def without_id(body: bytes) -> Any:
    """Return an answer without the name of its picture, which is new each time."""
    return list(json.loads(body)), len(body)


def test_what_is_read_raw_is_decoded_for_the_record(meter: Meter, attempts: list[Attempt], url: str) -> None:
    async def scene() -> bytes:
        async with metered(meter, auto_decompress=False) as session:
            headers = behaving(encoding="gzip", cost_header=False)
            async with session.post(url, json=BODY, headers=headers) as response:
                return await response.read()

    raw: bytes = run(scene())
    assert raw.startswith(b"\x1f\x8b")
    assert BILLED == settled(attempts)
    assert len(raw) == attempts[0].response_bytes


def test_the_record_is_out_before_its_reader_has_the_end(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    counts: list[int] = []

    async def scene() -> None:
        async with metered(meter) as session:
            url = f"{gateway.url}/images/generations"
            headers = behaving(hold=20, transfer="chunked")
            async with session.post(url, json=BODY, headers=headers) as response:
                async for _ in response.content.iter_any():
                    counts.append(len(attempts))
                    gateway.release()
                assert [1] == [len(attempts)]

    run(scene())
    assert 0 == counts[0]


def test_an_answer_that_came_whole_counts_though_nobody_reads_it(
    meter: Meter, attempts: list[Attempt], url: str
) -> None:
    async def scene() -> None:
        async with metered(meter) as session:
            response = await session.post(url, json=BODY)
            # Its end has arrived when the connection is back in the pool.
            while not response.closed:  # noqa: ASYNC110
                await asyncio.sleep(0)

    run(scene())
    assert BILLED == settled(attempts)


@pytest.mark.parametrize("raises", [True, False])
def test_raise_for_status_leaves_one_record(meter: Meter, attempts: list[Attempt], url: str, raises: bool) -> None:
    async def check(response: aiohttp.ClientResponse) -> None:
        assert b"error" in await response.read()
        response.raise_for_status()

    async def scene() -> None:
        async with metered(meter, raise_for_status=raises or check) as session:
            with pytest.raises(aiohttp.ClientResponseError):
                await session.post(url, json=BODY, headers=behaving(status=503))

    run(scene())
    assert ("error", "unknown", None) == settled(attempts)
    assert 503 == attempts[0].status


@pytest.mark.parametrize(
    ("hold", "status"), [("before_headers", None), (20, 200)], ids=["before headers", "in the body"]
)
@pytest.mark.parametrize("limit", ["total", "sock_read"])
def test_a_time_limit_of_the_session_is_a_timeout(
    meter: Meter, attempts: list[Attempt], gateway: Gateway, hold: Any, status: int | None, limit: str
) -> None:
    async def scene() -> None:
        async with metered(meter, timeout=aiohttp.ClientTimeout(**{limit: 0.3})) as session:
            url = f"{gateway.url}/images/generations"
            with pytest.raises(TimeoutError):
                async with session.post(url, json=BODY, headers=behaving(hold=hold, cost_header=False)) as response:
                    async for _ in response.content:
                        pass

    run(scene())
    gateway.release()
    assert ("timeout", "unknown", None) == settled(attempts)
    assert (status, "TimeoutError" if limit == "total" else "SocketTimeoutError") == (
        attempts[0].status,
        attempts[0].error_type,
    )


@pytest.mark.parametrize("limit", ["total", "connect", "sock_connect", "cancelled"])
def test_what_ended_before_there_was_a_connection_was_never_sent(
    meter: Meter, attempts: list[Attempt], url: str, limit: str
) -> None:
    class Waiting(aiohttp.TCPConnector):
        async def _create_connection(self, *what: Any) -> Any:
            await asyncio.wait_for(asyncio.Event().wait(), 0.05 if limit == "sock_connect" else None)

    async def scene() -> None:
        limits = {} if limit in ("cancelled", "sock_connect") else {limit: 0.05}
        async with metered(meter, connector=Waiting(), timeout=aiohttp.ClientTimeout(**limits)) as session:
            call = asyncio.create_task(session._request("POST", url, json=BODY))
            if limit == "cancelled":
                await asyncio.sleep(0.05)
                call.cancel()
            with pytest.raises(asyncio.CancelledError if limit == "cancelled" else TimeoutError):
                await call

    run(scene())
    expected = "cancelled" if limit == "cancelled" else "timeout"
    assert (expected, "not_billed", 0) == settled(attempts)


def test_a_session_that_is_closed_in_mid_body_leaves_one_record(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    async def scene() -> None:
        session = metered(meter)
        url = f"{gateway.url}/images/generations"
        response = await session.post(url, json=BODY, headers=behaving(hold=20, cost_header=False))
        assert 20 == len(await response.content.readany())
        await session.close()
        response.close()

    run(scene())
    gateway.release()
    assert ("cancelled", "unknown", None) == settled(attempts)


def test_a_response_that_nobody_closes_is_recorded_when_its_connection_goes(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    async def scene() -> None:
        session = metered(meter)
        url = f"{gateway.url}/images/generations"
        await session.post(url, json=BODY, headers=behaving(cut=20, hold=20, cost_header=False))
        gateway.release()
        async with asyncio.timeout(60):
            while not attempts:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await session.close()

    run(scene())
    assert ("error", "unknown", None) == settled(attempts)


def test_a_middleware_that_sends_again_makes_a_second_attempt_of_the_call(
    meter: Meter, attempts: list[Attempt], url: str
) -> None:
    async def again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        if response.status == 429:
            response.release()
            request.headers["x-test-behaviour"] = "{}"
            response = await handler(request)
        return response

    async def scene() -> tuple[int, int]:
        async with metered(meter, middlewares=[again]) as session:
            response = await session.post(url, json=BODY, headers=behaving(status=429))
            await response.read()
            alone = await session.post(url, json=BODY, headers=behaving(status=429), middlewares=())
            await alone.read()
            return response.status, alone.status

    assert (200, 429) == run(scene())
    assert [(0, "throttled"), (1, "success"), (0, "throttled")] == [(each.attempt, each.outcome) for each in attempts]
    assert attempts[0].call_id == attempts[1].call_id != attempts[2].call_id


def test_traces_see_the_same_events_and_context(meter: Meter, attempts: list[Attempt], url: str) -> None:
    def traced(events: list[Any]) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()

        def noting(name: str) -> Any:
            async def note(_: Any, context: Any, __: Any) -> None:
                events.append((name, context.trace_request_ctx))

            return note

        for name in ("request_start", "request_headers_sent", "request_chunk_sent", "response_chunk_received"):
            getattr(config, f"on_{name}").append(noting(name))
        config.on_request_end.append(noting("request_end"))
        return config

    async def scene(meter: Meter | None) -> list[Any]:
        events: list[Any] = []
        async with aiohttp.ClientSession(trace_configs=[traced(events)]) as session:
            if meter is not None:
                meter_client(session, meter, provisional=False)
            async with session.post(url, json=BODY, trace_request_ctx={"mine": 1}) as response:
                await response.read()
        return events

    bare = run(scene(None))
    assert bare == run(scene(meter))
    assert ("request_end", {"mine": 1}) in bare
    assert BILLED == settled(attempts)


def form() -> aiohttp.FormData:
    data = aiohttp.FormData({"model": KLEIN, "prompt": "a fox", "n": "2"})
    data.add_field("image", io.BytesIO(b"\x89PNG"), filename="fox.png", content_type="image/png")
    return data


JSON = json.dumps(BODY | {"n": 2})


@pytest.mark.parametrize(
    "options",
    [
        {"json": BODY | {"n": 2}},
        {"data": JSON},
        {"data": JSON.encode()},
        {"data": bytearray(JSON.encode())},
        {"data": memoryview(JSON.encode())},
        {"data": io.BytesIO(JSON.encode())},
        {"data": aiohttp.BytesPayload(JSON.encode())},
        {"json": BODY | {"n": 2}, "compress": "deflate"},
    ],
    ids=["json", "text", "bytes", "bytearray", "memoryview", "file", "payload", "compressed"],
)
@pytest.mark.filterwarnings("ignore:Sending a large body")
def test_a_body_in_memory_is_read_whatever_it_is(
    meter: Meter, attempts: list[Attempt], url: str, options: dict[str, Any]
) -> None:
    async def scene() -> int:
        async with metered(meter) as session:
            headers = {"content-type": "application/json"}
            async with session.post(url, headers=headers, **options) as response:
                await response.read()
                return response.status

    status = run(scene())
    # The stand-in takes no compressed requests.
    assert (400 if "compress" in options else 200) == status
    assert (KLEIN, 2) == (attempts[0].requested_model, attempts[0].requested_images)


def test_a_form_is_read_and_its_files_are_not(meter: Meter, attempts: list[Attempt], gateway: Gateway) -> None:
    async def scene() -> None:
        async with metered(meter) as session, session.post(f"{gateway.url}/images/edits", data=form()) as response:
            assert 200 == response.status
            await response.read()

    run(scene())
    assert ("edit", KLEIN, 2, 1) == (
        attempts[0].operation,
        attempts[0].requested_model,
        attempts[0].requested_images,
        attempts[0].input_images,
    )


@pytest.mark.filterwarnings("ignore:Inheritance class")
def test_sessions_of_a_users_own_class_are_metered(meter: Meter, attempts: list[Attempt], url: str) -> None:
    # Here, as the definition warns by itself.
    class Passing(aiohttp.ClientSession):
        async def _request(self, *args: Any, **options: Any) -> Any:
            return await super()._request(*args, **options)

    class Narrow(aiohttp.ClientSession):
        async def _request(self, method: str, url: Any, *, data: Any = None, json: Any = None) -> Any:  # type: ignore[override]
            return await super()._request(method, url, data=data, json=json, allow_redirects=False)

    class Plain(aiohttp.ClientSession):
        pass

    async def scene(kind: type[aiohttp.ClientSession]) -> None:
        async with kind() as session:
            meter_client(session, meter, provisional=False)
            meter_client(session, meter, provisional=False)
            async with session.post(url, json=BODY) as response:
                await response.read()

    for kind in (Plain, Passing, Narrow):
        run(scene(kind))
    assert ["success"] * 3 == [attempt.outcome for attempt in attempts]


def test_a_session_of_another_meter_is_refused_unless_nobody_has_named_that(meter: Meter, tmp_path: Path) -> None:
    async def scene(other: Meter) -> None:
        async with aiohttp.ClientSession() as session:
            assert is_client(session)
            meter_client(session, meter, provisional=True)
            refuse_another(session, other)
            meter_client(session, other, provisional=False)
            meter_client(session, meter, provisional=True)
            refuse_another(session, other)
            with pytest.raises(ConfigError, match="another meter already"):
                refuse_another(session, meter)

    with Meter(f"sqlite:///{tmp_path}/other.db") as other:
        run(scene(other))


def test_a_metered_session_that_is_forgotten_warns_as_soon_as_a_bare_one(meter: Meter) -> None:
    async def forget(make: Callable[[], aiohttp.ClientSession]) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make()
        return [type(each.message).__name__ for each in caught]

    async def both() -> None:
        gc.disable()
        try:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            bare = await forget(aiohttp.ClientSession)
            assert ["ResourceWarning"] == bare[:1]
            assert bare == await forget(lambda: metered(meter))
        finally:
            gc.enable()

    run(both())


def test_all_sessions_are_metered_by_the_meter_of_the_moment_until_that_is_undone(
    meter: Meter, attempts: list[Attempt], url: str, tmp_path: Path
) -> None:
    current: list[Meter] = []
    before = aiohttp.ClientSession._request

    async def post(session: aiohttp.ClientSession) -> int:
        async with session.post(url, json=BODY) as response:
            await response.read()
        return len(attempts)

    async def scene(undo: Callable[[], None], other: Meter) -> list[int]:
        async with aiohttp.ClientSession() as session, metered(other) as named:
            counts = [await post(session)]
            current.append(meter)
            counts += [await post(session), await post(named)]
            undo()
            return [*counts, await post(session)]

    undo = patch(lambda: current[-1] if current else None)
    with Meter(f"sqlite:///{tmp_path}/other.db", gateways={"127.0.0.1:*": "openai"}) as other:
        assert [0, 1, 2, 2] == run(scene(undo, other))
    assert before is aiohttp.ClientSession._request
    assert ["aigateway", "openai"] == [attempt.gateway for attempt in attempts]


def test_a_patch_that_somebody_has_put_another_over_stays_and_does_nothing(
    meter: Meter, attempts: list[Attempt], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo = patch(lambda: meter)
    ours: Any = aiohttp.ClientSession._request
    monkeypatch.setattr(aiohttp.ClientSession, "_request", functools.partialmethod(ours))
    undo()

    async def scene() -> None:
        async with aiohttp.ClientSession() as session, session.post(url, json=BODY) as response:
            await response.read()

    run(scene())
    assert [] == attempts
    monkeypatch.undo()
    aiohttp.ClientSession._request = ours.__wrapped__  # type: ignore[method-assign]


async def stream(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def test_a_stream_stays_unread_and_arrives_whole(
    meter: Meter, attempts: list[Attempt], url: str, gateway: Gateway
) -> None:
    async def scene() -> None:
        async with metered(meter) as session:
            headers = {"content-type": "application/json"}
            async with session.post(
                url, data=stream([JSON[:9].encode(), JSON[9:].encode()]), headers=headers
            ) as response:
                assert 200 == response.status
                await response.read()

    run(scene())
    assert [KLEIN] == [line["model"] for line in gateway.billing()]
    assert (None, "success") == (attempts[0].requested_model, attempts[0].outcome)


def test_a_tag_header_goes_with_one_request_and_its_caller_does_not_see_it(
    meter: Meter, attempts: list[Attempt], url: str
) -> None:
    async def scene() -> list[str]:
        async with metered(meter) as session:
            with pixelmeter.tags(aig_tag="hero"):
                async with session.post(url, json=BODY, headers=behaving(redirect=307)) as response:
                    await response.read()
            return [name.lower() for name in response.request_info.headers]

    assert "x-aig-tag" not in run(scene())
    assert [(0, 307), (1, 200)] == [(attempt.attempt, attempt.status) for attempt in attempts]
