"""What the sinks are told, and when."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from pixelmeter import Meter, instrument
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.sink import Health
from pixelmeter.drain import Drain
from pixelmeter.errors import LedgerError
from pixelmeter.meter import intake_of
from pixelmeter.recorder.failures import Failures
from pixelmeter.recorder.recorder import Recorder
from pixelmeter.recorder.sink_dispatch import SinkDispatch
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from pixelmeter.testing import Gateway
from tests.conftest import FakeClock
from tests.factories import make_attempt
from tests.hazards.process import run_python


class Watcher:
    """A sink that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.healths: list[Health] = []

    def begin(self, intent: Attempt) -> Callable[[], None]:
        self.told.append(f"begin {intent.id}")
        return lambda: self.told.append(f"leave {intent.id}")

    def record(self, attempt: Attempt) -> None:
        self.told.append(f"record {attempt.id}")

    def observe(self, health: Health) -> None:
        self.healths.append(health)


class Broken(Watcher):
    """A sink that fails at everything."""

    def begin(self, intent: Attempt) -> Callable[[], None]:
        raise ValueError

    def record(self, attempt: Attempt) -> None:
        raise ValueError

    def observe(self, health: Health) -> None:
        raise ValueError


def test_a_sink_sees_a_call_begin_leave_and_end_and_one_that_fails_hides_nothing(
    gateway: Gateway, sqlite_url: str
) -> None:
    watcher, broken = Watcher(), Broken()
    with Meter(sqlite_url, gateways={"127.0.0.1:*": "aigateway"}, sinks=[broken, watcher]) as meter:
        body = {"model": "m", "prompt": "p"}
        with (
            instrument(httpx.Client(), meter) as client,
            client.stream("POST", f"{gateway.url}/images/generations", json=body) as answer,
        ):
            before = list(watcher.told)
            answer.read()
        assert meter.flush(10)

        assert ["begin", "leave"] == [text.split()[0] for text in before]
        assert ["begin", "leave", "record"] == [text.split()[0] for text in watcher.told]
        assert 1 == len({text.split()[1] for text in watcher.told})
        assert meter.status()["failures"]["Broken"] >= 3


class Stuck(Watcher):
    """A sink that cannot leave."""

    def begin(self, intent: Attempt) -> Callable[[], None]:
        def leave() -> None:
            raise ValueError

        return leave


def test_a_sink_that_cannot_leave_keeps_no_other_from_it_and_no_header_in_the_request(
    gateway: Gateway, sqlite_url: str
) -> None:
    watcher = Watcher()
    with (
        Meter(
            sqlite_url, gateways={"127.0.0.1:*": "aigateway"}, sinks=[watcher, Stuck()], tags={"aig_tag": "growth"}
        ) as meter,
        instrument(httpx.Client(), meter) as client,
    ):
        request = client.build_request("POST", f"{gateway.url}/images/generations", json={"model": "m", "prompt": "p"})
        client.send(request)
        assert {"Stuck": 1} == meter.status()["failures"]
    assert ["begin", "leave", "record"] == [text.split()[0] for text in watcher.told]
    assert "x-aig-tag" not in request.headers


def test_a_sink_is_told_what_was_written_and_that_nothing_waits(sqlite_url: str) -> None:
    watcher = Watcher()
    with Meter(sqlite_url, sinks=[watcher]) as meter:
        for _ in range(3):
            attempt = make_attempt()
            intake_of(meter).recorder.begin(attempt)
            intake_of(meter).recorder.end(attempt)
        assert meter.flush(10)

    assert 3 == sum(rows for health in watcher.healths for rows, _ in health.writes)
    assert {("sqlite", False, 0, 0)} == {(h.backend, h.failed, h.waiting, h.lag) for h in watcher.healths[-1:]}


def test_a_sink_is_told_what_waits_and_for_how_long_while_the_ledger_refuses(tmp_path: Path, clock: FakeClock) -> None:
    def refuse() -> Drain:
        raise LedgerError

    watcher = Watcher()
    spool = Spool(str(tmp_path), SystemFiles(), SystemIds())
    failures = Failures(clock)
    dispatch = SinkDispatch([watcher], clock=clock, failures=failures, backend="sqlite")
    recorder = Recorder(spool, refuse, clock=clock, failures=failures, dispatch=dispatch)
    recorder.begin(make_attempt())
    recorder.end(make_attempt())
    clock.advance(7_000_000)
    recorder.end(make_attempt())
    while not (watcher.healths and watcher.healths[-1].failed):
        assert not recorder.flush(0.2)
    recorder.close(0.2)

    last = watcher.healths[-1]
    assert (True, 2, 7_000_000, ()) == (last.failed, last.waiting, last.lag, last.writes)
    assert last.failures["ledger"] >= 1


def test_an_attempt_that_the_writer_has_at_once_waits_no_longer(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = Spool.outcome

    def keep_and_write(spool: Spool, attempt: Attempt) -> None:
        keep(spool, attempt)
        assert meter.flush(10)

    watcher = Watcher()
    monkeypatch.setattr(Spool, "outcome", keep_and_write)
    with Meter(sqlite_url, sinks=[watcher]) as meter:
        attempt = make_attempt()
        intake_of(meter).recorder.begin(attempt)
        intake_of(meter).recorder.end(attempt)
    assert [1, 0] == [sum(rows for health in watcher.healths for rows, _ in health.writes), watcher.healths[-1].waiting]


class Locked(Watcher):
    """A sink whose library has a lock, as prometheus_client and the OpenTelemetry SDK have."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def record(self, attempt: Attempt) -> None:
        with self.lock:
            super().record(attempt)


@pytest.mark.parametrize("in_a_context", [False, True], ids=["never closed", "closed by a collected generator"])
@pytest.mark.timeout(30)
def test_a_body_that_is_collected_amid_other_code_waits_for_no_lock_of_a_sink(
    gateway: Gateway, sqlite_url: str, in_a_context: bool
) -> None:
    sink = Locked()
    with (
        Meter(sqlite_url, gateways={"127.0.0.1:*": "aigateway"}, sinks=[sink]) as meter,
        instrument(httpx.Client(), meter) as client,
    ):
        ask = ("POST", f"{gateway.url}/images/generations")
        context = client.stream(*ask, json={"model": "m", "prompt": "p"})
        answer = (
            context.__enter__()
            if in_a_context
            else client.send(client.build_request(*ask, json={"model": "m", "prompt": "p"}), stream=True)
        )
        with sink.lock:
            del answer, context
            gc.collect()
        assert meter.flush(10)

        assert ["begin", "leave", "record"] == [text.split()[0] for text in sink.told]


def test_a_call_tells_what_waits_where_the_writer_hangs(clock: FakeClock) -> None:
    watcher = Watcher()
    dispatch = SinkDispatch([watcher], clock=clock, failures=Failures(clock), backend="postgresql")
    for _ in range(13):
        clock.advance(1_000_000)
        dispatch.backlog.expect()
        dispatch.end(make_attempt(), dropped=1)

    assert [(5, 6, 1), (11, 12, 1)] == [(h.lag // 1_000_000, h.waiting, h.dropped) for h in watcher.healths]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_tells_sinks_of_its_own_attempts_and_leaves_those_of_its_parent_to_it(
    sqlite_url: str, tmp_path: Path
) -> None:
    program = f"""
import os, threading
from pixelmeter import Meter
from pixelmeter.meter import intake_of
from pixelmeter.recorder.sink_dispatch import amid_other_code
from tests.factories import make_attempt

busy, go_on = threading.Event(), threading.Event()
told = []

class Sink:
    def begin(self, intent):
        return None
    def record(self, attempt):
        told.append(attempt.gateway)
    def observe(self, health):
        busy.set()
        assert go_on.wait(60)

def make(gateway):
    attempt = make_attempt(gateway=gateway)
    intake_of(meter).recorder.begin(attempt)
    intake_of(meter).recorder.end(attempt)

meter = Meter({sqlite_url!r}, sinks=[Sink()], spool_dir={str(tmp_path / "spool")!r})
make("first")
assert busy.wait(60)          # the writer is kept by the sink, so that it tells of nothing more
with amid_other_code():
    make("parent")            # waits to be told of
child = os.fork()
if not child:
    told.clear()
    make("child")
    print(told, flush=True)
    os._exit(0)
assert 0 == os.waitpid(child, 0)[1]
go_on.set()
assert meter.flush(60)
print(told, flush=True)
"""
    done = run_python(program, timeout=110)
    assert ("['child']\n['first', 'parent']\n", "") == (done.stdout, done.stderr)
