"""CPU and memory of `pixelmeter export`, each format in a fresh process, of a small ledger and of a large one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from tests.factories import STARTED_AT, make_attempt
from tests.postgres import Server

SMALL, LARGE = 20_000, 200_000
MORE = 1.5
"""How many times the memory of the small ledger the large one may take."""
_MONTH = 30 * 86_400_000_000


def attempts(number: int) -> Iterator[Attempt]:
    """Yield attempts of a month that are billed by two meters, each by tokens of its own."""
    choose = random.Random(7)
    for _ in range(number):
        tokens = choose.randrange(200, 5000)
        cost = tokens * 40_000 + 60_000
        entry = {"of": "token_cost", "model": "openai/gpt-image-2", "price_id": "openai/gpt-image-2@2026-04-21"}
        images = {"unit": "usd_per_1m_output_image_tokens", "quantity": tokens, "price": "40"}
        text = {"unit": "usd_per_1m_input_text_tokens", "quantity": 12, "price": "5", "atto": str(60_000 * 10**9)}
        parts = [entry | images | {"atto": str(tokens * 40_000 * 10**9)}, entry | text]
        yield make_attempt(
            started_at=STARTED_AT + choose.randrange(_MONTH),
            model=f"m/{choose.randrange(20)}",
            output_image_tokens=tokens,
            cost=cost,
            token_cost=cost,
            cost_source="priced",
            priced_parts=json.dumps(parts),
            tags=json.dumps({"customer": f"c{choose.randrange(1000)}", "team": f"t{choose.randrange(8)}"}),
        )


def fill(url: str, number: int) -> None:
    """Write so many attempts."""
    with closing(open_writer(url)) as writer:
        waiting: list[Attempt] = []
        for one in attempts(number):
            waiting.append(one)
            if len(waiting) == 5000:
                writer.write(waiting, {}, [])
                waiting.clear()
        writer.write(waiting, {}, [])


def used(arguments: Sequence[str]) -> tuple[float, float]:
    """Return the CPU seconds and the largest resident MiB of a command."""
    process = subprocess.Popen([sys.executable, "-m", "pixelmeter", *arguments], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"export ended with status {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measure(name: str, small: str, large: str, folder: str) -> bool:
    """Print a line for each format; return whether memory stays the same."""
    is_bounded = True
    for kind in ("csv", "jsonl", "parquet", "focus"):
        found: list[tuple[float, float]] = []
        for url in (small, large):
            target = f"{folder}/{name}-{kind}-{len(found)}"
            found.append(used(["export", "--format", kind, "--database-url", url, target]))
            os.remove(target)
        (few_cpu, few_memory), (cpu, memory) = found
        is_bounded = is_bounded and memory <= few_memory * MORE
        a_second = (LARGE - SMALL) / (cpu - few_cpu)
        print(f"{name:<12}{kind:<10}{a_second:>12,.0f}{few_memory:>12.0f}{memory:>12.0f}")
    return is_bounded


def main() -> None:
    """Print the table; fail where memory grows with the rows."""
    print(f"{'':<12}{'':<10}{'rows/CPU s':>12}{f'MiB, {SMALL:,}':>12}{f'MiB, {LARGE:,}':>12}")
    server = Server.start(settings={})
    try:
        with tempfile.TemporaryDirectory() as folder:
            sqlite = [f"sqlite:///{folder}/{number}.db" for number in (SMALL, LARGE)]
            with server.database("small") as small, server.database("large") as large:
                for few, many in (sqlite, (small, large)):
                    fill(few, SMALL)
                    fill(many, LARGE)
                bounded = [measure("SQLite", sqlite[0], sqlite[1], folder), measure("PostgreSQL", small, large, folder)]
    finally:
        server.stop()
    if not all(bounded):
        sys.exit(f"memory grows by more than {MORE} with the rows")


if __name__ == "__main__":
    main()
