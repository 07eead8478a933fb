"""CPU per row of the ledger writers, rollup and totals included, against the fastest bulk insert of each database.

The limit inserts rows that are ready made, without a check for duplicates, without rollup or totals: `executemany` on
SQLite, binary COPY on PostgreSQL, into the same table with the same indexes. Rounds are interleaved, and the medians
compared; for PostgreSQL the CPU of the server process is added to ours.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger import postgres, postgres_sql, sqlite
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import WRITING, ensure_schema
from tests.factories import STARTED_AT, make_attempt
from tests.postgres import Server

BATCH = 1000
BATCHES = 20
ROUNDS = 7

Work = Callable[[Sequence[Sequence[Attempt]]], float]
"""Writes the batches and returns the CPU seconds that it took."""


def traffic(count: int) -> Iterator[Attempt]:
    """Yield attempts of eight models over a few minutes, with the spread of durations that image models have."""
    chance = random.Random(7)
    for number in range(count):
        outcome = chance.choices(["success", "error", "throttled", "timeout"], [94, 3, 2, 1])[0]
        yield make_attempt(
            started_at=STARTED_AT + number * 20_000 + chance.randrange(20_000),
            model=f"vendor/image-model-{chance.randrange(8)}",
            outcome=outcome,
            duration=int(chance.lognormvariate(16, 0.5)),
            attempt=chance.choices([0, 1, 2], [90, 8, 2])[0],
            request_id=f"req_{chance.randrange(16**24):024x}",
            cost=chance.randrange(10**9) if outcome == "success" else None,
        )


def sqlite_contest(folder: str) -> tuple[Work, Work]:
    """Return the limit and our writer, each on a file of its own."""
    limit_address, our_address = (read_address(f"sqlite:///{folder}/{name}.db") for name in ("limit", "ours"))
    ensure_schema(limit_address)
    connection = sqlite3.connect(limit_address.path, isolation_level=None)
    for pragma in WRITING:
        connection.execute(pragma)
    width = len(make_attempt().__struct_fields__)
    insert = f"INSERT INTO pixelmeter_attempts VALUES ({', '.join('?' * width)})"
    writer = sqlite.SqliteWriter(our_address)

    def limit(batches: Sequence[Sequence[Attempt]]) -> float:
        ready = [[tuple(sqlite._values(attempt)) for attempt in batch] for batch in batches]
        begun = time.process_time()
        for rows in ready:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, rows)
            connection.execute("COMMIT")
        return time.process_time() - begun

    def ours(batches: Sequence[Sequence[Attempt]]) -> float:
        begun = time.process_time()
        for number, batch in enumerate(batches):
            writer.write(batch, {"spool": number}, [])
        return time.process_time() - begun

    return limit, ours


def postgres_contest(url: str) -> tuple[Work, Work]:
    """Return the limit, into a second table with the same columns and indexes, and our writer."""
    address = read_address(url)
    ensure_schema(address)
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("CREATE TABLE limit_attempts (LIKE pixelmeter_attempts INCLUDING ALL)")
    writer = postgres.PostgresWriter(address)
    copy_command = writer._sql.copy.replace(b"pixelmeter_attempts", b"limit_attempts")
    writer.write([make_attempt()], {}, [])
    assert writer._session is not None
    our_backend = writer._session.connection.info.backend_pid
    limit_backend = connection.info.backend_pid

    def limit(batches: Sequence[Sequence[Attempt]]) -> float:
        ready = [[tuple(postgres_sql.copied(attempt)) for attempt in batch] for batch in batches]
        begun = time.process_time() + process_seconds(limit_backend)
        for rows in ready:
            with connection.cursor().copy(copy_command) as copy:
                copy.set_types(postgres_sql.SENT_AS)
                for row in rows:
                    copy.write_row(row)
        return time.process_time() + process_seconds(limit_backend) - begun

    def ours(batches: Sequence[Sequence[Attempt]]) -> float:
        begun = time.process_time() + process_seconds(our_backend)
        for number, batch in enumerate(batches):
            writer.write(batch, {"spool": number}, [])
        return time.process_time() + process_seconds(our_backend) - begun

    return limit, ours


def process_seconds(pid: int) -> float:
    """Return the CPU seconds of a process, from the nanoseconds that Linux counts in schedstat."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def compare(name: str, contest: tuple[Work, Work], target: float, table: Table) -> None:
    """Run the rounds and add a line to the table."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for work, seconds in zip(contest, spent, strict=True):
            attempts = list(traffic(BATCH * BATCHES))
            seconds.append(work([attempts[start : start + BATCH] for start in range(0, len(attempts), BATCH)]))
    limit, ours = (statistics.median(seconds) / BATCH / BATCHES * 1e6 for seconds in spent)
    table.add_row(name, f"{limit:.1f}", f"{ours:.1f}", f"{limit / ours:.2f}", f"{target:.2f}")


def main() -> None:
    """Print the table."""
    table = Table("database", "limit µs/row", "writer µs/row", "ratio", "target")
    with tempfile.TemporaryDirectory() as folder:
        compare("SQLite", sqlite_contest(folder), 0.60, table)
    server = Server.start(settings={})
    try:
        compare("PostgreSQL", postgres_contest(server.url()), 0.45, table)
    finally:
        server.stop()
    Console().print(table)


if __name__ == "__main__":
    main()
