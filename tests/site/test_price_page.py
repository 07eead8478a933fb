"""The steps of docs/writing-a-price.md, one after the other, print what the page shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest

import pixelmeter
from tests.cli.terminal import command_on_a_terminal
from tests.site.programs import DOCS, file_of, shown

PAGE = "writing-a-price.md"
SESSIONS = re.findall(r"```console\n(\$ pixelmeter .*?)```", (DOCS / PAGE).read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = re.findall(r"^\$ pixelmeter (.+)\n((?:[^$\n].*\n|\n)+)", "\n".join(SESSIONS), re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a program that has made the three calls of the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIXELMETER_DATABASE_URL", raising=False)
    calls(3, pixelmeter.Meter())
    file_of(tmp_path, PAGE, "toml", "prices.toml")


def calls(number: int, meter: pixelmeter.Meter) -> None:
    """Make calls of the page's model, and close the meter."""
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json={"data": [{"b64_json": "aGk="}]}))
    with meter, httpx.Client(transport=answer) as client:
        pixelmeter.instrument(client, meter)
        for _ in range(number):
            client.post("https://images.corp.example/v1/images/generations", json={"model": "house/flux"})


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_every_command_prints_what_the_page_shows() -> None:
    assert ["report", "prices", "prices", "prices"] == [command.split()[0] for command, _ in COMMANDS]
    for command, expected in COMMANDS:
        found = command_on_a_terminal(*shlex.split(command), columns=100)
        assert _timeless(expected) == _timeless(found), command


@pytest.mark.usefixtures("folder")
def test_new_calls_have_the_price_once_the_program_has_the_file() -> None:
    names: dict[str, Any] = {}
    exec(shown(PAGE, "python", "priced_app.py"), names)
    calls(1, names["meter"])
    assert "$0.0100" in command_on_a_terminal("calls", "--limit", "1", columns=100)


def _timeless(text: str) -> list[list[str]]:
    """Return the words of each line without moments and durations."""
    text = re.sub(r"\d+-\d\d-\d\dT[0-9:]+Z|\d+(\.\d)? m?s\b|─+", "", text)
    return [line.split() for line in text.splitlines() if line.strip()]
