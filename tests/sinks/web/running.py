"""Web servers as processes of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.sinks.exposition import Scrape

__all__ = ["Site", "free_port", "running", "until"]

_ROOT = Path(__file__).parents[3]


class Site:
    """A server that answers."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str) -> str:
        """Return the text at a path; raises httpx.HTTPError where there is none."""
        return httpx.get(self.url + path, follow_redirects=True, timeout=30).raise_for_status().text

    def scrape(self) -> Scrape:
        """Return what /metrics shows."""
        return Scrape(self.get("/metrics"))


def free_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Return when the condition holds; AssertionError when it does not after that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not so after {seconds} seconds"
        time.sleep(0.05)


@contextmanager
def running(
    module: str, arguments: Sequence[str], port: int, folder: Path, environment: Mapping[str, str]
) -> Iterator[Site]:
    """Run `python -m module` in a folder while the block lasts; it must listen at the port."""
    path = os.pathsep.join(map(str, (folder, _ROOT, _ROOT / "src")))
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            until(lambda: _listens(process, port, folder))
            yield Site(f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.wait(30)


def _listens(process: subprocess.Popen[bytes], port: int, folder: Path) -> bool:
    assert process.poll() is None, (folder / "server.log").read_text()
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
