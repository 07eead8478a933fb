"""Together with OpenTelemetry's instrumentation of httpx and httpx2, whichever is put on first."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanContext, get_current_span

import pixelmeter
from pixelmeter import Meter
from pixelmeter.httpx2 import MeterTransport
from pixelmeter.testing import Gateway
from tests.clients import Client, Kit
from tests.interop.conftest import Metered
from tests.interop.sdk import told
from tests.sinks.otel.conftest import Telemetry

pytestmark = pytest.mark.slow

URL = "http://mock.test/v1/images/generations"


class Wire:
    """A transport that keeps what the traceparent header of each request refers to."""

    def __init__(self, kit: Kit) -> None:
        self.sent: list[SpanContext] = []
        self._kit = kit
        self.transport = kit.wire(self._answer)

    def _answer(self, request: Any) -> Any:
        self.sent.append(get_current_span(extract(dict(request.headers))).get_span_context())
        return self._kit.package.Response(200, json={"data": [{"url": "https://media.test/1.png"}]})


def instrumentor_of(kit: Kit) -> Any:
    """Return OpenTelemetry's instrumentor of a kit's library."""
    return (HTTPXClientInstrumentor if kit.package is httpx else HTTPX2ClientInstrumentor)()


async def call(client: Client) -> None:
    """Make one call and close the client."""
    await client.post(URL, json={"model": "meta/sam-3-1-image", "prompt": "a fox"})
    await client.close()


def both(telemetry: Telemetry) -> tuple[Any, Any]:
    """Return the span of the attempt and the one of the HTTP request."""
    return telemetry.span("generate_content"), telemetry.span("POST")


@pytest.mark.parametrize("first", ["pixelmeter", "opentelemetry"])
def test_whoever_came_first_the_request_is_below_the_attempt_and_carries_its_own_span(
    first: str, kit: Kit, meter: Meter, telemetry: Telemetry
) -> None:
    wire = Wire(kit)
    client = kit.client(transport=wire.transport)
    if first == "pixelmeter":
        pixelmeter.instrument(client.raw, meter)
    instrumentor_of(kit).instrument_client(client.raw, tracer_provider=telemetry.traces)
    pixelmeter.instrument(client.raw, meter)
    kit.run(call(client))
    attempt, request = both(telemetry)
    assert (attempt.context, None) == (request.parent, attempt.parent)
    assert [(request.context.trace_id, request.context.span_id)] == [(one.trace_id, one.span_id) for one in wire.sent]
    assert f"{wire.sent[0].trace_id:032x}" == Metered(meter).attempt().trace_id


@pytest.mark.parametrize("first", ["pixelmeter", "opentelemetry"])
def test_once_its_wrapper_is_taken_off_there_are_attempts_and_no_requests(
    first: str, kit: Kit, meter: Meter, telemetry: Telemetry
) -> None:
    wire = Wire(kit)
    client = kit.client(transport=wire.transport)
    if first == "pixelmeter":
        pixelmeter.instrument(client.raw, meter)
    instrumentor_of(kit).instrument_client(client.raw, tracer_provider=telemetry.traces)
    pixelmeter.instrument(client.raw, meter)
    instrumentor_of(kit).uninstrument_client(client.raw)
    kit.run(call(client))
    assert ["generate_content meta/sam-3-1-image"] == [span.name for span in telemetry.spans()]
    assert "success" == Metered(meter).attempt().outcome


def meter_transport(kit: Kit, meter: Meter, inner: Any) -> Any:
    """Return a meter transport around another transport."""
    binding = importlib.import_module(f"pixelmeter.{kit.package.__name__}")
    return (binding.AsyncMeterTransport if kit.is_async else binding.MeterTransport)(meter, inner)


def test_around_a_meter_transport_its_request_is_above_the_attempt(
    kit: Kit, meter: Meter, telemetry: Telemetry
) -> None:
    wire = Wire(kit)
    client = kit.client(transport=meter_transport(kit, meter, wire.transport))
    instrumentor_of(kit).instrument_client(client.raw, tracer_provider=telemetry.traces)
    kit.run(call(client))
    attempt, request = both(telemetry)
    assert (request.context, None) == (attempt.parent, request.parent)
    assert [request.context.span_id] == [one.span_id for one in wire.sent]
    assert f"{wire.sent[0].trace_id:032x}" == Metered(meter).attempt().trace_id


def test_around_a_meter_transport_a_retry_is_below_its_own_request(
    meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    headers = told({"status": 429, "headers": {"retry-after-ms": "1"}}, {})
    http_client = openai.DefaultHttpxClient(transport=MeterTransport(meter))
    with openai.OpenAI(base_url=gateway.url, api_key="k", http_client=http_client) as client:
        instrumentor: Any = HTTPX2ClientInstrumentor
        instrumentor.instrument_client(client._client, tracer_provider=telemetry.traces)
        client.images.generate(model="m", prompt="a fox", extra_headers=headers)
    spans: list[Any] = list(telemetry.spans())
    attempts = [span for span in spans if span.name == "generate_content m"]
    requests = [span for span in spans if span.name == "POST"]
    assert requests[0].context == telemetry.span("image_generation").parent
    assert requests[1].context == attempts[1].parent
    assert [f"{span.context.trace_id:032x}" for span in attempts] == [
        attempt.trace_id for attempt in Metered(meter).attempts()
    ]


@pytest.fixture
def instrumented(kit: Kit, telemetry: Telemetry) -> Iterator[None]:
    """The whole library is instrumented, as by OpenTelemetry's launcher."""
    instrumentor = instrumentor_of(kit)
    instrumentor.instrument(tracer_provider=telemetry.traces)
    yield
    instrumentor.uninstrument()


@pytest.mark.usefixtures("instrumented")
def test_with_the_whole_library_instrumented_the_request_is_below_the_attempt(
    kit: Kit, meter: Meter, telemetry: Telemetry, gateway: Gateway
) -> None:
    async def calls() -> None:
        client = kit.client(base_url=gateway.url)
        pixelmeter.instrument(client.raw, meter)
        await client.post("/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "a fox"})
        await client.close()

    kit.run(calls())
    attempt, request = both(telemetry)
    assert (attempt.context, None) == (request.parent, attempt.parent)


def test_alone_it_sends_no_header_of_its_own(kit: Kit, meter: Meter) -> None:
    wire = Wire(kit)
    client = kit.client(transport=wire.transport)
    pixelmeter.instrument(client.raw, meter)
    kit.run(call(client))
    assert [False] == [context.is_valid for context in wire.sent]
