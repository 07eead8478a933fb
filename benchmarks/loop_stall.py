"""How long an event loop is held up by metered calls, beside the same calls without the meter.

    python benchmarks/loop_stall.py [--rounds 12] [--seconds 5] [--library httpx2]

A ticker in the loop sleeps for a millisecond again and again; how late it wakes is how long the loop was busy with
something else. Beside it go 50 image calls a second. Blocks with and without the meter alternate, after one of each
that does not count; the gateway has a CPU of its own where there are two. The figures are of all ticks of a kind.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pixelmeter
from benchmarks.overhead import part_cpus
from pixelmeter.testing import Gateway

_BODY = {"model": "meta/sam-3-1-image", "prompt": "a red fox in the snow", "size": "1024x1024", "n": 1}
_TICK = 0.001
_CALLS_A_SECOND = 50


async def _tick(late: list[float], until: float) -> None:
    while (before := time.perf_counter()) < until:
        await asyncio.sleep(_TICK)
        late.append((time.perf_counter() - before - _TICK) * 1e3)


async def _call(client: Any, url: str, until: float) -> None:
    async def one() -> None:
        (await client.post(url, json=_BODY)).raise_for_status()

    calls: set[asyncio.Task[None]] = set()
    while time.perf_counter() < until:
        calls.add(asyncio.create_task(one()))
        await asyncio.sleep(1 / _CALLS_A_SECOND)
    await asyncio.gather(*calls)


async def _block(client: Any, url: str, seconds: float) -> list[float]:
    late: list[float] = []
    until = time.perf_counter() + seconds
    await asyncio.gather(_tick(late, until), _call(client, url, until))
    return late


async def _measure(name: str, rounds: int, seconds: float, url: str) -> None:
    library: Any = importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            pixelmeter.Meter(f"sqlite:///{folder}/ledger.db", gateways={"127.0.0.1:*": "aigateway"}) as meter,
            library.AsyncClient() as plain,
            library.AsyncClient() as metered,
        ):
            clients = {"without": plain, "with": pixelmeter.instrument(metered, meter)}
            late: dict[str, list[float]] = {kind: [] for kind in clients}
            for number in range(rounds + 1):
                for kind in clients if number % 2 else reversed(clients):
                    ticks = await _block(clients[kind], url, seconds)
                    if number:
                        late[kind] += ticks
    print(f"\n{name}: {rounds} rounds of {seconds:g} s each, {_CALLS_A_SECOND} calls a second; how late a tick is, ms")
    print(f"{'':10} {'ticks':>8} {'p50':>7} {'p99':>7} {'p99.9':>7} {'largest':>8}")
    for kind, ticks in late.items():
        ticks.sort()
        p50, p99, p999 = (ticks[int(len(ticks) * part)] for part in (0.5, 0.99, 0.999))
        print(f"{kind:10} {len(ticks):8} {p50:7.2f} {p99:7.2f} {p999:7.2f} {ticks[-1]:8.2f}")


def main() -> None:
    """Measure both libraries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--library", dest="only", choices=("httpx", "httpx2"))
    options = parser.parse_args()
    with Gateway() as gateway:
        part_cpus(gateway.pid)
        for name in [options.only] if options.only else ["httpx", "httpx2"]:
            asyncio.run(_measure(name, options.rounds, options.seconds, f"{gateway.url}/images/generations"))


if __name__ == "__main__":
    main()
