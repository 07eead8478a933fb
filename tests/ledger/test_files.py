"""Who can read a SQLite ledger, and who can hold up its writers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pixelmeter.errors import LedgerError
from pixelmeter.ledger import migrate
from pixelmeter.ledger.files import write_lock
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.users import NOBODY, SOMEBODY, as_user, needs_root


@pytest.fixture(params=[0o000, 0o022, 0o077])
def any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


PRIVATE = {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600, "ledger.db.lock": 0o600}


@pytest.mark.usefixtures("any_umask")
def test_a_ledger_that_is_made_is_its_user_s_alone_and_so_is_what_lies_beside_it(
    sqlite_url: str, tmp_path: Path
) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])
        assert PRIVATE == modes(tmp_path)


@pytest.mark.usefixtures("any_umask")
def test_a_ledger_that_a_command_makes_is_private_too(sqlite_url: str, tmp_path: Path) -> None:
    migrate.upgrade(sqlite_url)

    assert {0o600} == set(modes(tmp_path).values())


def test_a_ledger_that_its_owner_shares_stays_shared_with_all_that_lies_beside_it(
    sqlite_url: str, tmp_path: Path
) -> None:
    migrate.upgrade(sqlite_url)
    (tmp_path / "ledger.db").chmod(0o660)
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])
        assert {0o660} == set(modes(tmp_path).values())


def test_a_lock_that_an_older_version_left_open_to_all_is_closed_by_the_next_write(
    sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "ledger.db.lock").touch()
    (tmp_path / "ledger.db.lock").chmod(0o644)
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])

    assert 0o600 == modes(tmp_path)["ledger.db.lock"]


@pytest.mark.slow
@needs_root
def test_a_stranger_cannot_hold_the_lock(sqlite_url: str, tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY, NOBODY)
    tmp_path.chmod(0o755)
    path = f"{tmp_path}/ledger.db"

    def write() -> None:
        with closing(open_writer(sqlite_url)) as writer:
            writer.write([make_attempt()], {}, [])

    def hold() -> None:
        with write_lock(path, patience=0):
            pass

    as_user(NOBODY, write, tmp_path)

    with pytest.raises(LedgerError, match="cannot lock the ledger"):
        as_user(SOMEBODY, hold, tmp_path)
    with pytest.raises(PermissionError):
        as_user(SOMEBODY, lambda: os.close(os.open(f"{path}.lock", os.O_RDONLY)), tmp_path)


@needs_root
def test_a_lock_that_root_makes_does_not_lock_out_the_owner_of_the_ledger(sqlite_url: str, tmp_path: Path) -> None:
    migrate.upgrade(sqlite_url)
    (tmp_path / "ledger.db.lock").unlink()
    for path in (tmp_path, tmp_path / "ledger.db"):
        os.chown(path, SOMEBODY, NOBODY)
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])

    lock = (tmp_path / "ledger.db.lock").stat()
    assert (SOMEBODY, NOBODY, 0o600) == (lock.st_uid, lock.st_gid, stat.S_IMODE(lock.st_mode))


@needs_root
def test_a_lock_that_cannot_be_of_the_ledger_s_group_is_for_no_group(sqlite_url: str, tmp_path: Path) -> None:
    migrate.upgrade(sqlite_url)
    path = f"{tmp_path}/ledger.db"
    (tmp_path / "ledger.db.lock").unlink()
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    os.chown(path, NOBODY, 54321)
    Path(path).chmod(0o660)

    def hold() -> None:
        with write_lock(path, patience=0):
            pass

    as_user(SOMEBODY, hold, tmp_path)
    assert 0o600 == modes(tmp_path)["ledger.db.lock"]
