"""`pixelmeter serve` with its page, as a process of its own, on a ledger of the last days."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.hazards.process import environment
from tests.serve.server import Server

__all__ = ["HOSTILE", "HOUR", "attempt", "serving_page", "write"]

HOUR = 3_600_000_000
"""In microseconds."""
HOSTILE = "<img src=x onerror=alert(1)>\"'`&amp;{{7*7}}"


def attempt(hours_ago: float, **fields: Any) -> Attempt:
    """Return an attempt that began so long ago."""
    return make_attempt(started_at=time.time_ns() // 1000 - int(hours_ago * HOUR), **fields)


def write(url: str, *attempts: Attempt) -> None:
    """Write attempts into a ledger, which is made if need be."""
    with closing(open_writer(url)) as writer:
        writer.write(list(attempts), {}, [])


@contextmanager
def serving_page(url: str, *arguments: str) -> Iterator[Server]:
    """Run the server on a free port of this machine."""
    command = [sys.executable, "-m", "pixelmeter", "serve", "--port", "0", "--database-url", url, *arguments]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            found = re.search(r" at (http://\S+)/$", told.strip())
            assert found, (told, process.poll())
            yield Server(found[1], process)
        finally:
            if process.poll() is None:
                process.kill()
