"""What the spool relies on in the machine's files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from pixelmeter.system import SystemClock, SystemFiles, SystemIds

FILES = SystemFiles()


def test_identities_are_ordered_by_time_and_differ_in_a_forked_child() -> None:
    ids = SystemIds()
    mine = [ids.new() for _ in range(100)]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "\n".join(ids.new() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = pipe.read().split("\n")

    assert mine == sorted(mine)
    assert 300 == len({*mine, *theirs, *(ids.new() for _ in range(100))})


def test_the_clock_reads_microseconds() -> None:
    clock = SystemClock()
    before = clock.monotonic()

    assert 1_700_000_000_000_000 < clock.now() < 10_000_000_000_000_000
    assert 0 <= clock.monotonic() - before < 60_000_000


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert [] == list(FILES.list(f"{tmp_path}/missing"))


def test_a_file_is_not_created_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(FileExistsError):
        FILES.create(f"{tmp_path}/link")
    assert not (tmp_path / "target").exists()


def test_a_link_is_not_adopted(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(OSError, match="symbolic link"):
        FILES.adopt(f"{tmp_path}/link")


def test_a_pipe_is_not_adopted_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="not a regular file"):
        FILES.adopt(f"{tmp_path}/pipe")


def test_a_file_that_is_gone_is_not_adopted(tmp_path: Path) -> None:
    assert FILES.adopt(f"{tmp_path}/missing") is None


def test_a_file_removed_while_it_is_being_adopted_is_not_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/file"
    os.close(FILES.create(path))
    lock = fcntl.flock

    def remove_first(descriptor: int, operation: int) -> None:
        os.remove(path)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)

    assert FILES.adopt(path) is None


def test_a_file_adopted_before_its_creator_has_locked_it_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{tmp_path}/file"
    lock = fcntl.flock

    def adopt_first(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        adopted = FILES.adopt(path)
        assert adopted is not None
        FILES.remove(path)
        FILES.close(adopted)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", adopt_first)

    with pytest.raises(FileNotFoundError):
        FILES.create(path)


def test_descriptors_are_not_inherited_by_other_programs(tmp_path: Path) -> None:
    descriptor = FILES.create(f"{tmp_path}/file")

    assert not os.get_inheritable(descriptor)
    FILES.close(descriptor)
