"""`pixelmeter db prune` as people run it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Budget
from pixelmeter.ledger import migrate
from pixelmeter.ledger.address import read_address, spool_folder
from pixelmeter.ledger.pruning import horizon_of
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemClock, SystemFiles, SystemIds
from tests.factories import make_attempt
from tests.ledger.reading import rollup, stored

NOW = SystemClock().now()
DAY = 86_400_000_000
SINCE = f"{horizon_of(timedelta(days=90), NOW):%Y-%m-%d}"


def ago(days: int, **fields: object) -> Attempt:
    """Return an attempt of so many days ago."""
    started_at = NOW - days * DAY
    low = started_at // 1000 << 80
    identity = str(UUID(int=low | UUID(make_attempt().id).int & (1 << 80) - 1))
    return make_attempt(id=identity, started_at=started_at, **fields)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def prune(url: str, *arguments: str) -> Result:
    return run("db", "prune", "--keep", "90d", *arguments, "--database-url", url)


@pytest.fixture(autouse=True)
def spool_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMETER_SPOOL_DIR", str(tmp_path / "spool"))


@pytest.fixture
def filled(ledger_url: str) -> str:
    """A ledger with attempts of 91 to 110 days ago, and five younger ones."""
    with closing(open_writer(ledger_url)) as writer:
        writer.write([*(ago(91 + number) for number in range(20)), *(ago(number) for number in range(5))], {}, [])
    return ledger_url


def test_a_dry_run_says_what_would_go_and_deletes_nothing(filled: str) -> None:
    said = prune(filled, "--dry-run")

    assert (0, 25) == (said.exit_code, len(stored(filled)))
    assert f"20 attempts from before {SINCE} would go. This was a dry run" in said.output


def test_a_prune_deletes_what_is_old_and_says_so(filled: str) -> None:
    sums = rollup(filled)
    said = prune(filled, "--by", "ann")
    again = prune(filled)

    assert (0, 5, sums) == (said.exit_code, len(stored(filled)), rollup(filled))
    assert f"20 attempts from before {SINCE} are gone; the sums and the totals keep them." in said.output
    assert f"0 attempts from before {SINCE} are gone" in again.output


@pytest.mark.parametrize("age", ["6d", "0w", "90", "3m", "-9d", "40000d", ""])
def test_an_age_that_is_none_or_too_short_is_refused(sqlite_url: str, age: str) -> None:
    said = run("db", "prune", "--keep", age, "--database-url", sqlite_url)

    assert 2 == said.exit_code
    assert "write it as 90d or 26w" in said.output


def test_a_budget_in_the_way_is_named_and_nothing_is_pruned(filled: str) -> None:
    with closing(open_writer(filled)) as writer:
        writer.register([Budget(1, per="total", name="ever").rule], NOW)
    said = [prune(filled), prune(filled, "--dry-run")]

    for one in said:
        assert (1, 25) == (one.exit_code, len(stored(filled)))
        assert "nothing was pruned: the budget 'ever' counts all attempts: keep more, or remove it" in one.output


def left_by_a_dead_process(url: str, *attempts: Attempt) -> Path:
    """Leave attempts in the spool of a process that is dead; return the folder."""
    folder = spool_folder(url, _spool_dir(), None)
    spool = Spool(folder, SystemFiles(), SystemIds())
    for one in attempts:
        spool.intent(one)
        spool.outcome(one)
    for segment in spool.segments():
        SystemFiles().close(segment.descriptor)
    return Path(folder)


def _spool_dir() -> str:
    from pixelmeter.settings import from_environment

    return str(from_environment().spool_dir)


def test_what_an_old_spool_brings_is_kept_aside_and_can_be_had_in_a_ledger_of_its_own(
    filled: str, tmp_path: Path
) -> None:
    prune(filled)
    sums = rollup(filled)
    old, young = [ago(100 + number) for number in range(7)], ago(1)
    folder = left_by_a_dead_process(filled, *old, young)
    warned = run("report", "--since", "7d", "--database-url", filled)
    doctor = run("doctor", "--database-url", filled)
    retried = run("db", "retry", "--database-url", filled)

    assert "7 attempts are missing, which the ledger refuses" in warned.output
    assert young.id in stored(filled)
    assert {one.id for one in old}.isdisjoint(stored(filled))
    assert sum(values[0] for values in rollup(filled).values()) == sum(values[0] for values in sums.values()) + 1
    assert "7 attempts, which the ledger refuses: it began before" in " ".join(doctor.output.split())
    assert '"Old spools"' in " ".join(doctor.output.split())
    assert "0 attempts are in the ledger now, 7 are still refused" in retried.output

    # As docs/retention.md says.
    other = f"sqlite:///{tmp_path}/old.db"
    beside = Path(spool_folder(other, _spool_dir(), None))
    beside.mkdir(mode=0o700)
    for file in folder.glob("*.refused"):
        file.rename(beside / file.name)
    taken = run("db", "retry", "--database-url", other)

    assert "7 attempts are in the ledger now, 0 are still refused" in taken.output
    assert {one.id for one in old} == stored(other).keys()


def size_of(url: str) -> int:
    return Path(read_address(url).path).stat().st_size


def test_a_new_file_of_sqlite_gives_back_what_is_pruned(sqlite_url: str) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([ago(100, tags=f'{{"a":"{"x" * 2000}"}}') for _ in range(500)], {}, [])
        writer.write([ago(1)], {}, [])
    before = size_of(sqlite_url)
    said = prune(sqlite_url)

    assert "The file is as large as before" not in said.output
    assert size_of(sqlite_url) < before / 3


def test_a_file_of_before_is_as_large_as_it_was_until_it_is_rewritten(sqlite_url: str) -> None:
    migrate.upgrade(sqlite_url)
    with closing(sqlite3.connect(read_address(sqlite_url).path)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([ago(100, tags=f'{{"a":"{"x" * 2000}"}}') for _ in range(500)], {}, [])
        writer.write([ago(1)], {}, [])
    before = size_of(sqlite_url)
    said = prune(sqlite_url)
    after = size_of(sqlite_url)
    prune(sqlite_url, "--rewrite")
    rewritten = size_of(sqlite_url)
    again = prune(sqlite_url)

    assert "`pixelmeter db prune --rewrite` has it shrink" in said.output
    assert "--rewrite" not in again.output
    assert after >= before > 3 * rewritten


def test_only_a_file_can_be_rewritten(postgres_url: str) -> None:
    assert "--rewrite is of SQLite" in prune(postgres_url, "--rewrite").output


def test_doctor_tells_of_a_prune_that_was_broken_off_and_of_one_that_was_not(filled: str) -> None:
    prune(filled)
    sound = " ".join(run("doctor", "--database-url", filled).output.split())
    with closing(open_writer(filled)):
        _forget_the_end(filled)
    broken = " ".join(run("doctor", "--database-url", filled).output.split())

    assert f"attempts since {SINCE}; those from before are in the sums" in sound
    assert "with those that were pruned" not in sound
    assert f"a prune to {SINCE} was broken off" in broken


def _forget_the_end(url: str) -> None:
    from pixelmeter.ledger.engine import changing
    from pixelmeter.ledger.schema import PRUNES

    with changing(read_address(url)) as connection:
        connection.execute(PRUNES.update().values(ended_at=None))
