"""CPU that live views add to an image call, beside OpenTelemetry's instrumentation of httpx.

    python benchmarks/telemetry.py [--rounds 8] [--calls 250]

All variants call the same stand-in gateway (a process of its own) from this process, block by block in turn, so that
noise hits each alike. CPU is user + system time of all threads of this process; each block ends with a flush, so our
writer thread counts. What a view adds is the difference to the meter without one; what OpenTelemetry adds is the
difference to the plain client.
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
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry

import pixelmeter
from pixelmeter.core.health import Health
from pixelmeter.core.record import Attempt
from pixelmeter.recorder import Sink
from pixelmeter.sinks.prometheus import PrometheusSink
from pixelmeter.testing import Gateway

_BODY = {"model": "meta/sam-3-1-image", "prompt": "a red fox in the snow", "size": "1024x1024", "n": 1}


class _Nothing:
    """What it costs to tell a sink anything at all."""

    def begin(self, intent: Attempt) -> None: ...
    def record(self, attempt: Attempt) -> None: ...
    def observe(self, health: Health) -> None: ...


class Variant(NamedTuple):
    """One way to make the calls, and the one that it is compared with."""

    name: str
    beside: str
    client: httpx.Client
    flush: Callable[[], object] = lambda: None


def _metered(name: str, beside: str, sinks: Sequence[Sink], folder: str, stack: ExitStack) -> Variant:
    url = f"sqlite:///{folder}/{name.replace(' ', '_')}.db"
    meter = stack.enter_context(pixelmeter.Meter(url, gateways={"127.0.0.1:*": "aigateway"}, sinks=sinks))
    return Variant(name, beside, pixelmeter.instrument(httpx.Client(), meter), lambda: meter.flush(30))


def _variants(folder: str, stack: ExitStack) -> Iterator[Variant]:
    yield Variant("plain", "plain", httpx.Client())
    yield _metered("no sink", "plain", [], folder, stack)
    yield _metered("sink of nothing", "no sink", [_Nothing()], folder, stack)
    yield _metered("prometheus", "no sink", [PrometheusSink(CollectorRegistry())], folder, stack)

    reader = InMemoryMetricReader()
    client = httpx.Client()
    HTTPXClientInstrumentor.instrument_client(
        client, tracer_provider=NoOpTracerProvider(), meter_provider=MeterProvider(metric_readers=[reader])
    )
    yield Variant("otel httpx metrics", "plain", client)


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
        for number in range(rounds):
            for variant in variants if number % 2 else reversed(variants):
                spent[variant.name].append(_block(variant, url, calls))
    added = {
        variant.name: [b - a for a, b in zip(spent[variant.beside], spent[variant.name], strict=True)]
        for variant in variants
    }
    reference = statistics.median(added["otel httpx metrics"])
    print(f"{rounds} rounds of {calls} calls each; plain {statistics.median(spent['plain']):.0f} µs of CPU a call")
    print(f"{'':20} {'added to':>10} {'added µs (median)':>18} {'range':>16} {'of OpenTelemetry':>18}")
    for variant in variants[1:]:
        values = added[variant.name]
        middle = statistics.median(values)
        spread = f"{min(values):.0f}..{max(values):.0f}"
        print(f"{variant.name:20} {variant.beside:>10} {middle:18.0f} {spread:>16} {middle / reference:18.2f}")


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
