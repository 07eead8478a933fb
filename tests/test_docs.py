"""docs/cli.md shows every command with the help that it really prints.

`python -m tests.test_docs` brings the help in that page up to date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from pixelmeter.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
HELP = re.compile(r"<!-- help: (?P<path>[a-z ]+) -->\n+```text\n(?P<text>.*?)```\n", re.DOTALL)


def commands(group: click.Group = main, path: str = "pixelmeter") -> Iterator[tuple[str, click.Command]]:
    """Yield every command and group with the words that call it."""
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def printed(path: str) -> str:
    """Return what a command says of itself in a window of 100 columns."""
    result = CliRunner().invoke(main, [*path.split()[1:], "--help"], prog_name="pixelmeter", terminal_width=100)
    assert 0 == result.exit_code, result.output
    return result.stdout


def test_every_command_is_documented_and_every_documented_command_exists() -> None:
    documented = [found["path"] for found in HELP.finditer(PAGE.read_text())]
    assert sorted(path for path, _ in commands()) == sorted(documented)


@pytest.mark.parametrize("found", list(HELP.finditer(PAGE.read_text())), ids=lambda found: found["path"])
def test_the_help_in_the_page_is_what_the_command_prints(found: re.Match[str]) -> None:
    assert printed(found["path"]) == found["text"], "run `python -m tests.test_docs`"


def test_every_command_and_every_option_has_help() -> None:
    for path, command in commands():
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.name}"


def update() -> None:
    """Write the help of every command into the page."""
    page = PAGE.read_text()
    for found in HELP.finditer(page):
        page = page.replace(found[0], f"<!-- help: {found['path']} -->\n```text\n{printed(found['path'])}```\n")
    PAGE.write_text(page)


if __name__ == "__main__":
    update()
