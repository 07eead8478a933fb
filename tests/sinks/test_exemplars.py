"""From a point of a graph to the trace behind it: exemplars as a real Prometheus keeps them."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, start_http_server

from pixelmeter import Meter, instrument
from pixelmeter.sinks.otel import OtelSink
from pixelmeter.testing import Gateway
from tests.prometheus import Prometheus, eventually

EXPOSED = ("pixelmeter_cost_usd_total", "pixelmeter_request_duration_seconds_bucket")


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPOSED)
def test_an_exemplar_in_prometheus_names_the_trace_of_the_span(
    gateway: Gateway, sqlite_url: str, tmp_path: Path, name: str
) -> None:
    spans, provider, registry = InMemorySpanExporter(), TracerProvider(), CollectorRegistry()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        with (
            Meter(
                sqlite_url, gateways={"127.0.0.1:*": "aigateway"}, registry=registry, sinks=[OtelSink(provider)]
            ) as meter,
            instrument(httpx.Client(), meter) as client,
            Prometheus(tmp_path / "prometheus", {"pixelmeter": [f"127.0.0.1:{server.server_port}"]}) as prometheus,
        ):
            client.post(f"{gateway.url}/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "p"})
            [span] = spans.get_finished_spans()
            now = time.time()
            asked = {"query": name, "start": str(now - 60), "end": str(now + 60)}
            found = eventually("exemplars", lambda: prometheus.get("/api/v1/query_exemplars", **asked)["data"])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()

    traces = {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}
    assert span.context is not None
    assert {f"{span.context.trace_id:032x}"} == traces
