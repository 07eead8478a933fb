"""CPU of reports on a ledger that benchmarks/ledger_at_scale.py has filled, beyond the start of the command.

That of PostgreSQL is added: of the backend, and of its parallel workers, which must run on this machine.

    PYTHONPATH=. .venv/bin/python benchmarks/reports.py sqlite:////data/ledger.db
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.ledger_at_scale import named_or_small
from benchmarks.scrape import Steps
from pixelmeter.ledger.reader import LedgerReader, reading_ledger
from pixelmeter.reports.report import Question, ask
from pixelmeter.serve.collector import LedgerCollector

ROUNDS = 9
_TICKS = os.sysconf("SC_CLK_TCK") / 1000
QUESTIONS = (
    ("--by model,day --since 30d", ("model", "day"), 30 * 24, ("cost", "p50", "p95"), 80),
    ("--by model --since 24h", ("model",), 24, ("cost", "p50", "p95", "p99"), 50),
    ("--by hour --since 7d", ("hour",), 7 * 24, ("cost", "p50"), None),
    ("--by tag:team --since 30d", ("tag:team",), 30 * 24, ("cost", "p50", "p95"), 400),
    ("--by model --columns retry_cost,paid_twice --since 30d", ("model",), 30 * 24, ("retry_cost", "paid_twice"), None),
)


def of_server(reader: LedgerReader) -> float:
    """Return the milliseconds of CPU that the backend, and the processes that its server has ended, have taken."""
    if reader.dialect.by_index is None:
        return 0
    [(process,)] = reader.rows("SELECT pg_backend_pid()")
    backend = _stat(process)
    server = _stat(int(backend[1]))
    return sum(map(int, (*backend[11:13], *server[13:15]))) / _TICKS


def _stat(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def measured(reader: LedgerReader, question: Question) -> tuple[float, float, int]:
    """Return the least CPU of this process, the mean of the server, and how many attempts the report has."""
    spent: list[float] = []
    answer = ask(reader, question, with_notes=True)
    before = of_server(reader)
    for _ in range(ROUNDS):
        begun = time.process_time()
        answer = ask(reader, question, with_notes=True)
        spent.append((time.process_time() - begun) * 1000)
    return min(spent), (of_server(reader) - before) / ROUNDS, answer.report.total.attempts


def main() -> None:
    """Print a line for each question: of the ledger that is named, else of a small one that is deleted again."""
    with named_or_small(sys.argv[1:]) as url:
        show(url)


def show(url: str) -> None:
    """Print the lines of a ledger."""
    now = datetime.now(UTC)
    print(f"{'pixelmeter report':<58}{'attempts':>10}{'CPU ms':>8}{'server':>8}{'aim':>6}")
    with reading_ledger(url) as reader:
        for name, by, hours, columns, aim in QUESTIONS:
            question = Question(
                since=now - timedelta(hours=hours), until=now, zone=UTC, by=by, columns=("calls", "attempts", *columns)
            )
            ours, server, attempts = measured(reader, question)
            print(f"{name:<58}{attempts:>10,}{ours:>8.0f}{server:>8.0f}{aim or '':>6}")
    registry = CollectorRegistry()
    registry.register(LedgerCollector(url, clock=Steps()))
    generate_latest(registry)
    begun = time.process_time()
    for _ in range(ROUNDS):
        generate_latest(registry)
    print(f"{'a scrape of the exporter':<76}{(time.process_time() - begun) * 1000 / ROUNDS:>8.0f}{'':>8}{50:>6}")


if __name__ == "__main__":
    main()
