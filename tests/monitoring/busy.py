"""A program that makes image calls of every kind and shows its metrics.

`python -m tests.monitoring.busy DATABASE_URL` prints the port of its metrics. When its standard input ends it finishes
what it has begun, prints "done", and shows its metrics until it is stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import start_http_server

from pixelmeter.testing.demo.run import run, undisturbed

__all__ = ["Busy", "busy"]

_CALLS = 60


@dataclass(frozen=True)
class Busy:
    """The running program."""

    target: str
    """Host and port of its metrics."""
    process: subprocess.Popen[str]

    def finish(self) -> None:
        """Have it make no more calls, and wait until all that it made are in the ledger and in its metrics."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        assert "done\n" == self.process.stdout.readline()


@contextmanager
def busy(database_url: str) -> Iterator[Busy]:
    """Start the program; stop it when the block ends."""
    command = [sys.executable, "-m", "tests.monitoring.busy", database_url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Busy(f"127.0.0.1:{int(process.stdout.readline())}", process)
        finally:
            process.terminate()


def main(database_url: str) -> None:
    """Make calls until the standard input ends."""
    told = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    with undisturbed():
        os.environ["PIXELMETER_SINKS"] = "prometheus"
        server, _ = start_http_server(0, "127.0.0.1")
        _say(str(server.server_port))
        seed = 0
        while not told.is_set():
            run(database_url, calls=_CALLS, seed=seed)
            seed += 1
        _say("done")
        threading.Event().wait()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
