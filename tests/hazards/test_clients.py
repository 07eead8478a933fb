"""Hazards of the client around the transport: proxies, retries, redirects, challenges, other wrappers, threads."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import openai
import pytest
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pixelmeter
from pixelmeter.errors import ConfigError
from tests.clients import Body, Client, seen, settled
from tests.hazards.pair import KLEIN, MOCK, URLS, Pair, asked, json_headers
from tests.kits import on

BILLED = ("success", "billed", 40_000_000, None)
NOT_SENT = ("not_billed", 0, "not_sent", None)


async def test_hazard_25_a_proxy_of_the_environment_stays_in_the_way(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway is the proxy here: what is sent to a host that does not exist must arrive there."""
    monkeypatch.setenv("HTTP_PROXY", pair.gateway.root)
    url = "http://nowhere.invalid/v1/images/generations"

    async def scene(client: Client) -> object:
        response = await client.post(url, **asked())
        return pair.kit.status(response), sorted(pattern.pattern for pattern in getattr(client.raw, "_mounts", ()))

    await pair.both(scene, trust_env=True)
    assert [KLEIN, KLEIN] == [line["model"] for line in pair.gateway.billing()]
    assert BILLED == pair.settlement()


@on("transports")
async def test_hazard_25_limits_and_mounts_are_those_of_the_client(pair: Pair) -> None:
    library = pair.kit.package
    mounted = pair.kit.mock(lambda _: library.Response(200, content=URLS))
    limits = library.Limits(max_connections=3, max_keepalive_connections=2)
    client = pair.kit.client(mounts={"http://mock.test": mounted, "http://bare.test": None}, limits=limits)
    plain = client.raw._transport
    pixelmeter.instrument(client.raw, pair.meter)
    assert client.raw._transport is plain
    assert 3 == client.raw._transport._pool._max_connections
    mounts = {pattern.pattern: mount for pattern, mount in client.raw._mounts.items()}
    assert {"http://mock.test": mounted, "http://bare.test": None} == mounts
    await client.post(MOCK, **asked())
    await client.close()
    assert BILLED == pair.settlement()


async def test_hazard_26_a_redirect_is_one_call_of_two_attempts_and_the_first_is_free(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        return seen(await client.post(pair.url, **asked(redirect=307)))

    await pair.both(scene, follow_redirects=True)
    first, second = pair.attempts
    assert first.call_id == second.call_id
    assert [(0, 307, 0, "not_billed"), (1, 200, 40_000_000, "billed")] == [
        (hop.attempt, hop.status, hop.cost, hop.billing) for hop in (first, second)
    ]


@on("flows")
@pytest.mark.parametrize("scheme", ["basic", "digest"])
async def test_hazard_26_a_challenge_is_one_call_of_two_attempts_and_the_first_is_free(pair: Pair, scheme: str) -> None:
    library = pair.kit.package

    class Challenged(library.Auth):  # type: ignore[misc, name-defined]
        def auth_flow(self, request: Any) -> Any:
            response = yield request
            if response.status_code == 401:
                request.headers["authorization"] = "Basic bWU6c2VjcmV0"
                yield request

    async def scene(client: Client) -> object:
        auth = library.DigestAuth("me", "secret") if scheme == "digest" else Challenged()
        response = await client.send(pair.url, stream=False, auth=auth, **asked(challenge=scheme))
        return seen(response)

    await pair.both(scene)
    first, second = pair.attempts
    assert first.call_id == second.call_id
    assert [(0, 401, 0, "not_billed"), (1, 200, 40_000_000, "billed")] == [
        (hop.attempt, hop.status, hop.cost, hop.billing) for hop in (first, second)
    ]


@on("sdks")
async def test_hazard_27_an_sdks_retries_are_attempts_of_one_call(pair: Pair) -> None:
    soon = {"retry-after-ms": "1"}
    behaviours = json.dumps([{"status": 429, "headers": soon}, {"status": 503, "headers": soon}, {}])
    headers = {"x-test-behaviour": behaviours}
    kind: Any = openai.AsyncOpenAI if pair.kit.is_async else openai.OpenAI
    http_client = pair.kit.client()
    sdk = kind(base_url=pair.gateway.url, api_key="sk-test", http_client=http_client.raw, max_retries=4)
    assert sdk is pixelmeter.instrument(sdk, pair.meter)
    await settled(sdk.images.generate(model=KLEIN, prompt="a fox", extra_headers=headers))
    await settled(sdk.images.generate(model=KLEIN, prompt="a fox"))
    await settled(sdk.close())
    assert [(0, "throttled"), (1, "error"), (2, "success"), (0, "success")] == [
        (attempt.attempt, attempt.outcome) for attempt in pair.attempts
    ]
    assert [3, 1] == [
        sum(attempt.call_id == call for attempt in pair.attempts)
        for call in dict.fromkeys(attempt.call_id for attempt in pair.attempts)
    ]


@on("transports")
async def test_hazard_28_transports_of_ours_around_each_other_make_one_record(pair: Pair) -> None:
    inner = pair.bare().raw._transport
    client = pair.kit.client(transport=pair.meter_transport(pair.meter_transport(inner)))
    pixelmeter.instrument(client.raw, pair.meter)
    pixelmeter.instrument(client.raw, pair.meter)
    await client.post(pair.url, **asked())
    await client.close()
    assert BILLED == pair.settlement()


@on("transports")
@pytest.mark.parametrize("order", ["ours first", "theirs first"])
async def test_hazard_28_opentelemetry_around_or_inside_makes_one_record_and_one_span(pair: Pair, order: str) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HTTPX2ClientInstrumentor if pair.kit.package is httpx2 else HTTPXClientInstrumentor
    client = pair.kit.client()
    steps: list[Callable[[], object]] = [
        lambda: pixelmeter.instrument(client.raw, pair.meter),
        lambda: instrumentor.instrument_client(client.raw, tracer_provider=provider),
    ]
    for step in steps if order == "ours first" else reversed(steps):
        step()
    await client.post(pair.url, **asked())
    await client.close()
    assert BILLED == pair.settlement()
    [span] = exporter.get_finished_spans()
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == pair.attempt.trace_id


@on("logs")
async def test_hazard_29_what_is_no_image_call_is_left_alone_even_from_a_log_handler(pair: Pair) -> None:
    """A handler that ships lines with a metered client of the other library, which logs nothing here."""
    library: Any = httpx if pair.kit.package is httpx2 else httpx2
    shipper: Any = pixelmeter.instrument(library.Client(verify=False), pair.meter)
    statuses: list[int] = []

    class Shipping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            statuses.append(shipper.post(f"{pair.gateway.root}/logs", json={"line": record.getMessage()}).status_code)

    client = pair.metered()
    logger = logging.getLogger(pair.kit.package.__name__)
    handler = Shipping()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        await client.post(pair.url, **asked())
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    shipper.close()
    await client.close()
    assert {404} == set(statuses)
    assert BILLED == pair.settlement()


async def test_hazard_31_no_header_is_added_and_none_is_moved(pair: Pair) -> None:
    sent: list[Any] = []

    async def scene(client: Client) -> object:
        await client.post(MOCK, **asked())
        return sent.pop()

    def answer(request: Any) -> Any:
        sent.append(list(request.headers.items()))
        return pair.kit.response(200, json_headers(), Body(URLS))

    await pair.both(scene, transport=lambda: pair.kit.wire(answer))
    assert BILLED == pair.settlement()


async def test_hazard_31_the_tag_header_goes_to_the_gateway_that_knows_it_alone(pair: Pair) -> None:
    sent: list[Any] = []

    def answer(request: Any) -> Any:
        sent.append(request.headers.get("x-aig-tag"))
        return pair.kit.response(200, json_headers(), Body(URLS))

    client = pair.metered(transport=pair.kit.wire(answer))
    with pixelmeter.tags(aig_tag="hero"):
        await client.post(MOCK, **asked())
        await client.post(MOCK.replace("mock.test", "other.test"), **asked())
        await client.post(MOCK, json={"model": KLEIN}, headers={"x-aig-tag": "mine"})
    await client.close()
    assert ["hero", None, "mine"] == sent


async def test_hazard_34_what_never_left_costs_nothing_for_certain(pair: Pair) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

    async def refused(client: Client) -> object:
        return await client.post(f"http://127.0.0.1:{port}/v1/images/generations", **asked())

    view = await pair.both(refused)
    attempt = pair.attempt
    assert pair.kit.error_behind(view).__name__ == attempt.error_type
    assert ("error", *NOT_SENT) == (
        attempt.outcome,
        attempt.billing,
        attempt.cost,
        attempt.cost_reason,
        attempt.at_risk,
    )


@on("waits")
async def test_hazard_34_waiting_for_the_pool_in_vain_costs_nothing(pair: Pair) -> None:
    async def scene(client: Client) -> None:
        held = await client.send(pair.url, **asked(hold=20))
        try:
            await client.post(pair.url, timeout=pair.kit.timeout(5, pool=0.05), **asked())
        finally:
            pair.gateway.release()
            await pair.kit.read(held)

    await pair.both(scene, connections=1)
    never, held = pair.attempts
    assert ("timeout", *NOT_SENT) == (never.outcome, never.billing, never.cost, never.cost_reason, never.at_risk)
    assert "success" == held.outcome


@on("transports")
@pytest.mark.parametrize("error", ["ReadError", "WriteError", "WriteTimeout", "RemoteProtocolError", "CloseError"])
async def test_hazard_34_what_may_have_left_is_at_risk(pair: Pair, error: str) -> None:
    kind = getattr(pair.kit.package, error)

    def answer(_: Any) -> Any:
        raise kind("broken")

    async def scene(client: Client) -> object:
        return await client.post(MOCK, **asked())

    await pair.both(scene, transport=lambda: pair.kit.wire(answer))
    outcome = "timeout" if "Timeout" in error else "error"
    assert (outcome, "unknown", None, 40_000_000) == pair.settlement()


@on("transports")
@pytest.mark.parametrize("by", ["close", "context"])
async def test_hazard_42_the_inner_transport_is_entered_and_closed_as_often_as_bare(pair: Pair, by: str) -> None:
    library = pair.kit.package
    calls: list[str] = []
    if pair.kit.is_async:

        class Watched(library.AsyncBaseTransport):  # type: ignore[misc, name-defined]
            async def __aenter__(self) -> Any:
                calls.append("enter")
                return self

            async def __aexit__(self, *raised: object) -> None:
                calls.append("exit")

            async def aclose(self) -> None:
                calls.append("close")
    else:

        class Watched(library.BaseTransport):  # type: ignore[misc, name-defined, no-redef]
            def __enter__(self) -> Any:
                calls.append("enter")
                return self

            def __exit__(self, *raised: object) -> None:
                calls.append("exit")

            def close(self) -> None:
                calls.append("close")

    views: list[list[str]] = []
    for make in (pair.bare, pair.metered):
        calls.clear()
        client = make(transport=Watched())
        if by == "close":
            await client.close()
        elif pair.kit.is_async:
            async with client.raw:
                pass
        else:
            with client.raw:
                pass
        views.append(list(calls))
    assert views[0] == views[1]
    assert (["close"] if by == "close" else ["enter", "exit"]) == views[1]


@pytest.mark.slow
async def test_hazard_44_one_client_for_many_threads_or_tasks_counts_every_call_once(pair: Pair) -> None:
    client = pair.metered()
    answers = 0

    async def calls() -> int:
        for number in range(15):
            behaviour = ({}, {"status": 503}, {"encoding": "gzip"}, {"transfer": "chunked"})[number % 4]
            response = await client.post(pair.url, **asked(**behaviour))
            assert number % 4 == 1 or pair.kit.json(response)["data"]
        return 15

    answers = sum(await pair.kit.together([calls] * 8))
    await client.close()
    assert answers == len(pair.attempts) == len({attempt.id for attempt in pair.attempts})
    assert answers == len({attempt.call_id for attempt in pair.attempts})
    assert pair.gateway.billed_nano() == sum(attempt.cost or 0 for attempt in pair.attempts)


async def test_hazard_44_tags_follow_the_task_or_the_copied_context_and_no_other(pair: Pair) -> None:
    def answer(_: Any) -> Any:
        return pair.kit.response(200, json_headers(), Body(URLS))

    client = pair.metered(transport=pair.kit.wire(answer))

    async def call() -> None:
        await client.post(MOCK, **asked())

    async def elsewhere(*, copied: bool) -> None:
        if pair.kit.is_async:
            await asyncio.create_task(call(), context=None if copied else contextvars.Context())
        else:
            run = contextvars.copy_context().run if copied else contextvars.Context().run
            thread = threading.Thread(target=run, args=(pair.kit.run, call()))
            thread.start()
            thread.join()

    with pixelmeter.tags(team="growth"), pixelmeter.tags(feature="hero"):
        await elsewhere(copied=True)
        await elsewhere(copied=False)
    await call()
    await client.close()
    assert ['{"feature":"hero","team":"growth"}', "{}", "{}"] == [attempt.tags for attempt in pair.attempts]


async def test_a_client_of_another_meter_is_refused(pair: Pair) -> None:
    client = pair.metered()
    with pytest.raises(ConfigError, match="another meter already"):
        pair.kit.meter(client.raw, pixelmeter.Meter("sqlite:///unused.db"))
    await client.close()
