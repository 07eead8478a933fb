"""Doctor recognises what a restore can mix: a file, its log and its spool of different states."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pixelmeter import Budget
from pixelmeter.cli import main
from pixelmeter.core.budgets.lease import Draw, LeaseKey
from pixelmeter.drain import Drain
from pixelmeter.ledger.engine import open_engine
from pixelmeter.ledger.files import read_wal
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import Writer, open_writer
from pixelmeter.reports.ledger_check import check_budgets, check_tables
from pixelmeter.spool import Spool
from pixelmeter.system import SystemClock, SystemFiles, SystemIds
from tests.factories import STARTED_AT, make_attempt

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()


class Ledger:
    """A ledger in a folder, with copies of its states."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ledger.db"
        self.url = f"sqlite:///{self.path}"

    def fill(self, writer: Writer, batches: int) -> None:
        for _ in range(batches):
            writer.write([make_attempt() for _ in range(100)], {}, [])

    def keep(self, name: str) -> None:
        for ending in ("", "-wal"):
            if Path(f"{self.path}{ending}").exists():
                shutil.copy(f"{self.path}{ending}", self.folder / f"{name}{ending}")

    def restore(self, file: str | None, log: str | None) -> None:
        """Put copies of two states in place."""
        for ending, name in (("", file), ("-wal", log), ("-shm", None)):
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
            if name is not None:
                shutil.copy(self.folder / f"{name}{ending}", f"{self.path}{ending}")

    def examine(self) -> dict[str, dict[str, Any]]:
        result = CliRunner().invoke(main, ["doctor", "--format", "json", "--database-url", self.url])
        return {finding["check"]: finding for finding in json.loads(result.output)}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger of three states: `old` is closed, `middle` and `new` have a log each."""
    made = Ledger(tmp_path)
    with closing(open_writer(made.url)) as writer:
        made.fill(writer, 1)
    made.keep("old")
    with closing(open_writer(made.url)) as writer:
        made.fill(writer, 60)
        made.keep("middle")
    with closing(open_writer(made.url)) as writer:
        made.fill(writer, 1)
        made.keep("new")
    return made


@pytest.mark.parametrize(("file", "log"), [("old", None), ("middle", "middle"), ("new", "new"), ("middle", None)])
def test_one_state_is_sound(ledger: Ledger, file: str, log: str | None) -> None:
    ledger.restore(file, log)
    before = {path: path.read_bytes() for path in (ledger.path, Path(f"{ledger.path}-wal")) if path.exists()}

    findings = ledger.examine()

    # The middle file without its log is an older state, and may be in the middle of a checkpoint.
    if log or file != "middle":
        assert "ok" == findings["integrity"]["state"], findings
        assert "write-ahead log" not in findings
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize(("file", "log"), [("old", "middle"), ("old", "new")])
def test_an_older_file_under_a_newer_log_is_a_problem(ledger: Ledger, file: str, log: str) -> None:
    ledger.restore(file, log)

    findings = ledger.examine()

    assert "problem" == findings["integrity"]["state"], findings
    assert "Back up and restore" in findings["integrity"]["advice"]


def test_sums_that_count_other_attempts_than_the_rows_are_a_problem(ledger: Ledger) -> None:
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as connection:
        connection.execute("UPDATE pixelmeter_daily_merged SET attempts = attempts + 1")

    findings = ledger.examine()

    assert "problem" == findings["integrity"]["state"]
    told = "6200 attempts with those that were pruned, but the sums by day count 6201"
    assert told == findings["integrity"]["found"]


def test_sums_are_compared_with_rows_on_every_database(ledger_url: str) -> None:
    attempts = [make_attempt() for _ in range(3)]
    with closing(open_writer(ledger_url)) as writer:
        writer.write(attempts, {}, [])

    def found() -> list[tuple[str, str]]:
        result = CliRunner().invoke(main, ["doctor", "--format", "json", "--database-url", ledger_url])
        return [(one["state"], one["found"]) for one in json.loads(result.output) if one["check"] == "integrity"]

    [(before, _)] = found()
    with open_engine(ledger_url).begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM pixelmeter_attempts WHERE id = '{attempts[0].id}'")

    [(after, told)] = found()
    assert ("ok", "problem") == (before, after)
    sums = "by hour count 3 and those by day count 3 and those of totals count 3"
    assert f"2 attempts with those that were pruned, but the sums {sums}" == told


def test_a_log_without_its_database_is_a_problem_before_it_is_dropped(ledger: Ledger) -> None:
    ledger.restore(None, "new")

    findings = ledger.examine()

    assert "problem" == findings["write-ahead log"]["state"]
    assert "holds 1 transactions of a database that is not there" in findings["write-ahead log"]["found"]
    assert Path(f"{ledger.path}-wal").read_bytes() == (ledger.folder / "new-wal").read_bytes()


def test_the_log_of_another_database_is_a_problem(ledger: Ledger) -> None:
    with closing(sqlite3.connect(ledger.folder / "other", isolation_level=None)) as other:
        other.executescript(
            "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; CREATE TABLE a (b); INSERT INTO a VALUES (1);"
        )
        shutil.copy(ledger.folder / "other-wal", ledger.folder / "foreign-wal")
    ledger.restore("old", "foreign")

    findings = ledger.examine()

    assert "its pages have 8192 bytes, not 4096" in findings["write-ahead log"]["found"]


@pytest.mark.parametrize(
    "spoil", [lambda data: b"\0" * 32 + data[32:], lambda data: data[:20], lambda data: b"x" * 4096]
)
def test_a_log_that_sqlite_would_drop_is_a_problem(ledger: Ledger, spoil: Any) -> None:
    log = ledger.folder / "new-wal"
    log.write_bytes(spoil(log.read_bytes()))
    ledger.restore("new", "new")

    findings = ledger.examine()

    assert "problem" == findings["write-ahead log"]["state"]
    assert "damaged at its beginning" in findings["write-ahead log"]["found"]


def test_a_pipe_in_place_of_a_log_or_a_ledger_holds_up_nobody(tmp_path: Path) -> None:
    for name in ("first.db", "second.db-wal"):
        os.mkfifo(tmp_path / name)
    for name in ("first.db", "second.db"):
        result = CliRunner().invoke(main, ["doctor", "--database-url", f"sqlite:///{tmp_path}/{name}"])
        assert ("first" in name) == ("is no regular file" in result.output)


def test_what_is_left_behind_the_end_of_a_log_is_not_counted(ledger: Ledger) -> None:
    """A log that begins anew keeps the frames of before behind those of now."""
    log = ledger.folder / "ledger.db-wal"
    ledger.restore("middle", "middle")
    many = read_wal(str(ledger.path))
    data = log.read_bytes()
    frame = 24 + struct.unpack(">I", data[8:12])[0]
    cut = 32 + 10 * frame
    changed = bytearray(data)
    changed[cut + 8 : cut + 16] = b"\0" * 8
    log.write_bytes(changed)
    few = read_wal(str(ledger.path))

    assert many is not None
    assert few is not None
    assert 0 <= few.commits < many.commits


def test_a_large_ledger_is_checked_for_a_while_only(ledger: Ledger) -> None:
    with reading_ledger(ledger.url) as reader:
        [finding] = check_tables(reader, seconds=0)
        again = list(check_tables(reader))

    assert ("ok", "not checked to the end: 0 seconds were not enough") == (finding.state, finding.found)
    assert ["pages, indexes and sums agree"] == [each.found for each in again]


def spool_of(ledger: Ledger, writer: Writer) -> tuple[Spool, Drain]:
    """Return the spool of a process that lives."""
    folder, files = f"{ledger.path}.spool", SystemFiles()
    spool = Spool(folder, files, SystemIds())
    return spool, Drain(spool, files, folder, writer, lambda attempts, reason: None)


def test_a_ledger_that_is_older_than_the_spool_of_a_living_process_is_told_and_a_restart_takes_it_in(
    ledger: Ledger,
) -> None:
    with closing(open_writer(ledger.url)) as writer:
        spool, drain = spool_of(ledger, writer)
        spool.outcome(make_attempt())
        drain.step()
        fine = ledger.examine()
        ledger.restore("old", None)
        found = ledger.examine()
        spool.forget()
    restarted = CliRunner().invoke(main, ["report", "--database-url", ledger.url])
    after = ledger.examine()

    assert "spool positions" not in fine
    assert "warning" == found["spool positions"]["state"]
    assert "wait in 1 file of living processes" in found["spool positions"]["found"]
    assert 0 == restarted.exit_code
    assert "spool positions" not in after
    with reading_ledger(ledger.url) as reader:
        assert [(101,)] == reader.rows("SELECT count(*) FROM pixelmeter_attempts")


def test_what_has_just_ended_is_not_late(ledger: Ledger) -> None:
    with closing(open_writer(ledger.url)) as writer:
        spool, _ = spool_of(ledger, writer)
        spool.outcome(make_attempt(started_at=SystemClock().now(), duration=0))
        found = ledger.examine()
        spool.forget()

    assert "spool positions" not in found


def test_a_ledger_that_has_read_files_that_are_gone_is_told(ledger: Ledger) -> None:
    with closing(open_writer(ledger.url)) as writer:
        spool, drain = spool_of(ledger, writer)
        spool.outcome(make_attempt())
        drain.step()
        ledger.keep("before")
        drain.close()
    ledger.restore("before", "before")

    found = ledger.examine()

    assert "warning" == found["spool positions"]["state"]
    assert "1 spool files in part that are not there" in found["spool positions"]["found"]


def test_a_spool_that_is_older_than_its_ledger_is_told(ledger: Ledger) -> None:
    with closing(open_writer(ledger.url)) as writer:
        spool, drain = spool_of(ledger, writer)
        spool.outcome(make_attempt())
        drain.step()
        [segment] = spool.segments()
        with open(f"{ledger.path}.spool/{segment.name}", "r+b") as file:
            file.truncate(10)
        found = ledger.examine()
        spool.forget()

    assert "has read more of 1 spool file than there is" in found["spool positions"]["found"]


def documented() -> list[str]:
    [block] = re.findall(r"```sh\n(.*?)```", PAGE.partition("## Back up and restore")[2], re.DOTALL)
    return str(block).splitlines()


@pytest.mark.parametrize("command", documented())
def test_the_documented_copies_are_whole_while_programs_write(ledger: Ledger, command: str) -> None:
    shutil.copy(ledger.path, ledger.folder / "pixelmeter.db")
    live = Ledger(ledger.folder)
    live.path = ledger.folder / "pixelmeter.db"
    live.url = f"sqlite:///{live.path}"
    with closing(open_writer(live.url)) as writer:
        live.fill(writer, 1)
        if command.startswith("sqlite3"):
            _as_the_shell_of_sqlite(command, ledger.folder)
        else:
            ended = subprocess.run(
                ["sh", "-c", command.replace("python ", f"{sys.executable} ", 1)], cwd=ledger.folder, check=False
            )
            assert 0 == ended.returncode
    copy = ledger.folder / ("smaller.db" if "smaller" in command else "backup.db")
    with closing(sqlite3.connect(copy)) as connection:
        assert [(6300,)] == connection.execute("SELECT count(*) FROM pixelmeter_attempts").fetchall()


def _as_the_shell_of_sqlite(command: str, folder: Path) -> None:
    """Run a command of the sqlite3 shell, by the module where the shell is not installed."""
    shell = shutil.which("sqlite3")
    if shell is not None:
        assert 0 == subprocess.run(["sh", "-c", command], cwd=folder, check=False).returncode
        return
    source, statement = re.findall(r'"(.*?)"', command)
    source = source.replace("file:", f"file:{folder}/")
    with closing(sqlite3.connect(source, uri=True)) as connection:
        if statement.startswith(".backup "):
            with closing(sqlite3.connect(folder / statement.removeprefix(".backup "))) as copy:
                connection.backup(copy)
        else:
            connection.execute(statement.replace("'smaller", f"'{folder}/smaller"))


@pytest.fixture
def budgeted_url(ledger_url: str) -> str:
    """The URL of a ledger with two budgets, attempts of both, and a lease."""
    teams = Budget(5, name="teams", each="tag:team").rule
    with closing(open_writer(ledger_url)) as writer:
        writer.register([Budget(5, name="all").rule, teams], STARTED_AT)
        writer.write([make_attempt(), make_attempt(tags='{"team":"art"}'), make_attempt(cost=None, at_risk=3)], {}, [])
        writer.write([make_attempt(outcome="blocked", billing="not_billed", cost=0, status=None, duration=0)], {}, [])
        key = LeaseKey("teams", "sales", teams.span_of(STARTED_AT).start)
        writer.draw("a-1", [Draw(key, teams.limit, 1, 9, 9, 9)], STARTED_AT)
    return ledger_url


def found_of_budgets(url: str, *, at: int = STARTED_AT, seconds: float = 10.0) -> list[tuple[str, str]]:
    with reading_ledger(url) as reader:
        return [(finding.state, finding.found) for finding in check_budgets(reader, at, seconds)]


def change(url: str, statement: str) -> None:
    with open_engine(url).begin() as connection:
        connection.exec_driver_sql(statement)


def test_sums_of_budgets_that_are_those_of_the_rows_are_right(budgeted_url: str) -> None:
    assert [("ok", "2, with sums and leases that add up")] == found_of_budgets(budgeted_url)


def test_nothing_is_said_of_a_ledger_without_budgets(ledger_url: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt()], {}, [])

    assert [] == found_of_budgets(ledger_url)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pixelmeter_budget_sums SET cost = cost + 1 WHERE budget = 'teams' AND value = 'art'",
        "UPDATE pixelmeter_budget_sums SET blocked = 7 WHERE budget = 'teams' AND value = 'growth'",
        "DELETE FROM pixelmeter_budget_sums WHERE budget = 'teams' AND value = 'art'",
    ],
)
def test_sums_of_budgets_that_are_not_those_of_the_rows_are_named(budgeted_url: str, statement: str) -> None:
    change(budgeted_url, statement)

    assert [
        ("problem", "what is counted in the present period is not the sum of its attempts: 'teams'")
    ] == found_of_budgets(budgeted_url)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE pixelmeter_budget_sums SET leased = 8 WHERE value = 'sales'", "DELETE FROM pixelmeter_budget_leases"],
)
def test_what_is_reserved_and_is_no_sum_of_leases_is_named(budgeted_url: str, statement: str) -> None:
    change(budgeted_url, statement)

    assert [("problem", "what is reserved is not the sum of the leases: 'teams'")] == found_of_budgets(budgeted_url)


def test_a_budget_whose_sums_are_wrong_is_mended_as_is_advised(budgeted_url: str) -> None:
    change(budgeted_url, "UPDATE pixelmeter_budget_sums SET leased = 8, cost = 8 WHERE budget = 'teams'")

    with closing(open_writer(budgeted_url)) as writer:
        writer.remove("teams", STARTED_AT)
        assert [("ok", "1, with sums and leases that add up")] == found_of_budgets(budgeted_url)[:1]
        writer.register([Budget(5, name="teams", each="tag:team").rule], STARTED_AT)

    assert [("ok", "2, with sums and leases that add up")] == found_of_budgets(budgeted_url)


def test_the_budgets_of_a_large_ledger_are_checked_as_long_as_there_is_time(budgeted_url: str) -> None:
    with closing(open_writer(budgeted_url)) as writer:
        for _ in range(20):
            writer.write([make_attempt() for _ in range(1000)], {}, [])

    [(state, told)] = found_of_budgets(budgeted_url, seconds=0.001)

    assert ("ok", True) == (state, told.startswith("not checked to the end: 0.001 seconds"))
