"""What seven writers commit beside an eighth that was stopped inside its transaction, or outside of one.

Eight processes write batches of forty attempts of the same few models, all into one PostgreSQL; a smaller batch is one
message, in which no client can be stopped. In turns, the eighth is stopped (SIGSTOP) where the server waits for it
inside a transaction, and where it does not; the rows that the others commit meanwhile are compared.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import ensure_schema
from pixelmeter.ledger.postgres import PostgresWriter
from tests.factories import make_attempt
from tests.postgres import Server

WRITERS = 8
BATCH = 40
MODELS = 5
SECONDS = 4.0
ROUNDS = 7
PATIENCE = 600.0
TARGET = 0.9

STATE = "SELECT xact_start IS NOT NULL AND wait_event = 'ClientRead' FROM pg_stat_activity WHERE pid = %s"
ROWS = "SELECT count(*) FROM pixelmeter_attempts"


def write(url: str, number: int, pipe: Connection) -> None:
    """Write until somebody ends the process; say which process of the server it has."""
    with closing(PostgresWriter(read_address(url), PATIENCE)) as writer:
        for count in range(10**9):
            batch = [make_attempt(model=f"vendor/image-model-{n % MODELS}") for n in range(BATCH)]
            writer.write(batch, {f"spool-{number}": count}, [])
            if not count:
                assert writer._session is not None
                pipe.send(writer._session.connection.info.backend_pid)


@contextmanager
def stopped(process: int, backend: int, inside: bool, admin: psycopg.Connection) -> Iterator[None]:
    """Stop a writer where it is inside a transaction, or where it is not."""
    while True:
        os.kill(process, signal.SIGSTOP)
        # What it had sent before is done by then, unless it waits for somebody.
        time.sleep(0.05)
        if admin.execute(STATE, (backend,)).fetchone() == (inside,):
            break
        os.kill(process, signal.SIGCONT)
        time.sleep(0.01)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def rows_of_the_others(admin: psycopg.Connection) -> int:
    """Return how many rows are committed in a while."""
    (before,) = admin.execute(ROWS).fetchone() or (0,)
    time.sleep(SECONDS)
    (after,) = admin.execute(ROWS).fetchone() or (0,)
    return int(after) - int(before)


def main() -> None:
    """Print the table."""
    server = Server.start(settings={})
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    processes = [context.Process(target=write, args=(server.url(), n, theirs), daemon=True) for n in range(WRITERS)]
    committed: dict[bool, list[int]] = {False: [], True: []}
    try:
        ensure_schema(read_address(server.url()))
        for process in processes[:-1]:
            process.start()
        for _ in processes[:-1]:
            ours.recv()
        processes[-1].start()
        backend = ours.recv()
        last = processes[-1].pid
        assert last is not None
        with psycopg.connect(server.url(), autocommit=True) as admin:
            for _ in range(ROUNDS):
                for inside, rows in committed.items():
                    with stopped(last, backend, inside, admin):
                        rows.append(rows_of_the_others(admin))
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()
        server.stop()
    table = Table("the eighth is stopped", f"rows of the others in {SECONDS:g} s", "range", "ratio", "target")
    baseline = statistics.median(committed[False])
    for name, rows, ratio, target in (
        ("outside a transaction", committed[False], 1.0, ""),
        ("inside its transaction", committed[True], statistics.median(committed[True]) / baseline, f"{TARGET:.2f}"),
    ):
        spread = f"{min(rows):,}..{max(rows):,}"
        table.add_row(name, f"{statistics.median(rows):,.0f}", spread, f"{ratio:.2f}", target)
    Console().print(table)


if __name__ == "__main__":
    main()
