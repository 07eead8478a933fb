from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from pixelmeter.cli import COMMANDS, main


def test_help_imports_no_database_and_no_command() -> None:
    code = (
        "import sys; from pixelmeter.cli import main; main(['--help'], standalone_mode=False); "
        "heavy = {'sqlalchemy', 'alembic', 'rich', 'psycopg', 'pixelmeter.cli.report', 'pixelmeter.cli.db'}; "
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", ["report", "calls", "db"])
def test_the_help_of_a_command_imports_no_database(name: str) -> None:
    code = (
        f"import sys; from pixelmeter.cli import main; main(['{name}', '--help'], standalone_mode=False); "
        "sys.exit(' '.join({'sqlalchemy', 'alembic', 'rich', 'psycopg'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


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
