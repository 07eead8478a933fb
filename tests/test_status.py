"""What a meter says of itself, in words that have types."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import get_type_hints

import httpx
import pytest

import pixelmeter
from pixelmeter.drain import DrainCounts
from pixelmeter.meter import Meter, intake_of
from pixelmeter.recorder.status import Status
from pixelmeter.spool import SpoolCounts
from pixelmeter.spool.frames import OUTCOME, encode
from pixelmeter.system import SystemIds
from pixelmeter.testing import Gateway
from tests.factories import make_attempt
from tests.ledger.reading import stored


def record(meter: Meter, number: int) -> None:
    for _ in range(number):
        attempt = make_attempt()
        intake_of(meter).recorder.begin(attempt)
        intake_of(meter).recorder.end(attempt)


def test_a_status_has_what_its_type_says_before_and_after_the_first_attempt(sqlite_url: str) -> None:
    with Meter(sqlite_url) as meter:
        before = meter.status()
        record(meter, 1)
        assert meter.flush(60)
        after = meter.status()
    for status in (before, after):
        assert set(get_type_hints(Status)) == set(status)
        assert set(get_type_hints(SpoolCounts)) == set(status["spool"])
        assert status == json.loads(json.dumps(status)) or status["drain"] is not None
    assert {"running": False, "restarts": 0} == before["writer"]
    assert before["drain"] is None
    assert after["drain"] is not None
    assert set(get_type_hints(DrainCounts)) == set(after["drain"])
    assert pixelmeter.Status is Status


def test_what_has_ended_waits_until_the_ledger_has_it(
    new_url: str, tmp_path: Path, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMETER_WRITE_INTERVAL", "3600")
    gateways = {"127.0.0.1:*": "aigateway"}
    with (
        Meter(new_url, gateways=gateways, spool_dir=str(tmp_path / "spool")) as meter,
        pixelmeter.instrument(httpx.Client(), meter) as client,
    ):
        record(meter, 1)
        assert meter.flush(60)
        assert (0, 0) == (meter.status()["waiting"], meter.status()["waiting_seconds"])
        for number in range(3):
            client.post(f"{gateway.url}/images/generations", json={"model": "m", "prompt": "p"})
            assert number + 1 == meter.status()["waiting"]
        assert 0 < meter.status()["waiting_seconds"] < 3600
        assert 1 == len(stored(new_url))  # the interval is not over
        assert meter.flush(60)
        assert (0, 0) == (meter.status()["waiting"], meter.status()["waiting_seconds"])
        assert 4 == len(stored(new_url))
        record(meter, 2)
    assert 0 == meter.status()["waiting"]
    assert 6 == len(stored(new_url))


def test_what_is_refused_by_disk_and_ledger_waits_or_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    meter = Meter(f"sqlite:///{tmp_path}/none/ledger.db", spool_dir=str(tmp_path / "file"))
    record(meter, 3)
    assert not meter.flush(0.1)
    status = meter.status()
    assert (3, 0) == (status["waiting"], status["spool"]["dropped"])
    (tmp_path / "none").mkdir()
    assert meter.close(60)
    assert 0 == meter.status()["waiting"]


def test_files_of_other_processes_are_told_before_and_after_they_are_taken_in(sqlite_url: str, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    meter = Meter(sqlite_url, spool_dir=str(spool))
    folder = Path(meter.status()["spool_dir"])
    folder.mkdir(parents=True, mode=0o700)
    frames = [encode(OUTCOME, make_attempt()) for _ in range(2)]
    for frame in frames:
        (folder / f"{SystemIds().new()}-000001.spool").write_bytes(frame)
    left = {"files": 2, "bytes": sum(map(len, frames))}

    assert left == meter.status()["left"]
    record(meter, 1)
    assert left == meter.status()["left"]
    assert meter.flush(60)
    while meter.status()["left"]["files"]:
        threading.Event().wait(0.01)
    assert meter.close(60)
    assert 3 == len(stored(sqlite_url))


def test_the_status_shows_no_password() -> None:
    status = Meter("postgresql://me:swordfish@127.0.0.1:1/d", spool_dir="/nowhere").status()
    assert "swordfish" not in str(status)
