"""A process's own spool, on its way to the ledger."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drain import GROUP, Drain
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.writer import Writer, open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.drain.ledger import outcomes, positions, rolled_up
from tests.drain.writers import NeverRefuses
from tests.factories import make_attempt
from tests.faults.files import FaultyFiles, UnpluggedFiles


class CountingWriter(NeverRefuses):
    """A real writer that can be told to fail, and remembers how much it was given."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.fails = False
        self.sizes: list[int] = []

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        return self._writer.positions(names)

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        if self.fails:
            raise LedgerError("the database is down")
        self.sizes.append(len(records))
        return self._writer.write(records, positions, finished)

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        return ()

    def close(self) -> None:
        self._writer.close()


class Killed(BaseException):
    """What is thrown into a thread from outside."""


class Killer:
    """Ends a step before the line that it comes to after so many others."""

    def __init__(self, moment: int) -> None:
        self._left = moment

    def __call__(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code is not Drain.step.__code__:
            return None
        if event == "line":
            self._left -= 1
            if self._left < 0:
                raise Killed
        return self


def call(spool: Spool) -> Attempt:
    """Spool an attempt that begins and ends."""
    attempt = make_attempt()
    spool.intent(begun(attempt))
    spool.outcome(attempt)
    return attempt


def begun(attempt: Attempt) -> Attempt:
    return make_attempt(id=attempt.id, outcome="interrupted", billing="unknown", cost=None, at_risk=attempt.cost)


@pytest.mark.parametrize("was_read", [True, False])
def test_a_file_that_somebody_closed_is_read_to_its_end(
    was_read: bool, spool: Spool, drain: Drain, sqlite_url: str, tmp_path: Path
) -> None:
    before = [call(spool)] if was_read else []
    assert drain.step() == len(before)
    attempts = [call(spool) for _ in range(3)]
    number = spool.segments()[0].descriptor
    os.close(number)
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    assert theirs == number
    assert drain.step() == 3
    assert outcomes(sqlite_url) == {attempt.id: "success" for attempt in [*before, *attempts]}
    os.close(theirs)


def test_a_step_commits_what_has_ended_and_the_next_has_nothing_left(
    spool: Spool, drain: Drain, sqlite_url: str
) -> None:
    attempts = [call(spool) for _ in range(20)]
    spool.intent(make_attempt(outcome="interrupted"))

    assert [20, 0] == [drain.step(), drain.step()]
    assert {attempt.id: "success" for attempt in attempts} == outcomes(sqlite_url)
    assert 20 == rolled_up(sqlite_url) == drain.status()["committed"]


@pytest.mark.slow
def test_a_step_that_is_killed_at_any_line_counts_each_attempt_once(
    spool: Spool, drain: Drain, sqlite_url: str
) -> None:
    spooled = 0
    for moment in itertools.count():
        spooled += len([call(spool) for _ in range(5)])
        before = sys.gettrace()
        sys.settrace(Killer(moment))
        try:
            drain.step()
            break
        except Killed:
            sys.settrace(before)
            drain.restart()
        finally:
            sys.settrace(before)
        while drain.step():
            pass
        assert (moment, spooled, spooled) == (moment, drain.taken, len(outcomes(sqlite_url)))
    assert moment > 10


def test_a_step_without_anything_to_do_does_not_touch_the_ledger(drain: Drain, sqlite_url: str) -> None:
    assert 0 == drain.step()
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()


@pytest.mark.slow
def test_groups_are_bounded(folder: str, writer: Writer) -> None:
    spool = Spool(folder, SystemFiles(), SystemIds())
    counting = CountingWriter(writer)
    drain = Drain(spool, SystemFiles(), folder, counting)
    for _ in range(GROUP + 10):
        spool.outcome(make_attempt())

    assert [GROUP, 10, 0] == [drain.step(), drain.step(), drain.step()]
    assert [GROUP, 10] == counting.sizes


@pytest.mark.slow
def test_a_file_stays_until_the_last_group_of_it_is_committed(folder: str, writer: Writer, sqlite_url: str) -> None:
    spool = Spool(folder, SystemFiles(), SystemIds())
    drain = Drain(spool, SystemFiles(), folder, writer)
    for _ in range(GROUP + 1):
        spool.outcome(make_attempt())
    spool.seal()
    drain.step()
    assert 1 == len(SystemFiles().list(folder))
    drain.step()

    assert GROUP + 1 == len(outcomes(sqlite_url))
    assert [] == list(SystemFiles().list(folder))


def test_the_position_is_committed_with_the_rows(spool: Spool, drain: Drain, sqlite_url: str) -> None:
    spool.outcome(make_attempt())
    drain.step()
    (segment,) = spool.segments()

    assert {segment.name: segment.size} == positions(sqlite_url)


def test_files_go_once_the_ledger_has_all_of_them(spool: Spool, drain: Drain, folder: str, sqlite_url: str) -> None:
    for _ in range(20):
        call(spool)
    assert len(spool.segments()) > 3
    drain.step()

    assert list(SystemFiles().list(folder)) == [segment.name for segment in spool.segments()]
    assert len(spool.segments()) <= 1
    assert set(positions(sqlite_url)) <= set(SystemFiles().list(folder))


def test_a_long_call_does_not_keep_old_files_and_is_not_forgotten(
    spool: Spool, drain: Drain, folder: str, sqlite_url: str
) -> None:
    long, endless = make_attempt(), make_attempt()
    spool.intent(begun(long))
    spool.intent(begun(endless))
    for _ in range(20):
        for _ in range(20):
            call(spool)
        while drain.step():
            pass
        assert len(SystemFiles().list(folder)) <= 2
    spool.outcome(long)
    drain.step()
    spool.forget()

    assert 1 == drain.adopt()
    found = outcomes(sqlite_url)
    assert (402, "success", "interrupted") == (len(found), found[long.id], found[endless.id])


def test_an_intent_carried_to_a_new_file_is_on_the_disk_before_the_old_file_goes(
    folder: str, writer: Writer, sqlite_url: str
) -> None:
    class Unplugged(UnpluggedFiles):
        def discard(self, path: str, descriptor: int) -> None:
            super().discard(path, descriptor)
            self.unplug()
            raise PowerCut

    class PowerCut(BaseException):
        pass

    files = Unplugged()
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, writer)
    going_on = make_attempt()
    spool.intent(begun(going_on))
    ended = call(spool)
    spool.seal()
    with pytest.raises(PowerCut):
        drain.step()
    spool.forget()
    Drain(Spool(folder, SystemFiles(), SystemIds()), SystemFiles(), folder, writer).adopt()

    assert {ended.id: "success", going_on.id: "interrupted"} == outcomes(sqlite_url)


def test_an_outcome_ahead_of_the_copy_of_its_intent_leaves_nothing_open(
    folder: str, writer: Writer, sqlite_url: str
) -> None:
    class Racing(Spool):
        """An outcome that arrives in the moment before its intent is copied."""

        def carry(self, attempt: Attempt):  # type: ignore[no-untyped-def]
            if attempt.id == late.id:
                self.outcome(late)
            return super().carry(attempt)

    spool = Racing(folder, SystemFiles(), SystemIds())
    drain = Drain(spool, SystemFiles(), folder, writer)
    late = make_attempt()
    spool.intent(begun(late))
    spool.seal()
    drain.step()
    drain.step()
    drain.close()

    assert {late.id: "success"} == outcomes(sqlite_url)
    assert [] == list(SystemFiles().list(folder))


def test_what_waits_in_memory_is_committed_too(folder: str, writer: Writer, sqlite_url: str) -> None:
    files = FaultyFiles()
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, writer)
    attempts = [make_attempt() for _ in range(3)]
    spool.intent(begun(attempts[0]))
    files.break_("append", errno.ENOSPC)
    for attempt in attempts:
        spool.outcome(attempt)
    files.heal()

    assert 3 == drain.step()
    assert {attempt.id: "success" for attempt in attempts} == outcomes(sqlite_url)
    drain.close()
    assert [] == list(SystemFiles().list(folder))


def test_an_outcome_in_memory_whose_intent_came_after_the_last_look_leaves_nothing_open(
    folder: str, writer: Writer, sqlite_url: str
) -> None:
    class Meanwhile(FaultyFiles):
        """A call that begins, and ends on a full disk, just after the end of the file was read."""

        ends = 0

        def read(self, descriptor: int, offset: int, size: int) -> bytes:
            data = super().read(descriptor, offset, size)
            self.ends += not data
            if self.ends == 2 and not self.failed:
                spool.intent(begun(late))
                self.break_("append", errno.ENOSPC)
                spool.outcome(late)
                self.heal()
            return data

    files = Meanwhile()
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, writer)
    first, late = make_attempt(), make_attempt()
    spool.outcome(first)
    drain.step()
    drain.close()

    assert {first.id: "success", late.id: "success"} == outcomes(sqlite_url)
    assert [] == list(files.list(folder))


def test_an_attempt_that_is_spooled_twice_is_one_row(spool: Spool, drain: Drain, sqlite_url: str) -> None:
    attempt = make_attempt()
    spool.outcome(attempt)
    spool.outcome(attempt)
    drain.step()
    spool.outcome(attempt)
    drain.step()

    assert {attempt.id: "success"} == outcomes(sqlite_url)
    assert 1 == rolled_up(sqlite_url)


def test_a_ledger_that_fails_loses_nothing(folder: str, spool: Spool, writer: Writer, sqlite_url: str) -> None:
    counting = CountingWriter(writer)
    drain = Drain(spool, SystemFiles(), folder, counting)
    attempts = [call(spool) for _ in range(10)]
    counting.fails = True
    with pytest.raises(LedgerError, match="down"):
        drain.step()
    attempts += [call(spool) for _ in range(10)]
    with pytest.raises(LedgerError, match="down"):
        drain.step()
    counting.fails = False
    while drain.step():
        pass

    assert {attempt.id: "success" for attempt in attempts} == outcomes(sqlite_url)
    assert 20 == rolled_up(sqlite_url)


def test_a_commit_whose_answer_was_lost_is_repeated_without_harm(
    folder: str, spool: Spool, writer: Writer, sqlite_url: str
) -> None:
    class Forgetful(CountingWriter):
        def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
            super().write(records, positions, finished)
            if len(self.sizes) == 1:
                raise LedgerError("the connection was lost")
            return 0

        def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
            return ()

    drain = Drain(spool, SystemFiles(), folder, Forgetful(writer))
    attempts = [call(spool) for _ in range(10)]
    with pytest.raises(LedgerError, match="lost"):
        drain.step()

    assert 10 == drain.step()
    assert {attempt.id: "success" for attempt in attempts} == outcomes(sqlite_url)
    assert 10 == rolled_up(sqlite_url)


def test_a_second_drain_on_the_same_spool_repeats_without_harm(
    folder: str, spool: Spool, drain: Drain, writer: Writer, sqlite_url: str
) -> None:
    first = [call(spool) for _ in range(3)]
    open_call = make_attempt()
    spool.intent(begun(open_call))
    drain.step()
    second = [call(spool) for _ in range(30)]
    another = Drain(spool, SystemFiles(), folder, writer)
    while another.step():
        pass
    spool.outcome(open_call)
    another.close()

    assert {attempt.id: "success" for attempt in [*first, open_call, *second]} == outcomes(sqlite_url)
    assert [] == list(SystemFiles().list(folder))


def test_a_file_that_cannot_be_read_for_a_while_is_read_later(folder: str, writer: Writer, sqlite_url: str) -> None:
    files = FaultyFiles()
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, writer)
    attempt = call(spool)
    files.break_("read", errno.EIO)
    spool.seal()
    assert 0 == drain.step()
    assert "OSError: Input/output error" == drain.status()["last_error"]
    files.heal()

    assert 1 == drain.step()
    assert {attempt.id: "success"} == outcomes(sqlite_url)


def test_a_file_that_cannot_be_deleted_is_left_to_others(folder: str, writer: Writer, sqlite_url: str) -> None:
    files = FaultyFiles()
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, writer)
    attempt = call(spool)
    files.break_("remove", errno.EROFS)
    drain.close()
    files.heal()

    assert 1 == Drain(spool, files, folder, writer).adopt()
    assert {attempt.id: "success"} == outcomes(sqlite_url)
    assert [] == list(files.list(folder))


def test_damage_in_a_file_is_counted_and_does_not_keep_it(folder: str, writer: Writer, sqlite_url: str) -> None:
    files = FaultyFiles(at=4, short=True)  # the folder, the file, an append, and this one
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, writer)
    attempts = [make_attempt() for _ in range(3)]
    for attempt in attempts:
        spool.outcome(attempt)
    drain.close()

    assert {attempt.id: "success" for attempt in attempts} == outcomes(sqlite_url)
    assert drain.status()["damaged"] > 100
    assert [] == list(files.list(folder))


def test_closing_leaves_the_intents_of_calls_that_go_on(
    spool: Spool, drain: Drain, folder: str, sqlite_url: str
) -> None:
    ended, going_on = call(spool), make_attempt()
    spool.intent(begun(going_on))
    drain.close()
    assert {ended.id: "success"} == outcomes(sqlite_url)
    assert 1 == len(SystemFiles().list(folder))
    spool.outcome(going_on)
    spool.forget()
    heir = Drain(Spool(folder, SystemFiles(), SystemIds()), SystemFiles(), folder, open_writer(sqlite_url))
    heir.adopt()
    heir.close()

    assert {ended.id: "success", going_on.id: "success"} == outcomes(sqlite_url)
    assert [] == list(SystemFiles().list(folder))


def test_a_table_that_is_missing_for_a_while_costs_nothing(folder: str, spool: Spool, sqlite_url: str) -> None:
    writer = open_writer(sqlite_url)
    writer.write([], {}, ())
    attempt = call(spool)
    rename(sqlite_url, "pixelmeter_attempts", "hidden")
    drain = Drain(spool, SystemFiles(), folder, writer)
    with pytest.raises(LedgerError):
        drain.step()
    rename(sqlite_url, "hidden", "pixelmeter_attempts")

    assert 1 == drain.step()
    assert {attempt.id: "success"} == outcomes(sqlite_url)
    drain.close()


def rename(url: str, table: str, name: str) -> None:
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
