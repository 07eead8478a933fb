"""Each hazard is met twice, by a bare client and by a metered one, on every library, sync and async."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from pixelmeter import Meter
from pixelmeter.testing import Gateway
from tests.clients import Kit
from tests.hazards.pair import Pair, Record
from tests.kits import ALL


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test the way its kit runs things, which for a sync client is: straight through."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    kit = cast("Kit", pyfuncitem.funcargs["kit"])
    kit.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(params=ALL, ids=str)
def kit(request: pytest.FixtureRequest) -> Kit:
    """Each library, sync and async; a test that cannot be met on all says by `tests.kits.on` what it needs."""
    kit: Kit = request.param
    return kit


@pytest.fixture(scope="session")
def shared_meter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Meter, Record]]:
    """One meter for all tests of a worker; in the end its ledger must hold every attempt that they saw, once."""
    folder: Path = tmp_path_factory.mktemp("hazards")
    record = Record()
    gateways = {"127.0.0.1:*": "aigateway", "mock.test": "aigateway", "localhost:*": "openai"}
    meter = Meter(f"sqlite:///{folder}/ledger.db", gateways=gateways, sinks=[record])
    yield meter, record
    assert meter.close(10)
    if not record.everything:
        return
    connection = sqlite3.connect(folder / "ledger.db")
    try:
        rows = connection.execute("select id, outcome from pixelmeter_attempts").fetchall()
    finally:
        connection.close()
    assert sorted((attempt.id, attempt.outcome) for attempt in record.everything) == sorted(rows)


@pytest.fixture
def pair(kit: Kit, gateway: Gateway, shared_meter: tuple[Meter, Record]) -> Iterator[Pair]:
    """The bare and the metered side of a test; nothing of ours may have failed when it is over."""
    meter, record = shared_meter
    assert meter.flush(10)
    record.latest = []
    before = dict(meter.status()["failures"])
    yield Pair(kit, gateway, meter, record)
    assert before == meter.status()["failures"]
