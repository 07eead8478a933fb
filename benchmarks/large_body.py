"""CPU that metering adds to a call whose answer is one image of 64 MB of base64.

    python benchmarks/large_body.py [--rounds 100]

A plain and a metered client of the same library make the call in turn, within one run; each round compares the two, and
the median counts, with the interval in which 95 % of such medians lie (by order statistics). CPU is user + system time
of all threads of this process, the writer to the ledger included. "read and parse" is `client.post(...).json()`; "read"
only takes the chunks of a streamed answer and drops them.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

import pixelmeter
from pixelmeter.testing import Gateway

_LENGTH = 64_000_000
_TARGET = 5  # per cent of what the client itself spends to read and parse
_BODY = {"model": "meta/sam-3-1-image", "prompt": "a fox", "response_format": "b64_json"}

Call = Callable[[Any], object]


class Median(NamedTuple):
    """A median, and the interval in which 95 % of such medians lie."""

    value: float
    low: float
    high: float


def _sync_calls(url: str) -> dict[str, Call]:
    def parse(client: Any) -> None:
        client.post(url, json=_BODY).json()

    def read(client: Any) -> None:
        with client.stream("POST", url, json=_BODY) as response:
            for _ in response.iter_bytes():
                pass

    return {"read and parse": parse, "read": read}


def _async_calls(url: str, loop: asyncio.Runner) -> dict[str, Call]:
    async def parse(client: Any) -> None:
        (await client.post(url, json=_BODY)).json()

    async def read(client: Any) -> None:
        async with client.stream("POST", url, json=_BODY) as response:
            async for _ in response.aiter_bytes():
                pass

    return {
        "read and parse": lambda client: loop.run(parse(client)),
        "read": lambda client: loop.run(read(client)),
    }


def _spent(call: Call, client: Any, meter: pixelmeter.Meter) -> float:
    """Return the milliseconds of CPU of one call, until it is in the ledger."""
    begun = time.process_time()
    call(client)
    meter.flush(30)
    return (time.process_time() - begun) * 1000


def _compare(call: Call, plain: Any, metered: Any, meter: pixelmeter.Meter, rounds: int) -> tuple[float, Median]:
    """Return the median CPU of the plain call, and of what metering adds, in milliseconds."""
    for client in (plain, metered):
        _spent(call, client, meter)
    alone: list[float] = []
    added: list[float] = []
    for number in range(rounds):
        pair = (plain, metered) if number % 2 else (metered, plain)
        spent = {client: _spent(call, client, meter) for client in pair}
        alone.append(spent[plain])
        added.append(spent[metered] - spent[plain])
    return statistics.median(alone), _median(added)


def _median(values: list[float]) -> Median:
    half = 0.98 * math.sqrt(len(values))  # 1.96 standard deviations of the rank of the median
    ordered = sorted(values)
    low, high = round(len(values) / 2 - half), round(len(values) / 2 + half)
    return Median(statistics.median(values), ordered[max(low, 0)], ordered[min(high, len(values) - 1)])


def main() -> None:
    """Measure both libraries, sync and async."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=100)
    rounds: int = parser.parse_args().rounds
    table = Table("client", "what it does", "its CPU, ms", "added, ms", "added", "95 % interval", "target")
    with Gateway() as gateway, tempfile.TemporaryDirectory() as folder, asyncio.Runner() as loop:
        gateway.tell(image_bytes=_LENGTH)
        url = f"{gateway.url}/images/generations"
        with pixelmeter.Meter(f"sqlite:///{folder}/ledger.db", gateways={"127.0.0.1:*": "aigateway"}) as meter:
            for name in ("httpx", "httpx2"):
                library = importlib.import_module(name)
                for kind, calls in ((library.Client, _sync_calls(url)), (library.AsyncClient, _async_calls(url, loop))):
                    plain, metered = kind(timeout=60), pixelmeter.instrument(kind(timeout=60), meter)
                    for what, call in calls.items():
                        its, added = _compare(call, plain, metered, meter, rounds)
                        share, low, high = (value / its * 100 for value in added)
                        target = f"< {_TARGET} %" if what == "read and parse" else ""
                        row = (f"{name}.{kind.__name__}", what, f"{its:.1f}", f"{added.value:.1f}", f"{share:.1f} %")
                        table.add_row(*row, f"{low:.1f} to {high:.1f} %", target)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
