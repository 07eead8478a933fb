"""What it takes to upgrade a ledger of the release before, with a million attempts of ninety days, on both databases.

The ledger is made by the migrations up to schema 0006, and filled past the writer: rows by COPY or in bulk, with the
sums that the release before kept. Each attempt has a team, one of 500 features, and one of many customers, whose values
are too many for a rollup. `pixelmeter db upgrade` is timed from outside, start-up included; the server's CPU is that of
its processes. Afterwards every rollup must add up to the rows.

    PYTHONPATH=. .venv/bin/python benchmarks/upgrade.py --rows 1000000
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, inspect, text

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.writer import traffic
from pixelmeter.core.attempts.record import FIELDS, Attempt
from pixelmeter.ledger import migrate, sqlite
from pixelmeter.ledger.address import Address, read_address
from pixelmeter.ledger.engine import changing
from pixelmeter.ledger.postgres_sql import SENT_AS, copied
from pixelmeter.ledger.reader import reading_database, reading_ledger
from pixelmeter.ledger.rollups import DAILY_KEY, daily_rows
from pixelmeter.ledger.sums import TOTALS_COLUMNS, TOTALS_KEY, delta_of
from pixelmeter.system import SystemClock
from tests.postgres import Server

BEFORE = "0006"
OLD_SUMS = ("attempts", "calls", "images", "cost", "fee", "at_risk", "unknown_cost_attempts", "duration")
DAYS = 90
BATCH = 5000
DAY = 86_400_000_000
TICKS = os.sysconf("SC_CLK_TCK")


class Spent(NamedTuple):
    """What an upgrade took, in seconds; the largest resident memory of the command in MiB."""

    elapsed: float
    cpu: float
    server_cpu: float
    memory: float


def attempts(rows: int) -> Iterator[Attempt]:
    """Yield so many attempts, spread over the days until now."""
    chance = random.Random(3)
    since = SystemClock().now() - DAYS * DAY
    for number, attempt in enumerate(traffic(rows)):
        started_at = since + number * DAYS * DAY // rows
        tags = {
            "customer": f"c{chance.randrange(max(rows // 100, 2000))}",
            "feature": f"feature-{chance.randrange(500)}",
            "team": f"team-{int(chance.paretovariate(0.9)) % 20}",
        }
        yield msgspec.structs.replace(
            attempt,
            id=_identity(chance, started_at),
            call_id=_identity(chance, started_at),
            started_at=started_at,
            tags=msgspec.json.encode(tags).decode(),
        )


def _identity(chance: random.Random, started_at: int) -> str:
    moment, tail = f"{started_at // 1000:012x}", f"{chance.randrange(16**18):018x}"
    return f"{moment[:8]}-{moment[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:]}"


def fill(url: str, rows: int) -> None:
    """Make a ledger as the release before has it."""
    migrate.upgrade(url, BEFORE)
    address = read_address(url)
    days: dict[Sequence[Any], Sequence[int]] = {}
    totals: dict[Sequence[Any], Sequence[int]] = {}
    made = attempts(rows)
    with changing(address, patience=60) as connection:
        while batch := list(islice(made, BATCH)):
            _insert(connection, address, batch)
            delta = delta_of(batch)
            _count(days, (row[: len(DAILY_KEY) + len(OLD_SUMS)] for row in daily_rows(delta.hourly)), len(DAILY_KEY))
            _count(totals, (total.row() for total in delta.totals), len(TOTALS_KEY))
        _keep(connection, "pixelmeter_daily", (*DAILY_KEY, *OLD_SUMS), days)
        _keep(connection, "pixelmeter_totals", TOTALS_COLUMNS, totals)
    with changing(address, patience=60) as connection:
        connection.execute(text("ANALYZE"))


def _insert(connection: Connection, address: Address, batch: Sequence[Attempt]) -> None:
    # A column that came later stands behind those that there were.
    width = len(inspect(connection).get_columns("pixelmeter_attempts"))
    driver: Any = connection.connection.driver_connection
    if address.dialect == "sqlite":
        marks = ", ".join("?" * width)
        rows = (sqlite._values(attempt)[:width] for attempt in batch)
        driver.executemany(f"INSERT INTO pixelmeter_attempts VALUES ({marks})", rows)
        return
    with driver.cursor() as cursor:
        copying = f"COPY pixelmeter_attempts ({', '.join(FIELDS[:width])}) FROM STDIN (FORMAT BINARY)"
        with cursor.copy(copying) as copy:
            copy.set_types(SENT_AS[:width])
            for attempt in batch:
                copy.write_row(copied(attempt)[:width])


def _count(sums: dict[Sequence[Any], Sequence[int]], rows: Iterator[Sequence[Any]], width: int) -> None:
    for row in rows:
        key, added = row[:width], row[width:]
        known = sums.get(key)
        sums[key] = added if known is None else tuple(map(int.__add__, known, added))


def _keep(connection: Connection, table: str, columns: Sequence[str], sums: dict[Sequence[Any], Sequence[int]]) -> None:
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)})"
    rows = [dict(zip(columns, (*key, *added), strict=True)) for key, added in sums.items()]
    connection.execute(text(statement), rows)


def upgrade(url: str, server: Server | None) -> Spent:
    """Upgrade as people do, and return what that took."""
    before, begun = _cpu(server), time.perf_counter()
    command = [sys.executable, "-m", "pixelmeter", "db", "upgrade", "--database-url", url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the upgrade ended with status {process.returncode}")
    return Spent(
        time.perf_counter() - begun,
        usage.ru_utime + usage.ru_stime,
        _cpu(server) - before,
        usage.ru_maxrss / 1024,
    )


def _cpu(server: Server | None) -> float:
    """Return the CPU seconds of a server and of the connections that it has closed."""
    if server is None:
        return 0
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def check(url: str, rows: int) -> None:
    """Fail where a rollup does not add up to the rows."""
    with reading_ledger(url) as reader:
        raw = reader.rows("SELECT count(*), coalesce(sum(cost), 0) FROM pixelmeter_attempts")
        for rollup in ("daily", "hourly"):
            found = reader.rows(f"SELECT sum(attempts), sum(cost) FROM pixelmeter_{rollup}")
            assert [*map(int, found[0])] == [*map(int, raw[0])], rollup
        teams = reader.rows("SELECT sum(attempts) FROM pixelmeter_tag_daily WHERE tag = 'team'")
        wide = reader.rows("SELECT tag FROM pixelmeter_wide_tags")
    assert (rows, rows) == (raw[0][0], teams[0][0])
    assert [] == [tag for (tag,) in wide if tag != "customer"]


def _size(url: str) -> float:
    """Return how large a ledger is in MiB."""
    address = read_address(url)
    if address.dialect == "sqlite":
        return os.path.getsize(address.path) / 2**20
    with reading_database(address) as reader:
        return int(reader.rows("SELECT pg_database_size(current_database())")[0][0]) / 2**20


def measure(name: str, url: str, rows: int, server: Server | None = None) -> None:
    """Print a line of the table."""
    fill(url, rows)
    before = _size(url)
    spent = upgrade(url, server)
    check(url, rows)
    print(
        f"{name:<12}{spent.elapsed:>10.1f}{spent.cpu:>14.1f}{spent.server_cpu:>12.1f}{spent.memory:>8.0f}"
        f"{before:>12.0f}{_size(url):>11.0f}"
    )


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--rows", type=int, default=1_000_000)
    rows = arguments.parse_args().rows
    print(f"{rows:,} rows, from schema {BEFORE} to {migrate.head()}")
    print(
        f"{'':<12}{'seconds':>10}{'CPU, command':>14}{'CPU, server':>12}{'MiB':>8}{'MiB before':>12}{'MiB after':>11}"
    )
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", f"sqlite:///{folder}/ledger.db", rows)
    server = Server.start(settings={})
    try:
        with server.database("upgraded") as url:
            measure("PostgreSQL", url, rows, server)
    finally:
        server.stop()


if __name__ == "__main__":
    main()
