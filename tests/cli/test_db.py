from __future__ import annotations

import contextlib
import json
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.ledger import migrate
from pixelmeter.ledger.version import revisions
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.drain.ledger import outcomes
from tests.factories import make_attempt
from tests.postgres import PASSWORD


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(main, ["db", *arguments], input=answer)


def test_upgrade_makes_a_ledger_and_status_says_that_it_is_current(new_url: str) -> None:
    before = json.loads(run("status", "--format", "json", "--database-url", new_url).output)
    upgraded = run("upgrade", "--database-url", new_url)
    after = json.loads(run("status", "--format", "json", "--database-url", new_url).output)

    assert ("absent", None) == (before[0]["state"], before[0]["revision"])
    assert 0 == upgraded.exit_code
    assert ("current", migrate.head()) == (after[0]["state"], after[0]["revision"])


@pytest.mark.slow
def test_downgrade_to_base_asks_first(sqlite_url: str) -> None:
    run("upgrade", "--database-url", sqlite_url)

    refused = run("downgrade", "base", "--database-url", sqlite_url, answer="n\n")
    kept = migrate.status(sqlite_url).state
    done = run("downgrade", "base", "--yes", "--database-url", sqlite_url)

    assert (1, "current") == (refused.exit_code, kept)
    assert (0, "absent") == (done.exit_code, migrate.status(sqlite_url).state)


@pytest.fixture
def filled_url(new_url: str) -> str:
    """A ledger of two rows; one tells when its first image came."""
    with closing(open_writer(new_url)) as writer:
        writer.write([make_attempt(), make_attempt(first_image=7, job_id="j")], {"spool": 3}, [])
    return new_url


@pytest.mark.slow
def test_a_downgrade_says_what_it_discards_and_asks(filled_url: str) -> None:
    refused = run("downgrade", "0001", "--database-url", filled_url, answer="n\n")
    kept = migrate.status(filled_url).state
    agreed = run("downgrade", "0001", "--database-url", filled_url, answer="y\n")

    assert (1, "current") == (refused.exit_code, kept)
    for told in (
        "the column job_id of pixelmeter_attempts with its 1 value",
        "the column savings of pixelmeter_attempts with its 0 values",
        "the column first_image of pixelmeter_attempts with its 1 value",
        "the column remaining_requests of pixelmeter_attempts with its 2 values",
        "the table pixelmeter_totals with its 1 row",
    ):
        assert told in refused.stderr
    assert "bucket" not in refused.stderr
    assert (0, "0001") == (agreed.exit_code, migrate.status(filled_url).revision)


@pytest.mark.parametrize("answer", ["", None, "\n"])
def test_a_downgrade_that_nobody_can_answer_for_changes_nothing_and_names_the_option(
    filled_url: str, answer: str | None
) -> None:
    result = run("downgrade", "base", "--database-url", filled_url, answer=answer)

    assert (1, "current") == (result.exit_code, migrate.status(filled_url).state)
    assert "the table pixelmeter_attempts with its 2 rows" in result.stderr
    assert "nothing was changed; --yes goes on without asking" in result.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_downgrade_offers_a_copy_and_that_command_makes_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/my ledger%25.db"
    with closing(open_writer(url)) as writer:
        writer.write([make_attempt()], {}, [])

    refused = run("downgrade", "base", "--database-url", url)
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("Make a copy first: ")]
    program, source, backup = shlex.split(line.partition(": ")[2])
    word, target = shlex.split(backup)
    with closing(sqlite3.connect(source, uri=True)) as ledger, closing(sqlite3.connect(target)) as copy:
        ledger.backup(copy)
        rows = copy.execute("SELECT count(*) FROM pixelmeter_attempts").fetchall()

    assert ("sqlite3", ".backup", [(1,)]) == (program, word, rows)


@pytest.mark.slow
def test_the_copy_of_a_server_is_offered_without_its_password(postgres_url: str) -> None:
    run("upgrade", "--database-url", postgres_url)

    refused = run("downgrade", "base", "--database-url", postgres_url)

    assert "Make a copy first: pg_dump " in refused.stderr
    assert PASSWORD not in refused.stderr


@pytest.mark.slow
def test_a_downgrade_that_discards_nothing_does_not_ask(filled_url: str) -> None:
    same = run("downgrade", migrate.head(), "--database-url", filled_url)
    nowhere = run("downgrade", "9999", "--database-url", filled_url)

    assert (0, "") == (same.exit_code, same.stderr)
    assert (1, 1) == (nowhere.exit_code, len(nowhere.stderr.splitlines()))


def test_no_ledger_has_nothing_to_ask_about(new_url: str) -> None:
    result = run("downgrade", "base", "--database-url", new_url)

    assert "Go on?" not in result.stderr
    assert "Traceback" not in result.output


def test_an_unknown_revision_is_one_line_that_names_the_known_ones(sqlite_url: str) -> None:
    result = run("upgrade", "9999", "--database-url", sqlite_url)

    assert 1 == result.exit_code
    assert f"base, {', '.join(revisions())}, head" in result.output
    assert 1 == len(result.output.splitlines())


def test_the_table_of_status_hides_the_password(postgres_url: str) -> None:
    run("upgrade", "--database-url", postgres_url)

    result = run("status", "--database-url", postgres_url)

    assert 0 == result.exit_code
    assert PASSWORD not in result.output
    assert "127.0.0.1" in result.output


def test_what_the_ledger_refused_is_told_by_every_command_until_a_retry_brings_it_in(
    sqlite_url: str, tmp_path: Path
) -> None:
    migrate.upgrade(sqlite_url)
    spool = Spool(f"{tmp_path}/ledger.db.spool", SystemFiles(), SystemIds())
    spool.set_aside([make_attempt(model="no"), make_attempt(model="yes")], "IntegrityError")
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute(
            "CREATE TRIGGER picky BEFORE INSERT ON pixelmeter_attempts WHEN NEW.model = 'no' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )

    report = CliRunner().invoke(main, ["report", "--format", "csv", "--database-url", sqlite_url])
    first = run("retry", "--database-url", sqlite_url)
    again = run("retry", "--database-url", sqlite_url)
    doctor = CliRunner().invoke(main, ["doctor", "--format", "json", "--database-url", sqlite_url])
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("DROP TRIGGER picky")
    last = run("retry", "--database-url", sqlite_url)
    then = CliRunner().invoke(main, ["report", "--format", "csv", "--database-url", sqlite_url])

    assert "Warning: 2 attempts missing from the sums, refused by the ledger: `pixelmeter doctor`" in report.stderr
    assert (1, "1 attempt written to the ledger, 1 still refused\n") == (first.exit_code, first.stdout)
    assert (1, "0 attempts written to the ledger, 1 still refused\n") == (again.exit_code, again.stdout)
    findings = [each for each in json.loads(doctor.stdout) if each["check"] == "refused attempts"]
    assert ["problem"] == [each["state"] for each in findings]
    assert all("1 attempt," in each["found"] and "pixelmeter db retry" in each["advice"] for each in findings)
    assert 1 == doctor.exit_code
    assert (0, "1 attempt written to the ledger, 0 still refused\n") == (last.exit_code, last.stdout)
    assert ("", 2) == (then.stderr, len(outcomes(sqlite_url)))


def test_a_retry_with_nothing_to_retry_makes_no_ledger(sqlite_url: str, tmp_path: Path) -> None:
    result = run("retry", "--database-url", sqlite_url)

    assert (0, []) == (result.exit_code, list(tmp_path.iterdir()))
