"""Budgets that several processes share hold, whatever happens to the processes, the ledger and the clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.interop.budget_rounds import run_all
from tests.postgres import PROVIDE, Server, Unavailable

ROUNDS = 10


@pytest.fixture
def server_of_its_own() -> Iterator[Server]:
    """A PostgreSQL server that may crash, and keeps what was committed."""
    try:
        server = Server.start({"fsync": "off"})
    except Unavailable as reason:
        unavailable(str(reason), PROVIDE)
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_budget_on_sqlite_holds(tmp_path: Path) -> None:
    seed = time.time_ns() % 1_000_000
    told = run_all(ROUNDS, seed, f"sqlite:///{tmp_path}/ledger.db", str(tmp_path), None, sys.stdout.write)
    assert told["limit"] > 0 < told["200"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_budget_on_postgres_holds(tmp_path: Path, server_of_its_own: Server) -> None:
    seed = time.time_ns() % 1_000_000
    with server_of_its_own.database("budgets") as url:
        told = run_all(ROUNDS, seed, url, str(tmp_path), server_of_its_own, sys.stdout.write)
    assert told["limit"] > 0 < told["200"]
