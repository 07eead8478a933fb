"""CPU that metering adds to an image call, beside a wrapper that does nothing and OpenTelemetry's instrumentation.

    python benchmarks/overhead.py [--pace 0.05] [--rounds 12] [--calls 40] [--library httpx2]

Image calls come seconds apart, so `--pace` rests that many seconds before each call: caches are cold then, and each
call is a commit of its own. All variants call the same stand-in gateway from this process, block by block in turn, so
that noise hits each alike; where there are two CPUs, this process has one and the gateway the other. CPU is user +
system time, of all threads of this process and of the caller's alone: our writer thread and OpenTelemetry's export
thread count in the first, and each block ends with a flush. Our attempts end up in a SQLite ledger; `nothing kept`
meters and prices without spool and ledger. The spans of `opentelemetry` go to an exporter that drops them, those of
`- sent` by OTLP over HTTP to a process that drops them. "of OpenTelemetry" compares the two in each round.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple, TypeVar

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

import pixelmeter
from pixelmeter.testing import Gateway, capture_calls

_OneOf = TypeVar("_OneOf")
_BODY = {"model": "meta/sam-3-1-image", "prompt": "a red fox in the snow", "size": "1024x1024", "n": 1}


class Nowhere(SpanExporter):
    """Drops spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


# At a pace, every variant takes as long as all its pauses.
_PACED = ("plain", "pixelmeter", "opentelemetry")


class Variant(NamedTuple):
    """One way to make the calls."""

    name: str
    client: Any
    flush: Callable[[], object] = lambda: None
    inside: Callable[[], AbstractContextManager[object]] = nullcontext


class _Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _collect(ports: Any) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Collector)
    ports.send(server.server_port)
    server.serve_forever()


@contextmanager
def _collector() -> Generator[str]:
    """Run a collector that drops what it gets; give the address for traces."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_collect, args=(its,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1/traces"
    finally:
        process.kill()
        process.join()


def _opentelemetry(library: Any, name: str, exporter: SpanExporter, stack: ExitStack) -> Variant:
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(exporter))
    stack.callback(traces.shutdown)
    metrics = MeterProvider(metric_readers=[InMemoryMetricReader()])
    instrumentor = HTTPXClientInstrumentor if library.__name__ == "httpx" else HTTPX2ClientInstrumentor
    client = library.Client()
    instrumentor().instrument_client(client, tracer_provider=traces, meter_provider=metrics)
    return Variant(name, client, traces.force_flush)


def _variants(library: Any, folder: str, collector: str, stack: ExitStack) -> Iterator[Variant]:
    yield Variant("plain", library.Client())

    class Stream(library.SyncByteStream):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __iter__(self) -> Iterator[bytes]:
            yield from self.inner

        def close(self) -> None:
            self.inner.close()

    class PassThrough(library.BaseTransport):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def handle_request(self, request: Any) -> Any:
            response = self.inner.handle_request(request)
            response.stream = Stream(response.stream)
            return response

    yield Variant("do-nothing wrapper", library.Client(transport=PassThrough(library.HTTPTransport())))

    meter = pixelmeter.Meter(f"sqlite:///{folder}/ledger.db", gateways={"127.0.0.1:*": "aigateway"})
    stack.callback(meter.close)
    metered = pixelmeter.instrument(library.Client(), meter)
    yield Variant("pixelmeter", metered, lambda: meter.flush(30))
    yield Variant("- nothing kept", metered, inside=capture_calls)

    yield _opentelemetry(library, "opentelemetry", Nowhere(), stack)
    yield _opentelemetry(library, "- sent", OTLPSpanExporter(endpoint=collector), stack)


class Spent(NamedTuple):
    """Microseconds of CPU a call."""

    all: float
    caller: float


def _block(variant: Variant, url: str, calls: int, pace: float) -> Spent:
    everything, caller = time.process_time(), time.thread_time()
    with variant.inside():
        for _ in range(calls):
            if pace:
                time.sleep(pace)
            variant.client.post(url, json=_BODY).json()
    caller = time.thread_time() - caller
    variant.flush()
    return Spent((time.process_time() - everything) / calls * 1e6, caller / calls * 1e6)


def _measure(name: str, options: argparse.Namespace, url: str, collector: str) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        variants = list(_variants(importlib.import_module(name), folder, collector, stack))
        if options.pace:
            variants = [variant for variant in variants if variant.name in _PACED]
        for variant in variants:
            _block(variant, url, 100, 0)
        spent: dict[str, list[Spent]] = {variant.name: [] for variant in variants}
        for variant in in_turn(variants, options.rounds):
            spent[variant.name].append(_block(variant, url, options.calls, options.pace))
        for variant in variants:
            variant.client.close()
    print(f"\n{name}: {options.rounds} rounds of {options.calls} calls each, {options.pace:g} s before each call")
    print_added(spent)


def in_turn(variants: Sequence[_OneOf], rounds: int) -> Iterator[_OneOf]:
    """Yield all variants in each round, in every second one the other way round."""
    for number in range(rounds):
        yield from variants if number % 2 else reversed(variants)


def print_added(spent: Mapping[str, Sequence[Spent]]) -> None:
    """Print what each variant adds to the plain one, and its part of what OpenTelemetry adds, of both kinds of CPU."""
    for what in Spent._fields:
        _print_added(what, {key: [getattr(one, what) for one in values] for key, values in spent.items()})


def _print_added(what: str, spent: Mapping[str, Sequence[float]]) -> None:
    plain = spent["plain"]
    added = {key: [b - a for a, b in zip(plain, values, strict=True)] for key, values in spent.items()}
    threads = {"all": "all threads", "caller": "the caller's"}[what]
    heading = f"{threads}, plain {statistics.median(plain):.0f} µs"
    print(f"{heading:26} {'added µs':>9} {'range':>14} {'of OpenTelemetry':>17}")
    for key, values in added.items():
        if key != "plain":
            spread = f"{min(values):.0f}..{max(values):.0f}"
            ratio = statistics.median(a / b for a, b in zip(values, added["opentelemetry"], strict=True))
            print(f"{key:26} {statistics.median(values):9.0f} {spread:>14} {ratio:17.2f}")


def part_cpus(gateway: int) -> None:
    """Give this process one CPU and the gateway another one, where there are two."""
    if hasattr(os, "sched_setaffinity"):
        first, *others = sorted(os.sched_getaffinity(0))
        if others:
            os.sched_setaffinity(gateway, others)
            os.sched_setaffinity(0, {first})


def main() -> None:
    """Measure both libraries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--library", dest="only", choices=("httpx", "httpx2"))
    options = parser.parse_args()
    options.calls = options.calls or (40 if options.pace else 500)
    with Gateway() as gateway, _collector() as collector:
        part_cpus(gateway.pid)
        for name in [options.only] if options.only else ["httpx", "httpx2"]:
            _measure(name, options, f"{gateway.url}/images/generations", collector)


if __name__ == "__main__":
    main()
