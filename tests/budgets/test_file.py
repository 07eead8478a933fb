"""A file of budgets: every key, and what is wrong with it by lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelmeter import Budget
from pixelmeter.budgets.file import budgets_of, check, load_budgets
from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.budgets.budget import Rule, Scope
from pixelmeter.errors import ConfigError
from pixelmeter.settings import from_environment

EVERY_KEY = """
[[budget]]
usd = "12.5"
per = "week"
name = "customers"
tz = "Asia/Kathmandu"
scope = { gateway = "aigateway", model = "openai/*", operation = "edit", tags = { team = "art" } }
each = "tag:customer"
thresholds = [1, 0.25, "0.9"]
action = "block"
unpriced = "block"
on_unavailable = "block"
refuse = "respond"
notify = "https://hooks.example/budget"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a test writes its budgets."""
    return tmp_path / "budgets.toml"


def _problems(file: Path, text: str) -> list[tuple[int, str]]:
    file.write_text(text)
    return check(str(file)).problems


def test_every_key_says_what_the_argument_of_its_name_says(file: Path) -> None:
    file.write_text(EVERY_KEY)

    [budget] = load_budgets(str(file))

    assert budget.rule == Rule(
        name="customers",
        limit=12_500_000_000,
        per="week",
        zone="Asia/Kathmandu",
        scope=Scope(gateway="aigateway", model="openai/*", operation="edit", tags={"team": "art"}),
        each="tag:customer",
        action="block",
        thresholds=(250_000, 900_000, 1_000_000),
        unpriced="block",
        on_unavailable="block",
    )
    assert (budget.refuse, budget.notify) == ("respond", "https://hooks.example/budget")


def test_a_budget_needs_no_more_than_its_limit(file: Path) -> None:
    file.write_text("[[budget]]\nusd = 5\n")

    [budget] = load_budgets(str(file))

    assert budget.rule == Budget(5).rule
    assert (budget.name, budget.rule.per, budget.rule.action) == ("month", "month", "warn")


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ('usd = "much"', "usd of a budget is 'much'"),
        ("usd = -1", "usd of a budget is '-1'"),
        ("usd = 0.0000000001", "usd of a budget is '1e-10'"),
        ("usd = true", "usd of a budget is 'True'"),
        ("usd = inf", "usd of a budget is"),
        ("usd = 2000000000", "usd of a budget is '2000000000'"),
        ('per = "year"', "per of a budget is 'year': use one of day, week, month, total"),
        ('name = ""', "name of a budget is ''"),
        ('tz = "Mars/Olympus"', "tz of a budget is 'Mars/Olympus'"),
        ('tz = "../../etc/passwd"', "tz of a budget is '../../etc/passwd'"),
        ('scope = { city = "Rome" }', "scope of a budget: "),
        ("scope = { model = 5 }", "scope of a budget: "),
        ('each = "tag:"', "each of a budget is 'tag:'"),
        ('each = "colour"', "each of a budget is 'colour'"),
        ("thresholds = 0.5", "thresholds of a budget is no list"),
        ("thresholds = [0]", "a threshold of a budget is '0'"),
        ("thresholds = [101]", "a threshold of a budget is '101'"),
        ('action = "stop"', "action of a budget is 'stop': use one of warn, block"),
        ('unpriced = "no"', "unpriced of a budget is 'no'"),
        ('on_unavailable = "no"', "on_unavailable of a budget is 'no'"),
        ('refuse = "silently"', "refuse of a budget is 'silently'"),
        ('notify = "ftp://example"', "notify is neither a function nor the http(s) URL"),
        ("colour = 1", "'colour' is no key of a budget: use usd, per, name, "),
    ],
)
def test_a_value_that_cannot_be_used_is_told_with_its_line(file: Path, written: str, problem: str) -> None:
    limit = [] if written.startswith("usd") else ["usd = 5"]
    lines = ["# budgets", "[[budget]]", *limit, "", written]

    [(line, told)] = _problems(file, "\n".join(lines))

    assert told.startswith(problem)
    assert line == len(lines), told


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "there is no budget in it"),
        ("[[budget]]\nper = 'day'\n", 1, "a budget has no usd"),
        ("[budget]\nusd = 5\n", 1, "budget is no list of tables"),
        ("budget = [5]\n", 1, "budget is no list of tables"),
        ("\n\n[[budgets]]\nusd = 5\n", 3, "'budgets' is no key here"),
        ("[[budget]]\nusd = 5\nusd = 6\n", 3, ""),
        ("[[budget]]\nusd = 5\n\n[[budget]]\nusd = 6\n", 4, "there is a budget 'month' already"),
    ],
)
def test_a_file_of_another_form_is_told_with_its_line(file: Path, text: str, line: int, problem: str) -> None:
    [(found, told), *_] = _problems(file, text)

    assert (found, told.startswith(problem)) == (line, True), told


def test_every_problem_is_told_and_what_is_right_is_read(file: Path) -> None:
    file.write_text("[[budget]]\nusd = 5\n\n[[budget]]\nusd = -5\n\n[[budget]]\nusd = 7\nper = 'year'\n")

    found = check(str(file))

    assert [line for line, _ in found.problems] == [5, 9]
    assert [budget.name for budget in found.budgets] == ["month"]
    with pytest.raises(ConfigError, match=r"budgets\.toml:5: usd of a budget is '-5'"):
        load_budgets(str(file))


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"budgets\.toml cannot be read"):
        load_budgets(str(file))


def test_the_url_of_a_webhook_stands_in_no_problem(file: Path) -> None:
    problems = _problems(file, '[[budget]]\nusd = 5\nnotify = "ftp://hooks.example/T00/swordfish"\n')

    assert "swordfish" not in str(problems)


def test_the_environment_names_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("PIXELMETER_BUDGETS", "budgets.toml")

    assert from_environment().budgets == str(file)


def test_of_two_budgets_with_one_name_that_of_the_program_is_taken(file: Path) -> None:
    file.write_text('[[budget]]\nusd = 5\nname = "ours"\n\n[[budget]]\nusd = 6\nname = "theirs"\n')

    found = budgets_of(str(file), [Budget(9, name="ours")])

    assert {budget.name: budget.rule.limit // NANO_PER_USD for budget in found} == {"ours": 9, "theirs": 6}
