"""Every file operation fails in turn, once and from then on, until a run gets through untouched."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest

from pixelmeter.drain import Drain
from pixelmeter.ledger.writer import Writer, open_writer
from pixelmeter.spool import Durability, Spool, SpoolCounts
from pixelmeter.system import SystemFiles, SystemIds
from tests.drain.ledger import outcomes, rolled_up
from tests.factories import make_attempt
from tests.faults.files import FaultyFiles

pytestmark = pytest.mark.slow

ERRORS = [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EMFILE]


def work(folder: str, files: FaultyFiles, writer: Writer, durability: Durability) -> tuple[dict[str, str], SpoolCounts]:
    """Make calls, drain them, and die; return what the ledger should say of those whose intent was taken or that ended.

    The trouble ends before the last step, as a process that dies with outcomes in memory loses them.
    """
    spool = Spool(folder, files, SystemIds(), segment_bytes=1500, durability=durability)
    drain = Drain(spool, files, folder, writer)
    expected: dict[str, str] = {}
    for number in range(12):
        attempt = make_attempt()
        missed = spool.status()["missed_intents"]
        spool.intent(msgspec.structs.replace(attempt, outcome="interrupted", billing="unknown", cost=None))
        if number % 4:
            spool.outcome(attempt)
            expected[attempt.id] = "success"
        elif spool.status()["missed_intents"] == missed:
            expected[attempt.id] = "interrupted"
        if number % 3 == 2:
            spool.sync()
            drain.step()
            drain.adopt()
    files.heal()
    drain.step()
    spool.outcome(make_attempt(id=(last := make_attempt().id)))
    expected[last] = "success"
    status = spool.status()
    spool.forget()
    return expected, status


@pytest.mark.parametrize(
    ("durability", "trouble"),
    [
        ("process", "once"),
        ("process", "for good"),
        ("process", "torn"),
        ("sync", "once"),
        # What is synced fails in these ways as what is written does.
        pytest.param("sync", "for good", marks=pytest.mark.slow),
        pytest.param("sync", "torn", marks=pytest.mark.slow),
    ],
)
def test_no_failing_file_operation_costs_an_attempt(
    tmp_path: Path, sqlite_url: str, trouble: str, durability: Durability
) -> None:
    writer = open_writer(sqlite_url)
    everything: dict[str, str] = {}
    at = 0
    while True:
        at += 1
        folder = f"{tmp_path}/spool-{at}"
        files = FaultyFiles(at, ERRORS[at % len(ERRORS)], lasts=trouble == "for good", short=trouble == "torn")
        expected, status = work(folder, files, writer, durability)
        assert (0, 0) == (status["dropped"], status["overflow"]), at
        heir = Drain(Spool(folder, SystemFiles(), SystemIds()), SystemFiles(), folder, writer)
        heir.adopt()
        everything |= expected
        found = outcomes(sqlite_url)
        assert everything == {identity: found.get(identity) for identity in everything}, at
        assert [] == [name for name in SystemFiles().list(folder) if name not in heir.status()["unreadable"]], at
        if not files.failed:
            break
    writer.close()

    assert at > 50
    assert len(outcomes(sqlite_url)) == rolled_up(sqlite_url)
