"""What it costs a caller to spool one outcome, and the background to take it to a ledger."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drain import Drain
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import OUTCOME, Spool
from pixelmeter.spool.frames import encode, scan
from pixelmeter.system import SystemFiles, SystemIds
from tests.factories import make_attempt

CALLS = 20_000
COMMITTED = 50_000
TARGET = 10.0  # microseconds, p50 of one outcome


def measure(name: str, call: Callable[[Attempt], object], attempts: list[Attempt]) -> float:
    """Print p50, p99 and CPU of a call in microseconds; return the p50."""
    elapsed: list[int] = []
    clock = time.perf_counter_ns
    cpu = time.process_time_ns()
    for attempt in attempts:
        start = clock()
        call(attempt)
        elapsed.append(clock() - start)
    used = time.process_time_ns() - cpu
    elapsed.sort()
    middle = elapsed[len(elapsed) // 2] / 1000
    worst = elapsed[len(elapsed) * 99 // 100] / 1000
    print(f"{name:44}{middle:9.1f}{worst:9.1f}{used / len(attempts) / 1000:9.1f}")
    return middle


def main() -> None:
    attempts = [make_attempt() for _ in range(CALLS)]
    frame = encode(OUTCOME, attempts[0])
    files = SystemFiles()
    print(f"{'microseconds per call, ' + str(len(frame)) + ' bytes a frame':44}{'p50':>9}{'p99':>9}{'CPU':>9}")
    with tempfile.TemporaryDirectory() as folder:
        raw = os.open(f"{folder}/raw", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        measure("os.write of a ready frame, the limit", lambda _: os.write(raw, frame), attempts)
        os.close(raw)
        measure("encode", lambda attempt: encode(OUTCOME, attempt), attempts)
        measure("decode", lambda _: scan(frame, 0, final=False), attempts)
        spool = Spool(f"{folder}/spool", files, SystemIds())
        middle = measure("Spool.outcome", spool.outcome, attempts)
        synced = Spool(f"{folder}/synced", files, SystemIds(), durability="sync")
        measure('Spool.outcome, durability="sync"', synced.outcome, attempts[:1000])
        committing(f"{folder}/drained", f"sqlite:///{folder}/ledger.db")
    print(f"target: Spool.outcome p50 <= {TARGET:.0f}: {'met' if middle <= TARGET else 'MISSED'}")


def committing(folder: str, url: str) -> None:
    """Print the CPU of a whole attempt, from intent to committed row."""
    files = SystemFiles()
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, open_writer(url))
    spool.outcome(make_attempt())
    drain.step()
    attempts = [make_attempt() for _ in range(COMMITTED)]
    start = time.process_time_ns()
    for attempt in attempts:
        spool.intent(attempt)
        spool.outcome(attempt)
    appended = time.process_time_ns()
    while drain.step():
        pass
    committed = time.process_time_ns()
    drain.close()
    print(f"{'intent and outcome':62}{(appended - start) / COMMITTED / 1000:9.1f}")
    print(f"{'Drain.step to a SQLite ledger, a row':62}{(committed - appended) / COMMITTED / 1000:9.1f}")


if __name__ == "__main__":
    main()
