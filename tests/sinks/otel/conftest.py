"""A meter with an OpenTelemetry sink, whose spans and metrics stay in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from pixelmeter import Meter
from pixelmeter.sinks.otel import OtelSink
from tests.clients import KITS, Kit


class Telemetry:
    """Providers of an SDK of its own, and what came to them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.traces = TracerProvider(shutdown_on_exit=False)
        self.traces.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.metrics = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.traces.get_tracer("application")

    def sink(self, **options: Any) -> OtelSink:
        """Return a sink on these providers."""
        return OtelSink(self.traces, self.metrics, **options)

    def spans(self) -> Sequence[ReadableSpan]:
        """Return the spans that have ended, in that order."""
        return self._exporter.get_finished_spans()

    def span(self, name: str) -> ReadableSpan:
        """Return the only span whose name starts like this."""
        [span] = [span for span in self.spans() if span.name.startswith(name)]
        return span

    def instruments(self) -> Mapping[str, Metric]:
        """Return all metrics by name."""
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def points(self, name: str) -> list[tuple[dict[str, object], float]]:
        """Return the attribute sets of a metric with the value of each; of a histogram, its count."""
        found = self.instruments()[name].data.data_points
        return [(dict(point.attributes or {}), _value(point)) for point in found]

    def first_points(self) -> dict[str, Any]:
        """Return the first data point of each metric, as the SDK made it."""
        return {name: next(iter(metric.data.data_points)) for name, metric in self.instruments().items()}

    def close(self) -> None:
        """Stop both providers."""
        self.traces.shutdown()
        self.metrics.shutdown()


def _value(point: Any) -> float:
    value: float = point.count if hasattr(point, "bucket_counts") else point.value
    return value


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """An SDK that keeps all in memory; sinks of other tests are gone, so that blocks have no spans of theirs."""
    # Twice: what the finalizer of a meter's recorder holds goes with the second.
    gc.collect()
    gc.collect()
    telemetry = Telemetry()
    yield telemetry
    telemetry.close()


@pytest.fixture
def new_meter(sqlite_url: str) -> Iterator[Callable[[OtelSink], Meter]]:
    """Makes meters with a sink; nothing of theirs may have failed when the test is over."""
    made: list[Meter] = []

    def make(sink: OtelSink) -> Meter:
        made.append(Meter(sqlite_url, gateways={"127.0.0.1:*": "aigateway", "mock.test": "aigateway"}, sinks=[sink]))
        return made[-1]

    yield make
    for meter in made:
        assert meter.close(10)
        assert {} == meter.status()["failures"]


@pytest.fixture
def meter(telemetry: Telemetry, new_meter: Callable[[OtelSink], Meter]) -> Meter:
    """A meter with a sink as it comes."""
    return new_meter(telemetry.sink())


@pytest.fixture(params=KITS, ids=str)
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each of the four combinations."""
    kit: Kit = request.param
    return kit
