"""Rounds of calls by several processes that share a budget: `python -m tests.interop.budget_rounds --rounds 1000`.

In a round two processes make calls in threads and two in tasks, 200 at once, of more than the budget has. In some
rounds one of them is killed, the ledger is away for a while, or the budget begins anew in the middle, also where a
clock is put forward or back. All the while the ledger is watched: what is spent and reserved never is more than the
limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx

import pixelmeter
from pixelmeter import meter as meters
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.settings import Settings
from pixelmeter.system import SystemClock
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.faults.support import GATEWAYS, PROCESSES
from tests.postgres import Server

__all__ = ["Round", "planned", "run"]

CENT = 10_000_000
_PATIENCE = 60
_CALLERS = 50
# Midnights: of plain days, of those after which a clock is put forward or back, and one that a clock jumps over.
_MIDNIGHTS = (
    ("UTC", "2026-05-01"),
    ("Asia/Kathmandu", "2026-06-01"),
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-26"),
    ("America/Havana", "2026-03-08"),
)
_BEHAVIOURS: tuple[dict[str, Any], ...] = ({}, {}, {}, {"delay": 0.02}, {"status": 500}, {"delay": 5.0}, {"cut": 40})


@dataclass(frozen=True, kw_only=True)
class Round:
    """What happens in a round; can be sent to other processes."""

    name: str
    seed: int
    ledger: str
    spool: str
    gateway: str
    cents: int
    """What the budget has; a call costs one."""
    per: str
    tz: str
    offset: int
    """Microseconds by which the clock of the processes is ahead."""
    is_at_edge: bool
    is_killed: bool
    is_away: bool

    @property
    def is_quiet(self) -> bool:
        """Whether nothing but calls happens."""
        return not (self.is_at_edge or self.is_killed or self.is_away)

    @property
    def troubles(self) -> str:
        """What happens besides calls."""
        troubles = {"an edge": self.is_at_edge, "a kill": self.is_killed, "a ledger that is away": self.is_away}
        return " and ".join(name for name, is_so in troubles.items() if is_so) or "nothing"

    def budget(self) -> pixelmeter.Budget:
        """Return the budget of the round."""
        return pixelmeter.Budget(
            f"{self.cents / 100}",
            name=self.name,
            per=self.per,
            tz=self.tz,
            scope={"tags": {"round": self.name}},
            action="block",
            on_unavailable="block",
        )


def planned(seed: int, ledger: str, folder: str, gateway: str) -> Round:
    """Return the round of a seed."""
    choose = random.Random(seed)
    is_at_edge = choose.random() < 0.4
    tz, day = choose.choice(_MIDNIGHTS) if is_at_edge else ("UTC", "")
    offset = 0
    if is_at_edge:
        midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(tz)).timestamp()
        offset = round((midnight - time.time() - choose.uniform(0.1, 0.6)) * 1_000_000)
    return Round(
        name=f"round {seed}",
        seed=seed,
        ledger=ledger,
        spool=str(Path(folder, "spool")),
        gateway=gateway,
        cents=choose.randrange(5, 40),
        per="day" if is_at_edge else choose.choice(["day", "week", "month", "total"]),
        tz=tz,
        offset=offset,
        is_at_edge=is_at_edge,
        is_killed=choose.random() < 0.4,
        is_away=choose.random() < 0.15,
    )


class _Shifted(SystemClock):
    """A clock that is ahead."""

    offset = 0

    def now(self) -> int:
        return super().now() + self.offset


def _call_all(plan: Round, number: int, report: Any) -> None:
    """Make calls, as many at once as there are callers, and send what became of them."""
    _Shifted.offset = plan.offset
    setattr(meters, "SystemClock", _Shifted)  # noqa: B010
    meter = pixelmeter.Meter(plan.ledger, gateways=GATEWAYS, spool_dir=plan.spool, budgets=[plan.budget()])
    choose = random.Random(plan.seed * 10 + number)
    behaviours = [choose.choice(_BEHAVIOURS) for _ in range(_CALLERS)]
    with pixelmeter.tags(round=plan.name):
        told = asyncio.run(_tasks(plan, meter, behaviours)) if number % 2 else _threads(plan, meter, behaviours)
    meter.close(_PATIENCE)
    report.send(Counter(told))


def _arguments(plan: Round, behaviour: dict[str, Any]) -> dict[str, Any]:
    return {
        "url": f"{plan.gateway}/images/generations",
        "json": {"model": "meta/sam-3-1-image", "prompt": "fog"},
        "headers": {"x-test-behaviour": json.dumps(behaviour), "x-test-id": plan.name},
        "timeout": 1.0,
    }


def _told(error: Exception) -> str:
    return error.reason if isinstance(error, pixelmeter.BudgetExceeded) else "failed"


def _threads(plan: Round, meter: pixelmeter.Meter, behaviours: list[dict[str, Any]]) -> list[str]:
    def call(behaviour: dict[str, Any]) -> str:
        with pixelmeter.tags(round=plan.name):
            try:
                return str(client.post(**_arguments(plan, behaviour)).status_code)
            except Exception as error:
                return _told(error)

    with (
        pixelmeter.instrument(httpx.Client(limits=httpx.Limits(max_connections=None)), meter) as client,
        ThreadPoolExecutor(_CALLERS) as threads,
    ):
        return list(threads.map(call, behaviours))


async def _tasks(plan: Round, meter: pixelmeter.Meter, behaviours: list[dict[str, Any]]) -> list[str]:
    async def call(behaviour: dict[str, Any]) -> str:
        try:
            return str((await client.post(**_arguments(plan, behaviour))).status_code)
        except Exception as error:
            return _told(error)

    limits = httpx.Limits(max_connections=None)
    async with pixelmeter.instrument(httpx.AsyncClient(limits=limits), meter) as client:
        return await asyncio.gather(*map(call, behaviours))


def run(plan: Round, server: Server | None = None) -> Counter[str]:
    """Run a round and return what became of its calls; AssertionError where the budget did not hold."""
    choose = random.Random(plan.seed + 1)
    worst: list[tuple[int, str]] = []
    over = threading.Event()
    watching = threading.Thread(target=_watch, args=(plan, over, worst))
    watching.start()
    processes: list[tuple[Any, Any]] = []
    for number in range(4):
        ours, theirs = PROCESSES.Pipe()
        process = PROCESSES.Process(target=_call_all, args=(plan, number, theirs), daemon=True)
        process.start()
        processes.append((process, ours))
    time.sleep(choose.uniform(0.2, 0.8))
    if plan.is_away:
        with _away(plan, server):
            time.sleep(0.5)
    if plan.is_killed:
        processes[0][0].kill()
    told: Counter[str] = Counter()
    for number, (process, ours) in enumerate(processes):
        if plan.is_killed and number == 0:
            process.join(_PATIENCE)
            continue
        assert ours.poll(_PATIENCE), f"{plan}: process {number} made no end"
        told += ours.recv()
        process.join(_PATIENCE)
        assert process.exitcode == 0, f"{plan}: process {number} ended with {process.exitcode}"
    over.set()
    watching.join()
    adopt(plan.ledger, Settings(spool_dir=plan.spool))
    assert not worst, f"{plan}: {worst[:3]}"
    _check(plan, told)
    return told


def _watch(plan: Round, over: threading.Event, worst: list[tuple[int, str]]) -> None:
    """Look at the ledger again and again."""
    while not over.wait(0.005):
        with contextlib.suppress(LedgerError):
            for start, spent, leased, _ in _spent(plan):
                if spent + leased > plan.cents * CENT or leased < 0:
                    worst.append((spent + leased, f"{start}: {spent} spent, {leased} leased"))


def _spent(plan: Round) -> list[tuple[Any, int, int, int]]:
    with reading_ledger(plan.ledger) as reader:
        statement = (
            "SELECT starts_at, cost + at_risk - credited, leased, overrun FROM pixelmeter_budget_sums WHERE budget = ?"
        )
        return [
            (start, int(spent), int(leased), int(overrun))
            for start, spent, leased, overrun in reader.rows(statement, [plan.name])
        ]


def _check(plan: Round, told: Counter[str]) -> None:
    spans = _spent(plan)
    for start, spent, leased, overrun in spans:
        assert spent <= plan.cents * CENT, f"{plan}: {spent} spent from {start}"
        assert (leased, overrun) == (0, 0), f"{plan}: {leased} leased in the end, {overrun} overrun"
    with reading_ledger(plan.ledger) as reader:
        value = reader.dialect.tag_value("round")
        statement = f"SELECT sum(coalesce(cost, 0) + coalesce(at_risk, 0)) FROM pixelmeter_spend WHERE {value.text} = ?"
        [(total,)] = reader.rows(statement, [*value.parameters, plan.name])
    assert sum(spent for _, spent, _, _ in spans) == int(total or 0), f"{plan}: sums are not those of the rows"
    if plan.is_quiet:
        # More was asked for than the budget has, and small parts may lie idle in leases.
        used = sum(spent for _, spent, _, _ in spans)
        assert used >= min(plan.cents // 2, told["200"]) * CENT, f"{plan}: only {used} used, {told}"
        # On a busy machine a call may have waited for a lease in vain, which refuses it as well.
        assert told["limit"] + told["unavailable"] > 0, f"{plan}: {told}"


@contextlib.contextmanager
def _away(plan: Round, server: Server | None) -> Iterator[None]:
    """Have the ledger answer nobody."""
    if server is not None:
        server.crash()
        try:
            yield
        finally:
            server.resume()
        return
    path = plan.ledger.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as connection:
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("BEGIN EXCLUSIVE")
        yield


def run_all(
    rounds: int, seed: int, ledger: str, folder: str, server: Server | None, tell: Callable[[str], object]
) -> Counter[str]:
    """Run rounds one after the other; return what became of all calls."""
    every: Counter[str] = Counter()
    with Gateway(seed=seed) as gateway:
        for number in range(rounds):
            plan = planned(seed + number, ledger, folder, gateway.url)
            told = run(plan, server)
            every += told
            tell(f"{plan.name}, {plan.troubles}: {dict(told)}")
        billed = Counter[str]()
        for line in gateway.billing():
            billed[line["test_id"]] += line["charged_nano"]
        for number in range(rounds):
            plan = planned(seed + number, ledger, folder, gateway.url)
            assert billed[plan.name] <= plan.cents * CENT * (1 + plan.is_at_edge), f"{plan}: {billed[plan.name]} billed"
    return every


def main() -> None:
    """Run rounds and print what became of their calls."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.budget_rounds", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true")
    given = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="pixelmeter-budgets-")

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    if not given.postgres:
        tell(str(run_all(given.rounds, given.seed, f"sqlite:///{folder}/ledger.db", folder, None, tell)))
        return
    # Commits survive a crash here.
    server = Server.start({"fsync": "off"})
    try:
        with server.database("budgets") as url:
            tell(str(run_all(given.rounds, given.seed, url, folder, server, tell)))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
