"""A spool folder that strangers can write to is not used, and no call notices."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

import pixelmeter
from pixelmeter.ledger.address import spool_folder
from pixelmeter.testing import Gateway
from tests.drain.ledger import outcomes
from tests.faults.support import GATEWAYS


def called(meter: pixelmeter.Meter, gateway: Gateway) -> int:
    with pixelmeter.instrument(httpx.Client(), meter) as client:
        body = {"model": "meta/sam-3-1-image", "prompt": "fog"}
        return client.post(f"{gateway.url}/images/generations", json=body).status_code


def test_calls_go_to_the_ledger_by_way_of_memory_and_the_reason_is_told(
    gateway: Gateway, sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(spool_folder(sqlite_url, str(tmp_path / "base"), ""))
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    meter = pixelmeter.Meter(sqlite_url, gateways=GATEWAYS, spool_dir=str(tmp_path / "base"))
    assert 200 == called(meter, gateway)
    assert meter.flush(30)
    status = meter.status()
    assert ["success"] == list(outcomes(sqlite_url).values())
    assert (0, 1, []) == (status["spool"]["frames"], status["spool"]["missed_intents"], os.listdir(folder))
    told = "everybody can write to the spool folder: make it private (chown, chmod 700), or set PIXELMETER_SPOOL_DIR"
    assert f"Distrusted: {told}" == status["spool"]["last_error"]
    assert any(told in record.getMessage() for record in caplog.records)

    folder.chmod(0o700)
    assert 200 == called(meter, gateway)
    assert (2, 0) == (meter.status()["spool"]["frames"], meter.status()["spool"]["overflow"])
    assert meter.close(30)
    assert 2 == len(outcomes(sqlite_url))


@pytest.mark.slow
def test_a_folder_that_is_opened_to_strangers_meanwhile_gets_no_further_file(
    gateway: Gateway, sqlite_url: str, tmp_path: Path
) -> None:
    folder = Path(spool_folder(sqlite_url, str(tmp_path / "base"), ""))
    meter = pixelmeter.Meter(sqlite_url, gateways=GATEWAYS, spool_dir=str(tmp_path / "base"))
    assert 200 == called(meter, gateway)
    assert meter.close(30)
    folder.chmod(0o777)

    assert 200 == called(meter, gateway)
    assert meter.close(30)
    assert (2, []) == (len(outcomes(sqlite_url)), os.listdir(folder))
