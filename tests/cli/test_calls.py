from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from pixelmeter import Budget
from pixelmeter.cli import main
from pixelmeter.core.attempts.adjustment import AdjustmentKind
from pixelmeter.core.attempts.correction import corrected_to
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.listing import COLUMNS, listed
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.budget_changes import ResetAuthor
from pixelmeter.ledger.writer import open_writer
from tests.factories import STARTED_AT, make_attempt


def fill(url: str, *attempts: Attempt) -> None:
    writer = open_writer(url)
    writer.write(attempts, {}, [])
    writer.close()


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["calls", "--database-url", url, *arguments])


def calls(url: str, *arguments: str) -> list[dict[str, Any]]:
    result = run(url, "--format", "json", *arguments)
    assert 0 == result.exit_code, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def now(age: timedelta = timedelta(0)) -> int:
    """Return Unix microseconds of so long ago."""
    return (datetime.now(UTC) - age - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_json_has_every_field_of_every_attempt_newest_first(ledger_url: str) -> None:
    old = make_attempt(tags='{"a":"ü","b":"=1"}', cost=10_000_000)
    new = make_attempt(started_at=STARTED_AT + 1, cost=None, cost_reason="no_price", at_risk=1)
    fill(ledger_url, old, new)
    found = calls(ledger_url)
    assert [listed(new), listed(old)] == found
    assert [list(COLUMNS)] * 2 == [list(one) for one in found]
    assert ("0.01", {"a": "ü", "b": "=1"}) == (found[1]["cost_usd"], found[1]["tags"])
    assert (None, "no_price", "0.000000001") == tuple(
        found[0][key] for key in ("cost_usd", "cost_reason", "at_risk_usd")
    )


def test_no_attempt_is_an_empty_list(ledger_url: str) -> None:
    fill(ledger_url)
    assert [] == calls(ledger_url)
    assert "No attempt fits" in run(ledger_url).stdout


def test_every_filter_leaves_only_what_it_names(ledger_url: str) -> None:
    odd = make_attempt(
        model="a/x",
        gateway="g",
        operation="edit",
        outcome="error",
        status=500,
        tags='{"team":"a=b"}',
        started_at=STARTED_AT - 86_400_000_000,
    )
    fill(ledger_url, odd, make_attempt(model="a/y"))
    for filters in (
        ["--model", "*/x"],
        ["--gateway", "g"],
        ["--operation", "edit"],
        ["--outcome", "error"],
        ["--status", "500"],
        ["--tag", "team=a=b"],
        ["--call-id", odd.call_id.upper()],
        ["--until", "2026-05-28T00:00Z"],
    ):
        assert [odd.id] == [one["id"] for one in calls(ledger_url, *filters)], filters
    assert odd.id not in [one["id"] for one in calls(ledger_url, "--since", "2026-05-28")]


def test_no_more_than_the_limit_are_listed(sqlite_url: str) -> None:
    fill(sqlite_url, *(make_attempt(started_at=STARTED_AT + index) for index in range(60)))
    assert 50 == len(calls(sqlite_url))
    newest = [datetime.fromisoformat(one["started_at"]).microsecond for one in calls(sqlite_url, "--limit", "2")]
    assert [(STARTED_AT + 59) % 1_000_000, (STARTED_AT + 58) % 1_000_000] == newest


def test_the_table_says_why_a_cost_is_unknown_and_shows_the_zone_asked_for(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt(cost=None, cost_reason="outcome_unknown", at_risk=40_000_000, model="m\x1b[2J"))
    lines = [" ".join(line.split()) for line in run(sqlite_url, "--tz", "Asia/Kathmandu").stdout.splitlines()]
    assert "2026-05-29 02:11:40 success 200 1 outcome_unknown $0.0400 8.12 aigateway m team=growth" in lines


def test_columns_are_chosen_in_every_format(sqlite_url: str) -> None:
    attempt = make_attempt(cost=10_000_000)
    fill(sqlite_url, attempt)
    chosen = ["--columns", "id,cost,trace_id"]
    assert [{"id": attempt.id, "cost_usd": "0.01", "trace_id": None}] == calls(sqlite_url, *chosen)
    assert f'"id","cost_usd","trace_id"\n"{attempt.id}",0.01,\n' == run(sqlite_url, "--format", "csv", *chosen).stdout
    assert ["id cost usd trace id", f"{attempt.id} 0.01"] == [
        " ".join(line.split()) for line in run(sqlite_url, *chosen).stdout.splitlines() if "─" not in line
    ]


def test_csv_has_every_field_and_no_formula(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt(model="@evil", error_code="-2+3", cost=None))
    (row,) = csv.DictReader(io.StringIO(run(sqlite_url, "--format", "csv").stdout))
    assert list(COLUMNS) == list(row)
    assert ("'@evil", "'-2+3", "", "8.123456") == tuple(
        row[key] for key in ("model", "error_code", "cost_usd", "duration_seconds")
    )


@pytest.mark.parametrize(
    "arguments",
    [["--limit", "0"], ["--call-id", "x"], ["--status", "ok"], ["--columns", "price"], ["--follow", "--until", "1d"]],
)
def test_bad_options_are_usage_errors(sqlite_url: str, arguments: list[str]) -> None:
    assert 2 == run(sqlite_url, *arguments).exit_code


@pytest.mark.parametrize(
    ("options", "models"),
    [
        (["--exact-model", "a*"], ["a*"]),
        (["--billing", "unknown"], ["ab"]),
        (["--no-tag", "team"], ["ab"]),
        (["--only", "unknown-cost", "--only", "errors"], ["ab"]),
        (["--only", "known-cost"], ["a*"]),
    ],
)
def test_what_a_number_of_a_report_adds_up_can_be_listed(
    ledger_url: str, options: list[str], models: list[str]
) -> None:
    fill(
        ledger_url,
        make_attempt(model="a*"),
        make_attempt(model="ab", billing="unknown", cost=None, cost_reason="no_price", outcome="timeout", tags="{}"),
    )
    listed = json.loads(run(ledger_url, "--since", "2026", "--format", "json", *options).stdout)
    assert models == [one["model"] for one in listed]


@contextmanager
def following(url: str, *arguments: str) -> Generator[subprocess.Popen[str]]:
    """Run `calls --follow`, and stop it at the end whatever happens."""
    command = [sys.executable, "-m", "pixelmeter", "calls", "--follow", "--database-url", url, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.slow
def test_follow_prints_new_attempts_as_they_are_committed_until_interrupted(ledger_url: str) -> None:
    before = [make_attempt(started_at=now(timedelta(minutes=1, seconds=-index))) for index in range(3)]
    fill(ledger_url, *before)
    with following(ledger_url, "--format", "json", "--limit", "2") as process:
        assert [before[1].id, before[2].id] == [json.loads(line(process))["id"] for _ in range(2)]
        # It started before all that was printed, and it ended only now.
        slow = make_attempt(started_at=now(timedelta(minutes=5)), tags='{"team":"core"}')
        fill(ledger_url, slow)
        assert listed(slow) == json.loads(line(process))
        last = [make_attempt(started_at=now()), make_attempt(started_at=now())]
        fill(ledger_url, *last)
        assert [one.id for one in last] == [json.loads(line(process))["id"] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
        assert (0, "") == (process.returncode, rest)


def test_follow_keeps_to_its_filters(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt(model="first"))
    with following(sqlite_url, "--format", "csv", "--model", "*st") as process:
        assert line(process).startswith('"id","call_id"')
        assert '"first"' in line(process)
        fill(sqlite_url, make_attempt(model="other", started_at=now()), make_attempt(model="last", started_at=now()))
        assert '"last"' in line(process)


@pytest.mark.slow
def test_follow_ends_when_its_reader_does(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt(model="first"))
    with following(sqlite_url) as process:
        assert "first" in line(process)
        assert process.stdout is not None
        process.stdout.close()
        fill(sqlite_url, make_attempt(started_at=now()))
        assert process.wait(timeout=20) in {0, 1}
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("option", "value"), [("--status", "99999999999999999999"), ("--limit", "99999999999999999999"), ("--status", "99")]
)
def test_a_number_that_no_ledger_can_hold_is_refused(sqlite_url: str, option: str, value: str) -> None:
    result = CliRunner().invoke(main, ["calls", "--database-url", sqlite_url, option, value])

    assert 2 == result.exit_code
    assert f"'{option}': {value} is not in the range" in result.stderr


def adjust(url: str, attempt: Attempt, kind: AdjustmentKind, source: str, *people: str, **fields: Any) -> None:
    """Adjust an attempt an hour after it was made; `people` is who, and why."""
    author = Author(kind, source, attempt.started_at + 3_600_000_000, "1.0.0", *people)
    with closing(open_writer(url)) as writer:
        assert writer.adjust([attempt.id], lambda now: msgspec.structs.replace(now, **fields), author)


@pytest.fixture
def adjusted_url(ledger_url: str) -> str:
    """The URL of a ledger with an attempt whose job has ended since, and whose cost was corrected then."""
    attempt = make_attempt(
        outcome="pending", billing="pending", cost=None, cost_source="none", fee=None, images=None, at_risk=40_000_000,
        reported_cost=None, job_id="j",
    )  # fmt: skip
    fill(ledger_url, attempt)
    ended = {"outcome": "success", "billing": "billed", "cost": 40_000_001, "cost_source": "priced", "images": 1}
    adjust(ledger_url, attempt, "job", "poll", **ended, at_risk=None, fee=2_000_000)
    adjust(ledger_url, attempt, "manual", "command line", "anna", "=1+1 says the invoice", cost=0, fee=0)
    return ledger_url


def test_an_attempt_is_listed_as_it_is_now(adjusted_url: str) -> None:
    [found] = calls(adjusted_url)
    assert list(COLUMNS) == list(found)
    assert ("success", "0", 1, None) == tuple(found[key] for key in ("outcome", "cost_usd", "images", "at_risk_usd"))
    assert [] == calls(adjusted_url, "--outcome", "pending")


def test_the_history_of_an_attempt_says_what_each_adjustment_changed(adjusted_url: str) -> None:
    fill(adjusted_url, make_attempt(started_at=STARTED_AT - 1))
    [one, other] = calls(adjusted_url, "--history", "--columns", "id,cost")
    assert [] == other["adjustments"]
    assert ["id", "cost_usd", "adjustments", "budget_resets"] == list(one)
    first, second = one["adjustments"]
    assert {
        "images": {"before": None, "after": 1},
        "outcome": {"before": "pending", "after": "success"},
        "billing": {"before": "pending", "after": "billed"},
        "cost_usd": {"before": None, "after": "0.040000001"},
        "cost_source": {"before": "none", "after": "priced"},
        "at_risk_usd": {"before": "0.04", "after": None},
        "fee_usd": {"before": None, "after": "0.002"},
    } == first["changed"]
    assert {
        "cost_usd": {"before": "0.040000001", "after": "0"},
        "fee_usd": {"before": "0.002", "after": "0"},
    } == second["changed"]
    assert (1, "job", "poll", "2026-05-28T21:26:40.123456Z", None, None, None, "1.0.0") == tuple(first.values())[:-1]
    assert (2, "manual", "command line", "anna", "=1+1 says the invoice") == tuple(
        second[key] for key in ("number", "kind", "source", "made_by", "why")
    )


def test_the_history_is_a_last_column_of_csv_and_stands_under_the_row_in_a_table(
    adjusted_url: str,
) -> None:
    [row] = csv.DictReader(io.StringIO(run(adjusted_url, "--history", "--format", "csv").stdout))
    assert [*COLUMNS, "adjustments", "budget_resets"] == list(row)
    assert [1, 2] == [each["number"] for each in json.loads(row["adjustments"])]
    *_, first, second = run(adjusted_url, "--history", "--tz", "Asia/Kathmandu").stdout.splitlines()
    assert (
        "    2026-05-29 03:11:40 job, poll: images unknown -> 1, outcome pending -> success, billing pending -> billed,"
        " cost unknown -> $0.040000001, cost source none -> priced, at risk $0.04 -> none, fee unknown -> $0.002"
    ) == first
    assert (
        "    2026-05-29 03:11:40 manual, command line by anna: cost $0.040000001 -> $0, fee $0.002 -> $0"
        " (=1+1 says the invoice)"
    ) == second
    assert "job, poll" not in run(adjusted_url).stdout


def test_resets_of_budgets_that_an_attempt_counted_towards_are_told_apart_from_its_adjustments(
    ledger_url: str,
) -> None:
    attempt = make_attempt(tags='{"team":"art"}')
    with closing(open_writer(ledger_url)) as writer:
        writer.register([Budget(5, per="day", name="teams", each="tag:team").rule], STARTED_AT)
        writer.write([attempt, make_attempt(tags='{"team":"growth"}', started_at=STARTED_AT - 1)], {}, [])
        author = Author("manual", "command line", STARTED_AT + 3_000_000, "1.0.0", "anna")
        writer.adjust([attempt.id], lambda now: corrected_to(now, 40_000_000), author)
        writer.reset("teams", "art", ResetAuthor(STARTED_AT + 2_000_000, "ben", "a wrong price"))

    [art, growth] = calls(ledger_url, "--history")

    assert ["manual"] == [each["kind"] for each in art["adjustments"]]
    assert [
        {
            "number": 1, "budget": "teams", "value": "art", "starts_at": "2026-05-28T00:00:00Z", "amount_usd": "0.04",
            "made_at": "2026-05-28T20:26:42.123456Z", "made_by": "ben", "why": "a wrong price",
        }
    ] == art["budget_resets"]  # fmt: skip
    assert [] == growth["budget_resets"]
    below = [line for line in run(ledger_url, "--history").stdout.splitlines() if line.startswith("    ")]
    assert (
        "    2026-05-28 20:26:42 budget reset, teams (art) by ben: $0.04 taken off the budget, not off this attempt"
        " (a wrong price)"
    ) == below[0]
    assert below[1].startswith("    2026-05-28 20:26:43 manual, command line by anna: cost ")


def test_the_history_of_what_comes_is_not_followed(sqlite_url: str) -> None:
    assert 2 == run(sqlite_url, "--history", "--follow").exit_code
