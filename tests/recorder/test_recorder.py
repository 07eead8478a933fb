"""When the recorder brings attempts to the ledger, and what it does while that refuses."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drain import Drain
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.writer import open_writer
from pixelmeter.recorder.failures import Failures
from pixelmeter.recorder.recorder import Recorder
from pixelmeter.recorder.sink_dispatch import SinkDispatch
from pixelmeter.spool import OUTCOME, Spool
from pixelmeter.spool.frames import encode
from pixelmeter.system import SystemClock, SystemFiles, SystemIds
from tests.conftest import FakeClock
from tests.drain.ledger import outcomes
from tests.drain.writers import NeverRefuses
from tests.factories import make_attempt
from tests.ledger.reading import stored


def committed(recorder: Recorder) -> int:
    drain = recorder.status()["drain"]
    assert drain is not None
    return drain["committed"]


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
    alone = SinkDispatch([], clock=clock, failures=failures, backend="sqlite")
    recorder = Recorder(spool, refuse, clock=clock, failures=failures, dispatch=alone)
    recorder.begin(make_attempt())
    recorder.end(make_attempt())
    while recorder.status()["ledger_error"] is None:
        assert not recorder.flush(0.2)
    files.synced.clear()
    recorder.end(make_attempt())
    assert files.synced.wait(60)
    assert "LedgerError" in str(recorder.status()["ledger_error"])
    assert not recorder.close(0)


class BusyLedger(NeverRefuses):
    """Takes everything, and each time something more has ended meanwhile."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.recorder: Recorder | None = None

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        return {}

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        self.groups.append(len(records))
        assert self.recorder is not None
        self.recorder.end(make_attempt())
        return len(records)

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        return ()

    def close(self) -> None:
        pass


def test_what_ends_while_the_ledger_is_written_waits_for_the_next_run(tmp_path: Path) -> None:
    """Else a busy program's writer commits a few rows at a time, without a pause."""
    files = SystemFiles()
    clock = SystemClock()
    spool = Spool(str(tmp_path), files, SystemIds())
    failures = Failures(clock)
    alone = SinkDispatch([], clock=clock, failures=failures, backend="sqlite")
    ledger = BusyLedger()
    recorder = Recorder(
        spool, lambda: Drain(spool, files, str(tmp_path), ledger), clock=clock, failures=failures, dispatch=alone
    )
    ledger.recorder = recorder
    recorder.begin(make_attempt())
    recorder.end(make_attempt())
    recorder.end(make_attempt())
    assert recorder.flush(5)
    assert [2] == ledger.groups[:1]
    assert 3 >= len(ledger.groups)
    assert recorder.close(5)


class OneFailedRead(SystemFiles):
    """The real files, of which the second cannot be read once."""

    def __init__(self) -> None:
        self.read_from: list[int] = []
        self.failed = False

    def read(self, descriptor: int, offset: int, size: int) -> bytes:
        self.read_from.append(descriptor)
        if not self.failed and len(set(self.read_from)) == 2:
            self.failed = True
            raise OSError(errno.EIO, "once")
        return super().read(descriptor, offset, size)


def test_a_file_that_cannot_be_read_once_is_read_in_the_same_run(tmp_path: Path, sqlite_url: str) -> None:
    files = OneFailedRead()
    clock = SystemClock()
    spool = Spool(f"{tmp_path}/spool", files, SystemIds(), segment_bytes=2000)
    failures = Failures(clock)
    recorder = Recorder(
        spool,
        lambda: Drain(spool, files, f"{tmp_path}/spool", open_writer(sqlite_url)),
        clock=clock,
        failures=failures,
        dispatch=SinkDispatch([], clock=clock, failures=failures, backend="sqlite"),
    )
    for _ in range(30):
        attempt = make_attempt()
        recorder.begin(attempt)
        spool.outcome(attempt)
    assert len(spool.segments()) > 2
    assert recorder.flush(10)
    assert files.failed
    assert 30 == committed(recorder)
    assert recorder.close(5)


def test_no_file_is_left_where_others_close_while_threads_record(tmp_path: Path, sqlite_url: str) -> None:
    files = SystemFiles()
    clock = SystemClock()
    folder = f"{tmp_path}/spool"
    spool = Spool(folder, files, SystemIds())
    failures = Failures(clock)
    recorder = Recorder(
        spool,
        lambda: Drain(spool, files, folder, open_writer(sqlite_url)),
        clock=clock,
        failures=failures,
        dispatch=SinkDispatch([], clock=clock, failures=failures, backend="sqlite"),
    )
    done = threading.Event()

    def close_again_and_again() -> None:
        while not done.is_set():
            recorder.close()

    def record(number: int) -> None:
        attempt = make_attempt()
        recorder.begin(msgspec.structs.replace(attempt, outcome="interrupted"))
        done.wait(0.0005 * (number % 7))
        recorder.end(attempt)

    closing = threading.Thread(target=close_again_and_again)
    closing.start()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(record, range(400)))
    done.set()
    closing.join()
    assert recorder.close(10)
    assert [] == list(files.list(folder))
    assert 400 == committed(recorder)


def recorder_on(folder: str, url: str, files: SystemFiles) -> tuple[Recorder, Failures]:
    clock = SystemClock()
    failures = Failures(clock)
    spool = Spool(folder, files, SystemIds())
    alone = SinkDispatch([], clock=clock, failures=failures, backend="sqlite")
    recorder = Recorder(
        spool, lambda: Drain(spool, files, folder, open_writer(url)), clock=clock, failures=failures, dispatch=alone
    )
    return recorder, failures


def recorded(recorder: Recorder) -> Attempt:
    attempt = make_attempt()
    recorder.begin(msgspec.structs.replace(attempt, outcome="interrupted"))
    recorder.end(attempt)
    return attempt


def test_an_attempt_that_ends_without_having_begun_is_in_the_ledger_after_a_flush(
    tmp_path: Path, sqlite_url: str
) -> None:
    """As one that a budget has refused, where it is the first of its process."""
    recorder, _ = recorder_on(f"{tmp_path}/spool", sqlite_url, SystemFiles())
    recorder.end(make_attempt(outcome="blocked"))
    assert recorder.flush(30)
    assert 1 == committed(recorder)
    assert recorder.close(30)


class WaitingFiles(SystemFiles):
    """The real files of dead processes, of which more than 100 are deleted only when the test says so."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.discarded = 0
        self.go_on = threading.Event()
        self.are_gone = threading.Event()

    def discard(self, path: str, descriptor: int) -> None:
        self.discarded += 1
        assert self.discarded <= 100 or self.go_on.wait(60)
        super().discard(path, descriptor)
        if self.discarded >= self.left:
            self.are_gone.set()


def test_our_own_attempts_are_in_the_ledger_while_hundreds_of_dead_processes_wait(
    tmp_path: Path, sqlite_url: str
) -> None:
    folder = f"{tmp_path}/spool"
    files = WaitingFiles(600)
    files.make_folder(folder)
    for _ in range(600):
        name = f"{SystemIds().new()}-000001.spool"
        (tmp_path / "spool" / name).write_bytes(encode(OUTCOME, make_attempt()))
    recorder, _ = recorder_on(folder, sqlite_url, files)
    own = recorded(recorder)
    assert recorder.flush(30)
    found = outcomes(sqlite_url)
    assert own.id in found
    assert len(found) <= 201
    files.go_on.set()
    assert files.are_gone.wait(90)  # without another call
    assert recorder.close(10)

    assert 601 == len(outcomes(sqlite_url))


def test_an_adoption_that_fails_is_counted_and_does_not_make_a_flush_fail(tmp_path: Path, sqlite_url: str) -> None:
    class Odd(SystemFiles):
        def check_folder(self, path: str) -> None:
            raise RuntimeError("a bug")

        def make_folder(self, path: str) -> None:
            (tmp_path / "spool").mkdir(exist_ok=True)

    recorder, failures = recorder_on(f"{tmp_path}/spool", sqlite_url, Odd())
    own = recorded(recorder)

    assert recorder.flush(30)
    assert ([own.id], 1, None) == (list(outcomes(sqlite_url)), failures.counts()["adoption"], recorder.ledger_error)
    assert recorder.close(10)


def test_a_database_is_given_back_after_a_minute_without_rows(tmp_path: Path, new_url: str, clock: FakeClock) -> None:
    files = SystemFiles()
    folder = f"{tmp_path}/spool"
    spool = Spool(folder, files, SystemIds())
    failures = Failures(clock)
    writer = ClosedWriter(new_url)
    recorder = Recorder(
        spool,
        lambda: Drain(spool, files, folder, writer),
        clock=clock,
        failures=failures,
        dispatch=SinkDispatch([], clock=clock, failures=failures, backend="sqlite"),
    )

    def call() -> None:
        attempt = make_attempt()
        recorder.begin(attempt)
        recorder.end(attempt)
        assert recorder.flush(60)

    call()
    clock.advance(59_000_000)
    call()
    clock.advance(59_000_000)
    assert recorder.flush(60)
    kept = writer.closed
    clock.advance(1_000_000)
    assert recorder.flush(60)
    given_back = writer.closed
    call()

    assert (0, 1) == (kept, given_back)
    assert 3 == len(stored(new_url))
    assert recorder.close(60)


def test_nobody_need_call_for_the_database_to_be_given_back(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixelmeter.recorder.writing._IDLE", 300_000)
    clock = SystemClock()
    files = SystemFiles()
    folder = f"{tmp_path}/spool"
    spool = Spool(folder, files, SystemIds())
    failures = Failures(clock)
    writer = ClosedWriter(sqlite_url)
    recorder = Recorder(
        spool,
        lambda: Drain(spool, files, folder, writer),
        clock=clock,
        failures=failures,
        dispatch=SinkDispatch([], clock=clock, failures=failures, backend="sqlite"),
    )
    recorder.begin(make_attempt())
    recorder.end(make_attempt())

    assert writer.closing.wait(60)
    assert 1 == len(stored(sqlite_url))
    assert recorder.close(60)


class ClosedWriter(NeverRefuses):
    """A real writer that tells when it is closed."""

    def __init__(self, url: str) -> None:
        self._writer = open_writer(url)
        self.closed = 0
        self.closing = threading.Event()

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        return self._writer.positions(names)

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        return self._writer.write(records, positions, finished)

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        return ()

    def close(self) -> None:
        self._writer.close()
        self.closed += 1
        self.closing.set()
