"""A row that the database can never take, in a process that died or lives: every other call is in the ledger."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import uuid
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

import pixelmeter
from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger import migrate
from pixelmeter.ledger.address import spool_folder
from pixelmeter.spool.frames import scan
from pixelmeter.testing import Gateway
from tests.faults.books import Books
from tests.faults.support import PROCESSES, Place, call, recover
from tests.postgres import Server


@pytest.fixture(params=[("LATIN1", "模"), ("EUC_JP", "😀")], ids=lambda param: param[0])
def narrow(request: pytest.FixtureRequest, postgres_server: Server) -> Iterator[tuple[str, str]]:
    """The URL of a database whose encoding lacks a character, and the character."""
    encoding, character = request.param
    name = f"narrow_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'".encode())
        yield postgres_server.url(name), character
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def call_and_die(place: Place, team: str, *tags: str) -> None:
    """Make calls that the gateway answers, the first of them for a team, and be killed."""
    meter = place.meter()
    with pixelmeter.tags(team=team):
        call(place, meter, tags[0])
    for tag in tags[1:]:
        call(place, meter, tag)
    os.kill(os.getpid(), signal.SIGKILL)


def call_for_ever(place: Place, team: str, report: str, name: str, started: Event) -> None:
    """Call as fast as it goes, every third time for a team, until somebody ends the process; report what returned."""
    meter = place.meter()
    answered = os.open(report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for number in itertools.count():
        with pixelmeter.tags(team="design" if number % 3 else team):
            call(place, meter, f"{name}-{number}")
        os.write(answered, f"{name}-{number}\n".encode())
        if number == 2:
            started.set()


def set_aside(place: Place) -> list[str]:
    """Return the tag of every attempt in the files of refused ones, once for each time that it is there."""
    tags: list[str] = []
    for file in Path(place.spool).rglob("*.refused"):
        frames = scan(file.read_bytes(), 0, final=True).frames
        tags += [json.loads(frame.record.tags)["aig_tag"] for frame in frames if isinstance(frame.record, Attempt)]
    return tags


@pytest.mark.parametrize("rounds", [2, pytest.param(25, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_kills_while_rows_are_set_aside_lose_nothing_and_double_nothing(
    narrow: tuple[str, str], gateway: Gateway, tmp_path: Path, rounds: int
) -> None:
    url, character = narrow
    place = Place(gateway.url, url, str(tmp_path / "spool"))
    chance = random.Random(rounds)
    report = tmp_path / "answered"
    migrate.upgrade(url)
    for number in range(rounds):
        started = PROCESSES.Event()
        caller = PROCESSES.Process(target=call_for_ever, args=(place, character, str(report), str(number), started))
        caller.start()
        assert started.wait(60)
        caller.join(chance.uniform(0, 0.5))
        caller.kill()
        caller.join()
        heir = PROCESSES.Process(target=recover, args=(place,))
        heir.start()
        heir.join(chance.uniform(0, 0.2))
        heir.kill()
        heir.join()
    recover(place)

    books = Books.read(url, gateway.billing())
    answered = set(report.read_text().split("\n")[:-1])
    aside = set(set_aside(place))
    poisoned = {tag for tag in answered if int(tag.partition("-")[2]) % 3 == 0}
    assert len(books.rows) == len(books.by_tag)
    assert poisoned <= aside
    assert answered - poisoned <= set(books.by_tag)
    assert set() == aside & set(books.by_tag)
    assert {str(entry["tag"]) for entry in gateway.billing()} <= aside | set(books.by_tag)
    assert len(answered) > rounds
    assert [] == list(Path(place.spool).rglob("*.spool"))


def tags_in(ledger: str, gateway: Gateway) -> set[str]:
    return set(Books.read(ledger, gateway.billing()).by_tag)


@pytest.mark.slow
def test_rows_that_an_encoding_cannot_hold_hold_up_no_others_and_are_not_lost(
    narrow: tuple[str, str], postgres_url: str, gateway: Gateway, tmp_path: Path
) -> None:
    url, character = narrow
    place = Place(gateway.url, url, str(tmp_path / "spool"))
    dead = [[f"{number}-{letter}" for letter in "abc"] for number in range(4)]
    for number, tags in enumerate(dead):
        process = PROCESSES.Process(target=call_and_die, args=(place, character if number == 0 else "design", *tags))
        process.start()
        process.join()
        assert -signal.SIGKILL == process.exitcode
    recover(place)
    taken = {tag for tags in dead for tag in tags} - {"0-a"}
    assert taken == tags_in(url, gateway)

    meter = place.meter()
    call(place, meter, "before")
    with pixelmeter.tags(team=character):
        call(place, meter, "poisoned")
    call(place, meter, "after")
    assert meter.flush(30)
    drain = meter.status()["drain"]
    assert drain is not None
    assert 1 == drain["refused"] == meter.status()["failures"]["refused"]
    assert taken | {"before", "after"} == tags_in(url, gateway)
    assert meter.close(30)

    environment = {"PIXELMETER_SPOOL_DIR": place.spool, "PIXELMETER_DATABASE_URL": url}
    doctor = CliRunner().invoke(main, ["doctor", "--format", "json"], env=environment)
    told = [each["found"] for each in json.loads(doctor.stdout) if each["check"] == "refused attempts"]
    assert 2 == sum(int(each.split()[0]) for each in told)
    again = CliRunner().invoke(main, ["db", "retry"], env=environment)
    assert (1, "0 attempts written to the ledger, 2 still refused\n") == (again.exit_code, again.stdout)

    # As the page on durability says: a database that has all characters, and the files in its folder.
    wide = Path(spool_folder(postgres_url, place.spool, ""))
    wide.mkdir(0o700)
    for file in Path(spool_folder(url, place.spool, "")).iterdir():
        shutil.move(file, wide)
    environment["PIXELMETER_DATABASE_URL"] = postgres_url
    moved = CliRunner().invoke(main, ["db", "retry"], env=environment)
    assert (0, "2 attempts written to the ledger, 0 still refused\n") == (moved.exit_code, moved.stdout)
    assert {"0-a", "poisoned"} == tags_in(postgres_url, gateway)
    assert len(gateway.billing()) == len(taken) + 4
    assert [] == [*wide.iterdir()]
