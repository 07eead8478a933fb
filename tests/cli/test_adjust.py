"""What `pixelmeter adjust` changes and shows."""

from __future__ import annotations

import getpass
import json
from contextlib import closing
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.reading import stored

ONE = "01978e5c-0000-7000-8000-000000000001"
TWO = "01978e5c-0000-7000-8000-000000000002"


def fill(url: str, *records: Attempt | JobEnd) -> None:
    with closing(open_writer(url)) as writer:
        writer.write(records, {}, [])


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["adjust", "--database-url", url, *arguments])


def listed(url: str, *arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(main, ["calls", "--history", "--format", "json", "--database-url", url, *arguments])
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def unknown(**fields: Any) -> Attempt:
    return make_attempt(
        **{
            "outcome": "timeout", "billing": "unknown", "cost": None, "cost_source": "none", "fee": None,
            "cost_reason": "outcome_unknown", "at_risk": 42_200_000, "reported_cost": None,
        } | fields
    )  # fmt: skip


def test_a_correction_settles_what_an_attempt_cost_and_says_what_it_was(ledger_url: str) -> None:
    attempt = unknown()
    fill(ledger_url, attempt)

    result = run(ledger_url, attempt.id, "--usd", "0.04", "--why", "invoice of May", "--by", "anna")

    assert 0 == result.exit_code, result.output
    assert (
        "billing unknown -> billed, cost unknown -> $0.04, cost source none -> reconciled,"
        " cost reason outcome_unknown -> none, at risk $0.0422 -> none, fee unknown -> $0.002"
    ) == result.stdout.splitlines()[1]
    [found] = listed(ledger_url)
    assert ("billed", "0.04", "reconciled", None, None, "0.002", "timeout") == tuple(
        found[name]
        for name in ("billing", "cost_usd", "cost_source", "cost_reason", "at_risk_usd", "fee_usd", "outcome")
    )
    [made] = found["adjustments"]
    assert ("manual", "command line", "anna", "invoice of May") == tuple(
        made[name] for name in ("kind", "source", "made_by", "why")
    )
    assert {attempt.id: attempt} == stored(ledger_url)


def test_who_is_logged_in_is_who_corrects(sqlite_url: str) -> None:
    attempt = make_attempt()
    fill(sqlite_url, attempt)
    assert 0 == run(sqlite_url, attempt.id, "--usd", "0", "--why", "refunded").exit_code
    [found] = listed(sqlite_url)
    assert ("0", "0", getpass.getuser()) == (found["cost_usd"], found["fee_usd"], found["adjustments"][0]["made_by"])


def test_a_dry_run_changes_nothing(sqlite_url: str) -> None:
    attempt = make_attempt(cost=1)
    fill(sqlite_url, attempt)
    result = run(sqlite_url, attempt.id, "--usd", "0.000000002", "--why", "x", "--dry-run")
    assert "cost $0.000000001 -> $0.000000002" in result.stdout
    assert "dry run" in result.stdout
    assert [] == listed(sqlite_url)[0]["adjustments"]


def test_the_same_correction_again_changes_nothing_and_another_one_does(ledger_url: str) -> None:
    attempt = unknown()
    fill(ledger_url, attempt)
    for usd in ("0.04", "0.040", "4e-2", "0.05"):
        assert 0 == run(ledger_url, attempt.id, "--usd", usd, "--why", "x").exit_code
    assert [1, 2] == [one["number"] for one in listed(ledger_url)[0]["adjustments"]]
    assert "It is so already" in run(ledger_url, attempt.id, "--usd", "0.05", "--why", "x").stdout


def test_a_fee_that_the_gateway_stated_of_somebodys_own_key_stays(sqlite_url: str) -> None:
    attempt = unknown(byok=True, fee=7, fee_rate=0)
    fill(sqlite_url, attempt)
    run(sqlite_url, attempt.id, "--usd", "1", "--why", "x")
    assert "0.000000007" == listed(sqlite_url)[0]["fee_usd"]


def test_a_job_that_ends_after_its_correction_changes_nothing_of_the_money(ledger_url: str) -> None:
    attempt = unknown(outcome="pending", billing="pending", job_id="job", images=None)
    fill(ledger_url, attempt)
    run(ledger_url, attempt.id, "--usd", "0.04", "--why", "x")
    end = JobEnd(id=make_attempt().id, gateway=attempt.gateway, job_id="job", heard_at=attempt.started_at + 1,
                 source="poll", outcome="success", images=1, reported_cost=9)  # fmt: skip
    fill(ledger_url, end)
    [found] = listed(ledger_url)
    assert ("success", 1, "0.04") == tuple(found[name] for name in ("outcome", "images", "cost_usd"))


@pytest.mark.parametrize("usd", ["-0.01", "x", "", "nan", "1e300", "0.0000000001", "1000001"])
def test_what_is_no_amount_is_a_usage_error(sqlite_url: str, usd: str) -> None:
    result = run(sqlite_url, ONE, f"--usd={usd}", "--why", "x")
    assert 2 == result.exit_code
    assert "--usd" in result.stderr


def test_a_correction_needs_a_reason(sqlite_url: str) -> None:
    assert 2 == run(sqlite_url, ONE, "--usd", "1").exit_code
    assert 2 == run(sqlite_url, ONE, "--usd", "1", "--why", " ").exit_code


@pytest.mark.parametrize("text", ["01978e5", "no-such-thing", "01978e5c-0000-7000-8000-0000000000011"])
def test_what_is_no_id_is_said_to_be_none(sqlite_url: str, text: str) -> None:
    fill(sqlite_url, make_attempt())
    result = run(sqlite_url, text, "--usd", "1", "--why", "x")
    assert 1 == result.exit_code
    assert "is no id" in result.stderr


def test_an_id_that_nobody_has_is_an_error(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(id=ONE))
    result = run(ledger_url, TWO, "--usd", "1", "--why", "x")
    assert (1, f"Error: the ledger has no such attempt or call: {TWO}\n") == (result.exit_code, result.stderr)


def test_an_id_may_be_shortened_while_it_is_clear(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(id=ONE, model="first"), make_attempt(id="01978e5d" + TWO[8:], model="second"))
    assert "first at aigateway" in run(ledger_url, "01978E5C", "--usd", "1", "--why", "x").stdout
    fill(ledger_url, make_attempt(id=TWO))
    result = run(ledger_url, "01978e5c-0000", "--usd", "1", "--why", "x")
    assert 1 == result.exit_code
    assert "may mean 2 attempts" in result.stderr
    assert [True, True] == [one in result.stderr for one in (ONE, TWO)]


def test_of_a_call_with_several_attempts_one_must_be_named(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(id=ONE, cost=1), make_attempt(id=TWO, call_id=ONE, attempt=1, cost=2))
    refused = run(ledger_url, ONE, "--usd", "1", "--why", "x")
    assert (1, True, True) == (refused.exit_code, "may mean 2 attempts" in refused.stderr, TWO in refused.stderr)
    assert 0 == run(ledger_url, ONE, "--attempt", "0", "--usd", "3", "--why", "x").exit_code
    assert 0 == run(ledger_url, TWO, "--usd", "4", "--why", "x").exit_code
    assert {ONE: "3", TWO: "4"} == {one["id"]: one["cost_usd"] for one in listed(ledger_url)}


def test_no_ledger_is_an_error_and_none_is_made(sqlite_url: str) -> None:
    result = run(sqlite_url, ONE, "--usd", "1", "--why", "x")
    assert 1 == result.exit_code
    assert "Error: " in result.stderr
