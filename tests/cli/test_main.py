from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from pixelmeter.cli import COMMANDS, main
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt

LIBRARIES = {
    "alembic",
    "asyncio",
    "httpx",
    "httpx2",
    "openai",
    "opentelemetry",
    "prometheus_client",
    "psycopg",
    "sqlalchemy",
    "yaml",
}
"""What takes longer to import than a command may take."""

METERING = {
    "pixelmeter.intake",
    "pixelmeter.meter",
    "pixelmeter.recorder.recorder",
    "pixelmeter.core.wire.exchange",
    "pixelmeter.drivers",
}


def imported(*arguments: str) -> set[str]:
    """Return the modules that a fresh interpreter has after a command."""
    code = (
        "import sys; from pixelmeter.cli import main\n"
        "try: main(sys.argv[1:], prog_name='pixelmeter')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('|'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split("|"))


@pytest.fixture
def filled(ledger_url: str) -> str:
    """The URL of a ledger that has all that a report tells of."""
    writer = open_writer(ledger_url)
    day = 86_400_000_000
    now = time.time_ns() // 1000
    writer.write([make_attempt(started_at=now - 2 * day), make_attempt(started_at=now - day)], {}, [])
    writer.write([make_attempt(started_at=now - day, cost=None, cost_reason="outcome_unknown")], {}, [])
    writer.close()
    return ledger_url


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_overview_imports_no_library_but_the_one_that_reads_command_lines(option: str) -> None:
    modules = imported(option)
    assert set() == modules & (LIBRARIES | METERING | {"msgspec", "tomllib", "wcwidth"})
    ours = {name for name in modules if name.startswith("pixelmeter")}
    assert {"pixelmeter", "pixelmeter.cli", "pixelmeter.errors", "pixelmeter._version"} >= ours - {
        "pixelmeter.cli.streams"
    }


def test_the_overview_names_every_command() -> None:
    shown = CliRunner().invoke(main, ["--help"]).stdout
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", ["report", "calls", "db", "prices"])
def test_the_help_of_a_command_imports_no_database(name: str) -> None:
    assert set() == imported(name, "--help") & (LIBRARIES | METERING | {"wcwidth"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["report"],
        ["report", "--by", "day,tag:team", "--format", "json"],
        ["report", "--tags"],
        ["calls", "--format", "csv"],
        ["db", "status"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_a_command_that_reads_imports_the_driver_and_nothing_that_meters_or_changes_schemas(
    filled: str, arguments: list[str]
) -> None:
    driver = {"psycopg", "asyncio"} if filled.startswith("postgresql") else set[str]()
    assert set() == imported(*arguments, "--database-url", filled) & (LIBRARIES | METERING) - driver


def test_dashboards_are_exported_without_the_library_that_their_makers_need(tmp_path: Path) -> None:
    assert set() == imported("dashboards", "export", str(tmp_path)) & (LIBRARIES | METERING)


@pytest.mark.parametrize("arguments", [["show", "meta/sam-3-1-image"], ["list", "--gateway", "xai"]], ids=" ".join)
def test_prices_are_shown_without_a_database(arguments: list[str]) -> None:
    assert set() == imported("prices", *arguments) & (LIBRARIES | METERING | {"sqlite3"})


def test_only_the_price_files_that_have_the_model_are_understood() -> None:
    code = (
        "import sys, tomllib; loads, understood = tomllib.loads, []\n"
        "tomllib.loads = lambda text: understood.append(text) or loads(text)\n"
        "from pixelmeter.cli import main; main(['prices', 'show', 'meta/sam-3-1-image'], standalone_mode=False)\n"
        "print(*['meta/sam-3-1-image' in text for text in understood], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"True"} == set(done.stderr.split())


def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pixelmeter", "--version"], capture_output=True, text=True, check=False
    )
    assert "pixelmeter 0.1.0\n" == done.stdout


@pytest.mark.parametrize("url", ["oracle://scott:tiger@host/db", "sqlite:///:memory:", "sqlite://"])
def test_a_url_that_cannot_be_used_is_one_clear_line(url: str) -> None:
    result = CliRunner().invoke(main, ["report", "--database-url", url])
    assert 1 == result.exit_code
    assert "Error: " in result.stderr.splitlines()[-1]
    assert "sqlite:///pixelmeter.db" in result.stderr
    assert "tiger" not in result.output


def test_a_bad_setting_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMETER_DURABILITY", "maybe")
    result = CliRunner().invoke(main, ["report"])
    assert 1 == result.exit_code
    assert result.stderr.startswith("Error: PIXELMETER_DURABILITY is 'maybe'")


def test_a_command_that_is_not_known_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["../report"])
    assert 2 == result.exit_code
    assert "No such command" in result.stderr
