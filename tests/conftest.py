"""Fixtures that every test may use: databases that are real, and a clock that is not."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import ensure_schema
from pixelmeter.testing import Gateway
from tests import effort
from tests.factories import STARTED_AT
from tests.postgres import PROVIDE, Server, Unavailable, shared_server

effort.load_profile()

# A statement is tried on both; by day what runs on either runs on the one that takes a fifth of the time.
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]

# Each client reads all certificates that it is to trust, which takes longer than most tests; here nobody needs any.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("nobody.pem"))


def pytest_configure() -> None:
    """A shell without job control has what it starts in the background ignore Ctrl-C; programs of tests must not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Modules and collected tests stay until the end: each collection of garbage would look through them anew."""
    gc.collect()
    gc.freeze()


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int = STARTED_AT) -> None:
        self._now = now
        self._monotonic = 0

    def now(self) -> int:
        return self._now

    def monotonic(self) -> int:
        return self._monotonic

    def advance(self, microseconds: int) -> None:
        """Let time pass, on both readings."""
        self._now += microseconds
        self._monotonic += microseconds

    def set(self, now: int) -> None:
        """Have another time of day, as when somebody sets the clock; no time passes by that."""
        self._now = now


@pytest.fixture
def clock() -> FakeClock:
    """A clock at STARTED_AT that moves by `advance` only."""
    return FakeClock()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait for a lease of a budget however slow the ledger is to answer, as on a busy machine."""
    monkeypatch.setattr("pixelmeter.budgets.admission.WAIT_SECONDS", 60)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage is collected unless the test says so: a finalizer fails where a deep document leaves no stack."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite ledger that does not exist yet."""
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The PostgreSQL server of this run, shared by all workers; never stop it in a test."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    try:
        with shared_server(folder) as server:
            yield server
    except Unavailable as reason:
        unavailable(str(reason), PROVIDE)


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """The URL of a new, empty PostgreSQL database, dropped after the test."""
    with postgres_server.database(f"test_{uuid.uuid4().hex}") as url:
        yield url


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest) -> str:
    """The URL of a ledger that does not exist yet, once on each database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def sqlite_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger without a row, made once, because that takes longer than most tests."""
    path = tmp_path_factory.mktemp("original") / "ledger.db"
    ensure_schema(read_address(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_copy(sqlite_original: Path, sqlite_url: str) -> str:
    """The URL of a copy of `sqlite_original`."""
    shutil.copy(sqlite_original, sqlite_url.removeprefix("sqlite:///"))
    return sqlite_url


@pytest.fixture(scope="session")
def postgres_original(postgres_server: Server) -> Iterator[str]:
    """The name of a PostgreSQL database that has a ledger without a row, made once as `sqlite_original` is."""
    name = f"original_{uuid.uuid4().hex}"
    with postgres_server.database(name) as url:
        ensure_schema(read_address(url))
        yield name


@pytest.fixture
def postgres_copy(postgres_server: Server, postgres_original: str) -> Iterator[str]:
    """The URL of a copy of `postgres_original`, dropped after the test."""
    with postgres_server.database(f"test_{uuid.uuid4().hex}", template=postgres_original) as url:
        yield url


@pytest.fixture(params=DATABASES)
def ledger_url(request: pytest.FixtureRequest) -> str:
    """The URL of a ledger without a row, once on each database."""
    url: str = request.getfixturevalue(f"{request.param}_copy")
    return url


@pytest.fixture(scope="session")
def shared_gateway() -> Iterator[Gateway]:
    """The process behind `gateway`."""
    with Gateway(seed=7) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Gateway:
    """A gateway that nobody has told anything yet, with an empty billing log."""
    shared_gateway.reset()
    return shared_gateway


def unavailable(reason: str, command: str) -> NoReturn:
    """Skip the test, saying what would provide what it lacks; fail instead where PIXELMETER_TEST_STRICT is 1."""
    message = f"{reason}; to provide it: {command}"
    if os.environ.get("PIXELMETER_TEST_STRICT") == "1":
        pytest.fail(message)
    pytest.skip(message)
