"""Test suites of other libraries, from source distributions whose digests are pinned: laid out, run, compared."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Start", "attempts", "compared", "unpacked"]

WAIT = 900
"""Seconds for a run that takes half a minute on a machine that has nothing else to do."""

Outcomes = dict[str, str]


class Start(Protocol):
    """Starts a suite, or the chosen tests of it, in a new folder; `how` is for the plugin that runs inside."""

    def __call__(self, how: str, home: Path, chosen: Sequence[str]) -> subprocess.Popen[str]: ...


def unpacked(archive: Path, folder: Path) -> None:
    """Lay out a source distribution in a folder."""
    # Python 3.11.4 brought filters, and a newer one wants one to be named.
    named: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(archive) as opened:
        opened.extractall(folder, **named)


def compared(start: Start, folder: Path, hows: Sequence[str], chosen: Sequence[str] = ()) -> list[Outcomes]:
    """Run the chosen tests in each of these ways, in `folder/how`; return the outcome of each test.

    Some of them wait for so many milliseconds, which on a busy machine is not enough: what fails runs again.
    """
    found = _all_at_once(start, folder, hows, chosen)
    again = [name for name in found[hows[0]] if "failed" in {outcomes.get(name) for outcomes in found.values()}]
    if again:
        for how, outcomes in _all_at_once(start, folder / "again", hows, again).items():
            found[how] |= outcomes
    return list(found.values())


def _all_at_once(start: Start, folder: Path, hows: Sequence[str], chosen: Sequence[str]) -> dict[str, Outcomes]:
    running = {how: start(how, folder / how, chosen) for how in hows}
    try:
        return {how: _outcomes(process, folder / how) for how, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def _outcomes(process: subprocess.Popen[str], home: Path) -> Outcomes:
    process.wait(timeout=WAIT)
    written = home / "outcomes.json"
    assert written.exists(), (home / "output").read_text()[-4000:]
    found: Outcomes = json.loads(written.read_text())
    return found


def attempts(home: Path) -> int:
    """Return how many attempts reached the ledger."""
    connection = sqlite3.connect(home / "ledger.db")
    try:
        count: int = connection.execute("select count(*) from pixelmeter_attempts").fetchone()[0]
        return count
    finally:
        connection.close()
