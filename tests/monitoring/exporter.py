"""The exporter of a ledger, as the process that `pixelmeter serve --metrics` starts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["exporter"]


@contextmanager
def exporter(database_url: str, *options: str) -> Iterator[str]:
    """Start it; yield the host and port of its metrics, and stop it when the block ends."""
    command = [sys.executable, "-m", "pixelmeter", "serve", "--metrics", "--port", "0", *options]
    command += ["--database-url", database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            found = re.search(r"http://(\S+)/metrics", said)
            assert found is not None, said
            yield found[1]
        finally:
            process.terminate()
