"""CPU that budgets add: to a call with a lease in hand, to a call through httpx, and to the ledger's writer.

    python benchmarks/budgets.py [--rounds 12] [--calls 2000] [--requests 250] [--draws 100] [--rows 5000]

Everything is measured beside the same without a budget, in turns, so that noise hits each alike; the figures are
medians of the rounds. CPU is user + system time of this process; for PostgreSQL that of the server's process for us is
added. `admit and settle` is what a caller does for each attempt, with its lease drawn before from a SQLite ledger. The
image calls go to a stand-in gateway, which has a CPU of its own where there are two; `all` counts our writer as well.
A draw is a transaction of its own, in which each budget enlarges one lease.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

import pixelmeter
from benchmarks.overhead import part_cpus
from benchmarks.writer import process_seconds
from pixelmeter.budgets.admission import Admission
from pixelmeter.budgets.leasing import Leasing
from pixelmeter.budgets.spender import Ask
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.lease import Draw, LeaseKey
from pixelmeter.ledger.postgres import PostgresWriter
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import LedgerWriter, open_writer
from pixelmeter.system import SystemClock
from pixelmeter.testing import Gateway
from tests.factories import STARTED_AT, make_attempt
from tests.postgres import Server

_BODY = {"model": "meta/sam-3-1-image", "prompt": "a red fox in the snow", "size": "1024x1024", "n": 1}
_CUSTOMERS = 8
_LIMIT = 1_000_000
"""USD: so much that no lease of a run is ever used up."""
_CENT = 10_000_000
_NONE = "no budget"
_TARGET = 5.0  # microseconds of CPU that a budget may add to a call with a lease in hand


def _budget(name: str, each: str | None = None, per: str = "month") -> pixelmeter.Budget:
    return pixelmeter.Budget(_LIMIT, name=name, per=per, each=each, action="block", on_unavailable="block")


def _budgets() -> Mapping[str, Sequence[pixelmeter.Budget]]:
    return {
        _NONE: [],
        "1 budget": [_budget("all")],
        'each="tag:customer"': [_budget("customers", each="tag:customer")],
        "3 budgets": [_budget("days", per="day"), _budget("months"), _budget("ever", per="total")],
    }


def _turns(names: Iterable[str], rounds: int, block: Callable[[str], Any]) -> dict[str, list[Any]]:
    """Run a block of each, round by round, there and back."""
    order = list(names)
    found: dict[str, list[Any]] = {name: [] for name in order}
    for number in range(rounds):
        for name in order if number % 2 else reversed(order):
            found[name].append(block(name))
    return found


def _print(heading: str, column: str, spent: Mapping[str, Sequence[float]], unit: float, *, share: bool = True) -> None:
    """Print what each costs and adds to the first, in 1 / `unit` seconds."""
    first = next(iter(spent.values()))
    print(f"{heading:36}{column:>8}{'added':>9}{'range':>16}" + (f"{'ratio':>8}" if share else ""))
    for name, values in spent.items():
        line = f"{name:36}{statistics.median(values) * unit:8.1f}"
        if values is not first:
            added = [(b - a) * unit for a, b in zip(first, values, strict=True)]
            line += f"{statistics.median(added):9.1f}{f'{min(added):.1f}..{max(added):.1f}':>16}"
            if share:
                line += f"{statistics.median(b / a for a, b in zip(first, values, strict=True)):8.2f}"
        print(line)


class Program:
    """A process that has leases of its budgets; what its calls cost is written when it is told to."""

    def __init__(self, url: str, budgets: Sequence[pixelmeter.Budget]) -> None:
        self.clock = SystemClock()
        self.leasing = Leasing(budgets, clock=self.clock, process=lambda: "benchmark")
        self.admission = Admission(budgets, self.leasing, self.clock)
        self.writer = open_writer(url, charges=self.leasing)
        self.asked = 0

    def block(self, calls: int) -> float:
        """Return the CPU seconds a call of as many calls; asks that the writer answers are counted."""
        now = self.clock.now()
        intents: list[Attempt] = []
        ends: list[Attempt] = []
        for number in range(calls):
            tags = f'{{"customer":"customer-{number % _CUSTOMERS}"}}'
            intents.append(make_attempt(started_at=now, tags=tags, outcome="interrupted", cost=None, at_risk=2 * _CENT))
            ends.append(make_attempt(id=intents[-1].id, started_at=now, tags=tags, cost=_CENT))
        steps = self._calls(intents, ends)
        gc.collect()  # What the attempts are made of is not to be looked through on a call's account.
        begun = time.thread_time()
        for _ in steps:
            self.asked += 1
            self.leasing.serve(self.writer)
        spent = time.thread_time() - begun
        self.writer.write(ends, {}, [])
        return spent / calls

    def _calls(self, intents: Sequence[Attempt], ends: Sequence[Attempt]) -> Generator[Ask]:
        admission = self.admission
        for intent, end in zip(intents, ends, strict=True):
            reservation = yield from admission.admit(intent)
            if reservation is not None:
                admission.settle(reservation, end)


def _calls_with_a_lease(rounds: int, calls: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        programs = {
            name: Program(f"sqlite:///{folder}/{number}.db", budgets)
            for number, (name, budgets) in enumerate(_budgets().items())
        }
        for program in programs.values():
            program.block(calls)
        drawn = {name: program.asked for name, program in programs.items()}
        spent = _turns(programs, rounds, lambda name: programs[name].block(calls))
        for name, program in programs.items():
            assert drawn[name] == program.asked, f"{name}: calls have asked for leases"
            assert bool(program.asked) == (name != _NONE), name
            program.leasing.close(program.writer)
            program.writer.close()
    print(f"admit and settle: {rounds} rounds of {calls} calls each, no call asks the ledger")
    _print("µs of CPU", "a call", spent, 1e6, share=False)
    one = statistics.median(b - a for a, b in zip(spent[_NONE], spent["1 budget"], strict=True)) * 1e6
    print(f"target: 1 budget adds <= {_TARGET:.0f}: {'met' if one <= _TARGET else 'MISSED'}")


class Spent(NamedTuple):
    """Seconds of CPU a call: of all threads, and of the caller's."""

    all: float
    caller: float


def _calls_through_httpx(rounds: int, calls: int) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        gateway = stack.enter_context(Gateway())
        part_cpus(gateway.pid)
        url = f"{gateway.url}/images/generations"
        meters: dict[str, pixelmeter.Meter] = {}
        clients: dict[str, httpx.Client] = {}
        for number, (name, budgets) in enumerate(_budgets().items()):
            meters[name] = stack.enter_context(
                pixelmeter.Meter(
                    f"sqlite:///{folder}/{number}.db",
                    gateways={"127.0.0.1:*": "aigateway"},
                    tags={"customer": "customer-0"},
                    budgets=budgets,
                )
            )
            clients[name] = pixelmeter.instrument(stack.enter_context(httpx.Client()), meters[name])

        def block(name: str, calls: int = calls) -> Spent:
            client = clients[name]
            everything, caller = time.process_time(), time.thread_time()
            for _ in range(calls):
                client.post(url, json=_BODY).raise_for_status().json()
            caller = time.thread_time() - caller
            meters[name].flush(30)
            return Spent((time.process_time() - everything) / calls, caller / calls)

        for name in clients:
            block(name, 100)
            _check(meters[name].database_url, len(_budgets()[name]), 100)
            _check_leases(meters[name].database_url, len(_budgets()[name]))
        spent = _turns(clients, rounds, block)
    print(f"\na call through httpx: {rounds} rounds of {calls} calls each")
    for what, heading in (("all", "µs of CPU, all threads"), ("caller", "µs of CPU, the caller's")):
        _print(heading, "a call", {name: [getattr(one, what) for one in found] for name, found in spent.items()}, 1e6)


def _check(url: str, budgets: int, attempts: int) -> None:
    """Make sure that as many attempts have been counted as were meant to be."""
    with reading_ledger(url) as reader:
        statement = "SELECT count(DISTINCT budget), coalesce(sum(attempts), 0) FROM pixelmeter_budget_sums"
        [(found, counted)] = reader.rows(statement)
    assert (found, int(counted)) == (budgets, budgets * attempts), f"{int(counted)} attempts counted in {found} budgets"


def _check_leases(url: str, budgets: int) -> None:
    """Make sure that calls have a lease of each budget in hand."""
    with reading_ledger(url) as reader:
        [(found,)] = reader.rows("SELECT count(DISTINCT budget) FROM pixelmeter_budget_leases WHERE amount > 0")
    assert found == budgets, f"leases of {found} budgets"


def _cpu(writer: LedgerWriter) -> float:
    """Return the CPU seconds so far, those of the PostgreSQL process that serves us included."""
    if not isinstance(writer, PostgresWriter):
        return time.process_time()
    assert writer._session is not None
    return time.process_time() + process_seconds(writer._session.connection.info.backend_pid)


def _opened(urls: Mapping[str, str]) -> dict[str, LedgerWriter]:
    """Return a writer for each set of budgets, which its ledger has."""
    writers: dict[str, LedgerWriter] = {}
    for name, budgets in _budgets().items():
        writers[name] = open_writer(urls[name])
        writers[name].register([budget.rule for budget in budgets], STARTED_AT)
    return writers


def _draws(database: str, writers: Mapping[str, LedgerWriter], rounds: int, draws: int) -> None:
    elapsed: dict[str, list[float]] = {name: [] for name in writers}

    def block(name: str) -> float:
        rules = [budget.rule for budget in _budgets()[name]]
        keys = [LeaseKey(rule.name, "", rule.span_of(STARTED_AT).start) for rule in rules]
        wanted = [Draw(key, rule.limit, 1, _CENT, _CENT, rule.limit) for key, rule in zip(keys, rules, strict=True)]
        writer = writers[name]
        begun, since = _cpu(writer), time.perf_counter()
        for _ in range(draws):
            got = writer.draw("benchmark", wanted, STARTED_AT)
            assert all(drawn.amount == _CENT for drawn in got)
        elapsed[name].append((time.perf_counter() - since) / draws)
        return (_cpu(writer) - begun) / draws

    spent = _turns([name for name in writers if name in ("1 budget", "3 budgets")], rounds, block)
    print(f"\na draw from {database}: {rounds} rounds of {draws} draws each")
    print(f"{'µs':36}{'CPU':>8}{'range':>16}{'elapsed':>9}")
    for name, values in spent.items():
        spread = f"{min(values) * 1e6:.0f}..{max(values) * 1e6:.0f}"
        middle = statistics.median(values) * 1e6
        print(f"{name:36}{middle:8.0f}{spread:>16}{statistics.median(elapsed[name]) * 1e6:9.0f}")


def _writes(
    database: str, urls: Mapping[str, str], writers: Mapping[str, LedgerWriter], rounds: int, rows: int
) -> None:
    tags = [f'{{"customer":"customer-{number}"}}' for number in range(_CUSTOMERS)]

    def block(name: str) -> float:
        attempts = [
            make_attempt(started_at=STARTED_AT + number * 1000, tags=tags[number % _CUSTOMERS], cost=_CENT)
            for number in range(rows)
        ]
        gc.collect()
        begun = _cpu(writers[name])
        writers[name].write(attempts, {}, [])
        return (_cpu(writers[name]) - begun) / rows

    for name in writers:
        block(name)
        _check(urls[name], len(_budgets()[name]), rows)
    spent = _turns(writers, rounds, block)
    print(f"\na write of {rows:,} rows to {database}: {rounds} rounds")
    _print("µs of CPU", "a row", spent, 1e6)


def _ledger(database: str, urls: Mapping[str, str], options: argparse.Namespace) -> None:
    writers = _opened(urls)
    _writes(database, urls, writers, options.rounds, options.rows)
    _draws(database, writers, options.rounds, options.draws)
    for writer in writers.values():
        writer.close()


def main() -> None:
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=250)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--rows", type=int, default=5000)
    options = parser.parse_args()
    _calls_with_a_lease(options.rounds, options.calls)
    with tempfile.TemporaryDirectory() as folder:
        _ledger("SQLite", {name: f"sqlite:///{folder}/{at}.db" for at, name in enumerate(_budgets())}, options)
    server = Server.start(settings={})
    try:
        with ExitStack() as stack:
            urls = {name: stack.enter_context(server.database(f"bench{at}")) for at, name in enumerate(_budgets())}
            _ledger("PostgreSQL", urls, options)
    finally:
        server.stop()
    # Last: it has this process on one CPU only.
    _calls_through_httpx(options.rounds, options.requests)


if __name__ == "__main__":
    main()
