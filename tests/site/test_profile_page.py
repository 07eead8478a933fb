"""What docs/writing-a-profile.md shows is a profile, and its test passes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pixelmeter.cli import main
from tests.site.programs import DOCS, file_of

PAGE = "writing-a-profile.md"
TEXT = (DOCS / PAGE).read_text(encoding="utf-8")


def test_its_commands_say_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file_of(tmp_path, PAGE, "toml", "corp.toml")
    said = []
    for line in re.findall(r"^\$ (.+)$", TEXT, re.MULTILINE):
        words = shlex.split(line)
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            monkeypatch.setenv(name, value)
            continue
        result = CliRunner().invoke(main, words[1:])
        assert 0 == result.exit_code, result.output
        said.append(result.output.splitlines()[0])
        monkeypatch.delenv("PIXELMETER_GATEWAYS", raising=False)
    host = "images.corp.example has the profile"
    assert [f"{host} generic_openai", "corp.toml: nothing is wrong", f"{host} corp"] == said


def test_a_path_that_no_route_fits_is_said_not_to_be_metered() -> None:
    result = CliRunner().invoke(main, ["gateways", "match", "https://images.corp.example/v2/paint"])
    assert "No route fits" in TEXT
    assert "No route fits" in result.output


@pytest.mark.slow
def test_the_test_of_the_page_passes(tmp_path: Path) -> None:
    file_of(tmp_path, PAGE, "toml", "corp.toml")
    file_of(tmp_path, PAGE, "python", "test_corp.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
