"""Processes that make image calls are killed with SIGKILL at random moments; the ledger equals the gateway's bill."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
import time
from pathlib import Path

import pytest

from pixelmeter.testing.handle import Gateway
from tests.faults.books import Books
from tests.faults.support import PROCESSES, Place, call_for_ever, recover

_LONGEST_LIFE = 0.5


def kill_round(place: Place, folder: Path, name: str, chance: random.Random, processes: int) -> None:
    """Start callers, kill each at a moment of its own, and recover; now and then the recovery is killed too."""
    callers = []
    for number in range(processes):
        started = PROCESSES.Event()
        caller = PROCESSES.Process(
            target=call_for_ever,
            args=(place, str(folder / "answered"), f"{name}-{number}"),
            kwargs={"sdk": chance.random() < 0.3, "started": started},
            daemon=True,
        )
        caller.start()
        callers.append((caller, started, chance.uniform(0, _LONGEST_LIFE)))
    for caller, started, life in callers:
        assert started.wait(30)
        time.sleep(life / processes)
        caller.kill()
    for caller, _, _ in callers:
        caller.join()
        caller.close()
    if chance.random() < 0.5:
        heir = PROCESSES.Process(target=recover, args=(place,))
        heir.start()
        heir.join(chance.uniform(0, 0.05))
        heir.kill()
        heir.join()
    heir = PROCESSES.Process(target=recover, args=(place,))
    heir.start()
    heir.join()
    assert 0 == heir.exitcode


@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("rounds", [2, pytest.param(25, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_ledger_after_kills_equals_what_the_gateway_billed(
    tmp_path: Path, new_url: str, rounds: int, processes: int
) -> None:
    check_rounds(Place("", new_url, str(tmp_path / "spool")), new_url, tmp_path, rounds, processes)


@pytest.mark.parametrize("rounds", [2, pytest.param(25, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_a_relative_ledger_of_programs_that_change_folders_equals_what_the_gateway_billed(
    tmp_path: Path, rounds: int
) -> None:
    folders = (tmp_path / "home", tmp_path / "away", Path("/"))
    for folder in folders[:2]:
        folder.mkdir()
    place = Place("", "sqlite:///ledger.db", "spool", folders=tuple(map(str, folders)))
    check_rounds(place, f"sqlite:///{tmp_path}/home/ledger.db", tmp_path, rounds, processes=2)
    assert [] == list((tmp_path / "away").iterdir())
    assert [] == list((tmp_path / "home").rglob("*.spool"))


def check_rounds(where: Place, new_url: str, tmp_path: Path, rounds: int, processes: int) -> None:
    """Run the rounds and compare ledger, bill and what the callers saw; the gateway of `where` is made here."""
    seed = time.time_ns() % 1_000_000
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    with Gateway(seed=seed) as gateway:
        gateway.tell(status=503, every=23)
        gateway.tell(status=429, every=29)
        gateway.tell(cut="after_headers", every=31)
        gateway.tell(cut="before_headers", every=37)
        gateway.tell(transfer="chunked", chunk=50, every=2)
        gateway.tell(delay=0.02, every=5)
        place = dataclasses.replace(where, gateway=gateway.url)
        for number in range(rounds):
            kill_round(place, tmp_path, f"{seed}-{number}", chance, processes)
        billing = gateway.billing()

    books = Books.read(new_url, billing)
    # The kill may have cut the last line off.
    answered = (tmp_path / "answered").read_text().split("\n")[:-1]
    counts = {
        "seed": seed,
        "rounds": rounds,
        "processes": processes,
        "answered": len(answered),
        "billed": len(billing),
        "interrupted": books.outcomes()["interrupted"],
        "outcomes": books.outcomes(),
    }
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    sys.stdout.write(json.dumps(counts))
    books.check()
    assert set() == set(answered) - books.by_tag.keys()
    assert [] == [tag for tag in answered if books.by_tag[tag].outcome == "interrupted"]
    assert counts["interrupted"]
    assert [] == list((tmp_path / "spool").rglob("*.spool"))
