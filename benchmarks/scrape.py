"""CPU of one scrape of the exporter at ten million attempts, against adding up a tenth of them.

The ledger gets a million attempts from the writer. Then the totals are brought to the size that they have in a large
fleet: 2,000 combinations of labels, whose sums are set to those of ten million attempts; a scrape reads nothing else
but the newest `started_at`. Text is made as Prometheus gets it. For PostgreSQL the elapsed time counts too, because the
CPU of its process is not ours.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from itertools import islice, product
from pathlib import Path

import psycopg
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.writer import traffic
from pixelmeter.core.labels import QUALITIES, SIZES
from pixelmeter.core.ports import Clock
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import changing
from pixelmeter.ledger.merging import merge_all
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.sums import TOTALS_COLUMNS, TOTALS_KEY
from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.collector import LedgerCollector
from tests.factories import make_attempt
from tests.postgres import Server

ROWS = 1_000_000
COMBINATIONS = 2000
TARGET = 50
ROUNDS = 15
BATCH = 5000


class Steps(Clock):
    """A clock that makes every reading of the ledger look old."""

    def __init__(self) -> None:
        self._now = 0

    def now(self) -> int:
        """Return a time."""
        return self.monotonic()

    def monotonic(self) -> int:
        """Return ten seconds more than the last time."""
        self._now += 10_000_000
        return self._now


def fill(url: str) -> None:
    """Write the attempts, and the totals of ten times as many."""
    with closing(open_writer(url)) as writer:
        attempts = traffic(ROWS)
        while batch := list(islice(attempts, BATCH)):
            writer.write(batch, {}, [])
        kinds = product((f"vendor/fleet-{number}" for number in range(40)), sorted(SIZES)[:10], sorted(QUALITIES)[:5])
        few = [make_attempt(model=model, size=size, quality=quality) for model, size, quality in kinds]
        writer.write(few[:COMBINATIONS], {}, [])
    scaled = ", ".join(f"{name} = {name} * {10 * ROWS // COMBINATIONS}" for name in TOTALS_COLUMNS[len(TOTALS_KEY) :])
    address = read_address(url)
    if address.dialect == "postgresql":
        with psycopg.connect(url) as merging:
            merge_all(merging, address)
    with changing(address) as connection:
        connection.execute(text("DELETE FROM pixelmeter_totals_merged WHERE model NOT LIKE 'vendor/fleet-%'"))
        connection.execute(text(f"UPDATE pixelmeter_totals_merged SET {scaled}"))


def measured(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the median CPU and elapsed milliseconds."""
    spent: list[float] = []
    elapsed: list[float] = []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        spent.append((time.process_time() - cpu) * 1000)
        elapsed.append((time.perf_counter() - wall) * 1000)
    return statistics.median(spent), statistics.median(elapsed)


def scan(url: str) -> None:
    """Add up the requests and the cost from the attempts: two of the families that a scrape shows."""
    columns = "gateway, operation, model, outcome, error_type, cost_source"
    with reading_ledger(url) as reader:
        reader.rows(f"SELECT {columns}, count(*), sum(cost) FROM pixelmeter_attempts GROUP BY {columns}")


def compare(name: str, url: str, table: Table) -> None:
    """Add the lines of a database to the table."""
    fill(url)
    registry = CollectorRegistry()
    registry.register(LedgerCollector(url, clock=Steps()))
    lines = len([line for line in generate_latest(registry).splitlines() if not line.startswith(b"#")])
    for what, work, rounds, target in (
        (f"scrape, 10,000,000 attempts, {lines} series", lambda: generate_latest(registry), ROUNDS, f"<= {TARGET}"),
        ("scan of 1,000,000 attempts", lambda: scan(url), 3, ""),
    ):
        cpu, elapsed = measured(work, rounds)
        table.add_row(name, what, f"{cpu:.0f}", f"{elapsed:.0f}", target)


def main() -> None:
    """Print the table."""
    table = Table("database", "what", "CPU ms", "elapsed ms", "target CPU ms")
    with tempfile.TemporaryDirectory() as folder:
        compare("SQLite", f"sqlite:///{folder}/ledger.db", table)
    server = Server.start(settings={})
    try:
        compare("PostgreSQL", server.url(), table)
    finally:
        server.stop()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
