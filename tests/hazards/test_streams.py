"""Hazards of a body that streams: the chunks, and every way of leaving it."""

from __future__ import annotations

import gc
import sys
from contextlib import aclosing
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest

import pixelmeter
from tests.clients import Body, Client, each, failure, seen, timeless
from tests.hazards.pair import MOCK, URLS, Pair, asked, json_headers
from tests.kits import on

BILLED = ("success", "billed", 40_000_000, None)
UNKNOWN = ("cancelled", "unknown", None, 40_000_000)
REPORTED = ("cancelled", "billed", 40_000_000, None)
"""Left before the end, after a header had told the cost."""


def scripted(pair: Pair, *bodies: Body, **headers: str) -> Any:
    """Return a transport that answers with these bodies in turn."""
    waiting = list(bodies)

    def answer(_: Any) -> Any:
        return pair.kit.response(200, json_headers(**headers), waiting.pop(0))

    return pair.kit.wire(answer)


async def first(response: Any, pair: Pair, held: list[Any]) -> bytes:
    """Take one raw chunk and leave the iterator suspended; it is held on."""
    chunks = pair.kit.raw(response)
    held.append(chunks)
    async for chunk in each(chunks):
        taken: bytes = chunk
        return taken
    return b""


async def test_hazard_05_chunks_come_with_the_same_boundaries_in_the_same_order(pair: Pair) -> None:
    script = [URLS[:1], b"", URLS[1:30], URLS[30:], b""]

    async def scene(client: Client) -> object:
        async with client.stream(MOCK, **asked()) as response:
            return [chunk async for chunk in each(pair.kit.raw(response))], seen(response)

    chunks, _ = await pair.both(scene, transport=lambda: scripted(pair, Body(*script)))
    assert [chunk for chunk in script if chunk] == chunks
    assert BILLED == pair.settlement()


async def test_hazard_05_a_chunk_arrives_while_the_gateway_still_holds_the_rest(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        async with client.stream(pair.url, **asked(hold=20)) as response:
            chunks: list[bytes] = []
            async for chunk in each(pair.kit.raw(response)):
                if not chunks:
                    pair.gateway.wait_held(1)
                    pair.gateway.release()
                chunks.append(chunk)
            return len(chunks[0]), timeless(b"".join(chunks))

    head, _ = await pair.both(scene)
    assert 20 == head
    assert BILLED == pair.settlement()


async def test_the_record_is_out_before_the_caller_has_the_last_chunk_of_a_known_length(pair: Pair) -> None:
    client = pair.metered()
    counts: list[int] = []
    async with client.stream(pair.url, **asked(hold=20)) as response:
        async for _ in each(pair.kit.raw(response)):
            counts.append(len(pair.attempts))
            pair.gateway.release()
    await client.close()
    assert (0, 1) == (counts[0], counts[-1])
    assert BILLED == pair.settlement()


@pytest.mark.parametrize("order", ["close, iterator", "iterator, close"])
async def test_hazard_10_one_record_whichever_of_response_and_iterator_is_closed_first(pair: Pair, order: str) -> None:
    async def scene(client: Client) -> object:
        response = await client.send(pair.url, **asked(hold=20))
        chunks = pair.kit.raw(response)
        taken = await anext(chunks) if pair.kit.is_async else next(chunks)
        for step in order.split(", "):
            if step == "close":
                await pair.kit.close(response)
            elif pair.kit.is_async:
                await chunks.aclose()
            else:
                chunks.close()
        pair.gateway.release()
        return taken, seen(response)

    await pair.both(scene)
    assert REPORTED == pair.settlement()
    assert 20 == pair.attempt.response_bytes


async def test_hazard_14_a_break_inside_a_stream_is_a_cancellation_that_may_be_billed(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        async with client.stream(pair.url, **asked(hold=20, cost_header=False)) as response:
            chunks = pair.kit.raw(response)
            if pair.kit.is_async:
                async with aclosing(chunks):
                    async for _ in chunks:
                        break
            else:
                for _ in chunks:
                    break
        return seen(response), client.pool

    await pair.both(scene)
    pair.gateway.release()
    assert UNKNOWN == pair.settlement()
    assert (20, 200) == (pair.attempt.response_bytes, pair.attempt.status)


@pytest.mark.parametrize("leaves_iterator_first", [False, True])
async def test_hazard_14_an_answer_that_came_whole_counts_though_it_was_closed_without_its_end(
    pair: Pair, leaves_iterator_first: bool
) -> None:
    held: list[Any] = []

    async def scene(client: Client) -> object:
        async with client.stream(MOCK, **asked()) as response:
            taken = await first(response, pair, held)
            if leaves_iterator_first:
                await close_iterator(held[-1], pair)
            return taken

    await pair.both(scene, transport=lambda: scripted(pair, Body(URLS, b" ")))
    assert BILLED == pair.settlement()


async def test_hazard_14_an_error_of_the_callers_own_loop_is_the_callers(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        async with client.stream(pair.url, **asked(hold=20)) as response:
            async for _ in each(pair.kit.raw(response)):
                raise ZeroDivisionError("mine")
        raise AssertionError("unreachable")

    assert [(ZeroDivisionError, "mine", False, False)] == await pair.both(scene)
    pair.gateway.release()
    assert REPORTED == pair.settlement()


@on("forgets")
async def test_hazard_15_a_response_that_nobody_closes_is_recorded_when_it_is_collected(pair: Pair) -> None:
    client = pair.metered(transport=scripted(pair, Body(URLS[:20], URLS[20:])))
    response = await client.send(MOCK, **asked())
    assert [] == pair.attempts
    del response
    gc.collect()
    assert UNKNOWN == pair.settlement()
    assert "never_closed" == pair.attempt.error_type
    await client.close()


@pytest.mark.slow
@on("forgets")
async def test_hazard_16_a_response_may_be_collected_at_any_line_of_our_own_code(pair: Pair) -> None:
    """A finalizer that waits for a lock of the code that it interrupts would never return."""
    client = pair.metered(transport=scripted(pair, *[Body(URLS) for _ in range(1000)]))

    async def forgotten() -> list[Any]:
        return [await client.send(MOCK, **asked())]

    async def lines() -> int:
        count = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal count
            if "/pixelmeter/" not in frame.f_code.co_filename:
                return None
            count += event == "line"
            return trace

        sys.settrace(trace)
        try:
            await client.post(MOCK, **asked())
        finally:
            sys.settrace(None)
        return count

    async def dropped_at(line: int) -> None:
        held = await forgotten()
        seen_lines = 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal seen_lines
            if "/pixelmeter/" not in frame.f_code.co_filename:
                return None
            if event == "line":
                seen_lines += 1
                if seen_lines == line:
                    pair.kit.let_go(held[0])
                    held.clear()
            return trace

        sys.settrace(trace)
        try:
            await client.post(MOCK, **asked())
        finally:
            sys.settrace(None)
        # A call may take fewer lines than the one before.
        while held:
            pair.kit.let_go(held.pop())

    await lines()  # the first call of a meter takes more
    total = await lines()
    for line in range(1, total, 1 + total // 150):
        pair.attempts.clear()
        await dropped_at(line)
        assert ["cancelled", "success"] == sorted(attempt.outcome for attempt in pair.attempts)
    await client.close()


@on("transports")
async def test_hazard_18_the_inner_stream_is_closed_as_often_as_it_would_be(pair: Pair) -> None:
    bodies: list[Body] = []

    def transport() -> Any:
        bodies.append(Body(URLS[:20], URLS[20:]))
        return scripted(pair, bodies[-1])

    async def scene(client: Client) -> object:
        response = await client.send(MOCK, **asked())
        chunks = pair.kit.raw(response)
        if pair.kit.is_async:
            await anext(chunks)
        else:
            next(chunks)
        await pair.kit.close(response)
        await pair.kit.close(response)
        await close_iterator(chunks, pair)
        return bodies[-1].closes

    assert 1 == await pair.both(scene, transport=transport)
    assert UNKNOWN == pair.settlement()


async def close_iterator(chunks: Any, pair: Pair) -> None:
    if pair.kit.is_async:
        await chunks.aclose()
    else:
        chunks.close()


@on("transports")
@pytest.mark.parametrize("before", ["close", "read raw"])
async def test_hazard_18_reading_again_fails_as_it_would(pair: Pair, before: str) -> None:
    async def scene(client: Client) -> object:
        response = await client.send(MOCK, **asked())
        if before == "close":
            await pair.kit.close(response)
        else:
            assert URLS == b"".join([chunk async for chunk in each(pair.kit.raw(response))])
        errors: list[Any] = []
        for again in (lambda: pair.kit.read(response), lambda: consume(pair.kit.raw(response))):
            try:
                await again()
            except Exception as error:
                errors.append(failure(error))
        return errors

    errors = await pair.both(scene, transport=lambda: scripted(pair, Body(URLS)))
    expected = pair.kit.package.StreamClosed if before == "close" else pair.kit.package.StreamConsumed
    assert [expected, expected] == [kind for [(kind, *_)] in errors]
    assert (UNKNOWN if before == "close" else BILLED) == pair.settlement()


async def consume(source: Any) -> None:
    async for _ in each(source):
        pass


@on("demand")
@pytest.mark.parametrize("behaviour", [{"status": 204}, {"status": 304}, {"redirect": 307}, {"status": 503}])
async def test_hazard_20_a_body_that_is_never_read_gives_its_connection_back(
    pair: Pair, behaviour: dict[str, Any]
) -> None:
    async def scene(client: Client) -> object:
        response = await client.send(pair.url, **asked(**behaviour))
        await pair.kit.close(response)
        return pair.kit.status(response), client.pool

    await pair.both(scene)
    assert 1 == len(pair.attempts)


async def test_hazard_20_a_head_request_is_no_image_call_and_gives_its_connection_back(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        response = await client.send(pair.url, method="HEAD")
        await pair.kit.close(response)
        return pair.kit.status(response), client.pool

    await pair.both(scene)
    assert [] == pair.attempts


EVENT = b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"AAAA","usage":'
EVENT += b'{"input_tokens":10,"output_tokens":200}}\n\n'
STREAM = b': hello\n\nevent: image_generation.partial_image\ndata: {"type":"image_generation.partial_image",'
STREAM += b'"b64_json":"QUJD"}\n\n' + EVENT


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
async def test_hazard_37_events_mean_the_same_wherever_they_are_split(pair: Pair, size: int, ends: bytes) -> None:
    text = STREAM.replace(b"\n", ends)
    cuts = [*range(0, len(text), size), len(text)]
    script = [text[start:end] for start, end in pairwise(cuts)]

    async def scene(client: Client) -> object:
        async with client.stream(MOCK, **asked(stream=True, partial_images=1)) as response:
            return [chunk async for chunk in each(pair.kit.raw(response))]

    def transport() -> Any:
        return scripted(pair, Body(*script), **{"content-type": "text/event-stream"})

    assert script == await pair.both(scene, transport=transport)
    attempt = pair.attempt
    assert ("success", 1, 10, 200) == (
        attempt.outcome,
        attempt.images,
        attempt.input_text_tokens,
        attempt.output_image_tokens,
    )


async def test_hazard_37_a_stream_without_its_final_event_is_incomplete_and_at_risk(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        async with client.stream(MOCK, **asked(stream=True)) as response:
            return [chunk async for chunk in each(pair.kit.raw(response))]

    def transport() -> Any:
        return scripted(pair, Body(STREAM[: -len(EVENT)]), **{"content-type": "text/event-stream"})

    await pair.both(scene, transport=transport)
    assert ("error", "unknown", None, 40_000_000) == pair.settlement()
    assert "stream_incomplete" == pair.attempt.error_type


async def test_hazard_37_a_stream_left_after_its_final_event_is_a_success(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        async with client.stream(MOCK, **asked(stream=True)) as response:
            async for chunk in each(pair.kit.raw(response)):
                if b"completed" in chunk:
                    return chunk
        raise AssertionError("no final event")

    def transport() -> Any:
        return scripted(pair, Body(STREAM, b"data: [DONE]\n\n"), **{"content-type": "text/event-stream"})

    await pair.both(scene, transport=transport)
    assert "success" == pair.attempt.outcome


async def test_hazard_37_the_gateways_own_stream_with_a_cut(pair: Pair) -> None:
    for behaviour, outcome in (({}, "success"), ({"cut": 400}, "error"), ({"stream_error": True}, "error")):
        pair.attempts.clear()

        async def scene(client: Client, behaviour: dict[str, Any] = behaviour) -> object:
            async with client.stream(
                pair.url, **asked(model="gpt-image-2", stream=True, partial_images=1, size="64x64", **behaviour)
            ) as response:
                return timeless(b"".join([chunk async for chunk in each(pair.kit.raw(response))]))

        await pair.both(scene)
        assert outcome == pair.attempt.outcome


async def test_tags_around_an_iterator_do_not_outlive_it(pair: Pair) -> None:
    with pixelmeter.tags(team="growth"):
        client = pair.metered(transport=scripted(pair, Body(URLS)))
        await client.post(MOCK, **asked())
    assert '{"team":"growth"}' == pair.attempt.tags
    await client.close()
