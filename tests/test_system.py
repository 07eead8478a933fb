"""What the spool relies on in the machine's files."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixelmeter.system import SystemClock, SystemFiles, SystemIds, distrusted
from tests.users import NOBODY, SOMEBODY, as_user, needs_root

FILES = SystemFiles()


@pytest.fixture(params=[0o000, 0o022, 0o077])
def any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


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


@pytest.mark.usefixtures("any_umask")
def test_folders_that_are_made_are_private_whatever_the_umask(tmp_path: Path) -> None:
    FILES.make_folder(f"{tmp_path}/state/spools/ledger")

    folders = [tmp_path / "state", tmp_path / "state/spools", tmp_path / "state/spools/ledger"]
    assert [0o700] * 3 == [stat.S_IMODE(folder.stat().st_mode) for folder in folders]


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(NotADirectoryError):
        FILES.make_folder(f"{tmp_path}/file/spool")


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (0o700, None),
        (0o755, None),
        (0o1777, None),
        (0o777, "everybody can write"),
        (0o702, "everybody can write"),
        (0o2777, "everybody can write"),
    ],
)
def test_a_folder_that_everybody_can_take_files_from_is_refused(tmp_path: Path, mode: int, told: str | None) -> None:
    tmp_path.chmod(mode)

    if told is None:
        FILES.make_folder(str(tmp_path))
    else:
        with pytest.raises(PermissionError, match=told):
            FILES.make_folder(str(tmp_path))


@needs_root
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_a_folder_of_another_user_is_refused_whatever_its_mode(tmp_path: Path, mode: int) -> None:
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    tmp_path.chmod(mode)
    told = as_user(NOBODY, lambda: distrusted(str(tmp_path)), tmp_path)

    assert f"the spool folder belongs to another user (id {SOMEBODY})" == told


@needs_root
def test_a_link_of_another_user_is_refused_also_to_a_folder_of_our_own(tmp_path: Path) -> None:
    link, folder = tmp_path / "link", tmp_path / "folder"
    folder.mkdir(0o700)
    os.chown(folder, NOBODY, NOBODY)
    link.symlink_to(folder)
    for owner, trusted in ((SOMEBODY, False), (NOBODY, True), (0, True)):
        os.lchown(link, owner, owner)
        told = as_user(NOBODY, lambda: distrusted(str(link)), folder)
        assert trusted == (told is None)


@needs_root
def test_the_group_of_a_volume_that_a_container_was_given_is_nobody_else(tmp_path: Path) -> None:
    """Kubernetes gives a volume to `fsGroup`, a number that the container has and no file names."""
    os.chown(tmp_path, 0, 54321)
    tmp_path.chmod(0o2770)
    inside = as_user(SOMEBODY, lambda: distrusted(str(tmp_path)), tmp_path, groups=[54321])
    outside = as_user(SOMEBODY, lambda: distrusted(str(tmp_path)), tmp_path)

    assert (None, "the group 54321 can write to the spool folder") == (inside, outside)


@needs_root
def test_a_user_s_own_group_is_nobody_else_and_one_that_others_are_in_is(tmp_path: Path) -> None:
    groups: dict[int, list[int]] = {}
    for entry in pwd.getpwall():
        groups.setdefault(entry.pw_gid, []).append(entry.pw_uid)
    named = {group.gr_gid for group in grp.getgrall() if group.gr_mem}
    own = next((users[0], gid) for gid, users in groups.items() if len(users) == 1 and users[0] and gid not in named)
    tmp_path.chmod(0o775)
    os.chown(tmp_path, *own)
    alone = as_user(own[0], lambda: distrusted(str(tmp_path)), tmp_path, group=own[1])
    os.chown(tmp_path, SOMEBODY, own[1])
    shared = as_user(SOMEBODY, lambda: distrusted(str(tmp_path)), tmp_path, group=own[1])

    assert (None, f"the group {own[1]} can write to the spool folder") == (alone, shared)


@needs_root
def test_root_trusts_whoever_owns_the_folder_but_not_everybody(tmp_path: Path) -> None:
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    tmp_path.chmod(0o770)
    assert distrusted(str(tmp_path)) is None
    tmp_path.chmod(0o777)
    assert "everybody can write to the spool folder" == distrusted(str(tmp_path))


@needs_root
def test_a_file_of_another_user_is_adopted_by_nobody_but_root(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    path = f"{tmp_path}/file"
    Path(path).touch(0o666)
    Path(path).chmod(0o666)
    os.chown(path, SOMEBODY, SOMEBODY)

    with pytest.raises(PermissionError, match="belongs to another user") as raised:
        as_user(NOBODY, lambda: FILES.adopt(path), tmp_path)
    assert errno.EPERM == raised.value.errno
    descriptor = FILES.adopt(path)
    assert descriptor is not None
    FILES.close(descriptor)


def test_a_file_is_extended_at_its_end_under_its_lock(tmp_path: Path) -> None:
    path = f"{tmp_path}/file"
    descriptor = FILES.create(path)
    FILES.append(descriptor, b"one ")
    assert FILES.extend(path) is None
    FILES.close(descriptor)
    again = FILES.extend(path)
    assert again is not None
    FILES.append(again, b"two")
    FILES.close(again)

    assert b"one two" == Path(path).read_bytes()


def test_a_file_that_is_discarded_is_gone_before_its_lock_is(tmp_path: Path) -> None:
    path = f"{tmp_path}/file"
    descriptor = FILES.create(path)
    FILES.discard(path, descriptor)

    assert (False, None) == (FILES.exists(path), FILES.adopt(path))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
