"""The meter transports by themselves; what they do to a client's requests is in tests/hazards."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pixelmeter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.sink import Health
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.linking import Mark
from pixelmeter.recorder.recorder import Recorder
from pixelmeter.testing.capture import capture_calls
from tests.clients import KITS, Kit, settled

MOCK = "http://mock.test/v1/images/generations"
KITS_BY_NAME = pytest.mark.parametrize("kit", KITS, ids=str)


@pytest.fixture
def meter(tmp_path: Path) -> pixelmeter.Meter:
    """A meter that knows the mocked host."""
    return pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db", gateways={"mock.test": "aigateway"})


def transport_class(kit: Kit) -> Any:
    """Return the meter transport of a kit."""
    binding = importlib.import_module(f"pixelmeter.{kit.package.__name__}")
    return binding.AsyncMeterTransport if kit.is_async else binding.MeterTransport


def mocked(kit: Kit, status: int = 200) -> Any:
    return kit.mock(lambda _: kit.package.Response(status, json={"data": [{"url": "https://media.test/1.png"}]}))


async def sent(kit: Kit, transport: Any, method: str = "POST", url: str = MOCK) -> Any:
    """Send one image request through a transport and return its response."""
    body = {"json": {"model": "meta/sam-3-1-image", "prompt": "p"}} if method == "POST" else {}
    request = kit.package.Request(method, url, **body)
    handle = transport.handle_async_request if kit.is_async else transport.handle_request
    return await settled(handle(request))


@KITS_BY_NAME
def test_it_is_a_transport_of_its_library_with_that_librarys_own_as_default(kit: Kit, meter: pixelmeter.Meter) -> None:
    transport = transport_class(kit)(meter)
    library = kit.package
    base, default = (
        (library.AsyncBaseTransport, library.AsyncHTTPTransport)
        if kit.is_async
        else (library.BaseTransport, library.HTTPTransport)
    )
    assert isinstance(transport, base)
    assert type(transport.inner) is default
    kit.run(settled(transport.aclose() if kit.is_async else transport.close()))


@KITS_BY_NAME
def test_an_image_call_makes_one_record_and_other_requests_none(kit: Kit, meter: pixelmeter.Meter) -> None:
    transport = transport_class(kit)(meter, mocked(kit))

    async def body() -> None:
        await sent(kit, transport)
        await sent(kit, transport, "GET")
        await sent(kit, transport, url="http://mock.test/v1/chat/completions")

    with capture_calls() as attempts:
        kit.run(body())
    [attempt] = attempts
    assert ("generate", "success", 10_000_000) == (attempt.operation, attempt.outcome, attempt.cost)


@KITS_BY_NAME
def test_the_same_request_sent_again_is_the_next_attempt_of_its_call(kit: Kit, meter: pixelmeter.Meter) -> None:
    transport = transport_class(kit)(meter, mocked(kit, 503))
    request = kit.package.Request("POST", MOCK, json={"model": "m", "prompt": "p"})

    async def body() -> None:
        for _ in range(3):
            handle = transport.handle_async_request if kit.is_async else transport.handle_request
            await settled(handle(request))

    with capture_calls() as attempts:
        kit.run(body())
    assert [0, 1, 2] == [attempt.attempt for attempt in attempts]
    assert 1 == len({attempt.call_id for attempt in attempts})


@KITS_BY_NAME
def test_what_the_inner_transport_offers_is_offered(kit: Kit, meter: pixelmeter.Meter) -> None:
    inner = mocked(kit)
    inner.special = 7
    transport = transport_class(kit)(meter, inner)
    assert 7 == transport.special
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        transport.nothing_of_the_kind  # noqa: B018


@KITS_BY_NAME
def test_it_can_be_copied_before_it_has_an_inner_transport(kit: Kit, meter: pixelmeter.Meter) -> None:
    """Copying asks a half-made object for its attributes."""
    transport = transport_class(kit)(meter, mocked(kit))
    assert transport.inner is copy.copy(transport).inner


@KITS_BY_NAME
def test_a_context_enters_and_leaves_the_inner_transport(kit: Kit, meter: pixelmeter.Meter) -> None:
    calls: list[tuple[str, int]] = []

    class Inner:
        def __enter__(self) -> None:
            calls.append(("enter", 0))

        def __exit__(self, *raised: object) -> None:
            calls.append(("exit", len(raised)))

        async def __aenter__(self) -> None:
            calls.append(("enter", 0))

        async def __aexit__(self, *raised: object) -> None:
            calls.append(("exit", len(raised)))

    transport = transport_class(kit)(meter, Inner())

    async def body() -> None:
        if kit.is_async:
            async with transport as entered:
                assert entered is transport
        else:
            with transport as entered:
                assert entered is transport

    kit.run(body())
    assert [("enter", 0), ("exit", 3)] == calls


@KITS_BY_NAME
def test_a_tag_for_the_gateway_does_not_follow_a_redirect_to_another_host(kit: Kit, meter: pixelmeter.Meter) -> None:
    seen: list[tuple[str, str | None]] = []

    def answer(request: Any) -> Any:
        seen.append((request.url.host, request.headers.get("x-aig-tag")))
        if request.url.host == "mock.test":
            return kit.package.Response(307, headers={"location": "http://other.test/v1/images/generations"})
        return kit.package.Response(200, json={"data": [{"url": "https://media.test/1.png"}]})

    async def post() -> Any:
        client = kit.client(transport=kit.mock(answer), follow_redirects=True)
        pixelmeter.instrument(client.raw, meter)
        try:
            return await client.post(MOCK, json={"model": "meta/sam-3-1-image", "prompt": "p"})
        finally:
            await client.close()

    with capture_calls() as attempts, pixelmeter.tags(aig_tag="hero"):
        response = kit.run(post())
    assert [("mock.test", "hero"), ("other.test", None)] == seen
    assert "x-aig-tag" not in response.history[0].request.headers
    assert 1 == len({attempt.call_id for attempt in attempts})
    assert [(0, "redirected"), (1, "no_price")] == [(attempt.attempt, attempt.cost_reason) for attempt in attempts]


@KITS_BY_NAME
def test_an_attempt_that_we_failed_to_meter_does_not_hide_the_one_that_follows_it(
    kit: Kit, meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Exchange
    failures = [ZeroDivisionError("ours")]

    def fail_once(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return made(*arguments)

    def answer(request: Any) -> Any:
        if request.url.host == "mock.test":
            return kit.package.Response(307, headers={"location": "http://other.test/v1/images/generations"})
        return kit.package.Response(200, json={"data": [{"url": "https://media.test/1.png"}]})

    async def post() -> None:
        client = kit.client(transport=kit.mock(answer), follow_redirects=True)
        pixelmeter.instrument(client.raw, meter)
        await client.post(MOCK, json={"model": "meta/sam-3-1-image", "prompt": "p"})
        await client.close()

    monkeypatch.setattr("pixelmeter.intake.Exchange", fail_once)
    with capture_calls() as attempts:
        kit.run(post())
    assert {"request": 1} == meter.status()["failures"]
    assert ["success"] == [attempt.outcome for attempt in attempts]


@KITS_BY_NAME
def test_a_request_that_we_failed_to_keep_leaves_as_it_came_and_the_sinks_are_told_before(
    kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    class View:
        def begin(self, intent: Attempt) -> Callable[[], None]:
            happened.append("begun")
            return lambda: happened.append("undone")

        def record(self, attempt: Attempt) -> None:
            happened.append("recorded")

        def observe(self, health: Health) -> None: ...

    def answer(request: Any) -> Any:
        happened.append(f"sent with {request.headers.get('x-aig-tag')}")
        return kit.package.Response(200, json={})

    def fail(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(Recorder, "begin", fail)
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db", gateways={"mock.test": "aigateway"}, sinks=[View()])
    with pixelmeter.tags(aig_tag="hero"):
        kit.run(sent(kit, transport_class(kit)(meter, kit.mock(answer))))
    assert ["begun", "undone", "sent with None"] == happened
    assert {"request": 1} == meter.status()["failures"]


@KITS_BY_NAME
def test_a_tag_that_was_added_when_we_failed_is_taken_off_again(
    kit: Kit, meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags: list[str | None] = []
    add = Mark.add_header

    def add_and_fail(mark: Mark, *what: Any) -> None:
        add(mark, *what)
        raise ZeroDivisionError("ours")

    def answer(request: Any) -> Any:
        tags.append(request.headers.get("x-aig-tag"))
        return kit.package.Response(200, json={})

    monkeypatch.setattr(Mark, "add_header", add_and_fail)
    with pixelmeter.tags(aig_tag="hero"):
        kit.run(sent(kit, transport_class(kit)(meter, kit.mock(answer))))
    assert [None] == tags
    assert {"request": 1} == meter.status()["failures"]
