"""A meter that nobody has any more takes its thread, its connection and its files with it, and loses nothing."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import pixelmeter
from pixelmeter.meter import Meter, intake_of
from pixelmeter.settings import Settings
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.factories import make_attempt
from tests.ledger.reading import stored

pytestmark = pytest.mark.slow

BODY = {"model": "m", "prompt": "p"}


@pytest.fixture
def quiet() -> Iterator[None]:
    """No garbage of earlier tests is collected meanwhile, and none is left."""
    gc.collect()
    yield
    gc.collect()


def writers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "pixelmeter-writer"}


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def until_gone(threads: set[threading.Thread]) -> None:
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def metered(url: str, number: int = 1, **options: str) -> Meter:
    """Return a meter that has recorded so many attempts."""
    meter = Meter(url, gateways={"127.0.0.1:*": "aigateway"}, **options)  # type: ignore[arg-type]
    for _ in range(number):
        attempt = make_attempt()
        intake_of(meter).recorder.begin(attempt)
        intake_of(meter).recorder.end(attempt)
    return meter


@pytest.mark.usefixtures("quiet")
def test_a_meter_that_is_dropped_has_brought_everything_into_the_ledger_when_its_thread_is_gone(
    new_url: str, tmp_path: Path
) -> None:
    before = writers()
    meter = metered(new_url, 3, spool_dir=str(tmp_path / "spool"))
    gone = weakref.ref(intake_of(meter).recorder)
    mine = writers() - before
    del meter  # and nobody need look for cycles

    assert gone() is None
    assert 1 == len(mine)
    until_gone(mine)
    assert 3 == len(stored(new_url))
    assert [] == list((tmp_path / "spool").rglob("*.spool"))


@pytest.mark.usefixtures("quiet")
def test_a_hundred_dropped_meters_leave_no_thread_no_descriptor_and_no_file(sqlite_url: str, tmp_path: Path) -> None:
    before = writers()
    until_gone(writers() - before)
    metered(sqlite_url).close(60)
    there = descriptors()
    for _ in range(100):
        metered(sqlite_url)
        until_gone(writers() - before)

    assert before == writers()
    assert there == descriptors()
    assert 101 == len(stored(sqlite_url))
    assert [] == list(tmp_path.rglob("*.spool/*"))


@pytest.mark.usefixtures("quiet")
def test_a_client_keeps_the_meter_that_it_is_instrumented_with_and_drops_it_when_it_goes(
    gateway: Gateway, sqlite_url: str
) -> None:
    before = writers()
    client = pixelmeter.instrument(httpx.Client(), Meter(sqlite_url, gateways={"127.0.0.1:*": "aigateway"}))
    gc.collect()
    for _ in range(2):
        client.post(f"{gateway.url}/images/generations", json=BODY)
    mine = writers() - before
    client.close()
    assert 1 == len(mine)
    del client
    gc.collect()

    until_gone(mine)
    assert 2 == len(stored(sqlite_url))


@pytest.mark.usefixtures("quiet")
def test_an_answer_that_is_still_read_is_recorded_though_nobody_has_the_meter(
    gateway: Gateway, sqlite_url: str
) -> None:
    before = writers()
    transport = httpx.HTTPTransport()
    meter = Meter(sqlite_url, gateways={"127.0.0.1:*": "aigateway"})
    client = pixelmeter.instrument(httpx.Client(transport=transport), meter)
    client.post(f"{gateway.url}/images/generations", json=BODY)
    mine = writers() - before
    response = client.send(client.build_request("POST", f"{gateway.url}/images/generations", json=BODY), stream=True)
    del client, meter
    gc.collect()
    assert mine == writers() - before
    response.read()
    transport.close()
    del response
    gc.collect()

    until_gone(mine)
    assert ["success", "success"] == [row.outcome for row in stored(sqlite_url).values()]


@pytest.mark.usefixtures("quiet")
def test_what_a_dropped_meter_cannot_write_is_left_to_whoever_adopts_it(sqlite_url: str, tmp_path: Path) -> None:
    before = writers()
    there = descriptors()
    folder = tmp_path / "ledger.db"
    folder.mkdir()  # no SQLite file can be there
    meter = metered(sqlite_url, 2, spool_dir=str(tmp_path / "spool"))
    mine = writers() - before
    del meter
    until_gone(mine)
    assert there == descriptors()

    folder.rmdir()
    assert 2 == adopt(sqlite_url, Settings(spool_dir=str(tmp_path / "spool")))
    assert 2 == len(stored(sqlite_url))


@pytest.mark.usefixtures("quiet")
def test_a_meter_that_is_dropped_before_an_attempt_has_ended_leaves_its_intent(sqlite_url: str, tmp_path: Path) -> None:
    there = descriptors()
    meter = Meter(sqlite_url, spool_dir=str(tmp_path / "spool"))
    intake_of(meter).recorder.begin(make_attempt(outcome="interrupted"))
    del meter
    assert there == descriptors()
    assert 1 == adopt(sqlite_url, Settings(spool_dir=str(tmp_path / "spool")))


@pytest.mark.usefixtures("quiet")
def test_a_meter_that_was_closed_and_one_that_was_never_used_go_without_a_word(sqlite_url: str) -> None:
    there = descriptors()
    closed, unused = metered(sqlite_url), Meter(sqlite_url)
    assert closed.close(60)
    gone = weakref.ref(intake_of(closed).recorder), weakref.ref(intake_of(unused).recorder)
    del closed, unused
    assert (None, None) == tuple(each() for each in gone)
    assert there == descriptors()
