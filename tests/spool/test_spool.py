"""What a spool promises to whoever appends, and to the one who reads it."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pixelmeter.core.apis.usage import NumberText
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.spool import INTENT, OUTCOME, Frame, FrameReader, Segment, Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.factories import make_attempt
from tests.faults.files import FaultyFiles

TROUBLE = [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT]


class RecordingFiles(SystemFiles):
    """The real files, and what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.during_append: Callable[[], None] | None = None

    def append(self, descriptor: int, data: bytes) -> int:
        self.asked.append("append")
        during, self.during_append = self.during_append, None
        if during is not None:
            during()
        return super().append(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self.asked.append("sync")
        super().sync(descriptor)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"{tmp_path}/state/spool"


@pytest.fixture
def spool(folder: str) -> Spool:
    return Spool(folder, SystemFiles(), SystemIds())


def frames_of(descriptor: int) -> list[Frame]:
    reader = FrameReader(SystemFiles(), descriptor)
    found: list[Frame] = []
    while frames := reader.read(final=True):
        found += frames
    return found


def spooled(spool: Spool) -> list[Attempt]:
    """The outcomes in the files, oldest first."""
    frames = (frame for segment in spool.segments() for frame in frames_of(segment.descriptor))
    return [frame.record for frame in frames if frame.kind == OUTCOME and isinstance(frame.record, Attempt)]


def test_nothing_is_on_disk_before_the_first_append(spool: Spool, folder: str) -> None:
    assert (0, ()) == (spool.status()["segments"], spool.segments())
    assert not Path(folder).exists()


def test_only_this_user_can_read_what_is_spooled(spool: Spool, folder: str) -> None:
    spool.outcome(make_attempt())
    (file,) = Path(folder).iterdir()

    assert [0o700, 0o600] == [stat.S_IMODE(path.stat().st_mode) for path in (Path(folder), file)]


def test_a_segment_is_locked_for_as_long_as_its_process_has_it(spool: Spool, folder: str) -> None:
    spool.outcome(make_attempt())
    (name,) = SystemFiles().list(folder)

    assert SystemFiles().adopt(f"{folder}/{name}") is None
    spool.forget()
    descriptor = SystemFiles().adopt(f"{folder}/{name}")
    assert descriptor is not None
    os.close(descriptor)


def test_intents_and_outcomes_are_in_the_file_once_the_call_returns(spool: Spool) -> None:
    begun, ended = make_attempt(outcome="interrupted"), make_attempt()

    spool.intent(begun)
    spool.outcome(ended)

    (segment,) = spool.segments()
    found = [(frame.kind, frame.record) for frame in frames_of(segment.descriptor)]
    assert [(INTENT, begun), (OUTCOME, ended)] == found


def test_threads_that_append_at_once_lose_nothing_and_share_one_process_name(folder: str) -> None:
    spool = Spool(folder, SystemFiles(), SystemIds(), segment_bytes=20_000)
    attempts = [[make_attempt() for _ in range(200)] for _ in range(8)]
    start = threading.Barrier(len(attempts))

    def work(mine: list[Attempt]) -> None:
        start.wait()
        for attempt in mine:
            spool.outcome(attempt)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    expected = sorted(attempt.id for mine in attempts for attempt in mine)
    assert expected == sorted(attempt.id for attempt in spooled(spool))
    assert 1 == len({segment.name[:36] for segment in spool.segments()})
    assert 1600 == spool.status()["frames"]


def test_a_full_segment_is_followed_by_another(folder: str) -> None:
    spool = Spool(folder, SystemFiles(), SystemIds(), segment_bytes=1000)
    attempts = [make_attempt() for _ in range(12)]
    for attempt in attempts:
        spool.outcome(attempt)

    names = [segment.name for segment in spool.segments()]
    assert len(names) > 2
    assert names == sorted(names) == list(SystemFiles().list(folder))
    assert attempts == spooled(spool)


def test_a_segment_is_not_sealed_while_a_write_to_it_is_under_way(folder: str) -> None:
    files = RecordingFiles()
    spool = Spool(folder, files, SystemIds())
    spool.outcome(make_attempt())
    (segment,) = spool.segments()
    seen: list[bool] = []

    def meanwhile() -> None:
        spool.seal()
        seen.append(spool.sealed(segment))

    files.during_append = meanwhile
    spool.outcome(make_attempt())

    assert [False, True] == [*seen, spool.sealed(segment)]
    assert 2 == len(spooled(spool))


def test_a_finalizer_may_spool_in_the_middle_of_an_append(folder: str) -> None:
    files = RecordingFiles()
    spool = Spool(folder, files, SystemIds(), memory_frames=0)
    outer, inner = make_attempt(), make_attempt()
    files.during_append = lambda: spool.outcome(inner)

    spool.outcome(outer)

    assert [inner, outer] == spooled(spool)


@pytest.mark.parametrize("error", TROUBLE)
@pytest.mark.parametrize("operation", ["append", "create", "make_folder"])
def test_what_the_disk_refuses_waits_in_memory(folder: str, operation: str, error: int) -> None:
    files = FaultyFiles()
    spool = Spool(folder, files, SystemIds())
    files.break_(operation, error)
    refused, taken = make_attempt(), make_attempt()

    spool.outcome(refused)
    files.heal()
    spool.outcome(taken)

    assert (1, 0) == (spool.status()["overflow"], spool.status()["dropped"])
    assert [refused] == [spool.take() for _ in range(spool.overflow())]
    assert [taken] == spooled(spool)


def test_a_file_that_is_taken_away_while_it_is_made_is_made_again(folder: str) -> None:
    files = FaultyFiles(at=2, error=errno.ENOENT)  # the folder, and the file
    spool = Spool(folder, files, SystemIds())
    attempt = make_attempt()
    spool.outcome(attempt)

    assert (1, 0, [attempt]) == (files.failed, spool.overflow(), spooled(spool))
    assert spool.status()["last_error"] is None


def test_a_segment_sealed_before_the_write_was_announced_gets_nothing_more(folder: str) -> None:
    class Sealing(Spool):
        """Another thread seals the first segment in the moment before it is written to."""

        def _open(self) -> Segment | None:
            segment = super()._open()
            if len(self.segments()) == 1:
                self.seal()
            return segment

    spool = Sealing(folder, SystemFiles(), SystemIds())
    spool.outcome(make_attempt())

    assert [0, 1] == [len(frames_of(segment.descriptor)) for segment in spool.segments()]


def test_a_torn_append_costs_no_other_frame(folder: str) -> None:
    files = FaultyFiles(at=5, short=True)  # the folder, the file, two appends, and this one
    spool = Spool(folder, files, SystemIds())
    attempts = [make_attempt() for _ in range(4)]
    for attempt in attempts:
        spool.outcome(attempt)

    assert (1, [attempts[2]]) == (files.failed, [spool.take() for _ in range(spool.overflow())])
    assert [*attempts[:2], attempts[3]] == spooled(spool)


def test_a_disk_that_stays_full_does_not_collect_empty_files(folder: str) -> None:
    files = FaultyFiles()
    spool = Spool(folder, files, SystemIds())
    spool.outcome(make_attempt())
    files.break_("append", errno.ENOSPC)
    for _ in range(50):
        spool.outcome(make_attempt())

    assert (50, 2) == (spool.status()["overflow"], len(files.list(folder)))


def test_what_neither_disk_nor_memory_can_hold_is_counted_with_its_cost(folder: str) -> None:
    files = FaultyFiles()
    spool = Spool(folder, files, SystemIds(), memory_frames=2)
    files.break_("append", errno.ENOSPC)
    for cost in (1, 2, 30, None, 400):
        spool.outcome(make_attempt(cost=cost))

    status = spool.status()
    assert (2, 3, 430) == (status["overflow"], status["dropped"], status["dropped_cost"])
    assert "OSError: No space left on device" == status["last_error"]


def test_intents_that_the_disk_refuses_take_no_memory_from_outcomes(folder: str) -> None:
    files = FaultyFiles()
    spool = Spool(folder, files, SystemIds(), memory_frames=1)
    files.break_("append", errno.ENOSPC)
    for _ in range(3):
        spool.intent(make_attempt())
    spool.outcome(make_attempt())

    status = spool.status()
    assert (3, 1, 0) == (status["missed_intents"], status["overflow"], status["dropped"])


@pytest.mark.parametrize(
    "unfit", [{"model": "\ud800"}, {"cost": 2**64}, {"model": "x" * 70_000}, {"model": NumberText("1.5")}]
)
def test_an_attempt_that_has_no_frame_is_counted_and_does_not_raise(spool: Spool, unfit: dict[str, object]) -> None:
    spool.intent(make_attempt(**unfit))
    spool.outcome(make_attempt(**unfit))

    status = spool.status()
    assert (1, 1, 0, 0) == (status["missed_intents"], status["dropped"], status["overflow"], status["frames"])


NUMBERS: dict[str, Callable[[Path], int]] = {
    "a file": lambda path: os.open(path, os.O_RDWR | os.O_CREAT),
    "a device": lambda path: os.open(os.devnull, os.O_RDWR),
    "a socket": lambda path: socket.socket().detach(),
}


@pytest.mark.parametrize("kind", [None, *NUMBERS])
def test_a_descriptor_that_somebody_closed_is_never_used_again(
    kind: str | None, spool: Spool, folder: str, tmp_path: Path
) -> None:
    first, second, third = (make_attempt() for _ in range(3))
    spool.outcome(first)
    (closed,) = spool.segments()
    number = closed.descriptor
    os.close(number)
    if kind is not None:
        assert number == NUMBERS[kind](tmp_path / "theirs")
    before = None if kind is None else os.fstat(number)

    spool.outcome(second)
    spool.reopen()
    spool.outcome(third)

    assert [first, second, third] == spooled(spool)
    assert 2 == len(spool.segments())
    assert SystemFiles().adopt(f"{folder}/{closed.name}") is None
    for segment in spool.segments():
        spool.remove(segment)
    assert [] == list(SystemFiles().list(folder))
    assert (0, None) == (spool.overflow(), spool.status()["last_error"])
    if before is not None:
        assert (before.st_ino, before.st_size) == (os.fstat(number).st_ino, os.fstat(number).st_size)
        os.close(number)


def test_a_file_that_was_closed_and_is_another_processs_by_now_is_left_to_it(spool: Spool, folder: str) -> None:
    spool.outcome(make_attempt())
    (closed,) = spool.segments()
    os.close(closed.descriptor)
    theirs = os.open(os.devnull, os.O_RDWR)
    other = SystemFiles().adopt(f"{folder}/{closed.name}")
    assert other is not None

    spool.reopen()
    spool.outcome(attempt := make_attempt())

    assert closed not in spool.segments()
    assert [attempt] == spooled(spool)
    os.close(other)
    os.close(theirs)


def test_a_folder_that_was_deleted_is_made_again(spool: Spool, folder: str) -> None:
    spool.outcome(make_attempt())
    shutil.rmtree(folder)
    spool.sync()
    spool.outcome(make_attempt())

    assert 1 == len(SystemFiles().list(folder))
    assert 2 == len(spooled(spool))


def test_a_file_whose_sync_failed_is_not_synced_again_and_gets_nothing_more(folder: str) -> None:
    files = FaultyFiles()
    spool = Spool(folder, files, SystemIds())
    spool.outcome(make_attempt())
    (failed,) = spool.segments()
    files.break_("sync", errno.EIO)

    assert spool.sync() is False
    assert spool.sync() is False
    assert 1 == files.failed
    files.heal()
    spool.outcome(make_attempt())
    assert [1, 1] == [len(frames_of(segment.descriptor)) for segment in spool.segments()]
    assert failed is spool.segments()[0]


def test_a_sync_covers_what_was_appended_and_is_not_repeated_for_nothing(folder: str) -> None:
    files = RecordingFiles()
    spool = Spool(folder, files, SystemIds())
    spool.outcome(make_attempt())

    assert spool.sync()
    assert spool.sync()
    assert ["append", "sync"] == files.asked


def test_durability_sync_forces_an_outcome_to_the_disk_before_it_returns(folder: str) -> None:
    files = RecordingFiles()
    spool = Spool(folder, files, SystemIds(), durability="sync")
    for _ in range(2):
        spool.intent(make_attempt())
        spool.outcome(make_attempt())

    assert ["append", "append", "sync"] * 2 == files.asked


def test_durability_sync_puts_an_outcome_into_another_file_when_the_sync_fails(folder: str) -> None:
    files = FaultyFiles(at=4, error=errno.EIO)  # the folder, the file, the append, and the sync
    spool = Spool(folder, files, SystemIds(), durability="sync")
    attempt = make_attempt()

    spool.outcome(attempt)

    assert (1, 2) == (files.failed, len(spool.segments()))
    assert [attempt, attempt] == spooled(spool)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
def test_a_forked_child_begins_a_file_of_its_own_and_leaves_the_parents_alone(spool: Spool, folder: str) -> None:
    files = SystemFiles()
    mine, childs = make_attempt(), make_attempt()
    spool.outcome(mine)
    (segment,) = spool.segments()
    child = os.fork()
    if child == 0:
        spool.forget()
        closed = not os.path.exists(f"/dev/fd/{segment.descriptor}")
        empty = (0, 0) == (spool.status()["frames"], spool.status()["segments"])
        spool.outcome(childs)
        os._exit(0 if closed and empty and [childs] == spooled(spool) else 1)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert [mine] == spooled(spool)
    (other,) = {*files.list(folder)} - {segment.name}
    assert other[:36] != segment.name[:36]
    assert files.adopt(f"{folder}/{segment.name}") is None
    descriptor = files.adopt(f"{folder}/{other}")
    assert descriptor is not None
    assert [childs] == [frame.record for frame in frames_of(descriptor)]
    os.close(descriptor)


def test_a_removed_segment_is_gone_from_the_disk(spool: Spool, folder: str) -> None:
    spool.outcome(make_attempt())
    spool.seal()
    (segment,) = spool.segments()
    spool.remove(segment)

    assert ((), []) == (spool.segments(), list(SystemFiles().list(folder)))
    assert spool.status()["last_error"] is None


class TakenFiles(SystemFiles):
    """The real files, of which each is taken for a dead process's before it is locked while `is_taking`."""

    def __init__(self) -> None:
        self.is_taking = True
        self.taken: list[str] = []

    def create(self, path: str) -> int:
        if self.is_taking:
            self.is_taking = False
            self.taken.append(Path(path).name)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return super().create(path)


def test_a_process_whose_first_file_is_taken_for_that_of_a_dead_one_has_another_name_from_then_on(folder: str) -> None:
    """Whoever has taken it ends the leases of that name later, when this process may have drawn some."""
    files = TakenFiles()
    spool = Spool(folder, files, SystemIds())
    process = spool.claim()
    assert not files.taken[0].startswith(process)
    assert [process] == [segment.name[:36] for segment in spool.segments()]

    # While it has a locked file, nobody takes it for dead.
    files.is_taking = True
    spool.seal()
    spool.intent(make_attempt())
    assert files.taken[1].startswith(process)
    assert [process] * 2 == [segment.name[:36] for segment in spool.segments()]
