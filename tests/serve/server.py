"""`pixelmeter serve` as a process of its own, and an HTTP client that scrapes it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.hazards.process import environment
from tests.sinks.exposition import Scrape

__all__ = ["Server", "serving", "start"]


@dataclass(frozen=True, slots=True)
class Server:
    """A running exporter."""

    root: str
    process: subprocess.Popen[str]

    def get(self, path: str = "/metrics", **headers: str) -> httpx.Response:
        """Return the answer to a GET."""
        return httpx.get(f"{self.root}{path}", headers=headers, timeout=30)

    def scrape(self) -> Scrape:
        """Return what /metrics shows."""
        response = self.get()
        assert 200 == response.status_code
        return Scrape(response.text)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it by a signal; return its status and what it wrote to stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@contextmanager
def serving(url: str, *arguments: str, is_metrics: bool = True) -> Iterator[Server]:
    """Run the exporter on a free port of this machine, alone or with the page."""
    command = [sys.executable, "-m", "pixelmeter", "serve", "--database-url", url]
    with start([*command, *(["--metrics"] if is_metrics else []), *arguments]) as server:
        yield server


@contextmanager
def start(command: Sequence[str]) -> Iterator[Server]:
    """Run a command that serves, on a free port."""
    process = subprocess.Popen(
        [*command, "--port", "0"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            found = re.search(r" at (http://\S+)/(?:metrics)?$", told.strip())
            assert found, (told, process.poll())
            yield Server(found[1], process)
        finally:
            if process.poll() is None:
                process.kill()
