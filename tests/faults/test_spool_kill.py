"""Real processes, killed with SIGKILL at random moments, and what the ledger says of them afterwards."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pixelmeter.system import SystemFiles
from tests.drain.ledger import outcomes, positions, rolled_up

ENVIRONMENT = os.environ | {"PYTHONPATH": "src:."}
FILES = SystemFiles()


class Acknowledged:
    """What callers said of themselves before they were killed."""

    def __init__(self) -> None:
        self.begun: set[str] = set()
        self.ended: set[str] = set()

    def of(self, lines: bytes) -> None:
        # The kill may have cut the last line off.
        for line in lines.split(b"\n")[:-1]:
            kind, identity = line.decode().split(" ")
            (self.begun if kind == "i" else self.ended).add(identity)

    def check(self, url: str) -> None:
        """Compare with the ledger: nothing acknowledged is missing, nothing is there twice."""
        found = outcomes(url)
        assert set() == self.begun - set(found)
        assert set() == {identity for identity in self.ended if found[identity] != "success"}
        assert {"interrupted", "success"} >= set(found.values())
        assert len(found) == rolled_up(url)
        assert {} == positions(url)


def run_caller(seconds: float, *arguments: str) -> bytes:
    """Run a caller until so long after its first word; return what it said."""
    caller = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.caller", *arguments], stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    assert caller.stdout is not None
    said = [caller.stdout.readline()]
    killer = threading.Timer(seconds, caller.send_signal, (signal.SIGKILL,))
    killer.start()
    said.append(caller.stdout.read())
    caller.stdout.close()
    assert -signal.SIGKILL == caller.wait()
    killer.join()
    return b"".join(said)


def run_adopter(seconds: float | None, folder: str, url: str) -> None:
    """Run an adopter to its end, or kill it after so many seconds."""
    adopter = subprocess.Popen([sys.executable, "-m", "tests.faults.adopter", folder, url], env=ENVIRONMENT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        assert 0 == adopter.wait(seconds)
        return
    adopter.kill()
    adopter.wait()


@pytest.mark.parametrize("draining", [False, True])
@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_kill_loses_nothing_that_was_acknowledged(
    tmp_path: Path, sqlite_url: str, kills: int, draining: bool
) -> None:
    folder = f"{tmp_path}/spool"
    moments = random.Random(kills)
    acknowledged = Acknowledged()
    for _ in range(kills):
        acknowledged.of(run_caller(moments.uniform(0, 0.6), folder, *([sqlite_url] if draining else [])))
        run_adopter(moments.uniform(0.2, 0.8), folder, sqlite_url)
    run_adopter(None, folder, sqlite_url)

    assert len(acknowledged.ended) > 10 * kills
    acknowledged.check(sqlite_url)
    assert [] == list(FILES.list(folder))
