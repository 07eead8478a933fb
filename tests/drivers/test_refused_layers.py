"""Whichever layer finds that a budget does not let a request go: its caller is told so once, and nothing is sent."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from httpx_retries import Retry, RetryTransport

import pixelmeter
from pixelmeter.testing import Gateway
from tests.clients import Body, Kit, settled
from tests.drivers.limits import PRICE, REFUSALS, MakeLimited, instrumented, refused, told
from tests.drivers.wires import BODY, EDIT, URL, Wire, metered_transport, posted, wrapping


@REFUSALS
def test_an_explicit_transport_refuses_as_an_instrumented_client_does(
    kit: Kit, limited: MakeLimited, refuse: str
) -> None:
    tiny, wire = limited(1, refuse=refuse), Wire(kit)

    async def scene() -> None:
        client = kit.client(transport=metered_transport(kit, tiny.meter, wire.transport))
        assert 200 == (await posted(client)).status_code
        await told(kit, lambda: posted(client), refuse)
        await client.close()

    kit.run(scene())
    assert 1 == len(wire.sent)
    assert (PRICE, 0, 0, 1) == tiny.sums()


def test_a_mounted_transport_is_refused_as_well(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(1), Wire(kit)

    async def scene() -> None:
        client = instrumented(kit, tiny, mounts={"http://mock.test": wire.transport})
        assert 200 == (await posted(client)).status_code
        await refused(kit, lambda: posted(client))
        await client.close()

    kit.run(scene())
    assert (PRICE, 0, 0, 1) == tiny.sums()


def test_layers_inside_each_other_reserve_once(kit: Kit, limited: MakeLimited) -> None:
    tiny, wire = limited(1), Wire(kit)

    async def scene() -> None:
        inner = metered_transport(kit, tiny.meter, metered_transport(kit, tiny.meter, wire.transport))
        client = instrumented(kit, tiny, transport=inner)
        assert 200 == (await posted(client)).status_code
        await refused(kit, lambda: posted(client))
        await client.close()

    kit.run(scene())
    assert ["success", "blocked"] == tiny.outcomes()
    assert (PRICE, 0, 0, 1) == tiny.sums()


def again(kit: Kit, inner: Any) -> Any:
    """Return a transport that sends up to three times."""

    def send(request: Any, handle: Any) -> Any:
        for _ in range(2):
            response = handle(request)
            if response.status_code != 503:
                return response
            response.close()
        return handle(request)

    async def send_async(request: Any, handle: Any) -> Any:
        for _ in range(2):
            response = await handle(request)
            if response.status_code != 503:
                return response
            await response.aclose()
        return await handle(request)

    return wrapping(kit, inner, send_async if kit.is_async else send)


@REFUSALS
@pytest.mark.parametrize("place", ["client", "around", "inside"])
def test_what_a_transport_sends_again_is_refused_where_the_first_try_may_have_cost_all_that_was_left(
    kit: Kit, limited: MakeLimited, refuse: str, place: str
) -> None:
    tiny, wire = limited(1, refuse=refuse), Wire(kit, 503)
    if place == "inside":
        transport = again(kit, metered_transport(kit, tiny.meter, wire.transport))
    else:
        transport = again(kit, wire.transport)
        transport = transport if place == "client" else metered_transport(kit, tiny.meter, transport)

    async def scene() -> None:
        client = kit.client(transport=transport)
        if place == "client":
            pixelmeter.instrument(client.raw, tiny.meter)
        await told(kit, lambda: posted(client), refuse)
        await client.close()

    kit.run(scene())
    assert 1 == len(wire.sent)
    assert ["error", "blocked"] == tiny.outcomes()
    assert [0, 1] == [attempt.attempt for attempt in tiny.attempts()]
    assert (0, PRICE, 0, 1) == tiny.sums()


@REFUSALS
def test_a_transport_that_inherits_the_librarys_own_is_refused_below_by_what_its_caller_knows(
    kit: Kit, limited: MakeLimited, gateway: Gateway, refuse: str
) -> None:
    tiny = limited(1, refuse=refuse)
    if kit.is_async:

        class Again(kit.package.AsyncHTTPTransport):  # type: ignore[misc, name-defined]
            async def handle_async_request(self, request: Any) -> Any:
                response = await super().handle_async_request(request)
                await response.aclose()
                return await super().handle_async_request(request)
    else:

        class Again(kit.package.HTTPTransport):  # type: ignore[misc, name-defined, no-redef]
            def handle_request(self, request: Any) -> Any:
                super().handle_request(request).close()
                return super().handle_request(request)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=Again(verify=False))
        gateway.tell(status=503)
        await told(kit, lambda: settled(client.raw.post(f"{gateway.url}/images/generations", json=BODY)), refuse)
        await client.close()

    kit.run(scene())
    assert 1 == len(gateway.billing())
    assert ["error", "blocked"] == tiny.outcomes()


@REFUSALS
def test_a_library_of_retries_does_not_try_a_refused_call_again(limited: MakeLimited, refuse: str) -> None:
    kit = Kit(httpx, "sync")
    tiny, wire = limited(1, refuse=refuse), Wire(kit, 503)
    retry = Retry(total=5, backoff_factor=0, allowed_methods=["POST"])

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=RetryTransport(transport=wire.transport, retry=retry))
        await told(kit, lambda: posted(client), refuse)
        await client.close()

    kit.run(scene())
    assert ["error", "blocked"] == tiny.outcomes()


@REFUSALS
def test_the_request_that_a_redirect_leads_to_is_refused(kit: Kit, limited: MakeLimited, refuse: str) -> None:
    tiny = limited(0, scope={"operation": "edit"}, refuse=refuse)
    sent: list[str] = []

    def answer(request: Any) -> Any:
        sent.append(str(request.url))
        return kit.package.Response(307, headers={"location": EDIT}, stream=kit.stream(Body(b"")))

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=kit.wire(answer), follow_redirects=True)
        if refuse == "raise":
            error: Any = await refused(kit, lambda: posted(client))
            assert EDIT == str(error.request.url)
        else:
            response = await posted(client)
            assert ([307], 402) == ([earlier.status_code for earlier in response.history], response.status_code)
        await client.close()

    kit.run(scene())
    assert [URL] == sent
    assert [("generate", "not_billed"), ("edit", "not_billed")] == [
        (attempt.operation, attempt.billing) for attempt in tiny.attempts()
    ]
    assert "blocked" == tiny.outcomes()[-1]
