"""CPU that metering adds to an image call over urllib3, beside OpenTelemetry's instrumentation of it.

    python benchmarks/overhead_urllib3.py [--pace 0.05] [--rounds 12] [--calls 40]

As `overhead.py` does it: blocks of calls in turn, each to the same stand-in gateway, user + system time of all threads
and of the caller's alone, each block ended by a flush. Every variant is on for its own blocks only, since both put
themselves into urllib3's classes. `in place` is a manager that is metered by itself. Spans go to an exporter that drops
them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import NamedTuple

import urllib3
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import pixelmeter
from benchmarks.overhead import Nowhere, Spent, in_turn, part_cpus, print_added
from pixelmeter.drivers.urllib3 import meter_client, patch
from pixelmeter.testing import Gateway

_BODY = {"model": "meta/sam-3-1-image", "prompt": "a red fox in the snow", "size": "1024x1024", "n": 1}


class _Variant(NamedTuple):
    """One way to make the calls."""

    name: str
    manager: urllib3.PoolManager
    flush: Callable[[], object] = lambda: None
    inside: Callable[[], AbstractContextManager[object]] = nullcontext


def _variants(folder: str, stack: ExitStack) -> list[_Variant]:
    meter = pixelmeter.Meter(f"sqlite:///{folder}/ledger.db", gateways={"127.0.0.1:*": "aigateway"})
    stack.callback(meter.close)
    placed = urllib3.PoolManager()
    meter_client(placed, meter, provisional=False)
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(Nowhere()))
    stack.callback(traces.shutdown)
    metrics = MeterProvider(metric_readers=[InMemoryMetricReader()])

    @contextmanager
    def patched() -> Generator[None]:
        undo = patch(lambda: meter)
        yield
        undo()

    @contextmanager
    def traced() -> Generator[None]:
        instrumentor = URLLib3Instrumentor()
        instrumentor.instrument(tracer_provider=traces, meter_provider=metrics)
        yield
        instrumentor.uninstrument()

    return [
        _Variant("plain", urllib3.PoolManager()),
        _Variant("pixelmeter", urllib3.PoolManager(), lambda: meter.flush(30), patched),
        _Variant("- in place", placed, lambda: meter.flush(30)),
        _Variant("opentelemetry", urllib3.PoolManager(), traces.force_flush, traced),
    ]


def _block(variant: _Variant, url: str, calls: int, pace: float) -> Spent:
    with variant.inside():
        everything, caller = time.process_time(), time.thread_time()
        for _ in range(calls):
            if pace:
                time.sleep(pace)
            variant.manager.request("POST", url, json=_BODY).json()
        caller = time.thread_time() - caller
        variant.flush()
        everything = time.process_time() - everything
    return Spent(everything / calls * 1e6, caller / calls * 1e6)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--calls", type=int)
    options = parser.parse_args()
    calls = options.calls or (40 if options.pace else 300)
    with Gateway() as gateway, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        part_cpus(gateway.pid)
        url = f"{gateway.url}/images/generations"
        variants = _variants(folder, stack)
        for variant in variants:
            _block(variant, url, 100, 0)
        spent: dict[str, list[Spent]] = {variant.name: [] for variant in variants}
        for variant in in_turn(variants, options.rounds):
            spent[variant.name].append(_block(variant, url, calls, options.pace))
    print(f"urllib3: {options.rounds} rounds of {calls} calls each, {options.pace:g} s before each call")
    print_added(spent)


if __name__ == "__main__":
    main()
