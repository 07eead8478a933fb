"""A spool folder holds so many bytes that the ledger does not have, and no more."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drain import Drain
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import INTENT, OUTCOME, Frame, FrameReader, Spool, held
from pixelmeter.spool.frames import encode
from pixelmeter.spool.segment import Segment
from pixelmeter.system import SystemFiles, SystemIds
from tests.drain.ledger import outcomes
from tests.drain.writers import Picky
from tests.factories import make_attempt
from tests.faults.files import FaultyFiles

FILES = SystemFiles()
FRAME = len(encode(INTENT, make_attempt()))
LEAST = 64 * 1024


class LookingFiles(SystemFiles):
    """The real files, and how often somebody looked into the folder."""

    looks = 0

    def sizes(self, folder: str) -> Mapping[str, int]:
        self.looks += 1
        return super().sizes(folder)

    def list(self, folder: str) -> Sequence[str]:
        self.looks += 1
        return super().list(folder)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"{tmp_path}/spool"


def spool_of(folder: str, limit: int, files: SystemFiles = FILES, *, segment_bytes: int = 8 << 20) -> Spool:
    return Spool(folder, files, SystemIds(), limit=limit, segment_bytes=segment_bytes)


def call(spool: Spool) -> Attempt:
    """Make a call that ends, and return its attempt."""
    attempt = make_attempt()
    spool.intent(attempt)
    spool.outcome(attempt)
    return attempt


def on_disk(folder: str) -> int:
    return sum(FILES.sizes(folder).values())


def leave(folder: str, size: int, ending: str = "-000001.spool") -> int:
    """Have another process, which lives, hold so many bytes; return the descriptor of its file."""
    FILES.make_folder(folder)
    descriptor = FILES.create(f"{folder}/{SystemIds().new()}{ending}")
    os.ftruncate(descriptor, size)
    return descriptor


class InterruptedSpool(Spool):
    """One whose first look at its files is interrupted: another thread makes a call meanwhile."""

    is_interrupted = False

    def segments(self) -> Sequence[Segment]:
        if not self.is_interrupted:
            self.is_interrupted = True
            other = threading.Thread(target=call, args=[self])
            other.start()
            other.join()
        return super().segments()


def test_a_thread_that_calls_while_another_one_looks_into_the_folder_has_room_too(folder: str) -> None:
    spool = InterruptedSpool(folder, FILES, SystemIds(), limit=LEAST)
    call(spool)
    status = spool.status()
    assert (4, 0, 0, None) == (status["frames"], status["missed_intents"], status["dropped"], status["last_error"])


def test_attempts_beyond_the_limit_are_counted_with_their_cost_and_those_before_it_are_there(folder: str) -> None:
    spool = spool_of(folder, 10 * FRAME)
    kept = [call(spool).id for _ in range(5)]
    beyond = [call(spool) for _ in range(7)]
    status = spool.status()
    assert (7, sum(attempt.cost or 0 for attempt in beyond)) == (status["dropped"], status["dropped_cost"])
    assert (7, 0, 10) == (status["missed_intents"], status["overflow"], status["frames"])
    assert on_disk(folder) == status["held"] <= status["limit"] == 10 * FRAME
    assert "SpoolFull" in str(status["last_error"])
    assert "PIXELMETER_SPOOL_LIMIT" in str(status["last_error"])
    assert {frame.record.id for frame in _frames(spool)} == {*kept}


def test_a_call_that_has_begun_is_kept_to_its_end_whatever_has_come_meanwhile(folder: str) -> None:
    spool = spool_of(folder, 5 * FRAME)
    begun = [make_attempt() for _ in range(5)]
    for attempt in begun:
        spool.intent(attempt)
    late = make_attempt()
    spool.intent(late)
    for attempt in (*begun, late):
        spool.outcome(attempt)
    assert (1, 10) == (spool.status()["dropped"], spool.status()["frames"])


def test_calls_that_were_under_way_in_a_full_spool_are_interrupted_when_their_process_dies(
    folder: str, sqlite_url: str
) -> None:
    spool = spool_of(folder, 3 * FRAME)
    begun = [make_attempt() for _ in range(5)]
    for attempt in begun:
        spool.intent(attempt)
    spool.outcome(begun[0])
    spool.forget()
    heir = Drain(spool_of(folder, 3 * FRAME), FILES, folder, open_writer(sqlite_url))
    heir.adopt()
    assert {begun[0].id: "success"} | dict.fromkeys([one.id for one in begun[1:3]], "success") == outcomes(sqlite_url)
    heir.close()


def test_a_call_that_began_without_room_is_kept_where_there_is_room_at_its_end(folder: str, sqlite_url: str) -> None:
    spool = spool_of(folder, 3 * FRAME)
    drain = Drain(spool, FILES, folder, open_writer(sqlite_url))
    first, late = call(spool), make_attempt()
    spool.intent(make_attempt())
    spool.intent(late)
    assert 1 == spool.status()["missed_intents"]
    drain.step()
    spool.outcome(late)
    drain.close()
    assert {first.id: "success", late.id: "success"} == outcomes(sqlite_url)
    assert 0 == spool.status()["dropped"]


def test_recording_goes_on_by_itself_as_soon_as_the_ledger_takes_some(folder: str, sqlite_url: str) -> None:
    spool = spool_of(folder, 10 * FRAME)
    ledger = Picky(open_writer(sqlite_url))
    drain = Drain(spool, FILES, folder, ledger)
    kept = [call(spool).id for _ in range(5)]
    ledger.is_away = True
    for _ in range(3):
        call(spool)
        with pytest.raises(LedgerError):
            drain.step()
    ledger.is_away = False
    drain.step()
    kept += [call(spool).id for _ in range(5)]
    call(spool)
    drain.close()
    assert dict.fromkeys(kept, "success") == outcomes(sqlite_url)
    assert 4 == spool.status()["dropped"]


def test_what_is_in_the_ledger_and_still_in_the_file_takes_no_room(folder: str, sqlite_url: str) -> None:
    spool = spool_of(folder, 10 * FRAME)
    drain = Drain(spool, FILES, folder, open_writer(sqlite_url))
    for _ in range(20):
        for _ in range(5):
            call(spool)
        drain.step()
    assert (0, 0) == (spool.status()["dropped"], spool.status()["held"])
    assert on_disk(folder) > 20 * FRAME
    drain.close()


def test_blocked_attempts_and_ends_of_jobs_are_dropped_as_well(folder: str) -> None:
    spool = spool_of(folder, FRAME)
    spool.intent(make_attempt())
    spool.outcome(make_attempt(outcome="blocked", billing="not_billed", cost=0))
    spool.outcome(
        JobEnd(id=make_attempt().id, gateway="g", job_id="j", source="webhook", heard_at=1, outcome="success")
    )
    assert (2, 1) == (spool.status()["dropped"], spool.status()["frames"])


@pytest.mark.parametrize("limit", [0, 1, FRAME - 1])
def test_a_limit_smaller_than_a_frame_drops_everything_and_makes_no_file(folder: str, limit: int) -> None:
    spool = spool_of(folder, limit)
    for _ in range(3):
        call(spool)
    assert (3, 0, 0) == (spool.status()["dropped"], spool.status()["segments"], on_disk(folder))


def test_a_huge_frame_without_room_keeps_no_smaller_one_out(folder: str) -> None:
    spool = spool_of(folder, 4 * FRAME)
    huge = make_attempt(tags='{"customer":"' + "x" * 8 * FRAME + '"}')
    spool.intent(huge)
    kept = call(spool)
    spool.outcome(huge)
    assert (1, 2) == (spool.status()["dropped"], spool.status()["frames"])
    assert {kept.id} == {frame.record.id for frame in _frames(spool)}


def test_a_folder_that_is_full_at_the_start_takes_nothing(folder: str) -> None:
    other = leave(folder, LEAST)
    spool = spool_of(folder, LEAST)
    call(spool)
    assert (1, 0, LEAST) == (spool.status()["dropped"], spool.status()["segments"], spool.status()["held"])
    os.ftruncate(other, 0)
    spool.measure(0)
    call(spool)
    assert (1, 2) == (spool.status()["dropped"], spool.status()["frames"])
    FILES.close(other)


def test_what_the_ledger_refuses_takes_room_whoever_has_set_it_aside(folder: str) -> None:
    spool = spool_of(folder, 4 * FRAME)
    spool.set_aside([make_attempt()] * 4, "a reason")
    call(spool)
    assert (1, 0) == (spool.status()["dropped"], spool.status()["frames"])


def test_the_latest_file_of_a_neighbour_that_may_be_in_the_ledger_keeps_nobody_out_at_the_start(folder: str) -> None:
    others = [leave(folder, 8 << 20) for _ in range(10)]
    spool = spool_of(folder, 1 << 20)
    call(spool)
    assert 0 == spool.status()["dropped"]
    for each in others:
        FILES.close(each)


def test_all_but_the_latest_file_of_a_neighbour_is_surely_not_in_the_ledger(folder: str) -> None:
    FILES.make_folder(folder)
    process = SystemIds().new()
    for number in range(2):
        Path(f"{folder}/{process}-00000{number}.spool").write_bytes(bytes(1 << 20))
    spool = spool_of(folder, 1 << 20)
    call(spool)
    assert 1 == spool.status()["dropped"]


def test_no_call_but_the_first_looks_into_the_folder_even_where_it_is_full(folder: str) -> None:
    files = LookingFiles()
    spool = spool_of(folder, 10 * FRAME, files, segment_bytes=3 * FRAME)
    for _ in range(20):
        call(spool)
    assert (1, 15) == (files.looks, spool.status()["dropped"])


def test_a_folder_that_cannot_be_looked_into_is_taken_for_empty(folder: str) -> None:
    files = FaultyFiles()
    files.break_("sizes", errno.EACCES)
    spool = spool_of(folder, 10 * FRAME, files)
    call(spool)
    assert (0, 2) == (spool.status()["dropped"], spool.status()["frames"])
    assert "PermissionError" in str(spool.status()["last_error"])


def test_a_full_disk_below_the_limit_keeps_attempts_in_memory_as_ever(folder: str) -> None:
    files = FaultyFiles()
    spool = spool_of(folder, 10 * FRAME, files)
    call(spool)
    files.break_("append", errno.ENOSPC)
    call(spool)
    assert (1, 0) == (spool.status()["overflow"], spool.status()["dropped"])


def test_a_forked_child_looks_for_itself(folder: str) -> None:
    spool = spool_of(folder, 4 * FRAME)
    call(spool)
    other = leave(folder, 4 * FRAME)
    spool.forget()
    call(spool)
    assert (1, 0) == (spool.status()["dropped"], spool.status()["frames"])
    FILES.close(other)


def test_threads_at_once_exceed_the_limit_by_what_they_have_in_hand_at_most(folder: str) -> None:
    spool = spool_of(folder, 1000 * FRAME, segment_bytes=100 * FRAME)
    threads = [threading.Thread(target=lambda: [call(spool) for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 990 * FRAME <= on_disk(folder) <= 1020 * FRAME
    assert 1600 == spool.status()["dropped"] + spool.status()["frames"] // 2


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_the_folder_holds_no_more_than_the_limit_and_the_calls_under_way(
    folder: str, sqlite_url: str, seed: int
) -> None:
    draw = random.Random(seed)
    spool = spool_of(folder, 30 * FRAME, segment_bytes=7 * FRAME)
    writer = open_writer(sqlite_url)
    ledger = Picky(writer)
    drain = Drain(spool, FILES, folder, ledger)
    under_way: list[Attempt] = []
    ended: list[str] = []
    most = 0
    for _ in range(600):
        step = draw.random()
        if step < 0.5:
            under_way.append(make_attempt())
            spool.intent(under_way[-1])
        elif step < 0.95 and under_way:
            attempt = under_way.pop(draw.randrange(len(under_way)))
            spool.outcome(attempt)
            ended.append(attempt.id)
        else:
            ledger.is_away = draw.random() < 0.8
            with suppress(LedgerError):
                drain.step()
        most = max(most, len(under_way))
        sizes = FILES.sizes(folder)
        assert held(sizes, writer.positions([*sizes])) == spool.status()["held"] <= (30 + 2 * most) * FRAME
    ledger.is_away = False
    while drain.step():
        pass
    kept = outcomes(sqlite_url)
    assert {*kept} <= {*ended}
    assert len(ended) == len(kept) + spool.status()["dropped"]
    assert spool.status()["dropped"] > 0
    drain.close()


def _frames(spool: Spool) -> list[Frame]:
    found: list[Frame] = []
    for segment in spool.segments():
        reader = FrameReader(FILES, segment.descriptor)
        while frames := reader.read(final=True):
            found += frames
    assert {frame.kind for frame in found} <= {INTENT, OUTCOME}
    return found
