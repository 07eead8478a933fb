"""What `pixelmeter budgets` shows, checks and changes."""

from __future__ import annotations

import csv
import getpass
import io
import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pixelmeter import Budget
from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.lease import Draw, LeaseKey
from pixelmeter.core.reporting.budgets import COLUMNS
from pixelmeter.ledger.engine import open_engine
from pixelmeter.ledger.writer import open_writer
from tests.factories import STARTED_AT, make_attempt

USD = 1_000_000_000
EVER = Budget(10, per="total", name="ever", action="block").rule
TEAMS = Budget(5, per="total", name="teams", each="tag:team", scope={"model": "openai/*"}).rule
FILE = """
[[budget]]
name = "ever"
usd = 10
per = "total"
action = "block"

[[budget]]
name = "teams"
usd = 7
per = "total"
each = "tag:team"
scope.model = "openai/*"
"""


def fill(url: str, rules: list[Rule], *attempts: Attempt) -> None:
    with closing(open_writer(url)) as writer:
        writer.register(rules, STARTED_AT)
        writer.write(attempts, {}, [])


def run(url: str, *arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(main, ["budgets", *arguments, "--database-url", url], **more)


def printed(url: str, *arguments: str) -> str:
    result = run(url, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def read(url: str, *arguments: str) -> Any:
    return json.loads(printed(url, *arguments, "--format", "json"))


def lines(text: str) -> list[str]:
    """Return the lines of a table with one space between cells."""
    return [" ".join(line.split()) for line in text.splitlines()]


def of_team(team: str, usd: int, **fields: Any) -> Attempt:
    return make_attempt(cost=usd * USD, tags=f'{{"team":"{team}"}}', **fields)


@pytest.fixture
def filled_url(ledger_url: str) -> str:
    """A ledger with two budgets: one of everything, and one for each of six teams."""
    teams = [of_team(f"team-{number}", number) for number in range(1, 7)]
    unknown = make_attempt(
        cost=None, outcome="timeout", billing="unknown", at_risk=USD, model="other", requested_model="other"
    )
    fill(ledger_url, [EVER, TEAMS], *teams, unknown)
    return ledger_url


def test_json_has_every_number_as_exact_text(ledger_url: str) -> None:
    unknown = make_attempt(cost=None, outcome="timeout", billing="unknown", at_risk=1)
    blocked = make_attempt(outcome="blocked", billing="not_billed", cost=0, status=None, duration=0)
    fill(ledger_url, [EVER], make_attempt(cost=USD), unknown, blocked)

    [found] = read(ledger_url, "list")

    assert list(found) == list(COLUMNS)
    assert found == {
        "budget": "ever", "value": "", "is_active": True, "per": "total", "tz": "UTC", "each": None, "action": "block",
        "starts_at": None, "resets_at": None, "limit_usd": "10", "spent_usd": "1.000000001", "used": 0.1,
        "cost_usd": "1", "at_risk_usd": "0.000000001", "credited_usd": "0", "reserved_usd": "0",
        "room_usd": "8.999999999", "forecast_usd": None, "overrun_usd": "0", "overruns": 0, "attempts": 2, "blocked": 1,
        "unknown_cost_attempts": 1, "leases": 0, "resets": 0, "notices": 0,
    }  # fmt: skip


def test_what_is_not_known_is_null_and_never_nothing(ledger_url: str) -> None:
    fill(ledger_url, [EVER], make_attempt(cost=None, cost_reason="no_price"))

    [found] = read(ledger_url, "list")

    assert [found[name] for name in ("spent_usd", "used", "cost_usd", "at_risk_usd")] == [None] * 4
    assert "ever $10.0000 unknown $10.0000 1 never" in lines(printed(ledger_url, "list"))


def test_a_table_has_the_five_values_that_are_used_most_and_says_how_many_there_are(filled_url: str) -> None:
    table = lines(printed(filled_url, "list"))

    assert table[0].startswith("budget value limit spent used reserved room")
    assert [line.split()[1] for line in table if line.startswith("teams team")] == [
        "team-6", "team-5", "team-4", "team-3", "team-2",
    ]  # fmt: skip
    assert "teams team-6 $5.0000 $6.0000 120.0 % -$1.0000 never" in table
    assert table[-1] == "teams: these are the 5 of 6 values used most, 2 of them used up; --all has all."


def test_all_has_every_value_and_budgets_that_were_removed(filled_url: str) -> None:
    printed(filled_url, "remove", "ever")

    assert {row["budget"] for row in read(filled_url, "list")} == {"teams"}
    rows = read(filled_url, "list", "--all")
    assert [(row["budget"], row["is_active"]) for row in rows] == [("ever", False), *[("teams", True)] * 6]
    assert lines(printed(filled_url, "list", "--all"))[-1] == "ever was removed: nothing counts towards it any more."


def test_csv_has_the_columns_of_json(filled_url: str) -> None:
    rows = list(csv.DictReader(io.StringIO(printed(filled_url, "list", "--format", "csv"))))

    assert list(rows[0]) == list(COLUMNS)
    assert [row["spent_usd"] for row in rows] == [row["spent_usd"] for row in read(filled_url, "list")]


def test_a_budget_for_each_value_is_listed_before_it_has_any(ledger_url: str) -> None:
    fill(ledger_url, [TEAMS])

    [found] = read(ledger_url, "list")

    assert (found["value"], found["spent_usd"], found["room_usd"]) == (None, "0", "5")
    assert "teams (none) $5.0000 $0.0000 0.0 % $5.0000 never" in lines(printed(ledger_url, "list"))


def test_a_ledger_without_budgets_says_how_to_get_one(ledger_url: str) -> None:
    fill(ledger_url, [])

    assert "PIXELMETER_BUDGETS" in printed(ledger_url, "list")
    assert read(ledger_url, "list") == []


def test_a_name_cannot_steer_the_terminal(ledger_url: str) -> None:
    fill(ledger_url, [TEAMS], make_attempt(tags='{"team":"\\u001b[2Jart"}'))

    assert "\x1b" not in printed(ledger_url, "list") + printed(ledger_url, "show", "teams")


def test_show_has_earlier_spans_resets_leases_and_notices(ledger_url: str) -> None:
    now = time.time_ns() // 1000
    daily = Budget(5, per="day", name="daily").rule
    with closing(open_writer(ledger_url)) as writer:
        writer.register([daily], now - 3 * 86_400_000_000)
        writer.write([make_attempt(cost=USD, started_at=now - 2 * 86_400_000_000)], {}, [])
        writer.write([make_attempt(cost=2 * USD, started_at=now)], {}, [])
        key = LeaseKey("daily", "", daily.span_of(now).start)
        writer.draw("host-77", [Draw(key, daily.limit, USD, USD, USD, USD)], now)
    printed(ledger_url, "reset", "daily", "--why", "a test", "--by", "ben", "--yes")
    notice = (
        "INSERT INTO pixelmeter_budget_notices (budget, value, starts_at, threshold, claimed_at, claimed_by)"
        " SELECT budget, value, starts_at, 500000, starts_at, 'host-77' FROM pixelmeter_budget_leases"
    )
    with open_engine(ledger_url).begin() as connection:
        connection.exec_driver_sql(notice)

    found = read(ledger_url, "show", "daily")

    assert (found["budget"], found["limit_usd"], found["thresholds"], found["scope"]) == (
        "daily", "5", [0.5, 0.8, 1.0], {},
    )  # fmt: skip
    [present], [earlier] = found["present"], found["earlier"]
    assert (present["spent_usd"], present["credited_usd"], present["reserved_usd"], present["room_usd"]) == (
        "0", "2", "1", "4",
    )  # fmt: skip
    assert (earlier["spent_usd"], earlier["reserved_usd"]) == ("1", "0")
    [reset], [lease], [told] = found["resets"], found["leases"], found["notices"]
    assert (reset["amount_usd"], reset["made_by"], reset["why"]) == ("2", "ben", "a test")
    assert (lease["process"], lease["amount_usd"]) == ("host-77", "1")
    assert 0 <= lease["age_seconds"] < 300
    assert (told["threshold"], told["sent_at"]) == (0.5, None)

    table = lines(printed(ledger_url, "show", "daily"))
    assert table[0] == "daily: $5.0000 a day in UTC, of everything; only warns."
    assert [line for line in table if line.endswith(":")] == [
        "The present period:", "Periods before:", "Resets:", "Leases:", "Thresholds that were passed:",
    ]  # fmt: skip
    assert any(line.startswith("host-77 $1.0000 ") for line in table)
    assert any(line.startswith("50 % ") and line.endswith(" not yet") for line in table)
    assert len(list(csv.DictReader(io.StringIO(printed(ledger_url, "show", "daily", "--format", "csv"))))) == 2


def test_one_value_of_a_budget_can_be_shown(filled_url: str) -> None:
    assert [row["value"] for row in read(filled_url, "show", "teams", "--value", "team-3")["present"]] == ["team-3"]


@pytest.mark.parametrize("arguments", [("show", "nine"), ("remove", "nine"), ("reset", "nine", "--why", "x")])
def test_a_budget_that_is_not_there_is_named(filled_url: str, arguments: tuple[str, ...]) -> None:
    result = run(filled_url, *arguments)

    assert result.exit_code == 1
    assert "no budget 'nine'" in result.stderr


def test_a_reset_says_what_it_takes_off_and_who_did_it(filled_url: str) -> None:
    said = printed(filled_url, "reset", "ever", "--why", "a wrong price", "--yes")

    assert said == "ever: $22.0000 is spent\never: $22.0000 taken off\n"
    [reset] = read(filled_url, "show", "ever")["resets"]
    assert (reset["made_by"], reset["why"]) == (getpass.getuser(), "a wrong price")
    assert read(filled_url, "list")[0]["spent_usd"] is None, "it is not known that nothing is spent since"
    assert "nothing to take off" in printed(filled_url, "reset", "ever", "--why", "again", "--yes")


def test_a_reset_may_be_of_one_value(filled_url: str) -> None:
    said = printed(filled_url, "reset", "teams", "--value", "team-4", "--why", "x", "--yes")

    assert said.splitlines()[-1] == "teams (team-4): $4.0000 taken off"
    spent = {row["value"]: row["spent_usd"] for row in read(filled_url, "show", "teams")["present"]}
    assert (spent["team-4"], spent["team-5"]) == ("0", "5")


def test_a_reset_that_nobody_agrees_to_changes_nothing(filled_url: str) -> None:
    result = run(filled_url, "reset", "ever", "--why", "x")

    assert result.exit_code == 0
    assert "Nothing was changed" in result.stderr
    assert read(filled_url, "show", "ever")["resets"] == []


def test_a_reset_needs_a_reason(filled_url: str) -> None:
    assert run(filled_url, "reset", "ever", "--yes").exit_code == 2
    assert run(filled_url, "reset", "ever", "--yes", "--why", " ").exit_code == 2


def test_a_removed_budget_cannot_be_reset(filled_url: str) -> None:
    printed(filled_url, "remove", "ever")

    result = run(filled_url, "reset", "ever", "--why", "x", "--yes")

    assert (result.exit_code, "was removed" in result.stderr) == (1, True)


def test_a_budget_that_no_version_of_ours_can_read_can_be_removed(filled_url: str) -> None:
    with open_engine(filled_url).begin() as connection:
        connection.exec_driver_sql(
            """UPDATE pixelmeter_budgets SET definition = '{"per": "fortnight"}', revision = 9 WHERE name = 'ever'"""
        )
    with closing(open_writer(filled_url)) as writer, pytest.raises(Exception, match="the budget 'ever'"):
        writer.write([make_attempt()], {}, [])
    assert "pixelmeter budgets remove" in run(filled_url, "list").stderr

    printed(filled_url, "remove", "ever")

    with closing(open_writer(filled_url)) as writer:
        assert writer.write([make_attempt()], {}, []) == 1
    assert {row["budget"] for row in read(filled_url, "list")} == {"teams"}


def test_nothing_makes_a_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none.db"

    for arguments in (["list"], ["show", "x"], ["remove", "x"], ["reset", "x", "--why", "x", "--yes"]):
        assert run(url, *arguments).exit_code == 1
    assert not list(tmp_path.iterdir())


def test_a_file_is_shown_with_what_each_budget_has_spent(filled_url: str, tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(FILE + '\n[[budget]]\nname = "new"\nusd = 1\nper = "total"\nscope.tags = { team = "team-1" }\n')

    rows = read(filled_url, "check", str(file))

    ever, new = rows[0], rows[-1]
    assert (ever["budget"], ever["spent_usd"], ever["ledger"]) == ("ever", "22", "as it is")
    assert [(row["value"], row["ledger"]) for row in rows[1:7]][:2] == [("team-6", "changed"), ("team-5", "changed")]
    assert (new["spent_usd"], new["ledger"], new["scope"]) == ("1", "new", {"tags": {"team": "team-1"}})
    table = lines(printed(filled_url, "check", str(file)))
    assert "ever $10.0000 total UTC everything block $22.0000 220.0 % as it is" in table
    assert "teams $7.0000 total UTC model openai/*, each tag:team warn team-6 $6.0000 85.7 % changed" in table


def test_a_file_can_be_checked_before_there_is_a_ledger(tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text(FILE)

    result = run(f"sqlite:///{tmp_path}/none.db", "check", str(file), "--format", "json")

    assert result.exit_code == 0
    assert [(row["budget"], row["spent_usd"], row["ledger"]) for row in json.loads(result.stdout)] == [
        ("ever", None, None),
        ("teams", None, None),
    ]
    assert "there is no ledger" in result.stderr


def test_every_problem_of_a_file_is_told_with_its_line(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text('[[budget]]\nusd = 5\nper = "year"\n\n[[budget]]\nusd = -1\n')

    result = run(sqlite_url, "check", str(file))

    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{file}:3: per of a budget is 'year'")
    assert second.startswith(f"{file}:6: usd of a budget is '-1'")
    assert result.stdout == ""
