"""What dead processes leave, and who takes it."""

from __future__ import annotations

import errno
import os
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from pixelmeter.core.record import Attempt
from pixelmeter.drain import GROUP, Drain, Writer
from pixelmeter.errors import LedgerError
from pixelmeter.spool import Spool
from pixelmeter.spool.frames import OUTCOME, encode
from pixelmeter.system import SystemFiles, SystemIds
from tests.drain.ledger import outcomes, positions, rolled_up
from tests.factories import make_attempt
from tests.faults.files import FaultyFiles

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
    assert (12, 2) == (heir.status().adopted, heir.status().interrupted)
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
    assert ([], None) == (list(FILES.list(folder)), heir.status().last_error)


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


def test_large_estates_are_committed_in_groups(folder: str, heir: Drain, sqlite_url: str) -> None:
    expected = leave(Spool(folder, FILES, SystemIds()), ended=GROUP + 20, cut_off=GROUP + 10)

    assert 2 * GROUP + 30 == heir.adopt()
    assert expected == outcomes(sqlite_url)
    assert [] == list(FILES.list(folder))


@pytest.mark.parametrize("commits", range(4))
def test_an_adoption_that_the_ledger_breaks_off_can_be_repeated(
    folder: str, writer: Writer, sqlite_url: str, commits: int
) -> None:
    class Failing:
        def __init__(self) -> None:
            self.left = commits

        def positions(self, names: Sequence[str]) -> Mapping[str, int]:
            return writer.positions(names)

        def write(self, attempts: Sequence[Attempt], positions: Mapping[str, int], finished: Sequence[str]) -> int:
            if not self.left:
                raise LedgerError("the database went away")
            self.left -= 1
            return writer.write(attempts, positions, finished)

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
    assert (garbage.name,) == heir.status().unreadable
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
    assert (names[-1],) == heir.status().unreadable


def test_a_file_that_cannot_be_read_decides_nothing(spool: Spool, folder: str, writer: Writer, sqlite_url: str) -> None:
    expected = leave(spool)
    names = FILES.list(folder)
    files = FaultyFiles()
    heir = Drain(Spool(folder, files, SystemIds()), files, folder, writer)
    files.break_("read", errno.EIO)

    assert 0 == heir.adopt()
    assert ({}, names) == (outcomes(sqlite_url), FILES.list(folder))
    assert set(names) == set(heir.status().unreadable)
    files.heal()
    assert 12 == heir.adopt()
    assert expected == outcomes(sqlite_url)
    assert () == heir.status().unreadable


def test_links_pipes_folders_and_foreign_names_are_left_alone(heir: Drain, folder: str, tmp_path: Path) -> None:
    FILES.make_folder(folder)
    names = [f"{SystemIds().new()}-000001.spool" for _ in range(3)]
    (tmp_path / "secret").write_bytes(encode(OUTCOME, make_attempt()))
    Path(folder, names[0]).symlink_to(tmp_path / "secret")
    os.mkfifo(Path(folder, names[1]))
    Path(folder, names[2]).mkdir()
    Path(folder, "..spool").write_bytes(b"x")

    assert 0 == heir.adopt()
    assert set(names) == set(heir.status().unreadable)
    assert 4 == len(FILES.list(folder))


def test_an_empty_file_of_a_dead_process_is_removed(heir: Drain, folder: str) -> None:
    FILES.make_folder(folder)
    FILES.close(FILES.create(f"{folder}/{SystemIds().new()}-000001.spool"))
    heir.adopt()

    assert [] == list(FILES.list(folder))


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
