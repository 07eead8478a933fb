"""A process that spools as fast as it can, and says what has been acknowledged."""

from __future__ import annotations

import os
import threading
from multiprocessing.synchronize import Event

import msgspec

from pixelmeter.drain import Drain
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.factories import make_attempt


def spool_for_ever(folder: str, url: str | None, said: str, started: Event) -> None:
    """Begin and end attempts in four threads, until somebody ends the process.

    Each line that is added to the file `said`, one write, is `i ID` once the intent was taken, `o ID` once the outcome
    was. Every 20th attempt never ends. With a URL the process drains its own spool to that ledger meanwhile.
    """
    words = os.open(said, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    files = SystemFiles()
    spool = Spool(folder, files, SystemIds(), segment_bytes=20_000)
    drain = None if url is None else Drain(spool, files, folder, open_writer(url))
    for _ in range(4):
        threading.Thread(target=_call, args=(spool, words), daemon=True).start()
    started.set()
    if drain is None:
        threading.Event().wait()
        return
    while True:
        drain.step()
        spool.sync()


def _call(spool: Spool, words: int) -> None:
    number = 0
    while True:
        number += 1
        attempt = make_attempt()
        spool.intent(msgspec.structs.replace(attempt, outcome="interrupted", billing="unknown", cost=None))
        os.write(words, f"i {attempt.id}\n".encode())
        if number % 20:
            spool.outcome(attempt)
            os.write(words, f"o {attempt.id}\n".encode())
