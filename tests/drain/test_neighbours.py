"""Many processes with one spool folder, and one limit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pixelmeter.drain import Drain
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.drain.writers import Picky
from tests.factories import make_attempt

FILES = SystemFiles()


class AskedWriter(Picky):
    """A real writer that counts how often it is asked for positions."""

    looked_up = 0

    def positions(self, names: Sequence[str]) -> Mapping[str, int]:
        self.looked_up += 1
        return super().positions(names)


class Process:
    """One of them."""

    def __init__(self, folder: str, url: str, limit: int) -> None:
        self.spool = Spool(folder, FILES, SystemIds(), limit=limit)
        self.ledger = AskedWriter(open_writer(url))
        self.drain = Drain(self.spool, FILES, folder, self.ledger)

    def call(self, times: int = 1) -> None:
        for _ in range(times):
            attempt = make_attempt()
            self.spool.intent(attempt)
            self.spool.outcome(attempt)

    @property
    def held(self) -> int:
        return self.spool.status()["held"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"{tmp_path}/spool"


def test_what_neighbours_have_in_the_ledger_takes_nothing_of_the_limit(folder: str, new_url: str) -> None:
    neighbours = [Process(folder, new_url, 200_000) for _ in range(4)]
    for each in neighbours:
        each.call(100)
        each.drain.step()
    assert sum(FILES.sizes(folder).values()) > 200_000
    here = Process(folder, new_url, 200_000)
    here.drain.look(ask=True)
    here.call(10)
    assert 0 == here.spool.status()["dropped"]
    neighbours[0].call(10)
    here.drain.look(ask=True)
    assert here.held == 2 * neighbours[0].held > 0
    for each in (*neighbours, here):
        each.drain.close()


def test_what_neighbours_add_while_the_ledger_is_away_counts_from_where_it_had_them(
    folder: str, sqlite_url: str
) -> None:
    here, neighbour = (Process(folder, sqlite_url, 100_000) for _ in range(2))
    neighbour.call(40)
    neighbour.drain.step()
    here.call()
    here.drain.step()
    here.drain.look(ask=True)
    assert 0 == here.held
    here.ledger.is_away = True
    neighbour.call(10)
    here.drain.look(ask=False)
    assert here.held == neighbour.held > 0
    for each in (neighbour, here):
        each.ledger.is_away = False
        each.drain.close()


def test_while_it_was_never_asked_all_of_a_neighbours_file_counts(folder: str, sqlite_url: str) -> None:
    here, neighbour = (Process(folder, sqlite_url, 100_000) for _ in range(2))
    neighbour.call(40)
    neighbour.drain.step()
    here.call()
    here.drain.look(ask=False)
    others = here.held - sum(segment.size for segment in here.spool.segments())
    assert sum(segment.size for segment in neighbour.spool.segments()) == others
    for each in (neighbour, here):
        each.drain.close()


def test_the_ledger_is_not_asked_while_the_folder_is_small(folder: str, sqlite_url: str) -> None:
    here, neighbour = (Process(folder, sqlite_url, 1 << 30) for _ in range(2))
    neighbour.call(40)
    here.call()
    here.drain.look(ask=True)
    assert 0 == here.ledger.looked_up
    for each in (neighbour, here):
        each.drain.close()


def test_the_ledger_is_asked_again_when_neighbours_have_added_a_tenth_of_the_limit(
    folder: str, sqlite_url: str
) -> None:
    here, neighbour = (Process(folder, sqlite_url, 100_000) for _ in range(2))
    here.call()
    asked: list[int] = []
    for _ in range(6):
        neighbour.call(10)
        neighbour.drain.step()
        here.drain.look(ask=True)
        asked.append(here.ledger.looked_up)
    assert [0, 1, 1, 2, 2, 3] == asked
    for each in (neighbour, here):
        each.drain.close()


def test_a_ledger_that_does_not_answer_changes_nothing(folder: str, sqlite_url: str) -> None:
    here, neighbour = (Process(folder, sqlite_url, 10_000) for _ in range(2))
    neighbour.call(4)
    here.call()
    before = here.held
    here.ledger.is_away = True
    with pytest.raises(LedgerError):
        here.drain.look(ask=True)
    assert before == here.held


def test_processes_that_share_a_folder_fill_it_once_and_all_go_on_when_it_is_empty(
    folder: str, sqlite_url: str
) -> None:
    processes = [Process(folder, sqlite_url, 100_000) for _ in range(5)]
    for _ in range(30):
        for each in processes:
            each.call()
            each.drain.look(ask=False)
    assert 95_000 <= sum(FILES.sizes(folder).values()) <= 105_000
    dropped = [each.spool.status()["dropped"] for each in processes]
    assert all(dropped)
    for each in processes:
        each.drain.step()
    for each in processes:
        each.drain.look(ask=True)
        each.call()
    assert dropped == [each.spool.status()["dropped"] for each in processes]
    for each in processes:
        each.drain.close()
    assert [] == os.listdir(folder)
