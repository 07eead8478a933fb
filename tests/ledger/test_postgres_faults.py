"""Servers that hang up, locks that are held, clients that stop: what a writer and those beside it make of that."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.errors import LedgerError, RowRefused
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.postgres import PostgresWriter
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals
from tests.ledger.relay import Relay, cut
from tests.ledger.test_writer_postgres import END_OTHERS, WAITING
from tests.postgres import Server

WRITERS = 7
WRITES = 20


@pytest.fixture
def admin(postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection of its own, to look on and to interfere."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def relay(postgres_server: Server) -> Iterator[Relay]:
    """A relay in front of the server."""
    with Relay(postgres_server.port) as relay:
        yield relay


@pytest.fixture(params=[1, 40])
def batch(request: pytest.FixtureRequest) -> list[Attempt]:
    """One attempt, which goes in one message, and many, which are copied first."""
    return [make_attempt() for _ in range(request.param)]


def agree(url: str, *attempts: Attempt) -> None:
    """Check that these attempts are in the ledger, once, and the sums with them."""
    assert {attempt.id for attempt in attempts} == set(stored(url))
    assert recomputed(url) == rollup(url)
    assert recomputed_totals(url) == totals(url)


def test_a_commit_whose_answer_never_came_is_repeated_without_harm(
    relay: Relay, postgres_server: Server, postgres_url: str, admin: psycopg.Connection, batch: list[Attempt]
) -> None:
    def lose_the_answer(message: bytes, client: socket.socket, server: socket.socket) -> None:
        relay.mute = True
        server.sendall(message)
        while admin.execute("SELECT count(*) FROM pixelmeter_attempts").fetchone() != (1 + len(batch),):
            pass
        cut(client)
        relay.mute = False

    first = make_attempt()
    url = postgres_url.replace(f":{postgres_server.port}/", f":{relay.port}/")
    with closing(open_writer(url)) as writer:
        writer.write([first], {"a": 1}, [])
        relay.act(lose_the_answer)
        assert 0 == writer.write(batch, {"a": 2}, [])
        position = writer.positions(["a"])

    assert relay.has_acted
    assert {"a": 2} == position
    agree(postgres_url, first, *batch)


def test_a_server_that_is_gone_at_the_commit_has_it_again(
    relay: Relay, postgres_server: Server, postgres_url: str, batch: list[Attempt]
) -> None:
    def hang_up(_message: bytes, _client: socket.socket, server: socket.socket) -> None:
        cut(server)

    first = make_attempt()
    url = postgres_url.replace(f":{postgres_server.port}/", f":{relay.port}/")
    with closing(open_writer(url)) as writer:
        writer.write([first], {}, [])
        relay.act(hang_up)
        assert len(batch) == writer.write(batch, {"a": 2}, [])

    assert relay.has_acted
    agree(postgres_url, first, *batch)


def test_a_client_that_stops_in_the_middle_of_its_last_message_is_in_nobodys_way(
    relay: Relay, postgres_server: Server, postgres_url: str, batch: list[Attempt]
) -> None:
    stuck, go_on = threading.Event(), threading.Event()

    def stop_before_the_end(message: bytes, _client: socket.socket, server: socket.socket) -> None:
        server.sendall(message[:-1])
        stuck.set()
        assert go_on.wait(100)
        server.sendall(message[-1:])

    first = make_attempt()
    others = [make_attempt() for _ in range(WRITES)]
    url = postgres_url.replace(f":{postgres_server.port}/", f":{relay.port}/")
    with (
        closing(PostgresWriter(read_address(url))) as writer,
        closing(PostgresWriter(read_address(postgres_url))) as other,
        ThreadPoolExecutor() as threads,
    ):
        writer.write([first], {}, [])
        relay.act(stop_before_the_end)
        written = threads.submit(writer.write, batch, {"a": 1}, [])
        assert stuck.wait(100)
        try:
            for attempt in others:
                other.write([attempt], {"b": 1}, [])
            assert not written.done()
        finally:
            go_on.set()
        assert len(batch) == written.result()

    agree(postgres_url, first, *batch, *others)


@contextlib.contextmanager
def frozen(url: str, patience: float, identity: str) -> Iterator[subprocess.Popen[str]]:
    """Give a process that has stopped itself in the middle of its transaction; it goes on afterwards, and ends well."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.ledger.frozen", url, str(patience), identity]
    environment = {**os.environ, "PYTHONPATH": f"{root}/src{os.pathsep}{root}"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=root) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), process.stderr and process.stderr.read()
            yield process
            process.send_signal(signal.SIGCONT)
            _, errors = process.communicate()
            assert (0, "") == (process.returncode, errors)
        finally:
            process.kill()


IN_TRANSACTION = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
)


def wait_for_the_end_of_transactions(admin: psycopg.Connection) -> None:
    """Return once nobody is in one: the server gives back the locks of one that it ends before it forgets it."""
    while admin.execute(IN_TRANSACTION).fetchall():
        threading.Event().wait(0.01)


@pytest.mark.slow
def test_seven_writers_go_on_beside_one_that_was_stopped_inside_its_transaction(
    postgres_url: str, admin: psycopg.Connection
) -> None:
    def write(_: int) -> list[Attempt]:
        attempts = [make_attempt() for _ in range(WRITES)]
        with closing(PostgresWriter(read_address(postgres_url))) as writer:
            for attempt in attempts:
                writer.write([attempt], {attempt.id: 1}, [])
        return attempts

    own = make_attempt()
    with frozen(postgres_url, 600, own.id), ThreadPoolExecutor(WRITERS) as threads:
        stopped = admin.execute(IN_TRANSACTION).fetchall()
        written = [attempt for each in threads.map(write, range(WRITERS)) for attempt in each]
        still = admin.execute(IN_TRANSACTION).fetchall()

    assert WRITERS * WRITES == len(written)
    assert 1 == len(stopped)
    assert stopped == still
    assert {own.id, *(attempt.id for attempt in written)} < set(stored(postgres_url))
    assert recomputed(postgres_url) == rollup(postgres_url)
    assert recomputed_totals(postgres_url) == totals(postgres_url)


@pytest.mark.slow
def test_the_server_ends_the_transaction_of_a_writer_that_stays_stopped_which_then_writes_again(
    postgres_url: str, admin: psycopg.Connection
) -> None:
    own = make_attempt()
    with frozen(postgres_url, 3, own.id):
        # What a migration would wait for.
        admin.execute("BEGIN; LOCK TABLE pixelmeter_attempts IN ACCESS EXCLUSIVE MODE; COMMIT")
        wait_for_the_end_of_transactions(admin)

    assert own.id in stored(postgres_url)
    assert recomputed(postgres_url) == rollup(postgres_url)
    assert recomputed_totals(postgres_url) == totals(postgres_url)


def test_a_lock_that_somebody_holds_is_waited_for_so_long_and_no_longer(
    postgres_url: str, admin: psycopg.Connection, batch: list[Attempt]
) -> None:
    first = make_attempt()
    with closing(PostgresWriter(read_address(postgres_url), patience=2)) as writer:
        writer.write([first], {"a": 1}, [])
        for held in ("LOCK TABLE pixelmeter_deltas IN SHARE MODE", "SELECT FROM pixelmeter_spools FOR UPDATE"):
            with psycopg.connect(postgres_url) as holder:
                holder.execute(held.encode())
                with pytest.raises(LedgerError, match="lock timeout; somebody else has held") as raised:
                    writer.write(batch, {"a": 2}, [])
                assert not isinstance(raised.value, RowRefused)
        wait_for_the_end_of_transactions(admin)
        assert len(batch) == writer.write(batch, {"a": 2}, [])

    agree(postgres_url, first, *batch)


def test_a_writer_that_is_ended_while_it_waits_for_a_lock_begins_again(
    postgres_url: str, admin: psycopg.Connection, batch: list[Attempt]
) -> None:
    first = make_attempt()
    with (
        closing(open_writer(postgres_url)) as writer,
        psycopg.connect(postgres_url) as holder,
        ThreadPoolExecutor() as threads,
    ):
        writer.write([first], {}, [])
        holder.execute("LOCK TABLE pixelmeter_deltas IN SHARE MODE")
        written = threads.submit(writer.write, batch, {"a": 1}, [])
        while admin.execute(WAITING).fetchone() != (1,):
            assert not written.done(), written.result()
        admin.execute(f"{END_OTHERS} AND pid <> {holder.info.backend_pid}".encode())
        while admin.execute(WAITING).fetchone() != (1,):
            assert not written.done(), written.result()
        holder.rollback()
        assert len(batch) == written.result()

    agree(postgres_url, first, *batch)


def test_attempts_that_somebody_else_is_just_adding_are_added_once(
    postgres_url: str, admin: psycopg.Connection, batch: list[Attempt]
) -> None:
    first, new = make_attempt(), make_attempt()
    with (
        closing(open_writer(postgres_url)) as writer,
        closing(open_writer(postgres_url)) as other,
        psycopg.connect(postgres_url) as holder,
        ThreadPoolExecutor() as threads,
    ):
        assert (1, 0) == (writer.write([first], {}, []), other.write([first], {}, []))
        # The other waits with its rows inserted and not committed, so that the writer waits for the other.
        holder.execute("LOCK TABLE pixelmeter_deltas IN SHARE MODE")
        added = threads.submit(other.write, batch, {}, [])
        while admin.execute(WAITING).fetchone() != (1,):
            assert not added.done(), added.result()
        written = threads.submit(writer.write, [*batch, new], {"a": 1}, [])
        while admin.execute(WAITING).fetchone() != (2,):
            assert not written.done(), written.result()
        holder.rollback()
        assert (len(batch), 1) == (added.result(), written.result())

    agree(postgres_url, first, new, *batch)


def test_statements_that_the_server_has_forgotten_are_sent_in_full(postgres_url: str, batch: list[Attempt]) -> None:
    first, last = make_attempt(), make_attempt()
    with closing(PostgresWriter(read_address(postgres_url))) as writer:
        for attempts in ([first], batch, [last]):
            writer.write(attempts, {"a": 1}, [])
            assert writer._session is not None
            writer._session.connection.execute("DISCARD ALL")

    agree(postgres_url, first, last, *batch)
