"""Transports that send again by themselves: each send is an attempt, and all of them are one call."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import httpx2
import openai
import pytest
import replicate.client
import tenacity
from httpx_retries import Retry, RetryTransport

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.testing import Gateway
from tests.clients import KITS, Kit, settled
from tests.drivers.wires import BODY, URL, Wire, metered_transport, numbers, posted, wrapping

THREE = [(0, "error"), (1, "error"), (2, "success")]
RETRY = Retry(total=5, backoff_factor=0, allowed_methods=["POST"])


def by_httpx_retries(_: Kit, inner: Any) -> Any:
    return RetryTransport(transport=inner, retry=RETRY)


def by_replicate(_: Kit, inner: Any) -> Any:
    return replicate.client.RetryTransport(
        inner, retryable_methods=["POST"], retry_status_codes=[503], backoff_factor=0, jitter_ratio=0
    )


def by_pydantic_ai(kit: Kit, inner: Any) -> Any:
    # Not above: it imports much, and every process that collects this would.
    import pydantic_ai.retries as tenacious

    config = tenacious.RetryConfig(
        retry=tenacity.retry_if_exception_type(kit.package.HTTPStatusError),
        stop=tenacity.stop_after_attempt(5),
        reraise=True,
    )
    names = {
        "httpx-sync": "TenacityTransport",
        "httpx-asyncio": "AsyncTenacityTransport",
        "httpx2-sync": "HTTPX2TenacityTransport",
        "httpx2-asyncio": "AsyncHTTPX2TenacityTransport",
    }
    kind: Any = getattr(tenacious, names[str(kit)])
    return kind(config, inner, lambda response: response.raise_for_status())


def by_hand(kit: Kit, inner: Any) -> Any:
    """What programs write for themselves, with one of many names for the inner transport."""

    def send(request: Any, handle: Any) -> Any:
        response = handle(request)
        while response.status_code != 200:
            response.close()
            response = handle(request)
        return response

    async def send_async(request: Any, handle: Any) -> Any:
        response = await handle(request)
        while response.status_code != 200:
            await response.aclose()
            response = await handle(request)
        return response

    return wrapping(kit, inner, send_async if kit.is_async else send)


Retrying = Callable[[Kit, Any], Any]
BOTH = [by_pydantic_ai, by_hand]
HTTPX = [by_httpx_retries, by_replicate, *BOTH]


def pairs() -> Iterator[Any]:
    for kit in KITS:
        for retrying in HTTPX if kit.package is httpx else BOTH:
            yield pytest.param(kit, retrying, id=f"{kit}-{retrying.__name__}")


RETRYING = pytest.mark.parametrize(("kit", "retrying"), list(pairs()))
pytestmark = pytest.mark.filterwarnings("ignore:.*TenacityTransport. is deprecated")


async def one_post(kit: Kit, meter: Meter, **options: Any) -> None:
    client = kit.client(**options)
    pixelmeter.instrument(client.raw, meter)
    assert 200 == (await posted(client)).status_code
    await client.close()


@RETRYING
def test_each_send_of_the_clients_transport_is_an_attempt(
    kit: Kit, retrying: Retrying, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit, 503, 503, 200)
    kit.run(one_post(kit, meter, transport=retrying(kit, wire.transport)))
    assert THREE == numbers(attempts)
    assert [(None, 10_000_000), (None, 10_000_000), (10_000_000, None)] == [
        (attempt.cost, attempt.at_risk) for attempt in attempts
    ]


@RETRYING
def test_each_send_of_a_mounts_transport_is_an_attempt(
    kit: Kit, retrying: Retrying, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit, 503, 503, 200)
    kit.run(one_post(kit, meter, mounts={"http://mock.test": retrying(kit, wire.transport)}))
    assert THREE == numbers(attempts)


@RETRYING
def test_each_send_of_one_inside_another_is_an_attempt(
    kit: Kit, retrying: Retrying, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit, 503, 503, 200)
    logging = wrapping(kit, by_hand(kit, wire.transport), lambda request, handle: handle(request))
    kit.run(one_post(kit, meter, transport=retrying(kit, logging)))
    assert THREE == numbers(attempts)


@RETRYING
def test_each_send_of_one_that_makes_its_own_transport_arrives_and_is_an_attempt(
    kit: Kit, retrying: Retrying, meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    async def scene() -> None:
        client = kit.client(transport=retrying(kit, kit.client().raw._transport))
        pixelmeter.instrument(client.raw, meter)
        gateway.tell(status=503, times=2)
        response = await settled(client.raw.post(f"{gateway.url}/images/generations", json=BODY))
        assert 200 == response.status_code
        await client.close()

    kit.run(scene())
    assert THREE == numbers(attempts)
    assert 3 == len(gateway.billing())


@RETRYING
def test_of_a_meter_transport_around_it_each_send_is_an_attempt_as_well(
    kit: Kit, retrying: Retrying, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit, 503, 503, 200)
    transport = metered_transport(kit, meter, retrying(kit, wire.transport))

    async def scene() -> None:
        client = kit.client(transport=transport)
        assert 200 == (await posted(client)).status_code
        await client.close()

    kit.run(scene())
    assert THREE == numbers(attempts)


@RETRYING
def test_a_meter_transport_inside_it_and_the_client_around_it_count_each_send_once(
    kit: Kit, retrying: Retrying, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit, 503, 503, 200)
    kit.run(one_post(kit, meter, transport=retrying(kit, metered_transport(kit, meter, wire.transport))))
    assert THREE == numbers(attempts)


def test_a_transport_that_inherits_the_librarys_own_and_sends_again_is_seen(
    kit: Kit, meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    if kit.is_async:

        class Again(kit.package.AsyncHTTPTransport):  # type: ignore[misc, name-defined]
            async def handle_async_request(self, request: Any) -> Any:
                response = await super().handle_async_request(request)
                while response.status_code != 200:
                    await response.aclose()
                    response = await super().handle_async_request(request)
                return response
    else:

        class Again(kit.package.HTTPTransport):  # type: ignore[misc, name-defined, no-redef]
            def handle_request(self, request: Any) -> Any:
                response = super().handle_request(request)
                while response.status_code != 200:
                    response.close()
                    response = super().handle_request(request)
                return response

    async def scene() -> None:
        client = kit.client(transport=Again(verify=False))
        pixelmeter.instrument(client.raw, meter)
        url = f"{gateway.url}/images/generations"
        gateway.tell(status=503, times=2)
        response = await settled(client.raw.post(url, json=BODY))
        assert (200, 1) == (response.status_code, len(response.json()["data"]))
        await client.close()

    kit.run(scene())
    assert THREE == numbers(attempts)
    assert 3 == len(gateway.billing())


def test_errors_that_a_transport_has_tried_again_are_attempts(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    wire = Wire(kit)
    errors = [kit.package.ConnectError("refused"), kit.package.ReadTimeout("slow")]

    def answer(request: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return wire.answer(request)

    async def again_async(request: Any, handle: Any) -> Any:
        while True:
            try:
                return await handle(request)
            except kit.package.TransportError:
                continue

    def again(request: Any, handle: Any) -> Any:
        while True:
            try:
                return handle(request)
            except kit.package.TransportError:
                continue

    kit.run(one_post(kit, meter, transport=wrapping(kit, kit.wire(answer), again_async if kit.is_async else again)))
    assert [(0, "error"), (1, "timeout"), (2, "success")] == numbers(attempts)
    assert ["not_billed", "unknown", "billed"] == [attempt.billing for attempt in attempts]


def test_a_transport_that_gives_up_leaves_every_attempt_and_its_error(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    def answer(_: Any) -> Any:
        raise kit.package.ConnectError("refused")

    async def twice_async(request: Any, handle: Any) -> Any:
        with pytest.raises(kit.package.ConnectError):
            await handle(request)
        return await handle(request)

    def twice(request: Any, handle: Any) -> Any:
        with pytest.raises(kit.package.ConnectError):
            handle(request)
        return handle(request)

    async def scene() -> None:
        client = kit.client(transport=wrapping(kit, kit.wire(answer), twice_async if kit.is_async else twice))
        pixelmeter.instrument(client.raw, meter)
        with pytest.raises(kit.package.ConnectError):
            await posted(client)
        await client.close()

    kit.run(scene())
    assert [(0, "error"), (1, "error")] == numbers(attempts)


def test_a_cache_in_the_way_makes_no_second_attempt(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    wire = Wire(kit)
    kept: list[Any] = []

    async def cached_async(request: Any, handle: Any) -> Any:
        if not kept:
            response = await handle(request)
            kept.append(await response.aread())
        return kit.package.Response(200, content=kept[0], extensions={"hishel_from_cache": len(kept) > 1})

    def cached(request: Any, handle: Any) -> Any:
        if not kept:
            kept.append(handle(request).read())
        return kit.package.Response(200, content=kept[0], extensions={"hishel_from_cache": len(wire.sent) == 0})

    kit.run(one_post(kit, meter, transport=wrapping(kit, wire.transport, cached_async if kit.is_async else cached)))
    assert [(0, "success")] == numbers(attempts)
    assert 1 == len(wire.sent)


def test_an_sdks_retries_above_a_transports_go_on_counting(
    meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    """Each of the SDK's two tries is sent twice by the transport."""
    kit = Kit(httpx2, "sync")

    def twice(request: Any, handle: Any) -> Any:
        response = handle(request)
        if response.status_code != 200:
            response.close()
            response = handle(request)
        return response

    transport = wrapping(kit, kit.client().raw._transport, twice)
    http_client = openai.DefaultHttpxClient(transport=transport)
    with openai.OpenAI(base_url=gateway.url, api_key="k", http_client=http_client) as client:
        pixelmeter.instrument(client, meter)
        gateway.tell(status=503, headers={"retry-after-ms": "1"}, times=3)
        client.images.generate(model=BODY["model"], prompt="a fox")
    assert [(0, "error"), (1, "error"), (2, "error"), (3, "success")] == numbers(attempts)


def test_with_fals_two_domains_one_request_is_one_attempt_and_the_second_domain_another(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    """fal-client 1.0.3: a transport with a client of its own, which sends again to another host where one is away."""
    wire = Wire(kit)
    away = [False]

    def answer(request: Any) -> Any:
        if away[0] and request.url.host == "mock.test":
            raise kit.package.ConnectError("away")
        return wire.answer(request)

    inner = kit.client(transport=kit.wire(answer)).raw

    async def send_async(request: Any) -> Any:
        try:
            return await inner.send(request, stream=True)
        except kit.package.ConnectError:
            return await inner.send(backup(request), stream=True)

    def send(request: Any) -> Any:
        try:
            return inner.send(request, stream=True)
        except kit.package.ConnectError:
            return inner.send(backup(request), stream=True)

    def backup(request: Any) -> Any:
        return kit.package.Request(
            request.method,
            request.url.copy_with(host="backup.test"),
            headers={**request.headers, "host": "backup.test"},
            stream=request.stream,
            extensions=request.extensions,
        )

    async def scene() -> None:
        transport = kit.wire(send_async if kit.is_async else send)
        transport._client = inner
        client = kit.client(transport=transport)
        pixelmeter.instrument(client.raw, meter)
        pixelmeter.instrument(inner, meter)
        await posted(client)
        away[0] = True
        await posted(client)
        await client.close()
        await settled(inner.aclose() if kit.is_async else inner.close())

    kit.run(scene())
    assert [("success", 0), ("error", 0), ("success", 1)] == [(each.outcome, each.attempt) for each in attempts]
    assert attempts[1].call_id == attempts[2].call_id
    assert [BODY["model"]] * 3 == [attempt.requested_model for attempt in attempts]
    assert "not_billed" == attempts[1].billing


@pytest.mark.parametrize("copied", [True, False], ids=["with the context", "without"])
def test_a_transport_that_sends_again_in_another_thread_makes_each_an_attempt(
    copied: bool, meter: Meter, attempts: list[Attempt]
) -> None:
    kit = Kit(httpx, "sync")
    wire = Wire(kit, 503, 503, 200)

    def send(request: Any, handle: Any) -> Any:
        run = contextvars.copy_context().run if copied else contextvars.Context().run
        with ThreadPoolExecutor(1) as pool:
            while (response := pool.submit(run, handle, request).result()).status_code != 200:
                response.close()
        return response

    client = kit.client(transport=wrapping(kit, wire.transport, send))
    pixelmeter.instrument(client.raw, meter)
    client.raw.post(URL, json=BODY)
    client.raw.close()
    assert THREE == numbers(attempts)
    assert 1 == len({attempt.call_id for attempt in attempts})
