"""A fleet whose jobs are submitted, followed and ended by different processes, half of which are killed."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pixelmeter.ledger.adjusting import open_jobs
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.testing.webhooks import FAL_KEY
from tests.interop.job_fleet import run_fleet
from tests.interop.job_plans import AIGATEWAY_SECRET, Plan
from tests.interop.test_jobs_of_sdks import OUTCOMES
from tests.ledger.reading import adjusted, recomputed, rollup, stored


@pytest.mark.slow
@pytest.mark.parametrize(
    "size",
    [
        {"jobs": 32, "batch": 4, "pollers": 2},
        pytest.param({"jobs": 1000, "batch": 25}, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
    ids=["small", "large"],
)
def test_each_job_of_a_fleet_is_one_attempt_and_charged_once(
    size: dict[str, Any], new_url: str, tmp_path: Path
) -> None:
    seed = time.time_ns() % 1_000_000
    secrets = {"aigateway": AIGATEWAY_SECRET, "fal": FAL_KEY}
    plan = Plan(
        ledger=new_url,
        folder=str(tmp_path / "fleet"),
        seed=seed,
        meter_options={"webhook_secrets": secrets},
        **size,
    )
    outcome = run_fleet(plan)
    assert [] == list(outcome.refused)
    sys.stdout.write(json.dumps(outcome.summary()))
    attempts = stored(new_url)
    ended = adjusted(new_url)
    by_wish = {json.loads(attempt.tags)["wish"]: attempt for attempt in attempts.values()}
    assert outcome.planned.keys() == outcome.jobs.keys() == by_wish.keys()
    assert size["jobs"] == len(attempts)
    assert size["jobs"] // 2 == sum(job.killed for job in outcome.planned.values())
    for wish, job in outcome.jobs.items():
        attempt = by_wish[wish]
        assert ("pending", job["gateway"], job["job"]) == (attempt.outcome, attempt.gateway, attempt.job_id)
        assert outcome.planned[wish].ends is (job["state"] not in ("queued", "running"))
        now = ended[attempt.id]
        if outcome.planned[wish].is_heard:
            outcomes = {"timeout", "error"} if job["state"] in ("failed", "aborted") else {OUTCOMES[job["state"]]}
            assert now.outcome in outcomes
            # Whoever hears from a cancellation that the job is done does not hear with what.
            is_told = now.images is not None or not outcome.planned[wish].cancelled
            assert not is_told or job["images"] == (now.images or 0)
        if now.cost is None:
            assert job["charged_nano"] <= (now.at_risk or 0)
        else:
            assert outcome.planned[wish].is_heard
            assert (job["charged_nano"], None) == (now.cost, now.at_risk)
    with reading_ledger(new_url) as reader:
        waiting = {job.attempt_id for job in open_jobs(reader)}
    assert {attempt.id for attempt in ended.values() if attempt.outcome == "pending"} == waiting
    assert recomputed(new_url) == rollup(new_url)
    charged = Counter(line["job"] + line["gateway"] for line in outcome.billing if line["charged_nano"])
    assert {1} == set(charged.values())
    assert sum(job["charged_nano"] for job in outcome.jobs.values()) == sum(
        line["charged_nano"] for line in outcome.billing
    )
    posts = Counter((post["job"], "fal" if "-" in post["job"] else "aigateway") for post in outcome.posts)
    told = {
        (outcome.jobs[wish]["job"], job.vendor): job.behaviour["webhook_times"]
        for wish, job in outcome.planned.items()
        if job.posted and job.ends
    }
    assert told == posts
