"""What the recorder does while the ledger refuses."""

from __future__ import annotations

import threading
from pathlib import Path

from pixelmeter.drain import Drain
from pixelmeter.errors import LedgerError
from pixelmeter.failures import Failures
from pixelmeter.fanout import Fanout
from pixelmeter.recorder import Recorder
from pixelmeter.spool import Spool
from pixelmeter.system import SystemClock, SystemFiles, SystemIds
from tests.factories import make_attempt


class SyncedFiles(SystemFiles):
    """The real files, which tell when one is forced to the disk."""

    def __init__(self) -> None:
        self.synced = threading.Event()

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self.synced.set()


def test_the_spool_is_forced_to_the_disk_also_while_the_ledger_refuses(tmp_path: Path) -> None:
    def refuse() -> Drain:
        raise LedgerError

    files = SyncedFiles()
    clock = SystemClock()
    spool = Spool(str(tmp_path), files, SystemIds())
    failures = Failures(clock)
    alone = Fanout([], clock=clock, failures=failures, backend="sqlite")
    recorder = Recorder(spool, refuse, clock=clock, failures=failures, fanout=alone)
    recorder.begin(make_attempt())
    recorder.end(make_attempt())
    for _ in range(5):  # the next try is eight seconds away then
        assert not recorder.flush(5)
    files.synced.clear()
    recorder.end(make_attempt())
    assert files.synced.wait(4)
    assert "LedgerError" in str(recorder.status()["ledger_error"])
    assert not recorder.close(5)
