"""What README.md shows is what a user gets: its programs run, its commands are understood, its report is a real one."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from pixelmeter.cli import main
from pixelmeter.cli.table import cell_len
from pixelmeter.testing import Gateway
from tests.cli.terminal import command_on_a_terminal
from tests.interop.conftest import Metered

README = (Path(__file__).parents[1] / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SESSIONS = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
COMMANDS = [line.removeprefix("$ ") for session in SESSIONS for line in session.splitlines() if line.startswith("$ ")]
REPORT = next(session for session in SESSIONS if "known cost in USD" in session)
WIDTH = 100


def test_the_first_program_begins_within_fifteen_lines() -> None:
    assert README.splitlines().index("```python") < 15


def test_nothing_that_was_printed_is_wider_than_the_page() -> None:
    assert WIDTH >= max(cell_len(line) for session in SESSIONS for line in session.splitlines())


def test_every_page_that_it_links_to_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert (Path(__file__).parents[1] / link).exists(), link


def test_the_programs_run_one_after_the_other(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("PIXELMETER_GATEWAYS", "127.0.0.1:*=aigateway")
    monkeypatch.setattr(prometheus_client, "REGISTRY", CollectorRegistry())
    first, tagged, watched = PROGRAMS
    program = tmp_path / "readme.py"
    program.write_text((first + tagged).replace("https://api.aigateway.sh", gateway.root))
    names: dict[str, Any] = runpy.run_path(str(program))
    attempts = Metered(names["meter"]).attempts()
    assert {"{}", '{"feature":"hero","team":"growth"}'} == {attempt.tags for attempt in attempts}
    assert gateway.billed_nano() == sum(attempt.cost or 0 for attempt in attempts)
    names["meter"].close()
    names["client"].close()
    exec(watched, names)
    names["meter"].close()


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.startswith("pixelmeter ")])
def test_every_command_is_one_that_there_is(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command.partition(" >")[0])[1:]
    result = CliRunner().invoke(main, [one for one in arguments if one != "--follow"])
    # There is no ledger here: what is wrong with a command line is 2.
    assert result.exit_code in {0, 1}, result.output


@pytest.mark.slow
def test_the_report_of_the_demo_is_the_one_that_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command_on_a_terminal("demo", columns=WIDTH)
    [command] = [line for line in REPORT.splitlines() if line.startswith("$ ")]
    shown = command_on_a_terminal(*shlex.split(command)[2:], columns=WIDTH)
    assert [_timeless(line) for line in REPORT.splitlines()[1:]] == [_timeless(line) for line in shown.splitlines()]


def _timeless(line: str) -> str:
    """Return a line without what differs from one machine and day to another."""
    line = re.sub(r"\d+-\d\d-\d\dT[0-9:]+Z", "TIME", line)
    return re.sub(r"─+", "─", re.sub(r" +", " ", re.sub(r"[0-9.,]+ m?s$", "", line)).strip())
