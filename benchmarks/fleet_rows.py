"""Rows a second of many writers into one PostgreSQL: all of the same models, or each of its own; and a held snapshot.

Thirty-two processes write batches of 1, 10 and 100 attempts as fast as they can, of five models that all have or of
five of their own, in turns. Beside the rows stand how long the slowest hundredth of the commits took, and the CPU of
server and writers a row. Then eight of them go on beside a snapshot that is held, as `pg_dump` holds one. In the end
what is read of the sums is compared with the rows.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import msgspec
import psycopg
import uuid_utils
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.writer import process_seconds
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import ensure_schema
from pixelmeter.ledger.postgres import PostgresWriter
from tests.factories import make_attempt
from tests.postgres import Server

WRITERS = 32
FEW_WRITERS = 8
BATCHES = (1, 10, 100)
MODELS = 5
SECONDS = 3.0
ROUNDS = 5
HELD_SECONDS = 20.0
TARGET, TARGET_P99, TARGET_HELD = 0.85, 0.2, 0.9

COUNTS = """
SELECT (SELECT count(*) FROM pixelmeter_attempts), (SELECT sum(attempts) FROM pixelmeter_hourly),
  (SELECT sum(attempts) FROM pixelmeter_daily), (SELECT sum(attempts) FROM pixelmeter_totals),
  (SELECT sum(attempts) FROM pixelmeter_tag_daily WHERE tag = 'team')
"""
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class Task(NamedTuple):
    """What each writer does for a while."""

    batch: int
    is_own: bool
    seconds: float


class Done(NamedTuple):
    """What one of them did."""

    rows: int
    commits: Sequence[float]
    """How many seconds each took."""
    cpu: float


class Cell(NamedTuple):
    """What all of them did."""

    rows: float
    """A second."""
    p99: float
    """Of the commits, in seconds."""
    server: float
    """CPU seconds a row."""
    writers: float


def pool(chance: random.Random, models: Sequence[str]) -> list[Attempt]:
    """Return attempts to choose from, with the spread that image models have."""
    made: list[Attempt] = []
    for _ in range(1500):
        tags = {"team": f"team-{chance.randrange(12)}", "user": f"user-{chance.randrange(3000)}"}
        made.append(
            make_attempt(
                model=chance.choice(models),
                outcome=chance.choices(["success", "error", "throttled", "timeout"], [94, 3, 2, 1])[0],
                duration=int(chance.lognormvariate(16, 0.5)),
                request_id=f"req_{chance.randrange(16**24):024x}",
                tags=json.dumps(tags, separators=(",", ":")),
            )
        )
    return made


def work(url: str, number: int, pipe: Connection) -> None:
    """Do one task after the other, until there is none."""
    chance = random.Random(number)
    pools = {
        is_own: pool(chance, [f"vendor/{f'own-{number}' if is_own else 'model'}-{n}" for n in range(MODELS)])
        for is_own in (False, True)
    }
    position = 0
    with closing(PostgresWriter(read_address(url), 600.0)) as writer:
        writer.positions(["spool"])
        pipe.send(None)
        while (task := pipe.recv()) is not None:
            commits: list[float] = []
            cpu, end = time.process_time(), time.monotonic() + task.seconds
            while (begun := time.monotonic()) < end:
                batch: list[Attempt] = []
                for one in chance.choices(pools[task.is_own], k=task.batch):
                    identity = str(uuid_utils.uuid7())
                    now = time.time_ns() // 1000
                    batch.append(msgspec.structs.replace(one, id=identity, call_id=identity, started_at=now))
                position += 1
                begun = time.perf_counter()
                writer.write(batch, {f"spool-{number}": position}, [])
                commits.append(time.perf_counter() - begun)
            pipe.send(Done(len(commits) * task.batch, commits, time.process_time() - cpu))


class Fleet:
    """The writers, and what they do together."""

    def __init__(self, url: str, admin: psycopg.Connection) -> None:
        context = multiprocessing.get_context("spawn")
        self._admin = admin
        self._pipes: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        for number in range(WRITERS):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(url, number, theirs), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def run(self, task: Task, writers: int = WRITERS) -> Cell:
        """Have so many do a task at once."""
        before, began = self._server(), time.monotonic()
        for pipe in self._pipes[:writers]:
            pipe.send(task)
        done = [pipe.recv() for pipe in self._pipes[:writers]]
        rows, seconds = sum(one.rows for one in done), time.monotonic() - began
        after = self._server()
        server = sum(spent - before.get(pid, 0.0) for pid, spent in after.items())
        commits = sorted(took for one in done for took in one.commits)
        writing = sum(one.cpu for one in done)
        return Cell(rows / seconds, commits[int(len(commits) * 0.99)], server / rows, writing / rows)

    def end(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()

    def _server(self) -> dict[int, float]:
        return {pid: process_seconds(pid) for (pid,) in self._admin.execute(BACKENDS)}


@contextmanager
def held_snapshot(url: str) -> Iterator[None]:
    """Hold a snapshot open."""
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM pixelmeter_spools")
        yield


def compare(fleet: Fleet, batch: int, table: Table) -> None:
    """Add the lines of a size of batches: the same models, and each its own."""
    cells: dict[bool, list[Cell]] = {True: [], False: []}
    for number in range(ROUNDS):
        for is_own in (True, False) if number % 2 else (False, True):
            cells[is_own].append(fleet.run(Task(batch, is_own, SECONDS)))
    medians = {is_own: Cell(*map(statistics.median, zip(*some, strict=True))) for is_own, some in cells.items()}
    for is_own, found in medians.items():
        is_judged = batch == BATCHES[-1] and not is_own
        table.add_row(
            f"{batch}",
            "its own" if is_own else "the same",
            f"{found.rows:,.0f}",
            "" if is_own else f"{found.rows / medians[True].rows:.2f}",
            f"{TARGET:.2f}" if is_judged else "",
            f"{found.p99 * 1000:.0f}",
            f"{TARGET_P99 * 1000:.0f}" if is_judged else "",
            f"{found.server * 1e6:.0f}",
            f"{found.writers * 1e6:.0f}",
        )


def beside_a_snapshot(fleet: Fleet, url: str, table: Table) -> None:
    """Add the line of what a held snapshot costs, before and at the end of a while."""
    task = Task(10, False, HELD_SECONDS / 4)
    free = [fleet.run(task, FEW_WRITERS).rows for _ in range(3)]
    with held_snapshot(url):
        held = [fleet.run(task, FEW_WRITERS).rows for _ in range(4)]
    again = [fleet.run(task, FEW_WRITERS).rows for _ in range(3)]
    without = statistics.median([*free, *again])
    last = statistics.median(held[-2:])
    table.add_row(f"{without:,.0f}", f"{last:,.0f}", f"{last / without:.2f}", f"{TARGET_HELD:.2f}")


def main() -> None:
    """Print the tables."""
    rows = Table("batch", "models", "rows/s", "ratio", "target", "p99 ms", "target", "server µs/row", "writers µs/row")
    snapshot = Table(f"rows/s of {FEW_WRITERS}", "beside a held snapshot", "ratio", "target")
    server = Server.start(settings={})
    try:
        ensure_schema(read_address(server.url()))
        with psycopg.connect(server.url(), autocommit=True) as admin:
            fleet = Fleet(server.url(), admin)
            try:
                for batch in BATCHES:
                    compare(fleet, batch, rows)
                beside_a_snapshot(fleet, server.url(), snapshot)
            finally:
                fleet.end()
            [counts] = admin.execute(COUNTS).fetchall()
            [(unmerged,)] = admin.execute("SELECT count(*) FROM pixelmeter_deltas").fetchall()
    finally:
        server.stop()
    console = Console()
    console.print(rows)
    console.print(snapshot)
    console.print(f"rows, and what hours, days, totals and the tag `team` count: {', '.join(f'{n:,}' for n in counts)}")
    console.print(f"{unmerged:,} deltas are not merged yet")


if __name__ == "__main__":
    main()
