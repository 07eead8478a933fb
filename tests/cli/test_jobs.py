"""What `pixelmeter jobs` lists."""

from __future__ import annotations

import csv
import io
import json
import time
from contextlib import closing
from typing import Any

from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from tests.factories import STARTED_AT, make_attempt


def fill(url: str, *records: Attempt | JobEnd) -> None:
    with closing(open_writer(url)) as writer:
        writer.write(records, {}, [])


def run(url: str, *arguments: str) -> Result:
    result = CliRunner().invoke(main, ["jobs", "--database-url", url, *arguments])
    assert 0 == result.exit_code, result.output
    return result


def submitted(job_id: str | None, **fields: Any) -> Attempt:
    return make_attempt(
        **{
            "outcome": "pending", "billing": "pending", "cost": None, "cost_source": "none", "fee": None,
            "cost_reason": "pending_job", "job_id": job_id, "at_risk": 40_000_000, "gateway": "fal", "images": None,
        } | fields
    )  # fmt: skip


def ended(job_id: str, **fields: Any) -> JobEnd:
    known: dict[str, Any] = {
        "gateway": "fal",
        "source": "webhook",
        "outcome": "success",
        "images": 1,
        "heard_at": STARTED_AT + 1,
    }
    return JobEnd(id=make_attempt().id, job_id=job_id, **(known | fields))


def test_open_jobs_are_listed_oldest_first_with_what_they_may_cost(ledger_url: str) -> None:
    now = time.time_ns() // 1000
    young = submitted("young", started_at=now - 60_000_000, at_risk=None, model="m\x1b[2J")
    old = submitted("old", started_at=now - 7_200_000_000)
    fill(ledger_url, young, old, submitted("done", at_risk=1), submitted(None, at_risk=2), ended("done"))

    found = json.loads(run(ledger_url, "--format", "json").stdout)

    unnamed, *_ = found["jobs"]
    assert unnamed["job_id"] == unnamed["attempt_id"]
    assert ["old", "young"] == [one["job_id"] for one in found["jobs"][1:]]
    assert (3, "0.040000002", 1, []) == tuple(
        found[name] for name in ("open", "at_risk_usd", "unestimated", "ends_without_submit")
    )
    assert ("fal", "openai/gpt-image-2", "0.04", old.id) == tuple(
        found["jobs"][1][name] for name in ("gateway", "model", "at_risk_usd", "attempt_id")
    )
    assert [True, True] == [
        0 <= one["age_seconds"] - age < 60 for one, age in zip(found["jobs"][1:], (7200, 60), strict=True)
    ]
    table = [" ".join(line.split()) for line in run(ledger_url).stdout.splitlines()]
    assert any(line.endswith(f"2 h $0.0400 openai/gpt-image-2 fal old {old.id}") for line in table)
    assert any(" s unknown m fal young" in line for line in table)
    assert "3 jobs are open, $0.0400 at risk; what 1 of them may cost is unknown." == table[-1]


def test_ends_whose_submit_nobody_knows_are_listed_apart(ledger_url: str) -> None:
    fill(ledger_url, ended("lost", outcome="error", images=None))

    found = json.loads(run(ledger_url, "--format", "json").stdout)
    assert ([], 0, "0") == (found["jobs"], found["open"], found["at_risk_usd"])
    assert [
        {"gateway": "fal", "job_id": "lost", "ended_at": "2026-05-28T20:26:40.123457Z", "outcome": "error",
         "source": "webhook"}
    ] == found["ends_without_submit"]  # fmt: skip
    table = [" ".join(line.split()) for line in run(ledger_url).stdout.splitlines()]
    assert ("No job is open.", "Ends without a submit:") == (table[0], table[2])
    assert "2026-05-28 20:26:40 error webhook fal lost" == table[-1]


def test_csv_has_both_kinds_in_the_same_columns(sqlite_url: str) -> None:
    fill(sqlite_url, submitted("open"), ended("lost"))
    rows = list(csv.DictReader(io.StringIO(run(sqlite_url, "--format", "csv").stdout)))
    assert [("open", "", "0.04"), ("lost", "success", "")] == [
        (row["job_id"], row["outcome"], row["at_risk_usd"]) for row in rows
    ]


def test_the_oldest_are_shown_and_all_where_that_is_asked_for(sqlite_url: str) -> None:
    fill(sqlite_url, *(submitted(f"job-{number:02}", started_at=STARTED_AT + number) for number in range(60)))
    result = run(sqlite_url)
    assert (True, False) == ("job-49" in result.stdout, "job-50" in result.stdout)
    assert "60 jobs are open, $2.4000 at risk; these are the 50 oldest, --all shows them all." in result.stdout
    assert "job-59" in run(sqlite_url, "--all").stdout


def test_a_job_that_was_corrected_by_hand_has_nothing_at_risk(sqlite_url: str) -> None:
    attempt = submitted("open")
    fill(sqlite_url, attempt)
    CliRunner().invoke(main, ["adjust", attempt.id, "--usd", "1", "--why", "x", "--database-url", sqlite_url])
    assert "1 job is open, $0.0000 at risk." in run(sqlite_url).stdout
