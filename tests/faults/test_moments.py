"""A ledger that was away for a moment, or hung up on an idle program, is no reason to leave a call in the spool."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from pixelmeter.ledger import migrate
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import changing
from pixelmeter.meter import Meter
from pixelmeter.testing.handle import Gateway
from tests.conftest import unavailable
from tests.faults.books import Books
from tests.faults.support import Place, call
from tests.ledger.reading import stored
from tests.ledger.test_writer_postgres import END_OTHERS
from tests.postgres import PROVIDE, Server, Unavailable

pytestmark = pytest.mark.slow

CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def place(gateway: Gateway, new_url: str, tmp_path: Path) -> Place:
    """A gateway, a ledger that does not exist yet on each database, and a spool folder."""
    return Place(gateway.url, new_url, str(tmp_path / "spool"))


@pytest.fixture
def on_postgres(gateway: Gateway, postgres_url: str, tmp_path: Path) -> Place:
    """The same, on PostgreSQL alone."""
    return Place(gateway.url, postgres_url, str(tmp_path / "spool"))


@pytest.fixture
def server() -> Iterator[Server]:
    """A PostgreSQL server that a test may stop."""
    try:
        server = Server.start({})
    except Unavailable as reason:
        unavailable(str(reason), PROVIDE)
        raise
    yield server
    server.stop()


def test_the_first_flush_after_the_server_hung_up_brings_the_call_into_the_ledger(on_postgres: Place) -> None:
    with (
        closing(on_postgres.meter()) as meter,
        psycopg.connect(on_postgres.ledger, autocommit=True) as admin,
    ):
        for number in range(5):
            call(on_postgres, meter, f"call-{number}")
            assert meter.flush(60)
            admin.execute(END_OTHERS)
        assert {} == meter.status()["failures"]

    assert 5 == len(stored(on_postgres.ledger))


def test_so_it_does_where_the_server_ends_idle_sessions(on_postgres: Place) -> None:
    with (
        closing(on_postgres.meter()) as meter,
        psycopg.connect(on_postgres.ledger, autocommit=True) as admin,
    ):
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET idle_session_timeout = '50ms'".encode())
        for number in range(5):
            call(on_postgres, meter, f"call-{number}")
            assert meter.flush(60)
            while admin.execute(CONNECTED).fetchone() != (0,):
                pass
        assert {} == meter.status()["failures"]

    assert 5 == len(stored(on_postgres.ledger))


def test_so_it_does_after_a_restart_and_while_the_server_is_being_restarted(
    server: Server, gateway: Gateway, tmp_path: Path
) -> None:
    place = Place(gateway.url, server.url(), str(tmp_path / "spool"))
    with closing(place.meter()) as meter, ThreadPoolExecutor() as threads:
        call(place, meter, "before")
        assert meter.flush(60)
        server.crash()
        server.resume()
        call(place, meter, "after")
        assert meter.flush(60)
        assert {} == meter.status()["failures"]
        server.crash()
        call(place, meter, "meanwhile")
        flushed = threads.submit(meter.flush, 100)
        wait_for_error(meter)
        server.resume()
        assert flushed.result()

    Books.read(place.ledger, gateway.billing()).check()


END = """
import sys
import psycopg
from tests.faults.support import Place, call
from tests.ledger.test_writer_postgres import END_OTHERS

place = Place(*sys.argv[1:])
meter = place.meter()
call(place, meter, "first")
assert meter.flush(60)
with psycopg.connect(place.ledger, autocommit=True) as admin:
    admin.execute(END_OTHERS)
call(place, meter, "last")
"""


def test_a_program_that_ends_normally_leaves_no_call_in_the_spool_though_the_server_hung_up(
    on_postgres: Place,
) -> None:
    command = [sys.executable, "-c", END, on_postgres.gateway, on_postgres.ledger, on_postgres.spool]
    ended = subprocess.run(command, capture_output=True, text=True)

    assert (0, "") == (ended.returncode, ended.stderr)
    assert 2 == len(stored(on_postgres.ledger))
    assert [] == list(Path(on_postgres.spool).rglob("*.spool"))


@pytest.mark.parametrize("wait", [Meter.flush, Meter.close])
def test_flush_and_close_go_on_trying_while_the_ledger_refuses(
    place: Place, wait: Callable[[Meter, float], bool]
) -> None:
    def say(revision: str) -> None:
        with changing(read_address(place.ledger)) as connection:
            connection.execute(text("UPDATE pixelmeter_schema SET version_num = :revision"), {"revision": revision})

    migrate.upgrade(place.ledger)
    with closing(place.meter()) as meter, ThreadPoolExecutor() as threads:
        say("9999")
        call(place, meter, "during")
        waited = threads.submit(wait, meter, 100)
        wait_for_error(meter)
        assert not waited.done()
        say(migrate.head())
        assert waited.result()

    assert 1 == len(stored(place.ledger))
    assert [] == list(Path(place.spool).rglob("*.spool"))


def wait_for_error(meter: Meter) -> None:
    """Return when the writer has been refused by its ledger."""
    while meter.status()["ledger_error"] is None:
        pass
