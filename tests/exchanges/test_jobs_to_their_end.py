"""A documented submit and a documented answer about its job, from an instrumented client to the ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

import pixelmeter
from pixelmeter.core.attempts.adjustment import Change
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.sink import Health
from pixelmeter.ledger.address import read_address, spool_folder
from pixelmeter.settings import Settings
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from pixelmeter.upkeep import adopt
from tests.ledger.reading import adjusted, recomputed, rollup
from tests.ledger.test_adjusting import submitted

FILE = "https://files.example/1.png"

# Vendor, submit and its answer, poll and its answer, then outcome, images, billing, cost and where that comes from.
# BFL states a charge of 3 credits at the submit (docs.bfl.ai). Of the other two models no price is published.
CASES: dict[str, tuple[Any, ...]] = {
    "black-forest-labs": (
        ("https://api.bfl.ai/v1/flux-2-pro", {"prompt": "x", "width": 1024, "height": 1024}),
        {"id": "j", "polling_url": "https://api.eu1.bfl.ai/v1/get_result?id=j", "cost": 3.0, "output_mp": 1.05},
        "https://api.eu1.bfl.ai/v1/get_result?id=j",
        {"id": "j", "status": "Ready", "result": {"sample": FILE}},
        ("success", 1, "billed", 30_000_000, "reported"),
    ),
    "apimart": (
        ("https://api.apimart.ai/v1/images/generations", {"model": "gpt-image-2", "prompt": "x", "size": "1:1"}),
        {"code": 200, "data": [{"status": "submitted", "task_id": "task_01"}]},
        "https://api.apimart.ai/v1/tasks/task_01",
        {"code": 200, "data": {"id": "task_01", "status": "completed", "result": {"images": [{"url": [FILE]}]}}},
        ("success", 1, "billed", None, "none"),
    ),
    "wavespeed": (
        (
            "https://api.wavespeed.ai/api/v3/wavespeed-ai/flux-schnell",
            {"prompt": "x", "size": "1024*1024", "num_images": 1},
        ),
        {"code": 200, "data": {"id": "j", "model": "wavespeed-ai/flux-schnell", "outputs": [], "status": "created"}},
        "https://api.wavespeed.ai/api/v3/predictions/j/result",
        {"code": 200, "data": {"id": "j", "status": "completed", "outputs": [FILE]}},
        ("success", 1, "billed", None, "none"),
    ),
}


class Told:
    """A sink that remembers what later facts have changed."""

    def __init__(self) -> None:
        self.changed: list[Attempt] = []

    def begin(self, intent: Attempt) -> None: ...

    def record(self, attempt: Attempt) -> None: ...

    def observe(self, health: Health) -> None: ...

    def adjust(self, change: Change) -> None:
        self.changed.append(change.after)


def test_whoever_takes_in_what_dead_processes_left_gives_up_jobs_that_are_too_old(
    ledger_url: str, tmp_path: Path
) -> None:
    settings = Settings(spool_dir=str(tmp_path))
    address = read_address(ledger_url)
    folder = spool_folder(address, settings.spool_dir, settings.state_dir)
    dead = Spool(folder, SystemFiles(), SystemIds())
    dead.outcome(submitted())
    dead.forget()
    adopt(ledger_url, settings)
    [now] = adjusted(ledger_url).values()
    assert ("timeout", "job_expired") == (now.outcome, now.error_type)


@pytest.mark.parametrize("gateway", CASES)
def test_a_job_comes_to_its_end(gateway: str, ledger_url: str, tmp_path: Path) -> None:
    (url, body), submitted, poll, ended, expected = CASES[gateway]
    answers = iter([submitted, ended, ended])

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=json.dumps(next(answers)), headers={"content-type": "application/json"})

    told = Told()
    with pixelmeter.Meter(ledger_url, spool_dir=str(tmp_path / "spool"), sinks=[told]) as meter:
        with pixelmeter.instrument(httpx.Client(transport=httpx.MockTransport(answer)), meter) as client:
            client.post(url, json=body)
            client.get(poll)
            client.get(poll)
        assert meter.flush()
        assert {} == meter.status()["failures"]
    [now] = adjusted(ledger_url).values()
    assert [now] == told.changed
    assert (gateway, *expected) == (now.gateway, now.outcome, now.images, now.billing, now.cost, now.cost_source)
    assert recomputed(ledger_url) == rollup(ledger_url)
