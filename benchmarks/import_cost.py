"""CPU that `import pixelmeter` and its names take in a program that has imported its client library already."""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 15
TARGET = 50.0
PROBE = """
import time
import {library}
start = time.process_time_ns()
import pixelmeter
{more}
print(time.process_time_ns() - start)
"""
CASES = {
    "import pixelmeter": "",
    "and use its names": "from pixelmeter import *",
    "and make a meter": "from pixelmeter import *; pixelmeter.Meter('sqlite:////nowhere/ledger.db')",
}


def milliseconds(library: str, more: str) -> float:
    """Return the median over fresh interpreters."""
    command = [sys.executable, "-c", PROBE.format(library=library, more=more)]
    taken = [int(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(ROUNDS)]
    return statistics.median(taken) / 1e6


def main() -> None:
    print(f"{'after import of':<18}{'step':<22}{'CPU ms':>8}")
    for library in ("httpx", "openai"):
        for step, more in CASES.items():
            print(f"{library:<18}{step:<22}{milliseconds(library, more):>8.1f}")
    print(f"target for the names of pixelmeter after httpx: at most {TARGET:.0f} ms")


if __name__ == "__main__":
    main()
