"""A progress bar, for whoever looks on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.terminal import opened, written
from tests.export.ledgers import filled


def shown(url: str, options: Sequence[str], target: str) -> str:
    """Return what an export writes to a terminal that takes its standard error alone."""
    command = [sys.executable, "-m", "pixelmeter", "export", "--format", "csv", "--database-url", url, *options, target]
    with (
        opened(100) as (reader, writer),
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, env=os.environ) as process,
    ):
        os.close(writer)
        screen = written(reader)
        assert process.stdout is not None
        assert (b"", 0) == (process.stdout.read(), process.wait())
    return screen


@pytest.mark.slow
@pytest.mark.parametrize("target", ["x.csv", "folder/"])
def test_a_terminal_shows_how_far_an_export_is(sqlite_url: str, tmp_path: Path, target: str) -> None:
    filled(sqlite_url)
    screen = shown(sqlite_url, [], f"{tmp_path}/{target}")
    assert "2026-04-01" in screen
    assert "300 rows" in screen
    assert "300 attempts to" in screen


@pytest.mark.slow
def test_nobody_need_see_it(sqlite_url: str, tmp_path: Path) -> None:
    filled(sqlite_url)
    screen = shown(sqlite_url, ["--no-progress"], f"{tmp_path}/x.csv")
    assert "300 rows" not in screen
    assert "300 attempts to" in screen
