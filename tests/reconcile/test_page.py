"""The examples of docs/reconciliation.md do what the page shows.

`python -m tests.reconcile.test_page` brings what they print up to date.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pixelmeter.cli import main
from tests.reconcile.example import make_month

PAGE = Path(__file__).parents[2] / "docs" / "reconciliation.md"
_MADE_AT = re.compile(r"20[0-9-]{8} [0-9:]{8} (?=reconciled)")
_THEN = "2026-06-02 09:14:00 "
_EXAMPLE = re.compile(r"```console\n\$ pixelmeter (?P<command>.*)\n(?P<printed>(?:.*\n)*?)```\n")


def printed(folder: Path, command: str) -> str:
    """Return what a command prints where the ledger and the report are."""
    arguments = [str(folder / each) if each == "may.csv" else each for each in shlex.split(command)]
    result = CliRunner().invoke(main, [*arguments, "--database-url", f"sqlite:///{folder}/pixelmeter.db"])
    assert result.exit_code in (0, 3), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return "".join(f"{_MADE_AT.sub(_THEN, line.rstrip())}\n" for line in result.output.splitlines())


def test_each_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    make_month(tmp_path)
    found = list(_EXAMPLE.finditer(PAGE.read_text()))
    assert 5 == len(found)
    for example in found:
        shown = example["printed"]
        assert shown == printed(tmp_path, example["command"]), "run `python -m tests.reconcile.test_page`"


def test_the_month_is_settled_after_that(tmp_path: Path) -> None:
    make_month(tmp_path)
    last = next(found["command"] for found in _EXAMPLE.finditer(PAGE.read_text()) if "--yes" in found["command"])
    assert "1 attempt adjusted" in printed(tmp_path, last)
    assert "adjusted" not in printed(tmp_path, last)


@pytest.mark.parametrize("command", re.findall(r"^pixelmeter (reconcile .*)$", PAGE.read_text(), re.MULTILINE))
def test_every_other_command_is_one(command: str) -> None:
    found = main.get_command(click.Context(main), "reconcile")
    assert found is not None
    assert "aigateway" == found.make_context("reconcile", shlex.split(command)[1:]).params["gateway"]


def update() -> None:
    """Write what the examples print into the page."""
    page = PAGE.read_text()
    with tempfile.TemporaryDirectory() as name:
        make_month(Path(name))
        for found in _EXAMPLE.finditer(page):
            shown = printed(Path(name), found["command"])
            page = page.replace(found[0], f"```console\n$ pixelmeter {found['command']}\n{shown}```\n")
    PAGE.write_text(page)


if __name__ == "__main__":
    update()
