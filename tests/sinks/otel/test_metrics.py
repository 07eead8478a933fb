"""Metrics through the meter provider: names, attribute sets, boundaries, exemplars, and a bound on names."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from pixelmeter.core.attempts.adjustment import Change, change_of
from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.sinks.otel import OtelSink
from tests.factories import STARTED_AT, make_attempt
from tests.sinks.otel.conftest import Telemetry

pytestmark = pytest.mark.slow

STANDARD = {
    "gen_ai.operation.name": "generate_content",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "openai/gpt-image-2",
    "pixelmeter.gateway": "aigateway",
    "pixelmeter.operation": "generate",
}
ANSWERED = {**STANDARD, "gen_ai.response.model": "openai/gpt-image-2"}
CALL = {
    "pixelmeter.gateway": "aigateway",
    "pixelmeter.operation": "generate",
    "pixelmeter.model": "openai/gpt-image-2",
}
UNITS = {
    "gen_ai.client.operation.duration": "s",
    "gen_ai.client.token.usage": "{token}",
    "pixelmeter.requests": "{request}",
    "pixelmeter.retries": "{request}",
    "pixelmeter.cost": "USD",
    "pixelmeter.at_risk": "USD",
    "pixelmeter.unknown_cost_requests": "{request}",
    "pixelmeter.images": "{image}",
}


def record_a_success_and_a_timeout(telemetry: Telemetry) -> None:
    """Record two attempts of a call: the first timed out, the retry came."""
    sink = telemetry.sink()
    sink.record(
        make_attempt(
            outcome="timeout", error_type="ReadTimeout", status=None, images=None, billing="unknown", cost=None,
            cost_source="none", cost_reason="outcome_unknown", at_risk=42_000_000, input_text_tokens=None,
            output_image_tokens=None,
        )
    )  # fmt: skip
    sink.record(make_attempt(attempt=1, images=3, cached_input_tokens=4))


def test_attempts_are_counted_under_these_names_with_these_attributes(telemetry: Telemetry) -> None:
    record_a_success_and_a_timeout(telemetry)
    found = {name: telemetry.points(name) for name in telemetry.instruments()}
    assert {
        "gen_ai.client.operation.duration": [({**STANDARD, "error.type": "timeout"}, 1), (ANSWERED, 1)],
        "gen_ai.client.token.usage": [
            ({**ANSWERED, "gen_ai.token.type": "input"}, 1),
            ({**ANSWERED, "gen_ai.token.type": "output"}, 1),
        ],
        "pixelmeter.requests": [
            ({**CALL, "pixelmeter.outcome": "timeout", "error.type": "timeout"}, 1),
            ({**CALL, "pixelmeter.outcome": "success"}, 1),
        ],
        "pixelmeter.retries": [(CALL, 1)],
        "pixelmeter.cost": [({**CALL, "pixelmeter.cost.source": "reported"}, 0.04224)],
        "pixelmeter.at_risk": [(CALL, 0.042)],
        "pixelmeter.unknown_cost_requests": [({**CALL, "pixelmeter.cost.reason": "outcome_unknown"}, 1)],
        "pixelmeter.images": [
            ({**CALL, "pixelmeter.image.size": "1024x1024", "pixelmeter.image.quality": "medium"}, 3)
        ],
    } == found
    assert UNITS == {name: instrument.unit for name, instrument in telemetry.instruments().items()}


def job_ended(**fields: Any) -> Change:
    """Return what the end of a job changes of the attempt that submitted it."""
    before = make_attempt(
        outcome="pending", images=None, size=None, cost=None, cost_source="none", cost_reason="pending_job",
        at_risk=42_000_000,
    )  # fmt: skip
    after = {"outcome": "success", "images": 2, "size": "512x512", "cost": 50_000_000, "at_risk": None, **fields}
    return change_of(
        before,
        msgspec.structs.replace(before, **after),
        number=1,
        kind="job",
        made_at=STARTED_AT,
        source="poll",
        version="0.1.0",
        job_duration=1,
    )


def test_the_end_of_a_job_is_counted_and_has_no_span(telemetry: Telemetry) -> None:
    telemetry.sink().adjust(job_ended())
    moved = {**CALL, "pixelmeter.adjustment.kind": "job"}
    assert {
        "pixelmeter.jobs": [({**CALL, "pixelmeter.outcome": "success"}, 1)],
        "pixelmeter.adjustments": [({**moved, "pixelmeter.adjustment.direction": "up"}, 0.05)],
        "pixelmeter.at_risk_adjustments": [({**moved, "pixelmeter.adjustment.direction": "down"}, 0.042)],
        "pixelmeter.images": [
            ({**CALL, "pixelmeter.image.size": "512x512", "pixelmeter.image.quality": "medium"}, 2),
        ],
    } == {name: telemetry.points(name) for name in telemetry.instruments()}
    assert {"{job}", "USD", "{image}"} == {instrument.unit for instrument in telemetry.instruments().values()}
    assert not telemetry.spans()


def test_the_end_of_a_job_leads_to_no_span_of_somebody_else(telemetry: Telemetry) -> None:
    with telemetry.tracer.start_as_current_span("another request"):
        telemetry.sink().adjust(job_ended())
    assert [] == [exemplar for point in telemetry.first_points().values() for exemplar in point.exemplars]


def test_models_that_jobs_name_cannot_add_more_and_more_series(telemetry: Telemetry) -> None:
    sink = telemetry.sink()
    for number in range(1000):
        sink.adjust(job_ended(model=f"model-{number}"))
    points = telemetry.points("pixelmeter.jobs")
    assert 1000 == sum(count for _, count in points)
    assert len(points) < 50


def test_times_and_tokens_have_boundaries_that_fit(telemetry: Telemetry) -> None:
    record_a_success_and_a_timeout(telemetry)
    points = telemetry.first_points()
    duration, tokens = points["gen_ai.client.operation.duration"], points["gen_ai.client.token.usage"]
    assert (DURATION_BUCKETS, 8.123456) == (duration.explicit_bounds, duration.sum)
    assert (12, 67108864) == (tokens.sum, tokens.explicit_bounds[-1])


def test_the_environment_chooses_the_newer_names_and_then_there_are_no_others(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup,gen_ai_latest_experimental")
    record_a_success_and_a_timeout(telemetry)
    found = {name: telemetry.points(name) for name in telemetry.instruments() if name.startswith("gen_ai")}
    text = {**ANSWERED, "gen_ai.token.modality": "text"}
    assert {
        "gen_ai.client.inference.duration": [({**STANDARD, "error.type": "timeout"}, 1), (ANSWERED, 1)],
        "gen_ai.client.inference.usage.input_tokens": [(text, 12)],
        "gen_ai.client.inference.usage.cache_read.input_tokens": [(text, 4)],
        "gen_ai.client.inference.usage.output_tokens": [({**ANSWERED, "gen_ai.token.modality": "image"}, 1056)],
        "gen_ai.client.inference.operation.input_tokens": [(ANSWERED, 1)],
        "gen_ai.client.inference.operation.output_tokens": [(ANSWERED, 1)],
    } == found


def test_an_exemplar_leads_to_the_span(telemetry: Telemetry) -> None:
    sink, attempt = telemetry.sink(), make_attempt()
    leave = sink.begin(attempt)
    assert leave is not None
    leave()
    sink.record(attempt)
    span: Any = telemetry.span("generate_content")
    points = telemetry.first_points()
    for name in ("gen_ai.client.operation.duration", "pixelmeter.requests", "pixelmeter.cost"):
        [exemplar] = points[name].exemplars
        assert (span.context.trace_id, span.context.span_id) == (exemplar.trace_id, exemplar.span_id)


def test_where_no_span_is_kept_an_exemplar_leads_to_none_of_somebody_else(telemetry: Telemetry) -> None:
    sink, attempt = OtelSink(TracerProvider(ALWAYS_OFF, shutdown_on_exit=False), telemetry.metrics), make_attempt()
    leave = sink.begin(attempt)
    assert leave is not None
    leave()
    with telemetry.tracer.start_as_current_span("another request"):
        sink.record(attempt)
    points = telemetry.first_points()
    assert [] == [exemplar for point in points.values() for exemplar in point.exemplars]


def test_names_from_outside_cannot_add_more_and_more_series(telemetry: Telemetry) -> None:
    sink = telemetry.sink()
    for number in range(1000):
        name = f"model-{number}"
        sink.record(
            make_attempt(model=name, requested_model=f"{name}-asked", gateway=f"{number % 300}.test", size=name)
        )
    points = telemetry.points("pixelmeter.requests")
    assert 1000 == sum(count for _, count in points)
    assert len(points) < 50
    other = {"pixelmeter.gateway": "other", "pixelmeter.model": "other"}
    assert any(other.items() <= attributes.items() for attributes, _ in points)
    assert len(telemetry.points("gen_ai.client.operation.duration")) < 50


def test_a_request_that_names_no_model_has_none(telemetry: Telemetry) -> None:
    telemetry.sink().record(make_attempt(requested_model=None, model="", outcome="error", status=500, cost=0))
    [(attributes, _)] = telemetry.points("gen_ai.client.operation.duration")
    assert not {"gen_ai.request.model", "gen_ai.response.model"} & attributes.keys()
