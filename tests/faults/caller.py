"""A process that spools as fast as it can, and says what has been acknowledged.

`python -m tests.faults.caller FOLDER [URL]`: four threads begin and end attempts. Each line on standard output, one
write, is `i ID` once the intent was taken, `o ID` once the outcome was. Every 20th attempt never ends. With a URL the
process drains its own spool to that ledger meanwhile.
"""

from __future__ import annotations

import os
import sys
import threading

import msgspec

from pixelmeter.drain import Drain
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.factories import make_attempt


def call(spool: Spool) -> None:
    number = 0
    while True:
        number += 1
        attempt = make_attempt()
        spool.intent(msgspec.structs.replace(attempt, outcome="interrupted", billing="unknown", cost=None))
        os.write(1, f"i {attempt.id}\n".encode())
        if number % 20:
            spool.outcome(attempt)
            os.write(1, f"o {attempt.id}\n".encode())


def main(folder: str, url: str | None = None) -> None:
    files = SystemFiles()
    spool = Spool(folder, files, SystemIds(), segment_bytes=20_000)
    drain = None if url is None else Drain(spool, files, folder, open_writer(url))
    for _ in range(4):
        threading.Thread(target=call, args=(spool,), daemon=True).start()
    if drain is None:
        threading.Event().wait()
        return
    while True:
        drain.step()
        spool.sync()


if __name__ == "__main__":
    main(*sys.argv[1:])
