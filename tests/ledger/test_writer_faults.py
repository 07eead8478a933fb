from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import resource
import signal
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from pixelmeter.errors import LedgerError
from pixelmeter.ledger import postgres, postgres_session, sqlite, sqlite_connections
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.files import write_lock
from pixelmeter.ledger.sqlite import SqliteWriter
from pixelmeter.ledger.writer import Writer, open_writer
from tests.factories import make_attempt
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals
from tests.ledger.unprivileged import run_unprivileged


@pytest.fixture
def impatient(sqlite_url: str) -> Iterator[SqliteWriter]:
    """A writer that gives up waiting at once, on a ledger that is there."""
    with closing(SqliteWriter(read_address(sqlite_url), patience=0.05)) as writer:
        writer.write([make_attempt()], {}, [])
        yield writer


def test_a_batch_that_fails_leaves_nothing_behind(ledger_url: str) -> None:
    good, bad = make_attempt(), make_attempt(cost=2**70)
    with closing(open_writer(ledger_url)) as writer:
        with pytest.raises(LedgerError):
            writer.write([good, bad], {"a": 1}, [])
        left = (writer.positions(["a"]), stored(ledger_url), rollup(ledger_url), totals(ledger_url))
        again = writer.write([good], {"a": 1}, [])

    assert ({}, {}, {}, {}) == left
    assert 1 == again


def test_a_database_locked_by_another_program_is_an_error_that_passes(
    impatient: SqliteWriter, sqlite_url: str, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="database is locked"):
            impatient.write([make_attempt()], {"a": 1}, [])
        other.execute("ROLLBACK")

    assert {} == impatient.positions(["a"])
    assert 1 == impatient.write([make_attempt()], {"a": 1}, [])
    assert 2 == len(stored(sqlite_url))


def test_a_lock_file_held_by_another_writer_is_an_error_that_says_who_waits_for_what(
    impatient: SqliteWriter, tmp_path: Path
) -> None:
    with (
        write_lock(f"{tmp_path}/ledger.db"),
        pytest.raises(LedgerError, match=r"has held .*\.lock for 0\.05"),
    ):
        impatient.write([make_attempt()], {}, [])

    assert 1 == impatient.write([make_attempt()], {}, [])


def test_a_new_ledger_is_made_under_the_file_lock(sqlite_url: str) -> None:
    address = read_address(sqlite_url)

    with write_lock(address.path), pytest.raises(LedgerError, match=r"has held .*\.lock for 0\.05"):
        SqliteWriter(address, patience=0.05).write([make_attempt()], {}, [])


def test_only_the_holder_of_the_file_lock_writes(impatient: SqliteWriter, tmp_path: Path) -> None:
    seen: list[str] = []

    def look(statement: str) -> None:
        if statement.startswith(("BEGIN", "COMMIT")):
            with pytest.raises(LedgerError), write_lock(f"{tmp_path}/ledger.db", patience=0):
                pass
            seen.append(statement.split(maxsplit=1)[0])

    assert impatient._connection is not None
    impatient._connection.set_trace_callback(look)
    impatient.write([make_attempt()], {}, [])

    assert ["BEGIN", "COMMIT"] == seen


def test_a_file_that_is_no_database_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not a database at all, but long enough to be mistaken for one" * 20)

    with pytest.raises(LedgerError, match="file is not a database"):
        open_writer(f"sqlite:///{tmp_path}/ledger.db").write([make_attempt()], {}, [])


def test_a_connection_that_is_let_go_is_not_closed_as_a_forked_child_would_do_it(sqlite_url: str) -> None:
    before = set(sqlite_connections._OPEN)
    writer = SqliteWriter(read_address(sqlite_url))
    writer.write([make_attempt()], {}, [])
    opened = set(sqlite_connections._OPEN) - before

    del writer

    assert 1 == len(opened)
    assert opened <= set(sqlite_connections._OPEN)
    for connection in opened:
        sqlite_connections.close(connection)


WRITE = """
try:
    pixelmeter.ledger.writer.open_writer(url).write([tests.factories.make_attempt()], {}, [])
except pixelmeter.errors.LedgerError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder_mode", "message"), [(0o777, "readonly database"), (0o555, "must exist and be writab")]
)
def test_a_ledger_that_may_not_be_written_is_an_error_that_says_so(
    sqlite_url: str, tmp_path: Path, folder_mode: int, message: str
) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])
    (tmp_path / "ledger.db.lock").unlink()
    (tmp_path / "ledger.db").chmod(0o444)
    tmp_path.chmod(folder_mode)
    try:
        printed = run_unprivileged(WRITE, sqlite_url, tmp_path)
    finally:
        tmp_path.chmod(0o755)

    assert message in printed


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"nowhere/ledger\.db\.lock: No such file"):
        open_writer(f"sqlite:///{tmp_path}/nowhere/ledger.db").write([make_attempt()], {}, [])


@pytest.mark.slow
def test_a_full_disk_loses_nothing_that_was_committed_and_the_writer_goes_on(sqlite_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=fill_the_disk, args=(sqlite_url, theirs))
    process.start()
    theirs.close()
    message, acknowledged = ours.recv()
    process.join()

    assert "disk" in message
    assert acknowledged == set(stored(sqlite_url))
    assert recomputed(sqlite_url) == rollup(sqlite_url)
    assert recomputed_totals(sqlite_url) == totals(sqlite_url)
    with closing(sqlite3.connect(read_address(sqlite_url).path)) as connection:
        assert ("ok",) == connection.execute("PRAGMA integrity_check").fetchone()


def fill_the_disk(url: str, pipe: Connection) -> None:
    """Write until files may not grow any more, let them grow again, and write on."""
    acknowledged: set[str] = set()
    message = ""
    with closing(open_writer(url)) as writer:
        acknowledged |= write_batch(writer)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        while not message:
            try:
                acknowledged |= write_batch(writer)
            except LedgerError as error:
                message = str(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        acknowledged |= write_batch(writer)
    pipe.send((message, acknowledged))


def write_batch(writer: Writer) -> set[str]:
    attempts = [make_attempt() for _ in range(100)]
    writer.write(attempts, {}, [])
    return {attempt.id for attempt in attempts}


class Killed(BaseException):
    """What is thrown into a thread from outside."""


def killer(moment: int) -> Callable[[FrameType, str, object], Any]:
    """Return what ends a thread before the line where a connection is opened or closed, after so many others."""
    left = itertools.count(moment, -1)
    files = {module.__file__ for module in (sqlite, sqlite_connections, postgres, postgres_session)}
    names = {"_open", "_drop", "_opened", "_try", "connect", "close", "keep", "_let_go", "__init__"}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in files or frame.f_code.co_name not in names:
            return None
        if event == "line" and next(left) == 0:
            raise Killed
        return trace

    return trace


@pytest.mark.slow
def test_a_writer_that_is_killed_at_any_line_leaves_its_connection_to_whoever_closes_it(ledger_url: str) -> None:
    path = ledger_url.removeprefix("sqlite:///")
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt()], {}, [])
    before = sys.gettrace()
    for moment in itertools.count():
        writer = open_writer(ledger_url)
        sys.settrace(killer(moment))
        try:
            writer.write([make_attempt()], {}, [])
            writer.close()
            break
        except Killed:
            pass
        finally:
            sys.settrace(before)
        writer.write([make_attempt()], {}, [])
        writer.close()
        del writer
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            gc.collect()
        still_open = [os.readlink(each) for each in Path("/proc/self/fd").glob("*") if each.is_symlink()]
        assert (moment, [], False) == (moment, [str(one.message) for one in told], path in still_open)
    assert moment > 15
