"""Real processes, killed with SIGKILL at random moments, and what the ledger says of them afterwards."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from pixelmeter.system import SystemFiles
from tests.drain.ledger import outcomes, positions, rolled_up
from tests.faults import adopter
from tests.faults.caller import spool_for_ever
from tests.faults.support import PROCESSES

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


def run_caller(seconds: float, folder: str, url: str | None, said: Path) -> None:
    """Run a caller until so long after its start."""
    started = PROCESSES.Event()
    caller = PROCESSES.Process(target=spool_for_ever, args=(folder, url, str(said), started), daemon=True)
    caller.start()
    assert started.wait(30)
    caller.join(seconds)
    caller.kill()
    caller.join()
    assert -signal.SIGKILL == caller.exitcode


def run_adopter(seconds: float | None, folder: str, url: str) -> None:
    """Run an adopter to its end, or kill it after so many seconds."""
    heir = PROCESSES.Process(target=adopter.main, args=(folder, url), daemon=True)
    heir.start()
    heir.join(seconds)
    if heir.exitcode is None:
        heir.kill()
        heir.join()
        assert seconds is not None
        return
    assert 0 == heir.exitcode


@pytest.mark.parametrize("draining", [False, True])
@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_kill_loses_nothing_that_was_acknowledged(
    tmp_path: Path, sqlite_url: str, kills: int, draining: bool
) -> None:
    folder = f"{tmp_path}/spool"
    moments = random.Random(kills)
    acknowledged = Acknowledged()
    for number in range(kills):
        said = tmp_path / f"said-{number}"
        run_caller(moments.uniform(0, 0.3), folder, sqlite_url if draining else None, said)
        acknowledged.of(said.read_bytes())
        run_adopter(moments.uniform(0, 0.3), folder, sqlite_url)
    run_adopter(None, folder, sqlite_url)

    assert len(acknowledged.ended) > 10 * kills
    acknowledged.check(sqlite_url)
    assert [] == list(FILES.list(folder))
