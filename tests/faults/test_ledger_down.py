"""While the ledger or the disk refuses, calls go on, `status` says what is wrong, and nothing is missing afterwards."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pixelmeter.ledger import migrate, version
from pixelmeter.meter import Meter, intake_of
from pixelmeter.testing.handle import Gateway
from tests.conftest import unavailable
from tests.faults.books import Books
from tests.faults.support import Place, call
from tests.faults.troubles import NOBODY
from tests.postgres import PROVIDE, Server, Unavailable


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A PostgreSQL server that tests may stop."""
    try:
        # Not the settings of other tests: a server that does not sync forgets what it had committed when it crashes.
        server = Server.start({})
    except Unavailable as reason:
        unavailable(str(reason), PROVIDE)
        raise
    yield server
    server.stop()


def check(place: Place, gateway: Gateway, *tags: str) -> None:
    """Compare the ledger with the bill; these tags and no others are in it."""
    books = Books.read(place.ledger, gateway.billing())
    books.check()
    assert set(tags) == set(books.by_tag)


def refused(place: Place, meter: Meter, tag: str) -> str:
    """Call while the ledger refuses; return what `status` says of it."""
    assert 200 == call(place, meter, tag)
    assert not meter.flush(0.5)
    while meter.status()["ledger_error"] is None:
        assert not meter.flush(0.5)
    return str(meter.status()["ledger_error"])


def taken(place: Place, meter: Meter, tag: str) -> None:
    """Call when all is well again; everything is brought into the ledger."""
    assert 200 == call(place, meter, tag)
    assert meter.flush(30)
    assert meter.status()["ledger_error"] is None
    assert meter.close(60)
    assert [] == list(Path(place.spool).rglob("*.spool"))


@pytest.mark.slow
def test_a_postgres_that_is_stopped_and_started_again_gets_everything(
    server: Server, place: Place, gateway: Gateway
) -> None:
    with server.database("stopped") as url:
        place = Place(place.gateway, url, place.spool)
        meter = place.meter()
        server.crash()
        try:
            assert "refused" in refused(place, meter, "down-from-the-start")
        finally:
            server.resume()
        call(place, meter, "up")
        assert meter.flush(30)
        server.crash()
        try:
            assert "cannot be used" in refused(place, meter, "down-again")
        finally:
            server.resume()
        taken(place, meter, "up-again")
        check(place, gateway, "down-from-the-start", "up", "down-again", "up-again")


@pytest.mark.slow
def test_a_wrong_password_is_told_and_never_shown(
    server: Server, place: Place, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "swordfish-4711"
    with server.database("locked_out") as url:
        meter = Place(place.gateway, server.url("locked_out", secret), place.spool).meter()
        told = refused(place, meter, "during")
        assert "password authentication failed" in told
        doctor = subprocess.run(
            [sys.executable, "-m", "pixelmeter", "doctor", "--database-url", meter.database_url],
            capture_output=True,
            text=True,
        )
        shown = [told, str(meter.status()), repr(meter), str(vars(intake_of(meter).failures)), caplog.text]
        assert all(secret not in text for text in [*shown, doctor.stdout, doctor.stderr])
        assert (1, True) == (doctor.returncode, "password authentication failed" in doctor.stdout)
        assert not meter.close(0.5)
        # What it could not write is in the spool of a living process, and this one is still alive.
        with _superuser(url) as admin:
            admin.execute(f"ALTER USER postgres PASSWORD '{secret}'")
            taken(place, meter, "after")
            admin.execute("ALTER USER postgres PASSWORD 'correct-horse-battery'")
        check(Place(place.gateway, url, place.spool), gateway, "during", "after")


@contextlib.contextmanager
def _superuser(url: str) -> Iterator[Any]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def test_a_sqlite_file_that_somebody_else_has_locked_is_waited_for(place: Place, gateway: Gateway) -> None:
    meter = place.meter()
    call(place, meter, "before")
    assert meter.flush(20)
    with contextlib.closing(_sqlite(place)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert 200 == call(place, meter, "during")
        assert not meter.flush(1)
        other.execute("COMMIT")
    taken(place, meter, "after")
    check(place, gateway, "before", "during", "after")


def test_a_ledger_of_a_newer_version_is_left_alone_until_it_fits(place: Place, gateway: Gateway) -> None:
    migrate.upgrade(place.ledger)
    meter = place.meter()
    with contextlib.closing(_sqlite(place)) as other:
        other.execute("UPDATE pixelmeter_schema SET version_num = '9999'")
        assert "pip install --upgrade pixelmeter" in refused(place, meter, "during")
        other.execute("UPDATE pixelmeter_schema SET version_num = ?", (migrate.head(),))
    taken(place, meter, "after")
    check(place, gateway, "during", "after")


def test_an_outdated_ledger_is_left_alone_and_the_command_is_named(
    place: Place, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = migrate.upgrade(place.ledger).head
    meter = place.meter()
    with monkeypatch.context() as newer:
        newer.setattr(version, "revisions", lambda: (head, "9999"))
        assert "run `pixelmeter db upgrade`" in refused(place, meter, "during")
    taken(place, meter, "after")
    check(place, gateway, "during", "after")


def test_a_spool_folder_that_is_deleted_costs_nothing_while_the_process_lives(place: Place, gateway: Gateway) -> None:
    migrate.upgrade(place.ledger)
    meter = place.meter()
    with contextlib.closing(_sqlite(place)) as other:
        other.execute("UPDATE pixelmeter_schema SET version_num = '9999'")
        refused(place, meter, "during")
        shutil.rmtree(place.spool)
        refused(place, meter, "without-a-folder")
        other.execute("UPDATE pixelmeter_schema SET version_num = ?", (migrate.head(),))
    taken(place, meter, "after")
    check(place, gateway, "during", "without-a-folder", "after")


def test_a_spool_that_cannot_be_made_leaves_memory_and_the_ledger(
    gateway: Gateway, sqlite_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    place = Place(gateway.url, sqlite_url, str(tmp_path / "file" / "spool"))
    meter = place.meter()
    assert 200 == call(place, meter, "a")
    assert meter.flush(20)
    spool = meter.status()["spool"]
    assert (1, 0, "NotADirectoryError: Not a directory") == (
        spool["missed_intents"],
        spool["dropped"],
        spool["last_error"],
    )
    assert meter.close(60)
    check(place, gateway, "a")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "ledger_error", "missed_intents", "spool_error"),
    [
        ("cannot_write_the_ledger", "attempt to write a readonly database", 0, None),
        ("cannot_write_the_spool", None, 3, "PermissionError: Permission denied"),
        ("has_a_full_disk", "disk I/O error", 3, "OSError: the disk took a part of a frame"),
    ],
)
def test_a_disk_that_refuses_for_a_while_costs_nothing(
    gateway: Gateway,
    tmp_path: Path,
    trouble: str,
    ledger_error: str | None,
    missed_intents: int,
    spool_error: str | None,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
        for parent in (tmp_path, *tmp_path.parents):
            if not parent.stat().st_mode & 0o001:
                parent.chmod(0o711)
    place = Place(gateway.url, f"sqlite:///{home}/ledger.db", str(home / "spool"))
    command = [sys.executable, "-m", "tests.faults.troubles", trouble, place.gateway, place.ledger, place.spool]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 0 == ended.returncode, ended.stderr

    during, after = (json.loads(line) for line in ended.stdout.splitlines())
    assert ([200, 200, 200], ledger_error is None) == (during["answers"], during["flushed"])
    assert (ledger_error or "None") in str(during["ledger_error"])
    assert (missed_intents, 0, spool_error) == tuple(
        during["spool"][name] for name in ("missed_intents", "dropped", "last_error")
    )
    assert ([200], True, None) == (after["answers"], after["flushed"], after["ledger_error"])
    check(place, gateway, "before", "during-0", "during-1", "during-2", "after")


def _sqlite(place: Place) -> sqlite3.Connection:
    return sqlite3.connect(place.ledger.removeprefix("sqlite:///"), isolation_level=None)
