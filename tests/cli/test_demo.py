"""The demo with everything real: its gateway, the clients, the ledger and the commands that it proposes."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main, serve
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.engine import ensure_schema
from tests.postgres import PASSWORD
from tests.serve.server import start

pytestmark = pytest.mark.slow

_LINE = re.compile(
    r"gateway billed \$(?P<billed>[0-9.]+), ledger says \$(?P<known>[0-9.]+), unknown (?P<unknown>[0-9]+)\n"
    r"For those of unknown cost it billed \$(?P<rest>[0-9.]+), "
    r"which leaves a difference of \$(?P<difference>[-0-9.]+)\.\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a home of its own for spools."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def demo(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["demo", *arguments], catch_exceptions=False)


def total(url: str, *arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(main, ["report", "--database-url", url, "--format", "json", *arguments])
    assert 0 == result.exit_code, result.output
    found: dict[str, object] = json.loads(result.stdout)["total"]
    return found


def line(output: str) -> dict[str, str]:
    found = _LINE.search(output)
    assert found, output
    return found.groupdict()


def test_it_fills_a_ledger_that_equals_the_bill_and_its_commands_can_be_pasted() -> None:
    program = Path(sys.executable).with_name("pixelmeter")
    done = subprocess.run(
        [program, "demo", "--calls", "40"], capture_output=True, text=True, env=os.environ | {"PATH": "/usr/bin:/bin"}
    )
    assert (0, "") == (done.returncode, done.stderr), done
    said = line(done.stdout)
    assert "0" == said["difference"]
    assert Decimal(said["billed"]) == Decimal(said["known"]) + Decimal(said["rest"])
    assert Decimal(said["known"]) > 0
    sums = total("sqlite:///pixelmeter-demo.db")
    assert (said["known"], int(said["unknown"])) == (sums["cost_usd"], sums["unknown_cost_attempts"])
    assert 40 == sums["calls"] != sums["attempts"]
    assert (
        "A budget of $0.05, in a ledger of its own: 5 of 12 calls went, 7 were refused before they were sent;"
        " the gateway billed $0.05."
    ) in done.stdout

    proposed, _, page = done.stdout.partition("Try next:\n")[2].partition("\n\n")
    commands = proposed.splitlines()
    assert 3 == len(commands)
    for command in commands:
        shown = subprocess.run(command, shell=True, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
        assert (0, "") == (shown.returncode, shown.stderr), command
        assert shown.stdout.strip()
    told, command = page.splitlines()
    assert "The page of this ledger is at http://127.0.0.1:9469/ while this runs:" == told
    with start(shlex.split(command)) as server:
        assert "meta/sam-3-1-image" in server.get("/").text


@pytest.mark.slow
def test_a_second_run_starts_with_a_fresh_ledger_and_comes_to_the_same() -> None:
    first, second = demo("--calls", "6"), demo("--calls", "6")
    assert line(first.stdout) == line(second.stdout)
    assert 6 == total("sqlite:///pixelmeter-demo.db")["calls"]


def test_a_ledger_that_is_named_is_added_to_and_only_this_run_is_shown(new_url: str, folder: Path) -> None:
    first, second = (
        demo("--calls", "6", "--database-url", new_url),
        demo("--calls", "6", "--database-url", new_url),
    )
    assert [0, 0] == [first.exit_code, second.exit_code], first.output + second.output
    assert line(first.stdout) == line(second.stdout)
    assert 12 == total(new_url)["calls"]
    [run] = set(re.findall(r"--tag demo=(\S+)", second.stdout))
    assert 6 == total(new_url, "--tag", f"demo={run.strip(chr(39))}")["calls"]
    assert not (folder / "pixelmeter-demo.db").exists()


def test_a_password_is_not_printed_and_the_commands_take_it_from_the_environment(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = demo("--calls", "1", "--database-url", postgres_url)
    assert 0 == result.exit_code, result.output
    assert PASSWORD not in result.output
    assert "with the URL in PIXELMETER_DATABASE_URL" in result.stdout
    command = shlex.split(result.stdout.partition("\n\nThe page")[0].splitlines()[-1])
    monkeypatch.setenv("PIXELMETER_DATABASE_URL", postgres_url)
    assert 0 == CliRunner().invoke(main, command[1:]).exit_code


def test_what_the_page_needs_is_said_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "is_installed", lambda *, has_page: not has_page)
    result = demo("--calls", "1")
    assert 0 == result.exit_code, result.output
    install, command = result.stdout.splitlines()[-2:]
    assert '  pip install "pixelmeter[serve]"' == install
    assert " serve --database-url" in command


@pytest.mark.slow
def test_nothing_is_left_where_nothing_is_to_be_kept(folder: Path) -> None:
    result = demo("--calls", "1", "--no-keep")
    assert 0 == result.exit_code, result.output
    assert "Try next" not in result.stdout
    assert [] == list(folder.iterdir())


@pytest.mark.slow
def test_httpx_alone_will_do_and_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openai", "aigateway", "httpx2"):
        monkeypatch.setitem(sys.modules, name, None)
    result = demo("--calls", "25", "--no-keep")
    assert 0 == result.exit_code, result.output
    assert "25 image calls to a stand-in gateway with httpx:" in result.stdout
    assert "not installed: openai, aigateway, httpx2" in result.stdout
    assert "0" == line(result.stdout)["difference"]


@pytest.mark.slow
def test_settings_and_proxies_of_the_environment_do_not_reach_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMETER_SPOOL_DIR", str(folder / "production"))
    monkeypatch.setenv("PIXELMETER_PRICES", str(folder / "no-such-file.toml"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    result = demo("--calls", "6", "--no-keep")
    assert 0 == result.exit_code, result.output
    assert [] == list(folder.iterdir())
    assert "http://127.0.0.1:9" == os.environ["HTTP_PROXY"]


def test_a_ledger_that_changes_an_amount_ends_with_status_one(folder: Path) -> None:
    url = f"sqlite:///{folder}/ledger.db"
    ensure_schema(read_address(url))
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        connection.execute(
            "CREATE TRIGGER dearer AFTER INSERT ON pixelmeter_attempts WHEN NEW.cost > 0 BEGIN"
            " UPDATE pixelmeter_attempts SET cost = cost + 1 WHERE id = NEW.id; END"
        )
    result = demo("--calls", "1", "--database-url", url)
    assert 1 == result.exit_code
    assert "-0.000000001" == line(result.stdout)["difference"]
    assert "do not agree" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--no-keep", "--database-url", "sqlite:///x.db"], "leave out --database-url"),
        (["--calls", "0"], "'--calls'"),
        (["--database-url", "sqlite:////no/such/folder/x.db"], "must exist and be writable"),
        (["--database-url", "mysql://x/y"], "names no database"),
    ],
)
def test_what_cannot_be_used_is_said_before_any_call(arguments: list[str], message: str) -> None:
    result = demo(*arguments)
    assert 0 != result.exit_code
    assert message in result.stderr
