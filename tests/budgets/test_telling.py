"""Whoever is told may raise, hang or be away: neither the writer nor a call waits for that."""

from __future__ import annotations

import asyncio
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

import pixelmeter
from pixelmeter.core.budgets.budget import Budget, Notice
from pixelmeter.httpx import MeterTransport
from pixelmeter.ledger.dialect import Sql
from pixelmeter.ledger.writer import open_writer
from pixelmeter.testing import Gateway
from tests.budgets.programs import MINUTE, PATIENCE, Program, budget, rows, thresholds
from tests.conftest import FakeClock


def test_a_function_that_raises_is_noted_and_not_called_again(start: Callable[..., Program], clock: FakeClock) -> None:
    calls = queue.Queue[Notice]()

    def fail(notice: Notice) -> None:
        calls.put(notice)
        raise SystemExit("the team is on holiday")

    program = start(budget(None, notify=fail))
    program.spend(6)
    program.settle()
    clock.advance(10 * MINUTE)
    program.look()
    program.settle()
    assert 1 == calls.qsize()
    assert [SystemExit] == [type(error) for error in program.failures]


def test_a_function_that_hangs_holds_up_neither_the_writer_nor_for_long_what_is_told_of_other_budgets(
    start: Callable[..., Program], clock: FakeClock
) -> None:
    never, began = threading.Event(), threading.Event()

    def hang(_: Notice) -> None:
        began.set()
        never.wait(PATIENCE)

    told: list[Notice] = []
    program = start(budget(None, notify=hang), budget(told, name="other", usd=12))
    program.spend(5)
    assert began.wait(PATIENCE)
    program.spend(4)
    # The writer goes on, and comes back to see whether the function has returned.
    wait = program.look()
    assert wait is not None
    assert wait <= 60
    assert [] == told
    clock.advance(MINUTE)
    program.look()
    program.settle()
    assert ["other"] == [notice.budget for notice in told]
    # Its next notice is not given to a function that still hangs.
    assert ["notify of the budget 'images' does not return"] * 2 == [str(error) for error in program.failures]
    never.set()


def test_a_coroutine_function_is_awaited(start: Callable[..., Program]) -> None:
    told: list[Notice] = []

    async def tell(notice: Notice) -> None:
        await asyncio.sleep(0)
        told.append(notice)

    program = start(budget(None, notify=tell))
    program.spend(6)
    program.settle()
    assert ["0.5"] == thresholds(told)


def test_the_thread_that_tells_ends_when_there_is_nothing_left_and_asks_the_writer_to_take_note(
    start: Callable[..., Program], ledger_url: str
) -> None:
    threads = queue.Queue[threading.Thread]()
    program = start(budget(None, notify=lambda notice: threads.put(threading.current_thread())))
    program.spend(6)
    thread = threads.get(timeout=PATIENCE)
    assert thread.daemon
    assert program.urged.wait(PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert [("", 500_000, False)] == rows(ledger_url)
    program.leasing.serve(program.writer)
    assert [("", 500_000, True)] == rows(ledger_url)


def test_a_forked_child_tells_nothing_of_what_its_parent_is_telling(start: Callable[..., Program]) -> None:
    never = threading.Event()
    told: list[Notice] = []
    program = start(budget(None, notify=lambda notice: never.wait(PATIENCE)), budget(told, name="other", usd=12))
    program.spend(6.5)
    # What is done in the child of a fork.
    program.leasing.forget()
    program.settle()
    assert [] == told
    never.set()


def test_a_ledger_that_takes_no_notices_is_a_failure_and_leases_are_drawn_all_the_same(
    start: Callable[..., Program], ledger_url: str
) -> None:
    program = start(budget(None))
    with closing(open_writer(ledger_url)) as other:
        other._in_transaction(  # type: ignore[attr-defined]
            lambda run, reader: run([Sql("ALTER TABLE pixelmeter_budget_notices RENAME TO gone")])
        )
    program.leasing.committed(())
    assert 60 == program.look()
    assert ["LedgerError"] == [type(error).__name__ for error in program.failures]
    assert program.leasing.unavailable_until < program.clock.monotonic()
    assert program.look() == 54


def ask(gateway: Gateway, client: httpx.Client) -> None:
    answer = client.post(
        f"{gateway.url}/images/generations", json={"model": "openai/gpt-image-2", "prompt": "a cat", "n": 1}
    )
    assert 200 == answer.status_code


def test_a_meter_tells_what_its_last_call_has_passed_before_it_is_closed(
    gateway: Gateway, ledger_url: str, tmp_path: Path
) -> None:
    told: list[Notice] = []
    limit = Budget("0.000001", per="day", name="tiny", notify=told.append)
    meter = pixelmeter.Meter(
        ledger_url, gateways={"127.0.0.1:*": "aigateway"}, budgets=[limit], spool_dir=str(tmp_path / "spool")
    )
    with httpx.Client(transport=MeterTransport(meter)) as client:
        ask(gateway, client)
    assert meter.close(PATIENCE)
    [notice] = told
    assert ("tiny", "1") == (notice.budget, f"{notice.threshold:f}")
    assert notice.spent > notice.limit
    assert [("", 500_000, True), ("", 800_000, True), ("", 1_000_000, True)] == rows(ledger_url)
    assert {} == meter.status()["failures"]


@pytest.mark.slow
def test_a_program_that_ends_tells_first(gateway: Gateway, ledger_url: str, tmp_path: Path) -> None:
    program = f"""
import httpx, pixelmeter
from pixelmeter.httpx import MeterTransport
limit = pixelmeter.Budget("0.000001", per="day", name="tiny", notify=lambda notice: print(notice.budget, flush=True))
meter = pixelmeter.Meter(
    {ledger_url!r}, gateways={{"127.0.0.1:*": "aigateway"}}, budgets=[limit], spool_dir={str(tmp_path / "spool")!r}
)
client = httpx.Client(transport=MeterTransport(meter))
client.post("{gateway.url}/images/generations", json={{"model": "openai/gpt-image-2", "prompt": "a cat", "n": 1}})
assert meter.flush({PATIENCE})
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "tiny\n" == ended.stdout
    assert "pixelmeter: budget 'tiny'" in ended.stderr
    assert [("", 500_000, True), ("", 800_000, True), ("", 1_000_000, True)] == rows(ledger_url)


def test_a_meter_that_is_closed_does_not_start_its_writer_again_for_a_function_that_returns_late(
    gateway: Gateway, sqlite_url: str
) -> None:
    never, done = threading.Event(), threading.Event()

    def hang(_: Notice) -> None:
        never.wait(PATIENCE)
        done.set()

    limit = Budget("0.000001", per="day", name="tiny", notify=hang)
    meter = pixelmeter.Meter(sqlite_url, gateways={"127.0.0.1:*": "aigateway"}, budgets=[limit])
    with httpx.Client(transport=MeterTransport(meter)) as client:
        ask(gateway, client)
    assert meter.close(PATIENCE)
    [thread] = [each for each in threading.enumerate() if each.name == "pixelmeter-notices"]
    never.set()
    assert done.wait(PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not meter.status()["writer"]["running"]
    assert [("", 500_000, True), ("", 800_000, True), ("", 1_000_000, False)] == rows(sqlite_url)
