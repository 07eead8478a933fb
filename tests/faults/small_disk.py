"""A process on a disk that runs full: `python -m tests.faults.small_disk FOLDER URL LIMIT`.

LIMIT is `disk` where FOLDER lies on a small disk, to be filled up here, or `size` to limit what a file may grow to.
Prints the ids of the outcomes, one a line.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from pathlib import Path

from pixelmeter.drain import Drain
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.factories import make_attempt


def fill(path: Path) -> None:
    """Write until nothing more fits, not even a part of a page."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(b"x" * 1000):
            pass


def main(folder: str, url: str, limit: str) -> None:
    files = SystemFiles()
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, open_writer(url))
    if limit == "size":
        drain.step()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    refused = False
    for number in range(8000):
        attempt = make_attempt()
        spool.intent(attempt)
        spool.outcome(attempt)
        sys.stdout.write(f"{attempt.id}\n")
        if limit == "disk" and number == 1000:
            fill(Path(folder, "ballast"))
        refused |= spool.status()["overflow"] > 0
    assert refused
    assert spool.status()["dropped"] == 0
    if limit == "size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        os.remove(Path(folder, "ballast"))
    sys.stdout.flush()
    drain.close()
    late = make_attempt()
    spool.outcome(late)
    sys.stdout.write(f"{late.id}\n")
    assert spool.status()["overflow"] == 0
    drain.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
