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
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.system import SystemClock
from pixelmeter.testing import Gateway
from tests.ledger.reading import stored
from tests.sdks.programs import PROGRAMS, Program, is_there
from tests.sdks.recorded import recording, served

ALL = os.environ.get("PIXELMETER_TEST_SDKS") == "1"

Bill = tuple[str, int, int]
"""Model, images and nano-dollars."""


@contextmanager
def billing(program: Program, gateway: Gateway, patch: pytest.MonkeyPatch) -> Iterator[tuple[str, Callable[[], Bill]]]:
    """Give the URL of the server, and what tells its bill for one call."""
    if program.answer is None:

        def billed() -> Bill:
            [line] = gateway.billing()
            return line["model"], line["images"], line["charged_nano"]

        yield gateway.root, billed
        return
    exchange = recording(*program.answer)
    noon = datetime.datetime.fromisoformat(f"{exchange.date}T12:00:00+00:00")
    patch.setattr(SystemClock, "now", lambda _: int(noon.timestamp()) * 1_000_000)
    expected = exchange.expect
    asked = exchange.request["json"]
    [tool] = asked.get("tools", [asked])
    model = expected.get("model") or tool.get("model") or ""
    with served(exchange) as root:
        yield root, lambda: (model, expected["images"], int(Decimal(expected["cost_usd"]).scaleb(9)))
    assert 1 == len(exchange.paths)


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


@pytest.mark.parametrize("program", [each for each in PROGRAMS if ALL or is_there(each)], ids=str)
def test_the_vendors_own_image_method_leaves_one_attempt_with_what_was_billed(
    program: Program, gateway: Gateway, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        root, billed = stack.enter_context(billing(program, gateway, monkeypatch))
        host = root.removeprefix("http://").replace("127.0.0.1", program.host)
        gateways = {host: program.profile}
        meter = stack.enter_context(Meter(sqlite_url, gateways=gateways, spool_dir=str(tmp_path / "spool")))
        run(program, root, lambda client: pixelmeter.instrument(client, meter))
        assert meter.flush(60)
        assert {} == meter.status()["failures"]
        bill = billed()
    [attempt] = stored(sqlite_url).values()
    assert bill == _of(attempt, bill)
    assert ("success", program.profile) == (attempt.outcome, attempt.gateway)


def _of(attempt: Attempt, bill: Bill) -> tuple[str | None, int | None, int | None]:
    # A bill that names no model says nothing about it.
    return attempt.model if bill[0] else "", attempt.images, attempt.cost
