"""One run: a gateway, the clients, their calls all at once, and what came of it."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from urllib.parse import quote

import pixelmeter
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.engine import ensure_schema
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.prices import bundled
from pixelmeter.testing import Gateway
from pixelmeter.testing.demo.books import Books, compare
from pixelmeter.testing.demo.clients import Caller, callers, installed
from pixelmeter.testing.demo.work import LATENCIES, Call, draw

__all__ = ["TAG", "Result", "new_ledger", "run"]

TAG = "demo"
"""The tag that tells the attempts of one run from others in the ledger; its value is when the run began, in UTC."""

_AT_ONCE = 24
_FLUSH_SECONDS = 30
_BESIDE = ("", "-wal", "-shm", ".lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run did, and how its books stand."""

    name: str
    """The value of the tag `demo` that all its attempts have."""
    libraries: tuple[str, ...]
    """The client libraries that made the calls."""
    missing: tuple[str, ...]
    """Those that are not installed."""
    attempts: int
    seconds: float
    """How long the calls took."""
    books: Books


def new_ledger(path: Path) -> str:
    """Remove the ledger of an earlier demonstration at this path, and return its URL."""
    for ending in _BESIDE:
        path.with_name(path.name + ending).unlink(missing_ok=True)
    shutil.rmtree(path.with_name(path.name + ".spool"), ignore_errors=True)
    return f"sqlite:///{quote(str(path))}"


def run(database_url: str, *, calls: int, seed: int = 0, done: Callable[[], object] = lambda: None) -> Result:
    """Make the calls, `done()` after each, and return what came of them once it is all in the ledger.

    LedgerError or ConfigError when the ledger cannot be used.
    """
    ensure_schema(read_address(database_url))
    libraries, missing = installed()
    name = datetime.now(UTC).isoformat(timespec="microseconds")
    with Gateway(seed=seed) as gateway:
        for model, delay in LATENCIES.items():
            gateway.tell(delay=delay, match={"model": model})
        # The bundled prices are those that the stand-in gateway charges.
        meter = pixelmeter.Meter(
            database_url, tags={TAG: name}, price_book=bundled(), gateways={"127.0.0.1:*": "aigateway"}
        )
        with meter:
            begun = time.monotonic()
            asyncio.run(_drive(callers(gateway, libraries), meter, draw(seed, calls), seed, done))
            seconds = time.monotonic() - begun
            if not meter.flush(_FLUSH_SECONDS):
                reason = meter.status()["ledger_error"] or f"not all is there after {_FLUSH_SECONDS} seconds"
                raise LedgerError(f"the ledger does not take the attempts: {reason}")
        bill = gateway.billing()
    with reading_ledger(database_url) as reader:
        rows = attempts(reader, filters=Filters(tags={TAG: name}), limit=len(bill) * 2 + 1)
    return Result(
        name=name,
        libraries=tuple(libraries),
        missing=tuple(missing),
        attempts=len(rows),
        seconds=seconds,
        books=compare(bill, rows),
    )


async def _drive(
    clients: Sequence[Caller], meter: pixelmeter.Meter, work: Sequence[Call], seed: int, done: Callable[[], object]
) -> None:
    """Make all calls, each with a client that can, some at a time."""
    # The clients that block have threads of their own, enough for all calls that may be under way.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_AT_ONCE))
    places = asyncio.Semaphore(_AT_ONCE)
    random = Random(seed)
    for client in clients:
        pixelmeter.instrument(client.client, meter)

    async def make(client: Caller, call: Call) -> None:
        async with places:
            with pixelmeter.tags(**call.tags):
                await client.make(call)
        done()

    chosen = [random.choice([client for client in clients if client.speaks(call)]) for call in work]
    await asyncio.gather(*(make(client, call) for client, call in zip(chosen, work, strict=True)))
    for client in clients:
        await client.close()
