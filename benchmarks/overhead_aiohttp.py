"""CPU that metering adds to an image call of aiohttp, beside OpenTelemetry's instrumentation of it.

    python benchmarks/overhead_aiohttp.py [--pace 0.05] [--rounds 12] [--calls 40]

As `overhead.py` does it for httpx: block by block in turn, in one process and one event loop, against one stand-in
gateway. `all sessions` is what a program has that is metered without a line in it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import NamedTuple

import aiohttp
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks.overhead import Nowhere, Spent, in_turn, part_cpus, print_added
from pixelmeter import Meter
from pixelmeter.drivers.aiohttp import meter_client, patch
from pixelmeter.testing import Gateway

_BODY = {"model": "meta/sam-3-1-image", "prompt": "a red fox in the snow", "size": "1024x1024", "n": 1}


class Variant(NamedTuple):
    """One way to make the calls."""

    name: str
    session: aiohttp.ClientSession
    flush: Callable[[], object] = lambda: None


def _variants(meter: Meter) -> Iterator[Variant]:
    yield Variant("plain", aiohttp.ClientSession())

    metered = aiohttp.ClientSession()
    meter_client(metered, meter, provisional=False)
    yield Variant("pixelmeter", metered, lambda: meter.flush(30))
    yield Variant("- all sessions", aiohttp.ClientSession(), lambda: meter.flush(30))

    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(Nowhere()))
    metrics = MeterProvider(metric_readers=[InMemoryMetricReader()])
    config = create_trace_config(tracer_provider=traces, meter_provider=metrics)
    yield Variant("opentelemetry", aiohttp.ClientSession(trace_configs=[config]), traces.force_flush)


@contextmanager
def _all_sessions(meter: Meter, variant: Variant) -> Generator[None]:
    """Have every session metered, where that is what the variant is about."""
    undo = patch(lambda: meter) if variant.name == "- all sessions" else lambda: None
    yield
    undo()


async def _block(variant: Variant, meter: Meter, url: str, calls: int, pace: float) -> Spent:
    with _all_sessions(meter, variant):
        everything, caller = time.process_time(), time.thread_time()
        for _ in range(calls):
            if pace:
                await asyncio.sleep(pace)
            async with variant.session.post(url, json=_BODY) as response:
                await response.json()
        caller = time.thread_time() - caller
    variant.flush()
    return Spent((time.process_time() - everything) / calls * 1e6, caller / calls * 1e6)


async def _measure(options: argparse.Namespace, url: str, meter: Meter) -> None:
    async with AsyncExitStack() as stack:
        variants = list(_variants(meter))
        for variant in variants:
            await stack.enter_async_context(variant.session)
            await _block(variant, meter, url, 100, 0)
        spent: dict[str, list[Spent]] = {variant.name: [] for variant in variants}
        for variant in in_turn(variants, options.rounds):
            spent[variant.name].append(await _block(variant, meter, url, options.calls, options.pace))
    print(f"\naiohttp: {options.rounds} rounds of {options.calls} calls each, {options.pace:g} s before each call")
    print_added(spent)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--calls", type=int)
    options = parser.parse_args()
    options.calls = options.calls or (40 if options.pace else 300)
    with Gateway() as gateway, tempfile.TemporaryDirectory() as folder:
        part_cpus(gateway.pid)
        with Meter(f"sqlite:///{folder}/ledger.db", gateways={"127.0.0.1:*": "aigateway"}) as meter:
            asyncio.run(_measure(options, f"{gateway.url}/images/generations", meter))


if __name__ == "__main__":
    main()
