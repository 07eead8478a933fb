"""The examples of docs/budgets.md do what the page says."""

from __future__ import annotations

import inspect
import json
import os
import re
import runpy
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

import pixelmeter
from pixelmeter import Budget
from pixelmeter.budgets.file import load_budgets
from pixelmeter.cli import main
from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.budgets.budget import Rule
from pixelmeter.core.budgets.notices import NoticeKey, Passed, body_of, notice_of
from pixelmeter.testing import Gateway
from tests.factories import STARTED_AT
from tests.interop.conftest import Metered

PAGE = (Path(__file__).parents[2] / "docs" / "budgets.md").read_text()
PROGRAM, NOTIFIED = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[FILE] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
[NOTICE] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^(?:\$ )?pixelmeter (budgets .*)$", PAGE, re.MULTILINE)


def test_the_program_makes_three_calls_and_has_two_refused(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("PIXELMETER_GATEWAYS", "127.0.0.1:*=aigateway")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("https://api.aigateway.sh", gateway.root))

    names: dict[str, Any] = runpy.run_path(str(program))

    assert capsys.readouterr().out == "acme has used up its 0.03 USD a day\n" * 2
    outcomes = [attempt.outcome for attempt in Metered(names["meter"]).attempts()]
    assert sorted(outcomes) == ["blocked"] * 2 + ["success"] * 3
    assert gateway.billed_nano() == 30_000_000
    names["meter"].close()
    names["client"].close()


def test_the_file_is_one_and_can_be_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "budgets.toml"
    file.write_text(FILE)

    of_all, of_customers = load_budgets(str(file))

    assert (of_all.rule.zone, of_all.rule.action, of_all.rule.limit) == ("Europe/Berlin", "block", 50 * NANO_PER_USD)
    assert (of_customers.rule.each, of_customers.rule.thresholds) == ("tag:customer", (800_000, 1_000_000))
    checked = CliRunner().invoke(main, shlex.split(COMMANDS[0]))
    assert (checked.exit_code, "gateway aigateway, model meta/*, each tag:customer" in checked.stdout) == (0, True)


def test_the_table_has_every_key_with_its_default() -> None:
    keys = re.findall(r"^\| `(\w+)` \| .* \|(.*) \|$", PAGE, re.MULTILINE)

    parameters = inspect.signature(Budget).parameters
    assert sorted(name for name, _ in keys) == sorted(parameters)
    told = {name: default.strip(" `") for name, default in keys if default.startswith(" `")}
    assert told == {
        name: ", ".join(map(str, each.default)) if name == "thresholds" else each.default
        for name, each in parameters.items()
        if name in {"per", "tz", "action", "thresholds", "unpriced", "on_unavailable"}
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_that_there_is(command: str) -> None:
    group, name, *arguments = shlex.split(command)
    context = click.Context(main, **main.context_settings)
    found = main.get_command(context, group)
    assert isinstance(found, click.Group)
    within = click.Context(found, parent=context)
    one = found.get_command(within, name)
    assert one is not None
    one.make_context(name, [*arguments, "--database-url", f"sqlite:///{os.devnull}"], parent=within)


def test_a_notice_is_what_the_page_shows_to_a_webhook_and_to_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rule = Rule(name="images", limit=50 * NANO_PER_USD, per="day")
    key = NoticeKey("images", "", rule.span_of(STARTED_AT).start, 800_000)
    notice = notice_of(Passed(key, rule, STARTED_AT, 40_120_000_000))
    told: list[str] = []
    names: dict[str, Any] = {"pixelmeter": pixelmeter, "pager": SimpleNamespace(send=told.append)}

    exec(NOTIFIED, names)
    names["tell_the_team"](notice)
    names["meter"].close()

    shown = json.loads(NOTICE)
    assert {**json.loads(body_of(notice)), "id": shown["id"]} == shown
    assert told == [f"{shown['text']} ({notice.id})"]
    assert f"pixelmeter: {shown['text']}" in PAGE
