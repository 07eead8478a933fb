"""A writer thread that dies is noticed by flush, status, log and metrics, and another one goes on where it was."""

from __future__ import annotations

import ctypes
import gc
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from prometheus_client import CollectorRegistry

import pixelmeter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.sink import Health
from pixelmeter.drain import Drain
from pixelmeter.meter import Meter, intake_of
from pixelmeter.recorder.background import Background, Ticket
from pixelmeter.recorder.failures import settle
from pixelmeter.testing import Gateway
from tests.factories import make_attempt
from tests.ledger.reading import stored


class Cancelled(BaseException):
    """As gevent's GreenletExit, or what a watchdog throws into threads."""


class Killer:
    """A sink that ends the writer's thread as often as it is told to."""

    def __init__(self, *deaths: BaseException) -> None:
        self.deaths = list(deaths)

    def begin(self, intent: Attempt) -> Callable[[], None] | None:
        return None

    def record(self, attempt: Attempt) -> None:
        pass

    def observe(self, health: Health) -> None:
        if self.deaths:
            raise self.deaths.pop()


@pytest.fixture(autouse=True)
def unhandled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[type[BaseException]]]:
    """What threads ended with; pytest would take each for a failure of the test."""
    seen: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: seen.append(arguments.exc_type))
    others = writers()
    yield seen
    for thread in writers() - others:
        thread.join(60)


def writers() -> set[threading.Thread]:
    """Return the threads of meters; those of other tests may go on for as long as the process does."""
    return {thread for thread in threading.enumerate() if thread.name == "pixelmeter-writer"}


def succeeds(ticket: Ticket) -> bool:
    """Wait; SQLite's lock may be held by what a thread was making when it was killed, until that is collected."""
    for _ in range(120):
        if ticket.wait(0.5):
            return True
        gc.collect()
    return False


def record(meter: Meter, number: int = 1) -> None:
    for _ in range(number):
        attempt = make_attempt()
        intake_of(meter).recorder.begin(attempt)
        intake_of(meter).recorder.end(attempt)


def throw(meter: Meter, death: type[BaseException]) -> threading.Thread:
    """Throw an exception into the writer's thread, as a watchdog does."""
    thread = intake_of(meter).recorder._background._thread
    assert thread is not None
    assert thread.ident is not None
    assert 1 == ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(death))
    return thread


def is_at_work(thread: threading.Thread) -> bool:
    """Return whether a writer runs code of ours: what is thrown into a thread that only starts, Python trips over."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code is not Background._run.__code__:
        frame = frame.f_back
    return frame is not None


def dies(*_: object) -> NoReturn:
    raise SystemExit


@pytest.mark.parametrize("death", [SystemExit(3), KeyboardInterrupt(), Cancelled(), MemoryError()])
def test_a_sink_that_ends_the_writer_costs_nothing_and_is_told(
    death: BaseException, gateway: Gateway, new_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    killer = Killer(death)
    spool = str(tmp_path / "spool")
    gateways = {"127.0.0.1:*": "aigateway"}
    with (
        Meter(new_url, sinks=[killer], registry=registry, gateways=gateways, spool_dir=spool) as meter,
        pixelmeter.instrument(httpx.Client(), meter) as client,
    ):
        for _ in range(3):
            client.post(f"{gateway.url}/images/generations", json={"model": "m", "prompt": "p"})
            assert meter.flush(60)
        status = meter.status()
        settle(60)

    assert 3 == len(stored(new_url))
    place = "Killer" if isinstance(death, Exception) else "writer"
    assert {place: 1} == status["failures"]
    assert {"running": True, "restarts": int(place == "writer")} == status["writer"]
    assert (0, None) == (status["waiting"], status["ledger_error"])
    assert f"pixelmeter failed in {place}: {type(death).__name__} (1 so far)" in caplog.text
    assert 1 == registry.get_sample_value("pixelmeter_internal_errors_total", {"place": place})
    assert 3 == registry.get_sample_value("pixelmeter_ledger_rows_total", {"backend": meter_backend(new_url)})


def meter_backend(url: str) -> str:
    return url.partition(":")[0]


def test_a_sink_that_always_ends_the_writer_keeps_no_attempt_from_the_ledger(sqlite_url: str) -> None:
    killer = Killer(*(SystemExit() for _ in range(1000)))
    with Meter(sqlite_url, sinks=[killer]) as meter:
        for number in range(4):
            record(meter)
            assert meter.flush(60)
            assert number + 1 == len(stored(sqlite_url))
            assert number + 1 == meter.status()["failures"]["writer"]
        killer.deaths.clear()


@pytest.mark.slow
@pytest.mark.usefixtures("uncollected")  # What is thrown into a thread that collects is ignored, with a warning.
@pytest.mark.parametrize("number", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_a_writer_that_is_killed_anywhere_loses_nothing_and_doubles_nothing(
    new_url: str, tmp_path: Path, number: int
) -> None:
    with Meter(new_url, spool_dir=str(tmp_path / "spool")) as meter:
        record(meter)
        assert meter.flush(60)
        stop = threading.Event()

        def records() -> None:
            while not stop.is_set():
                record(meter, 20)
                stop.wait(0.002)

        recording = threading.Thread(target=records)
        recording.start()
        kills = 0
        while kills < number:
            ticket = intake_of(meter).recorder._background.run(60)
            stop.wait(0.021 * kills / number)
            thread = intake_of(meter).recorder._background._thread
            if thread is not None and is_at_work(thread):
                throw(meter, Cancelled)
                kills += 1
            assert succeeds(ticket)
        stop.set()
        recording.join()
        assert meter.flush(60)
        status = meter.status()
        assert status["drain"] is not None
        assert status["spool"]["frames"] == 2 * len(stored(new_url))
        assert (0, status["failures"].get("writer", 0)) == (status["waiting"], status["writer"]["restarts"])
        assert status["writer"]["restarts"] > 0


def test_a_writer_that_is_killed_while_it_waits_is_replaced_before_anybody_asks(sqlite_url: str) -> None:
    with Meter(sqlite_url) as meter:
        record(meter)
        assert meter.flush(60)
        thread = throw(meter, SystemExit)
        record(meter)
        thread.join(60)
        while len(stored(sqlite_url)) < 2:
            threading.Event().wait(0.01)
        assert {"running": True, "restarts": 1} == meter.status()["writer"]


def test_flush_waits_no_longer_than_it_was_told_to_while_writers_die(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Meter(sqlite_url) as meter:
        record(meter)
        with monkeypatch.context() as broken:
            broken.setattr(Drain, "step", dies)
            assert not meter.flush(0.5)
            assert meter.status()["writer"]["restarts"] > 0
        assert meter.flush(60)
    assert 1 == len(stored(sqlite_url))


def test_a_death_is_logged_once_a_minute(sqlite_url: str, caplog: pytest.LogCaptureFixture) -> None:
    killer = Killer(*(SystemExit() for _ in range(5)))
    caplog.set_level(logging.WARNING)
    with Meter(sqlite_url, sinks=[killer]) as meter:
        for _ in range(5):
            record(meter)
            assert meter.flush(60)
        settle(60)
        assert 5 == meter.status()["failures"]["writer"]
    assert 1 == caplog.text.count("pixelmeter failed in writer")
