"""CPU that live views add to an image call, beside OpenTelemetry's instrumentation of httpx.

    python benchmarks/telemetry.py [--rounds 8] [--calls 250]

All variants call the same stand-in gateway (a process of its own) from this process, block by block in turn, so that
noise hits each alike. CPU is user + system time of all threads of this process; each block ends with a flush, so our
writer thread counts. What a view adds is the difference to the meter without one; what OpenTelemetry adds is the
difference to the plain client. Exporters do nothing with what they get. Each view is set against what OpenTelemetry's
instrumentation adds with the same signals: metrics alone, or spans and metrics.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import httpx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry

import pixelmeter
from benchmarks.overhead import in_turn
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.sink import Health, Sink
from pixelmeter.sinks.otel import OtelSink
from pixelmeter.sinks.prometheus import PrometheusSink
from pixelmeter.testing import Gateway

_BODY = {"model": "meta/sam-3-1-image", "prompt": "a red fox in the snow", "size": "1024x1024", "n": 1}


class _Nothing:
    """What it costs to tell a sink anything at all."""

    def begin(self, intent: Attempt) -> None: ...
    def record(self, attempt: Attempt) -> None: ...
    def observe(self, health: Health) -> None: ...


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Variant(NamedTuple):
    """One way to make the calls, the one that it adds to, and the one whose addition it is set against."""

    name: str
    beside: str
    client: httpx.Client
    flush: Callable[[], object] = lambda: None
    against: str = "otel httpx metrics"


def _metered(name: str, beside: str, sinks: Sequence[Sink], folder: str, stack: ExitStack) -> Variant:
    url = f"sqlite:///{folder}/{name.replace(' ', '_')}.db"
    meter = stack.enter_context(pixelmeter.Meter(url, gateways={"127.0.0.1:*": "aigateway"}, sinks=sinks))
    return Variant(name, beside, pixelmeter.instrument(httpx.Client(), meter), lambda: meter.flush(30))


def _variants(folder: str, stack: ExitStack) -> Iterator[Variant]:
    yield Variant("plain", "plain", httpx.Client())
    yield _metered("no sink", "plain", [], folder, stack)
    yield _metered("sink of nothing", "no sink", [_Nothing()], folder, stack)
    yield _metered("prometheus", "no sink", [PrometheusSink(CollectorRegistry())], folder, stack)

    traces, metrics = _providers(stack)
    otel = _metered("otel", "no sink", [OtelSink(traces, metrics)], folder, stack)
    yield otel._replace(flush=_both(otel.flush, traces.force_flush), against="otel httpx")

    client = httpx.Client()
    HTTPXClientInstrumentor.instrument_client(
        client, tracer_provider=NoOpTracerProvider(), meter_provider=_providers(stack)[1]
    )
    yield Variant("otel httpx metrics", "plain", client)

    traces, metrics = _providers(stack)
    client = httpx.Client()
    HTTPXClientInstrumentor.instrument_client(client, tracer_provider=traces, meter_provider=metrics)
    yield Variant("otel httpx", "plain", client, traces.force_flush, against="otel httpx")


def _providers(stack: ExitStack) -> tuple[TracerProvider, MeterProvider]:
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(_Nowhere()))
    metrics = MeterProvider(metric_readers=[InMemoryMetricReader()])
    stack.callback(traces.shutdown)
    stack.callback(metrics.shutdown)
    return traces, metrics


def _both(first: Callable[[], object], second: Callable[[], object]) -> Callable[[], object]:
    return lambda: (first(), second())


def _block(variant: Variant, url: str, calls: int) -> float:
    before = time.process_time()
    for _ in range(calls):
        variant.client.post(url, json=_BODY).json()
    variant.flush()
    return (time.process_time() - before) / calls * 1e6


def _measure(rounds: int, calls: int, gateway: Gateway) -> None:
    url = f"{gateway.url}/images/generations"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        variants = list(_variants(folder, stack))
        for variant in variants:
            stack.callback(variant.client.close)
            _block(variant, url, 100)
        spent: dict[str, list[float]] = {variant.name: [] for variant in variants}
        for variant in in_turn(variants, rounds):
            spent[variant.name].append(_block(variant, url, calls))
    added = {
        variant.name: [b - a for a, b in zip(spent[variant.beside], spent[variant.name], strict=True)]
        for variant in variants
    }
    print(f"{rounds} rounds of {calls} calls each; plain {statistics.median(spent['plain']):.0f} µs of CPU a call")
    print(f"{'':20} {'added to':>10} {'added µs (median)':>18} {'range':>16} {'of OpenTelemetry':>18}")
    for variant in variants[1:]:
        values = added[variant.name]
        middle = statistics.median(values)
        spread = f"{min(values):.0f}..{max(values):.0f}"
        ratio = middle / statistics.median(added[variant.against])
        print(f"{variant.name:20} {variant.beside:>10} {middle:18.0f} {spread:>16} {ratio:18.2f}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--calls", type=int, default=250)
    options = parser.parse_args()
    with Gateway() as gateway:
        _measure(options.rounds, options.calls, gateway)


if __name__ == "__main__":
    main()
