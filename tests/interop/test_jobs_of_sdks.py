"""Jobs through real SDKs: the submit of each is one attempt, and nothing that follows it is another."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import fal_client
import pytest

import pixelmeter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.testing import Gateway
from tests.interop.jobs import PROGRAMS, Seen, Wish, fal_at, replicate_at
from tests.ledger.reading import adjusted, recomputed, rollup, stored
from tests.testing.receiver import received

COUNT = 18

Job = dict[str, Any]

OUTCOMES = {"completed": "success", "failed": "error", "cancelled": "cancelled", "open": "pending"}
"""What a ledger calls what a caller saw of the end of its job."""


def run(
    name: str, gateway: Gateway, url: str, folder: Path
) -> tuple[list[Wish], list[Seen], list[Attempt], dict[str, Job]]:
    """Run a program; return what it wanted and saw, the attempts of the ledger, and the gateway's jobs by wish."""
    program = PROGRAMS[name]
    wanted = program.wishes(COUNT, seed=list(PROGRAMS).index(name))
    gateways = {gateway.root.removeprefix("http://"): program.vendor}
    with pixelmeter.Meter(url, gateways=gateways, spool_dir=str(folder / "spool")) as meter:
        seen = asyncio.run(drive(name, gateway, meter, wanted))
        assert meter.flush(30)
        assert {} == meter.status()["failures"]
    return wanted, seen, list(stored(url).values()), {job["test_id"]: job for job in gateway.jobs().values()}


async def drive(name: str, gateway: Gateway, meter: pixelmeter.Meter, wanted: list[Wish]) -> list[Seen]:
    with pixelmeter.tags(program=name):
        return await PROGRAMS[name].drive(gateway, meter, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_job_leaves_the_attempt_that_submitted_it(
    name: str, gateway: Gateway, sqlite_url: str, tmp_path: Path
) -> None:
    program = PROGRAMS[name]
    wanted, seen, attempts, jobs = run(name, gateway, sqlite_url, tmp_path)
    by_job = {attempt.job_id: attempt for attempt in attempts}
    ended = adjusted(sqlite_url)
    assert recomputed(sqlite_url) == rollup(sqlite_url)
    assert len(wanted) == len(attempts) == len(by_job) == len(jobs)
    for wish, what in zip(wanted, seen, strict=True):
        job = jobs[wish.id]
        attempt = by_job[job["job"]]
        assert (program.vendor, "generate", "pending", job["model"], {"program": name}) == (
            attempt.gateway,
            attempt.operation,
            attempt.outcome,
            attempt.model,
            json.loads(attempt.tags),
        )
        stated = program.vendor == "black-forest-labs"
        assert (("billed", job["charged_nano"]) if stated else ("pending", None)) == (attempt.billing, attempt.cost)
        told = what.end
        now = ended[attempt.id]
        assert (OUTCOMES[told], job["images"] if told == "completed" else 0) == (now.outcome, now.images or 0)
        if now.cost is None:
            assert ("pending" if told == "open" else "unknown") == now.billing
            assert job["charged_nano"] <= (now.at_risk or 0)
        else:
            assert (job["charged_nano"], None) == (now.cost, now.at_risk)
        assert (wish.id, job["job"] if what.job is not None else None) == (what.wish, what.job)
        assert (what.job is None) <= (not program.says_job)
        assert (what.end, what.images) == (
            "open" if job["state"] in ("queued", "running") else job["state"],
            job["images"],
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_bill_charges_each_job_once(name: str, gateway: Gateway, sqlite_url: str, tmp_path: Path) -> None:
    *_, jobs = run(name, gateway, sqlite_url, tmp_path)
    charged: dict[str, list[int]] = {job["job"]: [] for job in jobs.values()}
    for line in gateway.billing():
        if line["charged_nano"]:
            charged[line["job"]].append(line["charged_nano"])
    assert {job["job"]: [job["charged_nano"]] if job["charged_nano"] else [] for job in jobs.values()} == charged
    assert any(charged.values())


def test_fals_answer_with_the_images_is_no_job(gateway: Gateway, sqlite_url: str, tmp_path: Path) -> None:
    with pixelmeter.Meter(sqlite_url, gateways={"localhost:*": "fal"}, spool_dir=str(tmp_path / "spool")) as meter:
        client = pixelmeter.instrument(fal_client.SyncClient(key="any"), meter)
        with fal_at(gateway), client._client:
            client.run("fal-ai/flux/dev", {"prompt": "a fox", "num_images": 3, "image_size": "square_hd"})
    [attempt] = stored(sqlite_url).values()
    assert ("success", 3, gateway.billed_nano(), None) == (
        attempt.outcome,
        attempt.images,
        attempt.cost,
        attempt.job_id,
    )


def test_a_prediction_that_was_waited_for_is_paid_with_its_submit(
    gateway: Gateway, sqlite_url: str, tmp_path: Path
) -> None:
    with pixelmeter.Meter(
        sqlite_url, gateways={"127.0.0.1:*": "replicate"}, spool_dir=str(tmp_path / "spool")
    ) as meter:
        client = pixelmeter.instrument(replicate_at(gateway), meter)
        with client._client:
            output: Any = client.run("black-forest-labs/flux-schnell", input={"prompt": "a fox", "num_outputs": 2})
    [attempt] = stored(sqlite_url).values()
    assert (2, "success", 2, gateway.billed_nano()) == (len(output), attempt.outcome, attempt.images, attempt.cost)
    assert list(gateway.jobs()) == [line["job"] for line in gateway.billing()]


def test_a_program_may_wait_for_a_webhook(gateway: Gateway, sqlite_url: str, tmp_path: Path) -> None:
    gateway.tell(job_seconds=0)
    gateways = {gateway.root.removeprefix("http://"): "fal"}
    with (
        pixelmeter.Meter(sqlite_url, gateways=gateways, spool_dir=str(tmp_path / "spool")) as meter,
        received() as inbox,
    ):
        client = pixelmeter.instrument(fal_client.SyncClient(key="any"), meter)
        with fal_at(gateway), client._client:
            handle = client.submit("fal-ai/flux/dev", {"prompt": "a fox"}, webhook_url=inbox.url)
        gateway.wait_webhooks(1)
    [attempt] = stored(sqlite_url).values()
    [(headers, body)] = inbox.messages
    assert handle.request_id == attempt.job_id == headers["x-fal-webhook-request-id"] == json.loads(body)["request_id"]
