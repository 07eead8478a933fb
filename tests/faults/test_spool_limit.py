"""A spool that is full drops new attempts: callers notice nothing, and it goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

import pixelmeter
from pixelmeter.ledger import migrate
from pixelmeter.meter import Meter
from pixelmeter.recorder import writing
from pixelmeter.settings import Settings
from pixelmeter.system import SystemFiles, SystemIds
from pixelmeter.testing.handle import Gateway
from pixelmeter.upkeep import adopt
from tests.drain.ledger import outcomes
from tests.faults.books import Books
from tests.faults.support import GATEWAYS, PROCESSES, Place, call

pytestmark = pytest.mark.usefixtures("patient")

FILES = SystemFiles()
LIMIT = 1 << 20
BUDGET = pixelmeter.Budget("0.03", name="b", action="block", on_unavailable="block", thresholds=())


class Neighbour:
    """Another process that holds a part of the folder."""

    def __init__(self, folder: str) -> None:
        FILES.make_folder(folder)
        self.descriptor = FILES.create(f"{folder}/{SystemIds().new()}-000001.spool")
        self.hold(0)

    def hold(self, size: int) -> None:
        os.ftruncate(self.descriptor, size)


@pytest.fixture
def limited(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose spool takes a megabyte, and whose ledger is there."""
    monkeypatch.setenv("PIXELMETER_SPOOL_LIMIT", "1M")
    monkeypatch.setattr(writing, "_LOOK_EVERY", 0)
    migrate.upgrade(place.ledger)
    return place


@contextlib.contextmanager
def away(place: Place) -> Iterator[None]:
    """Have the ledger refuse all that is written to it."""
    with contextlib.closing(sqlite3.connect(place.ledger.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("UPDATE pixelmeter_schema SET version_num = '9999'")
        yield
        other.execute("UPDATE pixelmeter_schema SET version_num = ?", (migrate.head(),))


def usd(cents: int) -> int:
    return cents * 10_000_000


def ballast(meter: Meter) -> None:
    """Fill the folder with what the ledger refuses."""
    FILES.make_folder(folder_of(meter))
    Path(f"{folder_of(meter)}/{SystemIds().new()}-000001.a-reason.refused").write_bytes(bytes(LIMIT))


def folder_of(meter: Meter) -> str:
    return str(meter.status()["spool_dir"])


async def call_async(place: Place, meter: Meter, tag: str) -> int:
    async with pixelmeter.instrument(httpx.AsyncClient(), meter) as client:
        with pixelmeter.tags(aig_tag=tag):
            body = {"model": "meta/sam-3-1-image", "prompt": "fog"}
            return (await client.post(f"{place.gateway}/images/generations", json=body)).status_code


@pytest.mark.slow
def test_callers_notice_nothing_and_recording_goes_on_when_there_is_room(
    limited: Place, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    meter = Meter(limited.ledger, gateways=GATEWAYS, spool_dir=limited.spool, registry=registry)
    other = Neighbour(folder_of(meter))
    with away(limited):
        assert 200 == call(limited, meter, "before")
        other.hold(LIMIT)
        while meter.status()["spool"]["held"] < LIMIT:
            meter.flush(0.1)
        for number in range(5):
            assert 200 == call(limited, meter, f"beyond-{number}")
            assert 200 == asyncio.run(call_async(limited, meter, f"beyond-async-{number}"))
        meter.flush(0.1)
        status = meter.status()
        assert (10, 1) == (status["spool"]["dropped"], status["waiting"])
        assert status["spool"]["dropped_cost"] == sum(
            entry["charged_nano"] for entry in gateway.billing() if entry["tag"].startswith("beyond")
        )
        assert 10 == registry.get_sample_value("pixelmeter_dropped_records_total")
        assert (registry.get_sample_value("pixelmeter_spool_used_ratio") or 0) > 1
        other.hold(0)
        while meter.status()["spool"]["held"] >= LIMIT:
            meter.flush(0.1)
        assert 200 == call(limited, meter, "after")
    assert meter.close(60)
    books = Books.read(limited.ledger, gateway.billing())
    assert {"before", "after"} == {*books.by_tag}
    lines = [record.getMessage() for record in caplog.records if "spool" in record.getMessage()]
    assert 1 == len([line for line in lines if "PIXELMETER_SPOOL_LIMIT" in line])
    FILES.close(other.descriptor)


def test_a_folder_that_is_full_when_a_program_starts_takes_nothing_of_it(limited: Place, gateway: Gateway) -> None:
    meter = limited.meter()
    ballast(meter)
    with away(limited):
        assert 200 == call(limited, meter, "a")
        assert (1, 0) == (meter.status()["spool"]["dropped"], meter.status()["spool"]["segments"])
        meter.close(0.1)
    assert 1 == len(gateway.billing())


def _fill(place: Place, report: str) -> None:
    """Call until the spool is full, and then for ever."""
    os.environ["PIXELMETER_SPOOL_LIMIT"] = "1M"
    meter = place.meter()
    told = os.open(report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with pixelmeter.instrument(httpx.Client(), meter) as client:
        for number in range(sys.maxsize):
            with pixelmeter.tags(aig_tag=f"{number}"):
                client.post(f"{place.gateway}/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "p"})
            os.write(told, f"{json.dumps([number, meter.status()['spool']['dropped']])}\n".encode())


@pytest.mark.slow
def test_a_program_that_is_killed_with_a_full_spool_loses_what_it_counted_and_no_other(
    limited: Place, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    report.touch()
    with away(limited):
        process = PROCESSES.Process(target=_fill, args=(limited, str(report)))
        process.start()
        dropped = 0
        while dropped < 20:
            assert process.is_alive()
            lines = report.read_text().splitlines()
            dropped = json.loads(lines[-1])[1] if lines else 0
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
    [*_, (last, dropped)] = map(json.loads, report.read_text().splitlines())
    adopt(limited.ledger, Settings(spool_dir=limited.spool))
    kept = outcomes(limited.ledger)
    assert last + 1 - dropped <= len(kept) <= last + 2 - dropped
    assert {"success"} == set(kept.values())


def _spend(place: Place, report: str) -> None:
    """Make calls under a budget that are dropped, and wait to be killed."""
    os.environ["PIXELMETER_SPOOL_LIMIT"] = "1M"
    meter = pixelmeter.Meter(place.ledger, gateways=GATEWAYS, spool_dir=place.spool, budgets=[BUDGET])
    ballast(meter)
    for number in range(3):
        call(place, meter, f"{number}")
    Path(report).write_text(f"{meter.status()['spool']['dropped']}")
    signal.pause()


@pytest.mark.slow
def test_a_program_that_is_killed_takes_nothing_of_a_budget_with_it(
    limited: Place, gateway: Gateway, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    process = PROCESSES.Process(target=_spend, args=(limited, str(report)))
    process.start()
    while not (report.exists() and report.read_text()):
        assert process.is_alive()
    process.kill()
    process.join(60)
    assert "3" == report.read_text()
    adopt(limited.ledger, Settings(spool_dir=limited.spool))

    meter = pixelmeter.Meter(limited.ledger, gateways=GATEWAYS, spool_dir=limited.spool, budgets=[BUDGET])
    for file in Path(folder_of(meter)).glob("*.refused"):
        file.unlink()
    with pytest.raises(pixelmeter.BudgetExceeded):
        for number in range(1000):
            call(limited, meter, f"heir-{number}")
    assert meter.close(60)
    spent = sum(entry["charged_nano"] for entry in gateway.billing())
    assert usd(3) // 4 < spent <= usd(3)
