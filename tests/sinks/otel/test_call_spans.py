"""The span above the attempts of a call, and the blocks that make several requests one call."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import openai
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

import pixelmeter
from pixelmeter import Meter
from pixelmeter.meter import intake_of
from pixelmeter.sinks.otel import OtelSink
from pixelmeter.testing import Gateway
from tests.clients import Kit, settled
from tests.hazards.process import run_python
from tests.interop.conftest import Metered
from tests.interop.sdk import SAM, opened, told
from tests.sinks.otel.conftest import Telemetry

pytestmark = pytest.mark.slow

SOON = {"retry-after-ms": "1"}
BUSY = {"status": 429, "headers": SOON}


def facts(span: ReadableSpan) -> dict[str, object]:
    """Return the attributes of a span but those that are new each time."""
    return {name: value for name, value in (span.attributes or {}).items() if name != "pixelmeter.call_id"}


def children(telemetry: Telemetry, parent: ReadableSpan) -> Sequence[ReadableSpan]:
    """Return the spans right below another."""
    return [span for span in telemetry.spans() if span.parent is not None and span.parent == parent.context]


@pytest.fixture(params=[openai.OpenAI, openai.AsyncOpenAI], ids=["sync", "async"])
def sdk_kind(request: pytest.FixtureRequest) -> Any:
    """Each class of client of the openai SDK."""
    return request.param


async def generate(sdk_kind: Any, meter: Meter, gateway: Gateway, *behaviours: dict[str, Any], **options: Any) -> None:
    """Make one call with the SDK; an error that it raises is swallowed."""
    async with opened(sdk_kind(base_url=gateway.url, api_key="sk-test", **options)) as client:
        pixelmeter.instrument(client, meter)
        with contextlib.suppress(openai.OpenAIError):
            await settled(client.images.generate(model=SAM, prompt="a fox", extra_headers=told(*behaviours)))


def run(coroutine: Any) -> None:
    """Run to the end."""
    asyncio.run(coroutine)


def test_attempts_of_a_call_of_the_sdk_are_below_one_span(
    sdk_kind: Any, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    run(generate(sdk_kind, meter, gateway, BUSY, {"status": 503, "headers": SOON}, {}))
    call = telemetry.span("image_generation")
    attempts = children(telemetry, call)
    assert ("image_generation meta/sam-3-1-image", SpanKind.INTERNAL) == (call.name, call.kind)
    assert {
        "pixelmeter.operation": "generate",
        "pixelmeter.gateway": "aigateway",
        "pixelmeter.attempts": 3,
        "pixelmeter.outcome": "success",
    } == facts(call)
    assert [None, 1, 2] == [(span.attributes or {}).get("http.request.resend_count") for span in attempts]
    assert (attempts[0].start_time, attempts[-1].end_time) == (call.start_time, call.end_time)
    assert StatusCode.UNSET == call.status.status_code
    assert 1 == len({attempt.trace_id for attempt in Metered(meter).attempts()})


def test_spans_name_the_gateway_that_only_its_answer_tells(
    sdk_kind: Any, sqlite_url: str, gateway: Gateway, telemetry: Telemetry
) -> None:
    with Meter(sqlite_url, sinks=[telemetry.sink()]) as meter:
        run(generate(sdk_kind, meter, gateway, BUSY, {}))
        recorded = [attempt.gateway for attempt in Metered(meter).attempts()]
    call = telemetry.span("image_generation")
    assert ["aigateway", "aigateway"] == recorded
    assert recorded == [(span.attributes or {})["pixelmeter.gateway"] for span in children(telemetry, call)]
    assert "aigateway" == facts(call)["pixelmeter.gateway"]


def test_a_call_inside_a_request_of_the_program_is_below_it_with_all_its_attempts(
    sdk_kind: Any, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    with telemetry.tracer.start_as_current_span("request") as request:
        run(generate(sdk_kind, meter, gateway, BUSY, {}))
    call = telemetry.span("image_generation")
    assert (request.get_span_context(), 2) == (call.parent, len(children(telemetry, call)))


def test_a_redirect_is_part_of_the_call(sdk_kind: Any, meter: Meter, gateway: Gateway, telemetry: Telemetry) -> None:
    run(generate(sdk_kind, meter, gateway, {"redirect": 307}))
    call = telemetry.span("image_generation")
    assert (2, "success", 2) == (
        facts(call)["pixelmeter.attempts"],
        facts(call)["pixelmeter.outcome"],
        len(children(telemetry, call)),
    )


@pytest.mark.parametrize(("behaviour", "outcome"), [({"status": 400}, "rejected"), ({"status": 401}, "rejected")])
def test_what_is_not_tried_again_ends_the_call_at_once(
    behaviour: dict[str, Any], outcome: str, sdk_kind: Any, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    run(generate(sdk_kind, meter, gateway, behaviour))
    call = telemetry.span("image_generation")
    assert (outcome, 1, StatusCode.ERROR) == (
        facts(call)["pixelmeter.outcome"],
        facts(call)["pixelmeter.attempts"],
        call.status.status_code,
    )


@pytest.mark.parametrize("behaviour", [BUSY, {"cut": "before_headers"}, {"status": 500}], ids=str)
def test_a_call_that_was_given_up_ends_with_the_next_one_at_the_end_of_its_last_attempt(
    behaviour: dict[str, Any], sdk_kind: Any, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    async def calls() -> None:
        await generate(sdk_kind, meter, gateway, behaviour, max_retries=0)
        assert [] == [span for span in telemetry.spans() if span.name.startswith("image_generation")]
        await generate(sdk_kind, meter, gateway, {})

    run(calls())
    first, second = (span for span in telemetry.spans() if span.name.startswith("image_generation"))
    [attempt] = children(telemetry, first)
    assert (attempt.end_time, StatusCode.ERROR) == (first.end_time, first.status.status_code)
    assert facts(first)["error.type"] == (attempt.attributes or {})["error.type"]
    assert "success" == facts(second)["pixelmeter.outcome"]


def test_a_call_that_was_given_up_ends_when_it_is_old(
    meter: Meter, gateway: Gateway, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    threading.Thread(target=lambda: run(generate(openai.OpenAI, meter, gateway, BUSY, max_retries=0))).run()
    run(generate(openai.OpenAI, meter, gateway, BUSY, max_retries=0))
    assert meter.flush(60)
    before = [span.name for span in telemetry.spans() if span.name.startswith("image_generation")]
    later = time.time_ns() + 91_000_000_000
    monkeypatch.setattr("pixelmeter.sinks.otel.spans.time.time_ns", lambda: later)
    intake_of(meter).recorder.sinks[0].observe(None)  # type: ignore[arg-type]
    after = [span for span in telemetry.spans() if span.name.startswith("image_generation")]
    assert len(before) < len(after) == 2


def test_a_call_that_was_given_up_ends_with_the_process(gateway: Gateway, sqlite_url: str) -> None:
    program = f"""
import openai, pixelmeter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from pixelmeter.sinks.otel import OtelSink
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name + "\\n")))
meter = pixelmeter.Meter({sqlite_url!r}, sinks=[OtelSink(provider)])
client = pixelmeter.instrument(openai.OpenAI(base_url={gateway.url!r}, api_key="k", max_retries=0), meter)
try:
    client.images.generate(model="m", prompt="a fox")
except openai.APIError:
    pass
"""
    gateway.tell(status=500)
    done = run_python(program)
    assert ("", ["generate_content m", "image_generation m"]) == (done.stderr, done.stdout.split("\n")[:2])


def test_open_calls_are_bounded(
    meter: Meter, gateway: Gateway, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelmeter.sinks.otel.spans._OPEN_LIMIT", 2)
    with openai.OpenAI(base_url=gateway.url, api_key="k", max_retries=0) as client:
        pixelmeter.instrument(client, meter)
        gateway.tell(status=500)

        def call() -> None:
            with contextlib.suppress(openai.OpenAIError):
                client.images.generate(model=SAM, prompt="a fox")

        for _ in range(5):
            contextvars.copy_context().run(call)
    assert 3 == len([span for span in telemetry.spans() if span.name.startswith("image_generation")])


async def block(kit: Kit, meter: Meter, gateway: Gateway, *behaviours: dict[str, Any]) -> None:
    """Make requests in one block with a client that announces nothing."""
    client = kit.client(base_url=gateway.url)
    pixelmeter.instrument(client.raw, meter)
    with pixelmeter.call():
        for behaviour in behaviours:
            headers = {"x-test-behaviour": json.dumps(behaviour)}
            await client.post("/images/generations", json={"model": SAM, "prompt": "a fox"}, headers=headers)
    await client.close()


def test_requests_of_a_block_are_attempts_of_one_call(
    kit: Kit, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    with telemetry.tracer.start_as_current_span("request") as request:
        outside = request.get_span_context()
        kit.run(block(kit, meter, gateway, {"status": 429}, {"status": 500}, {}))
        assert outside == trace.get_current_span().get_span_context()
    call = telemetry.span("image_generation")
    first, *others = Metered(meter).attempts()
    assert [(first.id, 0), (first.id, 1), (first.id, 2)] == [(one.call_id, one.attempt) for one in (first, *others)]
    assert ("image_generation meta/sam-3-1-image", outside) == (call.name, call.parent)
    assert {
        "pixelmeter.operation": "generate",
        "pixelmeter.gateway": "aigateway",
        "pixelmeter.attempts": 3,
    } == facts(call)
    assert first.id == (call.attributes or {})["pixelmeter.call_id"]
    assert 3 == len(children(telemetry, call))


def test_spans_of_the_program_in_a_block_stay_between(
    kit: Kit, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    async def calls() -> None:
        client = kit.client(base_url=gateway.url)
        pixelmeter.instrument(client.raw, meter)
        with pixelmeter.call(), telemetry.tracer.start_as_current_span("try"):
            await client.post("/images/generations", json={"model": SAM, "prompt": "a fox"})
        await client.close()

    kit.run(calls())
    [between] = children(telemetry, telemetry.span("image_generation"))
    assert ("try", ["generate_content meta/sam-3-1-image"]) == (
        between.name,
        [span.name for span in children(telemetry, between)],
    )


def test_of_nested_blocks_the_inner_one_counts(kit: Kit, meter: Meter, gateway: Gateway) -> None:
    async def calls() -> None:
        client = kit.client(base_url=gateway.url)
        pixelmeter.instrument(client.raw, meter)

        async def one() -> None:
            await client.post("/images/generations", json={"model": SAM, "prompt": "a fox"})

        with pixelmeter.call():
            await one()
            with pixelmeter.call():
                await one()
                await one()
            await one()
        await one()
        await client.close()

    kit.run(calls())
    attempts = Metered(meter).attempts()
    a, b, _, _, c = (attempt.id for attempt in attempts)
    assert [(a, 0), (b, 0), (b, 1), (a, 1), (c, 0)] == [(one.call_id, one.attempt) for one in attempts]


def test_tasks_and_threads_of_a_block_belong_to_it(
    kit: Kit, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    async def calls() -> None:
        client = kit.client(base_url=gateway.url)
        pixelmeter.instrument(client.raw, meter)

        async def one() -> None:
            await client.post("/images/generations", json={"model": SAM, "prompt": "a fox"})

        with pixelmeter.call():
            if kit.is_async:
                await asyncio.gather(*(one() for _ in range(8)))
            else:
                contexts = [contextvars.copy_context() for _ in range(8)]
                threads = [threading.Thread(target=context.run, args=(kit.run, one())) for context in contexts]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
        await client.close()

    kit.run(calls())
    attempts = Metered(meter).attempts()
    [call_id] = {attempt.call_id for attempt in attempts}
    assert list(range(8)) == sorted(attempt.attempt for attempt in attempts)
    assert [call_id] == [attempt.id for attempt in attempts if attempt.attempt == 0]
    assert 8 == len(children(telemetry, telemetry.span("image_generation")))


def test_a_block_over_the_sdk_has_one_span_and_one_count(
    sdk_kind: Any, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    async def calls() -> None:
        with pixelmeter.call():
            await generate(sdk_kind, meter, gateway, BUSY, {})
            await generate(sdk_kind, meter, gateway, {})

    run(calls())
    assert [0, 1, 2] == [attempt.attempt for attempt in Metered(meter).attempts()]
    assert 3 == len(children(telemetry, telemetry.span("image_generation")))


def test_an_exception_that_leaves_a_block_is_named_and_nothing_else_of_it(telemetry: Telemetry) -> None:
    sink = telemetry.sink()
    with pytest.raises(ZeroDivisionError), pixelmeter.call():
        raise ZeroDivisionError("a fox in the snow")
    call = telemetry.span("image_generation")
    assert isinstance(sink, OtelSink)
    assert (StatusCode.ERROR, None, {"error.type": "ZeroDivisionError", "pixelmeter.attempts": 0}, ()) == (
        call.status.status_code,
        call.status.description,
        facts(call),
        call.events,
    )


def test_two_sinks_of_one_provider_share_the_span_of_a_block(telemetry: Telemetry) -> None:
    sinks = [telemetry.sink(), telemetry.sink()]
    with pixelmeter.call():
        pass
    assert (2, 1) == (len(sinks), len(telemetry.spans()))


def test_sinks_of_several_providers_have_their_attempts_below_their_own_span(
    gateway: Gateway, telemetry: Telemetry, sqlite_url: str
) -> None:
    other = Telemetry()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(verify=False)) for _ in range(2)]
        for client, one in zip(clients, (telemetry, other), strict=True):
            pixelmeter.instrument(client, stack.enter_context(Meter(sqlite_url, sinks=[one.sink()])))
        with pixelmeter.call():
            for client in clients:
                client.post(f"{gateway.url}/images/generations", json={"model": SAM, "prompt": "a fox"})
    for one in (telemetry, other):
        call = one.span("image_generation")
        assert (None, 1) == (call.parent, len(children(one, call)))
    other.close()


def test_a_block_that_is_left_in_another_context_raises_and_logs_nothing(
    telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    sink = telemetry.sink()

    async def numbers() -> AsyncIterator[int]:
        with pixelmeter.call():
            yield 1
            yield 2

    async def calls() -> None:
        source = numbers()
        # Each step in a task, and so a context, of its own.
        await asyncio.create_task(anext(source))  # type: ignore[arg-type]
        await asyncio.create_task(source.aclose())  # type: ignore[attr-defined]

    asyncio.run(calls())
    assert isinstance(sink, OtelSink)
    assert 1 == len(telemetry.spans())
    assert [] == [record for record in caplog.records if record.name.startswith(("opentelemetry", "pixelmeter"))]


def test_without_a_sink_a_block_still_groups(gateway: Gateway, sqlite_url: str) -> None:
    with Meter(sqlite_url) as meter, httpx.Client(base_url=gateway.url) as client:
        pixelmeter.instrument(client, meter)
        with pixelmeter.call():
            for _ in range(2):
                client.post("/images/generations", json={"model": SAM, "prompt": "a fox"})
        first, second = Metered(meter).attempts()
    assert (first.id, first.id, 1) == (first.call_id, second.call_id, second.attempt)
