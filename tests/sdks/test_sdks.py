"""The vendor's own image method leaves one attempt, and the ledger says what was billed.

In the ordinary suite for the SDKs that are installed for development; `make sdks` installs all of them.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import inspect
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import pixelmeter
from pixelmeter import Budget, Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drivers.patching import LateMeter, patch
from pixelmeter.system import SystemClock
from pixelmeter.testing import Gateway
from tests.ledger.reading import stored
from tests.sdks.programs import PROGRAMS, Program, is_there
from tests.sdks.recorded import recording, served

pytestmark = pytest.mark.slow

ALL = os.environ.get("PIXELMETER_TEST_SDKS") == "1"

Bill = tuple[str, int, int]
"""Model, images and nano-dollars."""


@contextmanager
def billing(
    program: Program, gateway: Gateway, monkeypatch: pytest.MonkeyPatch, *, calls: int = 1
) -> Iterator[tuple[str, Callable[[], Bill]]]:
    """Give the URL of the server, and what tells its bill for one call."""
    if program.answer is None:

        def billed() -> Bill:
            [line] = gateway.billing()
            return line["model"], line["images"], line["charged_nano"]

        yield gateway.root, billed
        return
    exchange = recording(*program.answer)
    noon = datetime.datetime.fromisoformat(f"{exchange.date}T12:00:00+00:00")
    monkeypatch.setattr(SystemClock, "now", lambda _: int(noon.timestamp()) * 1_000_000)
    expected = exchange.expect
    asked = exchange.request["json"]
    [tool] = asked.get("tools", [asked])
    model = expected.get("model") or tool.get("model") or ""
    with served(exchange) as root:
        yield root, lambda: (model, expected["images"], int(Decimal(expected["cost_usd"]).scaleb(9)))
    assert calls == len(exchange.paths)


def run(program: Program, root: str, instrument: Any) -> None:
    done = program.run(root.replace("127.0.0.1", program.host), instrument)
    if inspect.isawaitable(done):
        asyncio.run(_awaited(done))


async def _awaited(coroutine: Any) -> None:
    await coroutine


@pytest.fixture(autouse=True)
def _as_those_of_users(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """SDKs ask nobody for prices of models or credentials, and may warn of themselves."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with warnings.catch_warnings():
        if ALL:
            warnings.simplefilter("ignore")
        yield
        gc.collect()


HERE = [program for program in PROGRAMS if ALL or is_there(program)]
IN_PLACE = [program for program in HERE if program.in_place]


class Ledger:
    """A meter, and the server that programs ask."""

    def __init__(self, program: Program, root: str, url: str, folder: Path, **options: Any) -> None:
        host = root.removeprefix("http://").replace("127.0.0.1", program.host)
        self._url = url
        self.meter = Meter(url, gateways={host: program.profile}, spool_dir=str(folder / "spool"), **options)

    def attempt(self) -> Attempt:
        """Return the only row."""
        assert self.meter.flush(60)
        assert {} == self.meter.status()["failures"]
        [attempt] = stored(self._url).values()
        return attempt


@pytest.mark.parametrize("program", IN_PLACE, ids=str)
def test_the_vendors_own_image_method_leaves_one_attempt_with_what_was_billed(
    program: Program, gateway: Gateway, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with billing(program, gateway, monkeypatch) as (root, billed):
        ledger = Ledger(program, root, sqlite_url, tmp_path)
        with ledger.meter:
            run(program, root, lambda client: pixelmeter.instrument(client, ledger.meter))
            assert_equal(program, billed(), ledger.attempt())


@pytest.mark.slow
@pytest.mark.parametrize("program", HERE, ids=str)
def test_so_it_does_in_a_process_that_is_metered_without_a_line(
    program: Program, gateway: Gateway, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with billing(program, gateway, monkeypatch) as (root, billed):
        ledger = Ledger(program, root, sqlite_url, tmp_path)
        undo = patch(LateMeter(lambda: ledger.meter))
        try:
            with ledger.meter:
                run(program, root, lambda client: client)
                assert_equal(program, billed(), ledger.attempt())
        finally:
            undo()


@pytest.mark.slow
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("program", IN_PLACE, ids=str)
def test_a_call_that_a_budget_does_not_let_go_is_not_sent_and_not_tried_again(
    program: Program, gateway: Gateway, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Budget("0.000001", name="tiny", action="block", unpriced="block")
    with billing(program, gateway, monkeypatch, calls=0) as (root, _):
        ledger = Ledger(program, root, sqlite_url, tmp_path, budgets=[tiny])
        with ledger.meter:
            assert ledger.meter.flush(60)
            with pytest.raises(Exception) as caught:
                run(program, root, lambda client: pixelmeter.instrument(client, ledger.meter))
            assert ("blocked", 0) == ((attempt := ledger.attempt()).outcome, attempt.cost)
    assert [] == gateway.billing()
    assert program.refused in [kind.__name__ for kind in type(caught.value).__mro__]
    if program.refused != "BudgetExceeded":
        assert "budget" in str(caught.value) or "402" in str(caught.value)


def assert_equal(program: Program, bill: Bill, attempt: Attempt) -> None:
    # A bill that names no model says nothing about it.
    model = attempt.model if bill[0] else ""
    assert (*bill, "success", program.profile) == (
        model,
        attempt.images,
        attempt.cost,
        attempt.outcome,
        attempt.gateway,
    )
