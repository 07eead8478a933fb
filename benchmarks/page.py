"""CPU of the page on a ledger that benchmarks/ledger_at_scale.py has filled: from a request to the end of its answer.

That of PostgreSQL is added: of the backends and of their parallel workers, which must run on this machine, and nothing
else may ask the server meanwhile.

    PYTHONPATH=. .venv/bin/python benchmarks/page.py sqlite:////data/ledger.db
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

import httpx
from prometheus_client import CollectorRegistry

from benchmarks.ledger_at_scale import named_or_small
from benchmarks.reports import of_server
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.serve.page.app import Page
from pixelmeter.serve.server import make_app
from pixelmeter.system import SystemClock

ROUNDS = 5
AIM = 300
PATHS: Sequence[str] = (
    "/",
    "/?model=openai/*",
    "/?exact-model=fal-ai/flux/dev",
    "/?gateway=fal",
    "/?tag=team=team-1",
    "/?tag=feature=feature-7",
    "/?since=last-7-days&step=hour",
    "/calls",
    "/calls?model=openai/*",
    "/calls?tag=team=team-1",
    "/calls?tag=feature=feature-7",
    "/calls?outcome=rejected",
    "/calls?only=unknown-cost",
    "/calls?exact-model=none",
    "/budgets",
    "/reconciliation",
)


async def measured(client: httpx.AsyncClient, reader: LedgerReader, path: str) -> tuple[float, float, int]:
    """Return the least CPU of this process and the mean of the server, in milliseconds, and the bytes of the page."""
    spent: list[float] = []
    found = await client.get(path)
    assert found.status_code == 200, found.text
    before = of_server(reader)
    for _ in range(ROUNDS):
        begun = time.process_time()
        found = await client.get(path)
        spent.append((time.process_time() - begun) * 1000)
    return min(spent), (of_server(reader) - before) / ROUNDS, len(found.text)


def main() -> None:
    """Print a line for each page: of the ledger that is named, else of a small one that is deleted again."""
    with named_or_small(sys.argv[1:]) as url:
        asyncio.run(show(url))


async def show(url: str) -> None:
    """Print the lines of a ledger."""
    app = make_app(CollectorRegistry(), None, Page(url, SystemClock()).routes())
    transport = httpx.ASGITransport(app=app)
    print(f"{'pixelmeter serve, the last 30 days':<44}{'bytes':>10}{'CPU ms':>8}{'server':>8}{'aim':>6}")
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        with reading_ledger(url) as reader:
            for path in PATHS:
                ours, server, size = await measured(client, reader, path)
                print(f"{path:<44}{size:>10,}{ours:>8.0f}{server:>8.0f}{AIM:>6}", flush=True)


if __name__ == "__main__":
    main()
