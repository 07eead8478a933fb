"""The span of an attempt: what it says, when it starts and ends, and what is current meanwhile."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import Decision, StaticSampler
from opentelemetry.trace import SpanKind, StatusCode

import pixelmeter
from pixelmeter import Meter
from pixelmeter.errors import ConfigError
from pixelmeter.meter import intake_of
from pixelmeter.sinks.otel import OtelSink
from pixelmeter.testing import Gateway
from tests.clients import KITS, TRIO, Kit
from tests.factories import STARTED_AT, make_attempt
from tests.interop.conftest import Metered
from tests.sinks.otel.conftest import Telemetry

pytestmark = pytest.mark.slow

SAM = "meta/sam-3-1-image"
OF_THE_START = {
    "gen_ai.operation.name": "generate_content",
    "gen_ai.provider.name": "openai",
    "gen_ai.output.type": "image",
    "gen_ai.request.model": "openai/gpt-image-2",
    "pixelmeter.operation": "generate",
    "pixelmeter.gateway": "aigateway",
    "pixelmeter.call_id": "01975c2e-0000-7000-8000-000000000000",
    "pixelmeter.attempt_id": "01975c2e-0000-7000-8000-000000000000",
    "pixelmeter.attempt": 0,
    "pixelmeter.images.requested": 1,
}


def attributes_of(telemetry: Telemetry, sink: OtelSink | None = None, **fields: Any) -> dict[str, object]:
    """Return what the span of an attempt with these fields says."""
    attempt = make_attempt(id="01975c2e-0000-7000-8000-000000000000", **fields)
    sink = sink or telemetry.sink()
    leave = sink.begin(attempt)
    assert leave is not None
    leave()
    sink.record(attempt)
    return dict(telemetry.spans()[-1].attributes or {})


def test_a_success_says_what_was_asked_and_what_came(telemetry: Telemetry) -> None:
    found = attributes_of(telemetry)
    assert {
        **OF_THE_START,
        "gen_ai.response.model": "openai/gpt-image-2",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 1056,
        "gen_ai.usage.text.input_tokens": 12,
        "gen_ai.usage.image.input_tokens": 0,
        "gen_ai.usage.image.output_tokens": 1056,
        "http.response.status_code": 200,
        "pixelmeter.outcome": "success",
        "pixelmeter.provider": "openai",
        "pixelmeter.request_id": "req_1",
        "pixelmeter.images.returned": 1,
        "pixelmeter.image.size": "1024x1024",
        "pixelmeter.image.quality": "medium",
        "pixelmeter.first_byte.seconds": 0.08,
        "pixelmeter.billing": "billed",
        "pixelmeter.cost.source": "reported",
        "pixelmeter.cost.usd": 0.04224,
        "pixelmeter.cost.nano_usd": 42_240_000,
    } == found
    [span] = telemetry.spans()
    assert ("generate_content openai/gpt-image-2", SpanKind.CLIENT) == (span.name, span.kind)
    assert StatusCode.UNSET == span.status.status_code
    assert (STARTED_AT * 1000, (STARTED_AT + 8_123_456) * 1000) == (span.start_time, span.end_time)


def test_a_sampler_sees_what_the_request_tells(telemetry: Telemetry) -> None:
    seen: list[Mapping[str, object]] = []

    class Sampler(StaticSampler):
        def should_sample(self, parent_context: Any, trace_id: int, name: str, *more: Any, **others: Any) -> Any:
            seen.append(dict(more[1] if len(more) > 1 else others["attributes"]))
            return super().should_sample(parent_context, trace_id, name, *more, **others)

    provider = TracerProvider(Sampler(Decision.DROP), shutdown_on_exit=False)
    sink = OtelSink(provider, telemetry.metrics)
    attempt = make_attempt(id="01975c2e-0000-7000-8000-000000000000")
    leave = sink.begin(attempt)
    assert leave is not None
    assert not trace.get_current_span().is_recording()
    assert trace.get_current_span().get_span_context().is_valid
    leave()
    sink.record(attempt)
    assert [OF_THE_START] == seen
    provider.shutdown()


def test_a_failure_says_why_in_a_word_and_has_the_class_of_the_exception(telemetry: Telemetry) -> None:
    unanswered: dict[str, Any] = {
        "status": None,
        "first_byte": None,
        "images": None,
        "provider": None,
        "request_id": None,
    }
    unpriced: dict[str, Any] = {
        "cost": None,
        "cost_source": "none",
        "cost_reason": "outcome_unknown",
        "billing": "unknown",
    }
    silent: dict[str, Any] = {"input_text_tokens": None, "input_image_tokens": None, "output_image_tokens": None}
    found = attributes_of(
        telemetry,
        outcome="timeout",
        error_type="ReadTimeout",
        at_risk=42_000_000,
        attempt=2,
        requested_images=4,
        **(unanswered | unpriced | silent),
    )
    assert {
        **OF_THE_START,
        "gen_ai.request.choice.count": 4,
        "http.request.resend_count": 2,
        "pixelmeter.attempt": 2,
        "pixelmeter.images.requested": 4,
        "error.type": "timeout",
        "pixelmeter.outcome": "timeout",
        "pixelmeter.image.size": "1024x1024",
        "pixelmeter.image.quality": "medium",
        "pixelmeter.billing": "unknown",
        "pixelmeter.cost.source": "none",
        "pixelmeter.cost.reason": "outcome_unknown",
        "pixelmeter.at_risk.usd": 0.042,
    } == found
    [span] = telemetry.spans()
    assert (StatusCode.ERROR, None) == (span.status.status_code, span.status.description)
    [event] = span.events
    assert ("exception", {"exception.type": "ReadTimeout"}, span.end_time) == (
        event.name,
        dict(event.attributes or {}),
        event.timestamp,
    )


def test_the_error_of_an_answer_is_no_exception(telemetry: Telemetry) -> None:
    found = attributes_of(telemetry, status=400, outcome="rejected", error_type="ModerationBlocked", error_code="x")
    assert ("moderation", ()) == (found["error.type"], telemetry.spans()[0].events)


def test_what_a_stream_says_of_its_error_is_no_exception(telemetry: Telemetry) -> None:
    attributes_of(telemetry, status=200, outcome="error", error_type="Refused: a fox in the snow")
    assert () == telemetry.spans()[0].events


def test_what_costs_nothing_costs_0_and_what_is_unknown_has_no_cost(telemetry: Telemetry) -> None:
    free = attributes_of(telemetry, cost=0, cost_source="none", cost_reason="cached")
    assert (0.0, 0, "cached") == tuple(free[f"pixelmeter.cost.{name}"] for name in ("usd", "nano_usd", "reason"))
    unknown = attributes_of(telemetry, cost=None, cost_source="none", cost_reason="no_price")
    assert {"pixelmeter.cost.source", "pixelmeter.cost.reason"} == {name for name in unknown if "cost" in name}


def test_an_edit_names_its_pictures_and_an_unknown_host_its_port(telemetry: Telemetry) -> None:
    found = attributes_of(telemetry, operation="edit", input_images=2, gateway="images.corp.example:8443")
    assert ("edit", 2, "images.corp.example", 8443) == tuple(
        found[name] for name in ("pixelmeter.operation", "pixelmeter.images.input", "server.address", "server.port")
    )
    for host in ("images.corp.example", "[2001:db8::1]"):
        plain = attributes_of(telemetry, gateway=host)
        assert (host, False) == (plain["server.address"], "server.port" in plain)
        found = attributes_of(telemetry, gateway=f"{host}:8443")
        assert (host, 8443) == (found["server.address"], found["server.port"])


def test_azure_is_a_provider_of_its_own(telemetry: Telemetry) -> None:
    assert "azure.ai.openai" == attributes_of(telemetry, gateway="azure")["gen_ai.provider.name"]


@pytest.mark.parametrize(
    ("names", "source", "expected"),
    [
        (None, "reported", {}),
        (
            "semconv",
            "reported",
            {
                "gen_ai.usage.cost.amount": 0.04224,
                "gen_ai.usage.cost.currency": "USD",
                "gen_ai.usage.cost.source": "provider",
            },
        ),
        (
            "semconv",
            "priced",
            {
                "gen_ai.usage.cost.amount": 0.04224,
                "gen_ai.usage.cost.currency": "USD",
                "gen_ai.usage.cost.source": "local",
            },
        ),
        ("openlit", "reported", {"gen_ai.usage.cost": 0.04224}),
    ],
)
@pytest.mark.parametrize("said_by", ["argument", "environment"])
def test_the_cost_has_other_names_on_demand(
    names: Any,
    source: str,
    expected: dict[str, object],
    said_by: str,
    telemetry: Telemetry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIXELMETER_COST_ATTRIBUTES", "" if said_by == "argument" else names or "")
    sink = telemetry.sink(cost_attributes=names) if said_by == "argument" else telemetry.sink()
    found = attributes_of(telemetry, sink, cost_source=source)
    assert expected == {name: value for name, value in found.items() if name.startswith("gen_ai.usage.cost")}


def test_a_setting_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMETER_COST_ATTRIBUTES", "dollars")
    with pytest.raises(ConfigError, match="PIXELMETER_COST_ATTRIBUTES"):
        OtelSink()


def test_the_environment_turns_the_sink_on(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMETER_SINKS", "otel")
    with Meter(sqlite_url) as meter:
        assert [OtelSink] == [type(sink) for sink in intake_of(meter).recorder.sinks]


async def outcomes(kit: Kit, meter: Meter, gateway: Gateway, *told: dict[str, Any]) -> list[trace.SpanContext]:
    """Call once for each; return what is current after each call."""
    client = kit.client(base_url=gateway.url)
    pixelmeter.instrument(client.raw, meter)
    after: list[trace.SpanContext] = []
    for one in told:
        try:
            headers = {"x-test-behaviour": json.dumps(one)}
            await client.post("/images/generations", json={"model": SAM, "prompt": "a fox"}, headers=headers)
        except kit.package.TransportError:
            pass
        after.append(trace.get_current_span().get_span_context())
    await client.close()
    return after


def test_spans_are_children_of_what_is_current_and_nothing_stays_current(
    kit: Kit, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    with telemetry.tracer.start_as_current_span("request") as request:
        outside = request.get_span_context()
        told: list[dict[str, Any]] = [{}, {"status": 500}, {"cut": "after_headers"}, {"cut": "before_headers"}]
        after = kit.run(outcomes(kit, meter, gateway, *told))
    spans = [span for span in telemetry.spans() if span.name.startswith("generate_content")]
    assert [outside] * 4 == after
    assert [outside.span_id] * 4 == [span.parent.span_id for span in spans if span.parent is not None]
    assert ["success", "error", "error", "error"] == [(span.attributes or {})["pixelmeter.outcome"] for span in spans]
    assert [f"{outside.trace_id:032x}"] * 4 == [attempt.trace_id for attempt in Metered(meter).attempts()]


@pytest.mark.parametrize("kit", TRIO, ids=str)
def test_trio_is_traced_as_well(kit: Kit, meter: Meter, gateway: Gateway, telemetry: Telemetry) -> None:
    with telemetry.tracer.start_as_current_span("request") as request:
        kit.run(outcomes(kit, meter, gateway, {}))
    assert request.get_span_context() == telemetry.span("generate_content").parent


def test_the_ledger_has_the_trace_of_the_span_where_there_is_no_other(
    kit: Kit, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    kit.run(outcomes(kit, meter, gateway, {}))
    context = telemetry.span("generate_content").context
    assert context is not None
    assert f"{context.trace_id:032x}" == Metered(meter).attempt().trace_id


def test_a_redirect_outside_any_trace_is_one_trace(
    kit: Kit, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    async def call() -> None:
        client = kit.client(base_url=gateway.url, follow_redirects=True)
        pixelmeter.instrument(client.raw, meter)
        headers = {"x-test-behaviour": json.dumps({"redirect": 307})}
        await client.post("/images/generations", json={"model": SAM, "prompt": "a fox"}, headers=headers)
        await client.close()

    kit.run(call())
    first, second = telemetry.spans()
    assert (307, 200) == tuple((span.attributes or {})["http.response.status_code"] for span in (first, second))
    assert second.parent == first.context
    assert 1 == len({attempt.trace_id for attempt in Metered(meter).attempts()})


def test_the_transport_sees_the_span_as_current(kit: Kit, meter: Meter, telemetry: Telemetry) -> None:
    seen: list[trace.SpanContext] = []

    def answer(_: Any) -> Any:
        seen.append(trace.get_current_span().get_span_context())
        return kit.package.Response(200, json={"data": [{"url": "https://media.test/1.png"}]})

    async def call() -> None:
        client = kit.client(transport=kit.wire(answer))
        pixelmeter.instrument(client.raw, meter)
        await client.post("http://mock.test/v1/images/generations", json={"model": SAM})
        await client.close()

    kit.run(call())
    assert [telemetry.span("generate_content").context] == seen


def test_concurrent_calls_have_spans_of_their_own(
    kit: Kit, meter: Meter, gateway: Gateway, telemetry: Telemetry
) -> None:
    async def call() -> None:
        client = kit.client(base_url=gateway.url)
        pixelmeter.instrument(client.raw, meter)

        async def one() -> None:
            with telemetry.tracer.start_as_current_span("request"):
                await client.post("/images/generations", json={"model": SAM, "prompt": "a fox"})

        await kit.together([one] * 8)
        await client.close()

    kit.run(call())
    requests = {span.context.span_id for span in telemetry.spans() if span.name == "request" and span.context}
    parents = {span.parent.span_id for span in telemetry.spans() if span.parent is not None}
    assert 8 == len(requests)
    assert requests == parents


@pytest.mark.parametrize("kit", [kit for kit in KITS if kit.is_async], ids=str)
def test_a_cancelled_task_ends_its_span_and_logs_nothing(
    kit: Kit, meter: Meter, gateway: Gateway, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.tell(hold="before_headers")

    async def call() -> None:
        client = kit.client(base_url=gateway.url)
        pixelmeter.instrument(client.raw, meter)
        task = asyncio.ensure_future(client.post("/images/generations", json={"model": SAM, "prompt": "a fox"}))
        await asyncio.to_thread(gateway.wait_held, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.close()

    with caplog.at_level(logging.DEBUG, logger="opentelemetry"):
        asyncio.run(call())
    gateway.release()
    attributes = telemetry.span("generate_content").attributes or {}
    assert ("cancelled", "cancelled") == (attributes["pixelmeter.outcome"], attributes["error.type"])
    assert [] == caplog.records


def test_a_span_left_in_another_context_logs_nothing(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    sink = telemetry.sink()
    attempt = make_attempt()
    leave = contextvars.copy_context().run(sink.begin, attempt)
    assert leave is not None
    with caplog.at_level(logging.DEBUG):
        leave()
    sink.record(attempt)
    assert [] == caplog.records
    assert 1 == len(telemetry.spans())


def test_attempts_that_never_end_are_forgotten(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixelmeter.sinks.otel.spans._OPEN_LIMIT", 3)
    sink = telemetry.sink()
    attempts = [make_attempt() for _ in range(5)]
    for attempt in attempts:
        leave = sink.begin(attempt)
        assert leave is not None
        leave()
    for attempt in attempts:
        sink.record(attempt)
    assert [attempt.id for attempt in attempts[2:]] == [
        (span.attributes or {})["pixelmeter.attempt_id"] for span in telemetry.spans()
    ]
