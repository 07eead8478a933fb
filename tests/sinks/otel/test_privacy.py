"""Nothing private leaves the process: planted words turn up nowhere in what OTLP exporters send."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import openai
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import pixelmeter
from pixelmeter import Meter
from pixelmeter.sinks.otel import OtelSink
from pixelmeter.testing import Gateway
from tests.clients import KITS, Kit
from tests.sinks.otel.otlp import OtlpReceiver
from tests.test_privacy import CANARIES, ECHO, KEY, PROMPT, QUERY, calls

SECRET_TAG = "TAG-canary"


@pytest.mark.parametrize("kit", KITS, ids=str)
@pytest.mark.parametrize("cost_attributes", ["semconv", "openlit"])
def test_no_prompt_image_key_header_query_message_or_tag_is_sent(
    kit: Kit, cost_attributes: Any, gateway: Gateway, sqlite_url: str
) -> None:
    with OtlpReceiver() as receiver:
        traces = TracerProvider(shutdown_on_exit=False)
        traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{receiver.url}/v1/traces")))
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{receiver.url}/v1/metrics"), 60_000)
        metrics = MeterProvider([reader], shutdown_on_exit=False)
        sink = OtelSink(traces, metrics, cost_attributes=cost_attributes)
        with Meter(sqlite_url, gateways={"127.0.0.1:*": "aigateway"}, sinks=[sink], tags={"team": SECRET_TAG}) as meter:
            kit.run(calls(kit, meter, gateway))
            error = {"error": {"message": f"{ECHO}: {PROMPT}", "type": "server_error"}}
            headers = {"x-test-behaviour": json.dumps({"status": 500, "body_text": json.dumps(error)})}
            with openai.OpenAI(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
                pixelmeter.instrument(client, meter)
                with contextlib.suppress(openai.OpenAIError), pixelmeter.call():
                    client.images.generate(
                        model="m", prompt=PROMPT, extra_headers=headers, extra_query={"api-key": QUERY}
                    )
        traces.shutdown()
        metrics.shutdown()
    names = [span.name for _, span in receiver.spans()]
    sent = receiver.bodies()
    assert (8, 1) == (sum(name.startswith("generate_content") for name in names), names.count("image_generation m"))
    assert "pixelmeter.requests" in receiver.metrics()
    assert [] == [canary for canary in (*CANARIES, SECRET_TAG.encode()) if any(canary in body for body in sent)]
