"""What docs/zero-code.md shows runs, and its table is what the tests found."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from pixelmeter.cli import main
from pixelmeter.drivers.patching import LIBRARIES
from pixelmeter.testing import Gateway
from tests.zero_code.programs import ROOT, Ended, app, ended, environment, rows
from tests.zero_code.test_contexts import CONTEXTS

PAGE = (ROOT / "docs" / "zero-code.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SESSIONS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line.removeprefix("$ ") for session in SESSIONS for line in session.splitlines() if line.startswith("$ ")]
TABLE = dict(re.findall(r"^\| (.*?) \| ((?:yes|no) \| (?:yes|no)) \|$", PAGE, re.MULTILINE))
ROWS = {
    "python app.py": [
        *("a program", "-m", "-c", "a script", "a zip file", "from a shell"),
        "a program that starts itself again in its own place",
    ],
    "python -s": ["-s", "-P", "PYTHONSAFEPATH", "PYTHONNOUSERSITE"],
    "python -I": ["-I", "-E"],
    "python -S": ["-S"],
    "sitecustomize.py": ["another sitecustomize before"],
    "a child process": ["a child"],
    "PYTHONPATH": ["a child with a PYTHONPATH of its own"],
    "env -i": ["a child with an empty environment"],
    "multiprocessing": ["multiprocessing: fork", "multiprocessing: spawn", "multiprocessing: forkserver"],
}


def test_the_table_says_what_the_tests_of_each_context_expect() -> None:
    assert sorted(CONTEXTS) == sorted(name for names in ROWS.values() for name in names)
    plain = {row.replace("`", ""): said for row, said in TABLE.items()}
    for words, names in ROWS.items():
        [said] = {plain[row] for row in plain if row == words} or {plain[row] for row in plain if words in row}
        for name in names:
            expected = " | ".join("yes" if reached else "no" for reached in CONTEXTS[name][1:3])
            assert expected == said, name


def test_the_page_names_each_library() -> None:
    assert [] == [library for library in LIBRARIES if library not in PAGE]


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=["start", "off switch"])
def test_a_program_of_the_page_runs(program: str, gateway: Gateway, tmp_path: Path) -> None:
    call = """
import sys, httpx
body = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
assert httpx.post(sys.argv[1] + "/images/generations", json=body).status_code == 200
"""
    path = app(tmp_path, program + call)
    found = ended([sys.executable, path, gateway.url], environment(tmp_path), tmp_path)
    assert Ended(0, "", "") == found
    assert ["success"] == rows(tmp_path)


def test_the_commands_of_the_page_are_understood() -> None:
    assert len(COMMANDS) > 5
    for line in COMMANDS:
        program, *words = shlex.split(line)
        assert "pixelmeter" == program
        above = main.make_context("pixelmeter", [words[0]])
        command = main.get_command(above, words[0])
        assert command is not None
        # Below the program, as ever: a command keeps the first help option that it is asked for.
        command.make_context(words[0], words[1:], parent=above).close()


def test_what_the_page_shows_of_a_program_that_is_metered_is_printed(tmp_path: Path) -> None:
    [line] = [line for line in COMMANDS if "is_on" in line]
    words = shlex.split(line)[1:]
    command = [sys.executable, "-m", "pixelmeter", *[sys.executable if word == "python" else word for word in words]]
    assert Ended(0, "True\n", "") == ended(command, environment(tmp_path), tmp_path)
    assert f"{line}\nTrue\n" in PAGE
