"""`pixelmeter check`: what it finds, what it cannot tell, and the exit status that says so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.reporting.limits import Limits
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger import migrate
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports.check import Check, Window
from pixelmeter.reports.check import check as compare
from tests.factories import STARTED_AT, make_attempt

CENT = 10_000_000
MINUTE = 60_000_000
ALL = ["--max-error-rate", "0%", "--max-p95", "1ms", "--max-spend", "0", "--max-unknown", "0", "--max-at-risk", "0"]


def ago(minutes: float) -> int:
    return time.time_ns() // 1000 - round(minutes * MINUTE)


def fill(url: str, *attempts: Attempt) -> None:
    with closing(open_writer(url)) as writer:
        writer.write(attempts, {}, [])


def check(url: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["check", "--database-url", url, *options])


def document(url: str, *options: str) -> tuple[int, dict[str, Any]]:
    result = check(url, "--format", "json", *options)
    return result.exit_code, json.loads(result.stdout)


def lost(**fields: Any) -> Attempt:
    return make_attempt(cost=None, fee=None, billing="unknown", outcome="timeout", **fields)


def test_each_limit_that_is_exceeded_is_a_line_and_the_status_is_1(ledger_url: str) -> None:
    fill(
        ledger_url,
        *(make_attempt(started_at=ago(5), cost=CENT, duration=2_000_000) for _ in range(3)),
        lost(started_at=ago(10), at_risk=2 * CENT, duration=2_000_000),
    )
    result = check(ledger_url, *ALL)
    assert 1 == result.exit_code
    rate, p95, *others = result.stdout.splitlines()
    assert "error rate 25.0 % (1 of 4 attempts), more than 0 %" == rate
    assert p95.startswith("p95 ")
    assert p95.endswith(" s of 4 attempts, more than 0.001 s")
    assert [
        "$0.0300 spent, more than $0, and 1 attempt of unknown cost beside it",
        "1 attempt of unknown cost, more than 0",
        "$0.0200 at risk, more than $0",
    ] == others
    assert "" == result.stderr


def test_where_all_limits_are_kept_one_line_says_so_and_the_status_is_0(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(started_at=ago(5), cost=CENT))
    result = check(ledger_url, "--max-spend", "0.01", "--max-error-rate", "0%", "--max-unknown", "0")
    assert 0 == result.exit_code
    assert re.fullmatch(r"Fine: no limit is exceeded. Attempts from \S+:\d\dZ to \S+:\d\dZ: 1\.\n", result.stdout), (
        result.stdout
    )
    assert "" == check(ledger_url, "--max-spend", "1", "--quiet").output


def test_the_window_is_what_counts(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(started_at=ago(90), cost=CENT))
    assert 0 == check(ledger_url, "--max-spend", "0").exit_code
    assert 1 == check(ledger_url, "--max-spend", "0", "--window", "2h").exit_code


def zone_at(hour: int) -> str:
    """Return a zone in which it is this hour now."""
    ahead = (hour - datetime.now(UTC).hour + 12) % 24 - 12
    return f"Etc/GMT{-ahead:+}"


def test_today_is_the_day_of_the_zone(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(started_at=ago(4 * 60), cost=CENT))
    today = ("--max-spend", "0", "--window", "today", "--tz")
    assert [0, 1] == [check(ledger_url, *today, zone_at(hour)).exit_code for hour in (2, 20)]


def test_rows_by_day_are_those_of_the_zone(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(cost=CENT))
    until = moment_of(STARTED_AT + 1)
    found = compare(
        ledger_url,
        Check(
            window=Window("2d", until - timedelta(days=2), until, until), zone=ZoneInfo("Asia/Kolkata"),
            limits=Limits(spend=0), by=("day",),
        ),
    )  # fmt: skip
    assert [{"day": "2026-05-29"}] == [one.where for one in found.findings]


def test_each_row_is_compared_by_itself(ledger_url: str) -> None:
    fill(
        ledger_url,
        make_attempt(started_at=ago(5), cost=3 * CENT, tags='{"team":"a"}'),
        make_attempt(started_at=ago(5), cost=4 * CENT, tags='{"team":"b"}'),
        make_attempt(started_at=ago(5), cost=9 * CENT, tags="{}"),
    )
    result = check(ledger_url, "--max-spend", "0.03", "--by", "tag:team,model")
    assert [
        "tag:team (none), model openai/gpt-image-2: $0.0900 spent, more than $0.03",
        "tag:team b, model openai/gpt-image-2: $0.0400 spent, more than $0.03",
    ] == result.stdout.splitlines()
    assert 1 == result.exit_code
    assert 0 == check(ledger_url, "--max-spend", "0.03", "--tag", "team=a").exit_code
    assert 1 == check(ledger_url, "--max-spend", "0.03", "--tag", "team=b").exit_code


def test_a_budget_that_is_used_up_is_a_finding(ledger_url: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        rules = [Budget(1, per="day", name="all").rule, Budget("0.04", per="total", name="teams", each="tag:team").rule]
        writer.register(rules, ago(0))
        writer.write([make_attempt(started_at=ago(0), cost=4 * CENT)], {}, [])
    result = check(ledger_url, "--budgets")
    assert (1, "budget teams (growth): $0.0400 of $0.0400 are spent\n") == (result.exit_code, result.stdout)
    assert 1 == check(ledger_url, "--budgets", "--max-spend", "1").exit_code


def test_json_has_findings_with_exact_amounts(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(started_at=ago(5), cost=CENT + 1), lost(started_at=ago(5), model="m"))
    status, found = document(ledger_url, "--max-spend", "0.01", "--max-at-risk", "1", "--by", "model")
    assert 1 == status
    assert ("findings", ["model"], 2, []) == tuple(found[name] for name in ("state", "by", "attempts", "problems"))
    assert [
        {
            "check": "max-spend",
            "where": {"model": "openai/gpt-image-2"},
            "state": "exceeded",
            "value": "0.010000001",
            "limit": "0.01",
            "unit": "usd",
            "told": "model openai/gpt-image-2: $0.0100 spent, more than $0.01",
        }
    ] == found["findings"]
    assert [("max-spend", None), ("max-at-risk", None)] == [(one["check"], one["value"]) for one in found["unknown"]]


def test_what_nobody_knows_is_no_zero_and_the_status_is_2(ledger_url: str) -> None:
    fill(ledger_url, lost(started_at=ago(5)))
    result = check(ledger_url, "--max-spend", "5")
    assert (2, "") == (result.exit_code, result.stdout)
    assert "Cannot tell: spend is unknown: nobody knows what 1 attempt cost\n" == result.stderr
    assert 0 == check(ledger_url, "--max-spend", "5", "--max-unknown", "1").exit_code
    assert 1 == check(ledger_url, "--max-spend", "5", "--max-unknown", "0").exit_code


def test_a_budget_of_which_nothing_is_known_is_not_fine(ledger_url: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.register([Budget(1, per="total", name="all").rule], ago(0))
        writer.write([lost(started_at=ago(0))], {}, [])
    result = check(ledger_url, "--budgets")
    assert (2, "") == (result.exit_code, result.stdout)
    assert "Cannot tell: budget all: spend is unknown: nobody knows what 1 attempt cost\n" == result.stderr
    assert 0 == check(ledger_url, "--budgets", "--max-unknown", "1").exit_code


def test_an_empty_window_exceeds_nothing(ledger_url: str) -> None:
    fill(ledger_url, make_attempt(started_at=ago(500)))
    assert 0 == check(ledger_url, *ALL).exit_code


def test_without_a_ledger_nothing_can_be_told(new_url: str) -> None:
    status, found = document(new_url, "--max-spend", "5")
    assert (2, "unknown", []) == (status, found["state"], found["findings"])
    assert "no ledger" in found["problems"][0]
    assert check(new_url, "--max-spend", "5").stderr.startswith("Cannot tell: there is no ledger")


def test_a_ledger_of_an_older_schema_says_nothing(new_url: str) -> None:
    migrate.upgrade(new_url, "0008")
    result = check(new_url, "--max-spend", "5")
    assert 2 == result.exit_code
    assert "run `pixelmeter db upgrade`" in result.stderr


def test_a_server_that_is_not_there_is_no_finding() -> None:
    result = check("postgresql://postgres@127.0.0.1:1/none", "--max-spend", "5")
    assert 2 == result.exit_code
    assert result.stderr.startswith("Cannot tell: ")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--min-attempts", "3"],
        ["--max-spend", "much"],
        ["--max-error-rate", "5"],
        ["--max-p95", "30"],
        ["--max-spend", "5", "--by", "nothing"],
        ["--max-spend", "5", "--tz", "Nowhere/City"],
        *(
            ["--max-spend", "5", "--window", text]
            for text in ("0m", "2026-05", "yesterday", "last-month", "soon", "", "7")
        ),
    ],
)
def test_wrong_options_are_no_finding(sqlite_url: str, options: list[str]) -> None:
    fill(sqlite_url, make_attempt(started_at=ago(5)))
    result = check(sqlite_url, *options)
    assert 2 == result.exit_code
    assert "Error: " in result.stderr


def test_a_wrong_environment_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMETER_DURABILITY", "none")
    result = CliRunner().invoke(main, ["check", "--max-spend", "5"])
    assert 2 == result.exit_code
    assert "PIXELMETER_DURABILITY" in result.stderr


def test_a_check_that_is_interrupted_is_no_finding(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pixelmeter.reports.check.check", interrupted)
    status, found = document(sqlite_url, "--max-spend", "5")
    assert (2, "unknown") == (status, found["state"])


@pytest.mark.slow
def test_output_that_nobody_takes_is_no_finding(sqlite_url: str) -> None:
    fill(sqlite_url, make_attempt(started_at=ago(5)))
    program = [sys.executable, "-m", "pixelmeter", "check", "--database-url", sqlite_url, "--max-spend"]
    with open("/dev/full", "w") as full:
        for limit in ("0", "5"):
            done = subprocess.run([*program, limit], stdout=full, stderr=subprocess.PIPE, text=True)
            assert 2 == done.returncode
            assert "No space left on device" in done.stderr


def test_attempts_that_a_running_program_cannot_write_leave_it_open(sqlite_url: str, tmp_path: Path) -> None:
    fill(sqlite_url, make_attempt(started_at=ago(5)))
    assert 0 == check(sqlite_url, "--max-spend", "5").exit_code
    # A process of its own, as this one would take its own locks for nobody's.
    program = (
        "import sys, time; from pixelmeter.spool import Spool; from pixelmeter.system import SystemFiles, SystemIds;"
        "from tests.factories import make_attempt;"
        "spool = Spool(sys.argv[1], SystemFiles(), SystemIds());"
        "spool.outcome(make_attempt(started_at=time.time_ns() // 1000 - 600_000_000));"
        "print('ready', flush=True); sys.stdin.read()"
    )
    held = _spooling(program, f"{tmp_path}/ledger.db.spool")
    try:
        result = check(sqlite_url, "--max-spend", "5")
        assert 2 == result.exit_code
        assert "attempts that ended 5 minutes ago are not in the ledger yet" in result.stderr
        assert 1 == check(sqlite_url, "--max-spend", "0").exit_code
    finally:
        held.communicate()


def _spooling(program: str, folder: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}/src{os.pathsep}{root}"}
    held = subprocess.Popen(
        [sys.executable, "-c", program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
    )  # fmt: skip
    assert held.stdout is not None
    assert "ready\n" == held.stdout.readline()
    return held
