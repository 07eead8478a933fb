"""One run: a gateway, the clients, their calls all at once, and the ledger against the gateway's bill."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pixelmeter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.engine import ensure_schema
from pixelmeter.ledger.queries import Filters
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.prices import bundled
from pixelmeter.testing import Gateway
from pixelmeter.testing.demo.clients import Caller, callers, installed
from pixelmeter.testing.demo.work import LATENCIES, Call, draw

__all__ = ["TAG", "Books", "Result", "compare", "new_ledger", "run", "undisturbed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What both sides say; money in nano-dollars."""

    billed: int
    """What the gateway billed, all in all."""
    known: int
    """What the ledger knows to have been spent."""
    unknown: int
    """How many attempts the ledger says it does not know the cost of, pending jobs among them."""
    unknown_billed: int
    """What the gateway billed for exactly those."""
    missing: int
    """Lines of the bill for attempts that the ledger has not; below zero for attempts that nobody was asked for."""

    @property
    def difference(self) -> int:
        """What the bill says more than the ledger can account for."""
        return self.billed - self.known - self.unknown_billed

    @property
    def is_even(self) -> bool:
        """Whether every attempt and every nano-dollar is accounted for."""
        return self.difference == 0 and self.missing == 0


def compare(bill: Iterable[Mapping[str, Any]], attempts: Iterable[Attempt]) -> Books:
    """Compare the billing log of a stand-in gateway with the attempts that went there."""
    attempts = list(attempts)
    known = {attempt.request_id for attempt in attempts if attempt.cost is not None}
    unknown = sum(attempt.cost is None for attempt in attempts)
    billed = unknown_billed = left = 0
    for line in bill:
        charged: int = line["charged_nano"]
        billed += charged
        if line["request_id"] not in known:
            unknown_billed += charged
            # A job is charged by the poll that finds it completed; the attempt is the request that queued it.
            left += line["operation"] != "job"
    return Books(
        billed=billed,
        known=sum(attempt.cost for attempt in attempts if attempt.cost is not None),
        unknown=unknown,
        unknown_billed=unknown_billed,
        missing=left - unknown,
    )


_SETTINGS = ("PIXELMETER_", "OPENAI_", "AIGATEWAY_")
# A proxy has no way to this machine's loopback.
_PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}


@contextmanager
def undisturbed() -> Generator[None]:
    """Take the settings of pixelmeter and of the clients, and proxies, out of the environment; put them back after."""
    taken = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(_SETTINGS) or name.upper() in _PROXIES
    }
    try:
        yield
    finally:
        os.environ.update(taken)


TAG = "demo"
"""The tag that tells the attempts of one run from others in the ledger; its value is when the run began, in UTC."""

_AT_ONCE = 24
_FLUSH_SECONDS = 30
_BESIDE = ("", "-wal", "-shm", ".lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run did, and how its ledger compares with the bill."""

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
