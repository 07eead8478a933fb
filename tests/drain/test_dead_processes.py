"""What dead processes leave, and who takes it."""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pixelmeter import Budget
from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.lease import Draw, LeaseKey
from pixelmeter.drain import GROUP, Drain
from pixelmeter.drain.census import census
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.adjusting import open_jobs
from pixelmeter.ledger.budget_reading import leases_of
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import Writer, open_writer
from pixelmeter.spool import Spool
from pixelmeter.spool.frames import OUTCOME, encode
from pixelmeter.system import SystemFiles, SystemIds
from tests.drain.ledger import outcomes, positions, rolled_up
from tests.drain.writers import NeverRefuses
from tests.factories import STARTED_AT, make_attempt
from tests.faults.files import FaultyFiles
from tests.users import NOBODY, SOMEBODY, as_user, needs_root

FILES = SystemFiles()


@pytest.fixture
def heir(folder: str, writer: Writer) -> Drain:
    return Drain(Spool(folder, FILES, SystemIds()), FILES, folder, writer)


def begun(attempt: Attempt) -> Attempt:
    return msgspec.structs.replace(attempt, outcome="interrupted", billing="unknown", cost=None)


def leave(spool: Spool, ended: int = 10, cut_off: int = 2) -> dict[str, str]:
    """Let a process die that had some calls; return what the ledger should say of them."""
    attempts = [make_attempt() for _ in range(ended + cut_off)]
    for attempt in attempts:
        spool.intent(begun(attempt))
    for attempt in attempts[cut_off:]:
        spool.outcome(attempt)
    spool.forget()
    return {attempt.id: "interrupted" if number < cut_off else "success" for number, attempt in enumerate(attempts)}


def test_finished_attempts_are_committed_and_the_others_become_interrupted(
    spool: Spool, heir: Drain, folder: str, sqlite_url: str
) -> None:
    expected = leave(spool)
    assert len(FILES.list(folder)) > 3

    assert 12 == heir.adopt()
    assert expected == outcomes(sqlite_url)
    assert (12, 2) == (heir.status()["adopted"], heir.status()["interrupted"])
    assert ([], {}) == (list(FILES.list(folder)), positions(sqlite_url))


def test_adopting_again_finds_nothing(spool: Spool, heir: Drain) -> None:
    leave(spool)

    assert [12, 0] == [heir.adopt(), heir.adopt()]


def test_a_process_that_lives_keeps_its_files(spool: Spool, heir: Drain, folder: str) -> None:
    spool.outcome(make_attempt())

    assert 0 == heir.adopt()
    assert 1 == len(FILES.list(folder))


def test_a_process_is_taken_over_whole_or_not_at_all(spool: Spool, heir: Drain, folder: str) -> None:
    leave(spool)
    names = list(FILES.list(folder))
    for name in names:
        held = FILES.adopt(f"{folder}/{name}")
        assert held is not None
        assert 0 == heir.adopt()
        FILES.close(held)

    assert names == list(FILES.list(folder))
    assert 12 == heir.adopt()


def test_a_file_that_appears_while_the_others_are_looked_at_is_not_left_out(
    folder: str, writer: Writer, sqlite_url: str
) -> None:
    attempt = make_attempt()
    spool = Spool(folder, FILES, SystemIds(), segment_bytes=1)
    spool.intent(begun(attempt))

    class Meanwhile(SystemFiles):
        """The process has another file, and dies, in the moment before the one that was listed is looked at."""

        def adopt(self, path: str) -> int | None:
            if spool.segments():
                spool.outcome(attempt)
                spool.forget()
            return super().adopt(path)

    files = Meanwhile()
    Drain(Spool(folder, files, SystemIds()), files, folder, writer).adopt()

    assert {attempt.id: "success"} == outcomes(sqlite_url)


@pytest.mark.slow
def test_a_process_that_left_more_files_than_can_be_open_at_once_is_taken_over(
    folder: str, writer: Writer, sqlite_url: str
) -> None:
    expected = leave(Spool(folder, FILES, SystemIds(), segment_bytes=1), ended=300)
    writer.positions([])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        heir = Drain(Spool(folder, FILES, SystemIds()), FILES, folder, writer)
        assert 302 == heir.adopt()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert expected == outcomes(sqlite_url)
    assert ([], None) == (list(FILES.list(folder)), heir.status()["last_error"])


def test_what_was_committed_before_the_death_is_not_handed_over_again(
    spool: Spool, drain: Drain, heir: Drain, sqlite_url: str
) -> None:
    first = make_attempt()
    spool.intent(begun(first))
    spool.outcome(first)
    drain.step()
    second = make_attempt()
    spool.outcome(second)
    spool.forget()

    assert 1 == heir.adopt()
    assert {first.id: "success", second.id: "success"} == outcomes(sqlite_url)


def test_a_copy_of_an_intent_behind_its_outcome_does_not_undo_it(spool: Spool, heir: Drain, sqlite_url: str) -> None:
    attempt = make_attempt()
    spool.intent(begun(attempt))
    spool.outcome(attempt)
    spool.carry(begun(attempt))
    spool.forget()
    heir.adopt()

    assert {attempt.id: "success"} == outcomes(sqlite_url)


@pytest.mark.slow
def test_much_that_a_dead_process_left_is_committed_in_groups(folder: str, heir: Drain, sqlite_url: str) -> None:
    expected = leave(Spool(folder, FILES, SystemIds()), ended=GROUP + 20, cut_off=GROUP + 10)

    assert 2 * GROUP + 30 == heir.adopt()
    assert expected == outcomes(sqlite_url)
    assert [] == list(FILES.list(folder))


@pytest.mark.slow
@pytest.mark.parametrize("commits", range(4))
def test_an_adoption_that_the_ledger_breaks_off_can_be_repeated(
    folder: str, writer: Writer, sqlite_url: str, commits: int
) -> None:
    class Failing(NeverRefuses):
        def __init__(self) -> None:
            self.left = commits

        def positions(self, names: Sequence[str]) -> Mapping[str, int]:
            return writer.positions(names)

        def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
            if not self.left:
                raise LedgerError("the database went away")
            self.left -= 1
            return writer.write(records, positions, finished)

        def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
            return ()

        def close(self) -> None:
            raise AssertionError("the drain was not closed")

    expected = leave(Spool(folder, FILES, SystemIds()), ended=GROUP + 20, cut_off=2 * GROUP)
    with pytest.raises(LedgerError, match="went away"):
        Drain(Spool(folder, FILES, SystemIds()), FILES, folder, Failing()).adopt()
    Drain(Spool(folder, FILES, SystemIds()), FILES, folder, writer).adopt()

    assert expected == outcomes(sqlite_url)
    assert len(expected) == rolled_up(sqlite_url)
    assert [] == list(FILES.list(folder))


@pytest.mark.parametrize("removed", range(1, 4))
def test_a_kill_between_the_removals_changes_nothing(
    spool: Spool, folder: str, writer: Writer, sqlite_url: str, removed: int
) -> None:
    expected = leave(spool)
    heir = Drain(Spool(folder, FILES, SystemIds()), FILES, folder, writer)
    kept = {name: Path(folder, name).read_bytes() for name in FILES.list(folder)[removed:]}
    heir.adopt()
    for name, content in kept.items():
        Path(folder, name).write_bytes(content)
    heir.adopt()

    assert expected == outcomes(sqlite_url)
    assert len(expected) == rolled_up(sqlite_url)


@pytest.mark.parametrize("content", [b"\0" * 4096, os.urandom(3000), b"not a spool file"])
def test_garbage_stays_where_it_is_and_is_reported(
    spool: Spool, heir: Drain, folder: str, sqlite_url: str, content: bytes
) -> None:
    expected = leave(spool)
    garbage = Path(folder, f"{SystemIds().new()}-000001.spool")
    garbage.write_bytes(content)
    heir.adopt()
    heir.adopt()

    assert expected == outcomes(sqlite_url)
    assert (garbage.name,) == heir.status()["unreadable"]
    assert content == garbage.read_bytes()


def test_another_format_version_is_left_to_a_pixelmeter_that_knows_it(
    spool: Spool, heir: Drain, folder: str, sqlite_url: str
) -> None:
    expected = leave(spool)
    names = list(FILES.list(folder))
    payload = msgspec.msgpack.encode((2, OUTCOME, "something new"))
    magic = encode(OUTCOME, make_attempt())[:4]
    with Path(folder, names[-1]).open("ab") as file:
        file.write(struct.pack("<4sII", magic, len(payload), zlib.crc32(payload)) + payload)
    heir.adopt()

    assert {key: value for key, value in expected.items() if value == "success"} == outcomes(sqlite_url)
    assert names == list(FILES.list(folder))
    assert (names[-1],) == heir.status()["unreadable"]


def test_a_file_that_cannot_be_read_decides_nothing(spool: Spool, folder: str, writer: Writer, sqlite_url: str) -> None:
    expected = leave(spool)
    names = FILES.list(folder)
    files = FaultyFiles()
    heir = Drain(Spool(folder, files, SystemIds()), files, folder, writer)
    files.break_("read", errno.EIO)

    assert 0 == heir.adopt()
    assert ({}, names) == (outcomes(sqlite_url), FILES.list(folder))
    assert set(names) == set(heir.status()["unreadable"])
    files.heal()
    assert 12 == heir.adopt()
    assert expected == outcomes(sqlite_url)
    assert () == heir.status()["unreadable"]


def test_links_pipes_folders_and_foreign_names_are_left_alone(heir: Drain, folder: str, tmp_path: Path) -> None:
    FILES.make_folder(folder)
    names = [f"{SystemIds().new()}-000001.spool" for _ in range(3)]
    (tmp_path / "secret").write_bytes(encode(OUTCOME, make_attempt()))
    Path(folder, names[0]).symlink_to(tmp_path / "secret")
    os.mkfifo(Path(folder, names[1]))
    Path(folder, names[2]).mkdir()
    Path(folder, "..spool").write_bytes(b"x")

    assert 0 == heir.adopt()
    assert set(names) == set(heir.status()["unreadable"])
    assert 4 == len(FILES.list(folder))


def test_an_empty_file_of_a_dead_process_is_removed(heir: Drain, folder: str) -> None:
    FILES.make_folder(folder)
    FILES.close(FILES.create(f"{folder}/{SystemIds().new()}-000001.spool"))
    heir.adopt()

    assert [] == list(FILES.list(folder))


@pytest.mark.slow
def test_processes_that_adopt_at_once_share_the_work(folder: str, sqlite_url: str) -> None:
    expected: dict[str, str] = {}
    for _ in range(6):
        expected |= leave(Spool(folder, FILES, SystemIds(), segment_bytes=2000))
    command = [sys.executable, "-m", "tests.faults.adopter", folder, sqlite_url]
    adopters = [subprocess.Popen(command, env=os.environ | {"PYTHONPATH": "src:."}) for _ in range(3)]

    assert [0, 0, 0] == [adopter.wait(60) for adopter in adopters]
    assert expected == outcomes(sqlite_url)
    assert len(expected) == rolled_up(sqlite_url)
    assert [] == list(FILES.list(folder))


class Counted(SystemFiles):
    """The real files, and how often they were asked for what."""

    def __init__(self) -> None:
        self.lists = self.names = self.opens = 0

    def list(self, folder: str) -> Sequence[str]:
        names = super().list(folder)
        self.lists += 1
        self.names += len(names)
        return names

    def adopt(self, path: str) -> int | None:
        self.opens += 1
        return super().adopt(path)


class CountedWriter(NeverRefuses):
    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.asked = 0

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        self.asked += 1
        return self._writer.positions(names)

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        self.asked += 1
        return self._writer.write(records, positions, finished)

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        return ()

    def close(self) -> None:
        self._writer.close()


def leave_many(folder: str, number: int) -> set[str]:
    """Let so many processes die, each with one finished call."""
    FILES.make_folder(folder)
    ids = set[str]()
    for _ in range(number):
        attempt = make_attempt()
        ids.add(attempt.id)
        Path(folder, f"{SystemIds().new()}-000001.spool").write_bytes(encode(OUTCOME, attempt))
    return ids


@pytest.mark.slow
@pytest.mark.parametrize(
    "numbers", [(250, 500, 1000), pytest.param((500, 1000, 2000, 4000), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_twice_as_many_dead_processes_are_twice_the_work(
    tmp_path: Path, writer: Writer, sqlite_url: str, numbers: Sequence[int]
) -> None:
    work: list[tuple[int, int, int, int]] = []
    everything = set[str]()
    for number in numbers:
        folder = f"{tmp_path}/spool-{number}"
        everything |= leave_many(folder, number)
        files, counted = Counted(), CountedWriter(writer)
        assert number == Drain(Spool(folder, files, SystemIds()), files, folder, counted).adopt()
        work.append((files.lists, files.names // number, files.opens // number, counted.asked * 50 // number))
        assert [] == list(FILES.list(folder))

    assert everything == set(outcomes(sqlite_url))
    assert all(lists <= 6 and names <= 4 and opens == 2 and asked <= 1 for lists, names, opens, asked in work), work


def test_looking_at_twice_as_many_files_is_twice_the_work(tmp_path: Path) -> None:
    for number in (100, 200):
        folder = f"{tmp_path}/spool-{number}"
        leave_many(folder, number)
        files = Counted()
        assert number == census(files, folder).waiting
        assert (2, 2 * number, number) == (files.lists, files.names, files.opens)


@pytest.mark.slow
def test_our_own_attempts_do_not_wait_until_thousands_of_files_are_taken_in(
    folder: str, writer: Writer, sqlite_url: str
) -> None:
    left = leave_many(folder, 1200)
    own = Spool(folder, FILES, SystemIds())
    drain = Drain(own, FILES, folder, CountedWriter(writer))
    parts = 0
    more = True
    while more:
        attempt = make_attempt()
        own.outcome(attempt)
        assert 1 == drain.step()
        before = len(outcomes(sqlite_url))
        assert attempt.id in outcomes(sqlite_url)
        more = drain.adopt_some()
        parts += 1
        assert len(outcomes(sqlite_url)) - before <= 100

    assert left <= set(outcomes(sqlite_url))
    assert parts > 10


@pytest.mark.slow
def test_the_first_part_of_an_adoption_takes_something_in_already(folder: str, writer: Writer, sqlite_url: str) -> None:
    """Programs that end at once would else leave more than they take in."""
    leave_many(folder, 2000)
    Drain(Spool(folder, FILES, SystemIds()), FILES, folder, writer).adopt_some()

    assert 100 == len(outcomes(sqlite_url))


@pytest.mark.slow
def test_a_child_forked_in_the_middle_of_an_adoption_does_not_keep_its_locks(
    folder: str, writer: Writer, sqlite_url: str
) -> None:
    expected = leave(Spool(folder, FILES, SystemIds()), ended=GROUP + 10)
    drain = Drain(Spool(folder, FILES, SystemIds()), FILES, folder, writer)
    assert drain.adopt_some()  # the first group of it
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        drain.forget()
        os.write(writing, b"forgotten")
        os.close(writing)
        signal.pause()
    try:
        assert b"forgotten" == os.read(reading, 100)
        drain.close()
        heir = Drain(Spool(folder, FILES, SystemIds()), FILES, folder, writer)
        heir.adopt()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)

    assert expected == outcomes(sqlite_url)
    assert [] == list(FILES.list(folder))


def test_a_call_that_a_forked_child_ended_is_not_cut_off_though_its_parent_died(
    folder: str, heir: Drain, sqlite_url: str
) -> None:
    attempt = make_attempt()
    parent = Spool(folder, FILES, SystemIds())
    parent.intent(begun(attempt))
    child = Spool(folder, FILES, SystemIds())
    child.outcome(attempt)
    parent.forget()
    child.forget()
    heir.adopt()

    assert ({attempt.id: "success"}, 0) == (outcomes(sqlite_url), heir.status()["interrupted"])


def test_a_folder_that_strangers_can_write_to_is_not_adopted_from(folder: str, heir: Drain, sqlite_url: str) -> None:
    leave_many(folder, 1)
    Path(folder).chmod(0o777)
    assert 0 == heir.adopt()
    assert "Distrusted: everybody can write to the spool folder" in str(heir.status()["last_error"])
    Path(folder).chmod(0o700)

    assert 1 == heir.adopt()
    assert 1 == len(outcomes(sqlite_url))


@needs_root
def test_a_file_that_another_user_slipped_in_is_left_where_it_is_and_told(folder: str, sqlite_url: str) -> None:
    Path(folder).parent.chmod(0o777)
    FILES.make_folder(folder)
    Path(folder).chmod(0o1777)
    os.chown(folder, NOBODY, NOBODY)
    own = leave_many(folder, 1)
    mine = FILES.list(folder)[0]
    forged = leave_many(folder, 1)
    theirs = next(name for name in FILES.list(folder) if name != mine)
    for name, owner in ((mine, NOBODY), (theirs, SOMEBODY)):
        os.chown(f"{folder}/{name}", owner, owner)
        Path(folder, name).chmod(0o666)

    def adopt() -> tuple[int, tuple[str, ...], str | None]:
        drain = Drain(Spool(folder, FILES, SystemIds()), FILES, folder, open_writer(sqlite_url))
        drain.adopt()
        return drain.status()["adopted"], drain.status()["unreadable"], drain.status()["last_error"]

    told = "Distrusted: it belongs to another user (id 12345)"
    assert (1, (theirs,), told) == as_user(NOBODY, adopt, Path(folder))
    assert own == set(outcomes(sqlite_url))
    os.chown(sqlite_url.removeprefix("sqlite:///"), 0, 0)
    assert (1, (), None) == adopt()
    assert own | forged == set(outcomes(sqlite_url))


def test_an_end_of_a_job_that_an_older_pixelmeter_has_passed_over_is_not_lost(
    folder: str, writer: Writer, heir: Drain, sqlite_url: str
) -> None:
    spool = Spool(folder, FILES, SystemIds())
    job = make_attempt(gateway="fal", outcome="pending", job_id="job_1", billing="pending", cost=None)
    after = make_attempt()
    end = JobEnd(
        id=SystemIds().new(), gateway="fal", job_id="job_1", heard_at=job.started_at, source="poll", outcome="success"
    )
    for record in (job, end, after):
        spool.outcome(record)
    [name] = FILES.list(folder)
    spool.forget()
    # It takes what it can read, and says how far that goes.
    writer.write([job, after], {name: os.path.getsize(f"{folder}/{name}")}, [])

    heir.adopt()

    assert ([], {}) == (list(FILES.list(folder)), positions(sqlite_url))
    with reading_ledger(sqlite_url) as reader:
        assert [] == open_jobs(reader)


class Overtaken(SystemFiles):
    """The real files; between making and locking its first file this process is overtaken by somebody."""

    def __init__(self, overtake: Callable[[], None]) -> None:
        self.overtake: Callable[[], None] | None = overtake

    def create(self, path: str) -> int:
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            overtake()
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return super().create(path)


def test_leases_of_a_process_that_is_taken_for_a_dead_one_before_its_first_file_is_locked_stay(
    heir: Drain, writer: Writer, folder: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.makedirs(folder, mode=0o700)
    writes, go_on, wrote = threading.Event(), threading.Event(), writer.write
    rule = Budget(1, per="total", name="all").rule

    def write(*what: Any) -> int:
        writes.set()
        assert go_on.wait(60)
        return wrote(*what)

    def overtake() -> None:
        adopting.start()
        assert writes.wait(60)

    monkeypatch.setattr(writer, "write", write)
    adopting = threading.Thread(target=heir.adopt)
    with closing(open_writer(sqlite_url)) as own:
        own.register([rule], STARTED_AT)
        process = Spool(folder, Overtaken(overtake), SystemIds()).claim()
        key = LeaseKey("all", "", rule.span_of(STARTED_AT).start)
        own.draw(process, [Draw(key, rule.limit, 5, 5, 5, 5)], STARTED_AT)
        go_on.set()
        adopting.join(60)
        assert [] == own.renew(process, [key], STARTED_AT)
    with reading_ledger(sqlite_url) as reader:
        assert [(process, 5)] == [(one.process, one.amount) for one in leases_of(reader, "all")]
