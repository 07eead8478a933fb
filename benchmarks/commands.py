"""CPU that a command takes from its start to its end, imports included, each time in a fresh process."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.postgres import Server

ROUNDS = 20
WITHOUT_DATABASE, WITH_DATABASE = 0.12, 0.45
_MONTH = 30 * 86_400_000_000

PLAIN = (["--version"], ["--help"], ["report", "--help"], ["prices", "show", "meta/sam-3-1-image"])
READING = (
    ["report"],
    ["report", "--by", "tag:team", "--format", "json"],
    ["calls"],
    ["db", "status"],
    ["doctor"],
)


def fill(url: str) -> None:
    """Write a thousand attempts of the last month."""
    now, number = time.time_ns() // 1000, 1000
    with_age = (make_attempt(model=f"m-{age % 8}", started_at=now - age * _MONTH // number) for age in range(number))
    writer = open_writer(url)
    writer.write(list(with_age), {}, [])
    writer.close()


def seconds(command: Sequence[str]) -> float:
    """Return the median of what users' and system's CPU a command takes."""
    taken: list[float] = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(taken)


def show(what: str, database: str, command: Sequence[str], target: str) -> None:
    """Print a line of the table."""
    print(f"{what:<48}{database:<12}{seconds(command):>6.3f}  {target}".rstrip())


def main() -> None:
    """Print the table."""
    # As for a user: modules are compiled once.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    pixelmeter = [sys.executable, "-m", "pixelmeter"]
    print(f"{'':<48}{'':<12}{'CPU s':>6}  target")
    show("python -c pass", "", [sys.executable, "-c", "pass"], "")
    for arguments in PLAIN:
        show(" ".join(["pixelmeter", *arguments]), "", [*pixelmeter, *arguments], f"<= {WITHOUT_DATABASE}")
    server = Server.start(settings={})
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, url in (("SQLite", f"sqlite:///{folder}/ledger.db"), ("PostgreSQL", server.url())):
                fill(url)
                for arguments in READING:
                    command = [*pixelmeter, *arguments, "--database-url", url]
                    show(" ".join(["pixelmeter", *arguments]), name, command, f"<= {WITH_DATABASE}")
    finally:
        server.stop()


if __name__ == "__main__":
    main()
