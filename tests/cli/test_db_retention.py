"""`pixelmeter db prune`, `forget` and `size` as people run them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.budgets.lease import Draw, LeaseKey
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.ledger import migrate
from pixelmeter.ledger.address import read_address, spool_folder
from pixelmeter.ledger.budget_reading import SPENT
from pixelmeter.ledger.engine import changing, open_engine
from pixelmeter.ledger.pruning import horizon_of
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.schema import DELTAS, METADATA, PRUNES
from pixelmeter.ledger.writer import open_writer
from pixelmeter.reports.ledger_check import check_budgets
from pixelmeter.settings import from_environment
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
    assert f"Deleted 20 attempts from before {SINCE}. The sums and the totals keep them." in said.output
    assert f"Deleted 0 attempts from before {SINCE}" in again.output


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
    return str(from_environment().spool_dir)


@pytest.mark.slow
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

    assert "7 attempts missing from the sums, refused by the ledger" in warned.output
    assert young.id in stored(filled)
    assert {one.id for one in old}.isdisjoint(stored(filled))
    assert sum(values[0] for values in rollup(filled).values()) == sum(values[0] for values in sums.values()) + 1
    assert "7 attempts, which the ledger refuses: it began before" in " ".join(doctor.output.split())
    assert '"Old spools"' in " ".join(doctor.output.split())
    assert "0 attempts written to the ledger, 7 still refused" in retried.output

    # As docs/retention.md says.
    other = f"sqlite:///{tmp_path}/old.db"
    beside = Path(spool_folder(other, _spool_dir(), None))
    beside.mkdir(mode=0o700)
    for file in folder.glob("*.refused"):
        file.rename(beside / file.name)
    taken = run("db", "retry", "--database-url", other)

    assert "7 attempts written to the ledger, 0 still refused" in taken.output
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


@pytest.mark.slow
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
    with changing(read_address(url)) as connection:
        connection.execute(PRUNES.update().values(ended_at=None))


def test_lists_and_exports_say_what_is_pruned_where_it_is_asked_for(filled: str, tmp_path: Path) -> None:
    prune(filled)
    lack = f"attempts from before {SINCE} are pruned and not among these"
    said = {
        since: [
            " ".join(run(*command, "--since", since, "--database-url", filled).output.split())
            for command in (["calls"], ["export", str(tmp_path / f"{since}.csv"), "--format", "csv"])
        ]
        for since in ("100d", "80d")
    }

    assert all(lack in text for text in said["100d"])
    assert not any("pruned" in text for text in said["80d"])
    assert lack not in run("calls", "--since", "100d", "--limit", "3", "--database-url", filled).output


# ---------------------------------------------------------------------------------------------------------------- size


def sizes(url: str) -> dict[str, dict[str, Any]]:
    said = run("db", "size", "--format", "json", "--database-url", url)
    assert 0 == said.exit_code, said.output
    return {row["name"]: row for row in json.loads(said.stdout)}


def test_the_size_of_a_ledger_is_told_table_by_table(filled: str) -> None:
    prune(filled)
    left_by_a_living_process(filled)
    found = sizes(filled)
    attempts = found["pixelmeter_attempts"]

    assert (5, SINCE) == (attempts["rows"], attempts["since"])
    assert attempts["bytes"] > 0 < attempts["index_bytes"]
    assert round((attempts["bytes"] + attempts["index_bytes"]) / 5) == attempts["bytes_a_row"]
    assert {table.name for table in METADATA.tables.values()} <= found.keys()
    [spool] = [row for row in found.values() if row["kind"] == "spool"]
    assert spool["bytes"] > 0


def test_what_the_ledger_has_refused_takes_room_in_the_spool(filled: str) -> None:
    prune(filled)
    folder = left_by_a_dead_process(filled, *(ago(100 + number) for number in range(7)))
    run("report", "--since", "7d", "--database-url", filled)
    [refused] = folder.glob("*.refused")
    [spool] = [row for row in sizes(filled).values() if row["kind"] == "spool"]

    assert [] == [*folder.glob("*.spool")]
    assert refused.stat().st_size == spool["bytes"] > 0


def left_by_a_living_process(url: str) -> None:
    spool = Spool(spool_folder(url, _spool_dir(), None), SystemFiles(), SystemIds())
    spool.outcome(make_attempt())
    LIVING.append(spool)


LIVING: list[Spool] = []


def test_partitions_stand_beside_the_table_that_they_are_parts_of(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.write([ago(0), ago(100)], {}, [])
    found = sizes(postgres_url)
    parts = [row for row in found.values() if row["kind"] == "partition"]

    assert found["pixelmeter_attempts"]["bytes"] == sum(row["bytes"] for row in parts)
    assert f"{moment_of(NOW):%Y-%m-01}" in {row["since"] for row in parts}
    assert {"pixelmeter_attempts_first", "pixelmeter_attempts_default"} <= {row["name"] for row in parts}


def test_the_files_of_sqlite_are_told_too(sqlite_url: str) -> None:
    migrate.upgrade(sqlite_url)

    assert size_of(sqlite_url) == sizes(sqlite_url)["ledger.db"]["bytes"]


# -------------------------------------------------------------------------------------------------------------- forget


def tagged(number: int, **tags: str) -> Attempt:
    return ago(number, tags=json.dumps(tags, separators=(",", ":"), sort_keys=True), trace_id="1" * 32)


@pytest.fixture
def of_customers(ledger_url: str) -> str:
    """A ledger with two attempts of a customer, one of another one and one of nobody."""
    budgets = [
        Budget(1, per="total", name="each", each="tag:customer").rule,
        Budget(1, per="total", name="all").rule,
        Budget(1, per="total", name="team", each="tag:team").rule,
    ]
    with closing(open_writer(ledger_url)) as writer:
        writer.register(budgets, NOW)
        writer.write([tagged(1, customer="acme", team="art"), tagged(2, customer="acme"), tagged(1, customer="bolt"),
                      tagged(1, team="art")], {}, [])  # fmt: skip
        key = LeaseKey("each", "acme", 0)
        writer.draw("a-1", [Draw(key, 10**9, 1, 2, 2, 2)], NOW)
    return ledger_url


def forget(url: str, *arguments: str) -> Result:
    return run("db", "forget", "--tag", "customer=acme", *arguments, "--database-url", url)


def everything_of(url: str) -> str:
    """Return all that a ledger has, as text."""
    with open_engine(url).connect() as connection:
        rows = [connection.execute(select(table)).all() for table in METADATA.sorted_tables]
    return repr(rows)


def test_a_dry_run_of_forgetting_says_what_has_the_tag(of_customers: str) -> None:
    before = everything_of(of_customers)
    said = forget(of_customers, "--dry-run")

    assert (0, before) == (said.exit_code, everything_of(of_customers))
    assert (
        "customer=acme: 2 attempts, of which 2 with the id of a trace, 2 days of the sums by tag, 1 sum of budgets.\n"
        in said.output
    )


def test_nobody_is_forgotten_unless_somebody_agrees(of_customers: str) -> None:
    before = everything_of(of_customers)
    said = forget(of_customers)

    assert (1, before) == (said.exit_code, everything_of(of_customers))
    assert "--yes goes on without asking" in said.output


def test_who_is_forgotten_is_nowhere_in_the_ledger_and_all_sums_are_as_they_were(of_customers: str) -> None:
    sums, spent = rollup(of_customers), spent_of(of_customers)
    said = forget(of_customers, "--yes")
    again = forget(of_customers, "--dry-run")

    assert 0 == said.exit_code, said.output
    assert "acme" not in everything_of(of_customers)
    assert ['{"customer":"bolt"}', '{"team":"art"}', '{"team":"art"}', "{}"] == sorted(
        one.tags for one in stored(of_customers).values()
    )
    assert 2 == sum(one.trace_id is None for one in stored(of_customers).values())
    assert sums == rollup(of_customers)
    del spent["each", "acme"]
    assert spent == spent_of(of_customers)
    assert "customer=acme: 0 attempts" in again.output
    with reading_ledger(of_customers) as reader:
        findings = {one.found for one in check_budgets(reader, NOW)}
        [(teams,)] = reader.rows("SELECT sum(attempts) FROM pixelmeter_tag_daily WHERE tag = 'team'")
        values = reader.rows("SELECT DISTINCT value FROM pixelmeter_tag_daily WHERE tag = 'customer'")
    assert {"3, with sums and leases that add up"} == findings
    assert (2, [("bolt",)]) == (teams, [tuple(row) for row in values])


def spent_of(url: str) -> dict[tuple[str, str], int]:
    with reading_ledger(url) as reader:
        rows = reader.rows(f"SELECT budget, value, {SPENT} FROM pixelmeter_budget_sums")
    return {(budget, value): spent for budget, value, spent in rows}


def test_who_comes_back_is_counted_anew(of_customers: str) -> None:
    forget(of_customers, "--yes")
    with closing(open_writer(of_customers)) as writer:
        writer.write([tagged(0, customer="acme")], {}, [])

    assert 42_240_000 == spent_of(of_customers)["each", "acme"]


def test_a_budget_that_counts_the_tag_alone_is_named_and_nothing_is_erased(of_customers: str) -> None:
    with closing(open_writer(of_customers)) as writer:
        writer.register([Budget(1, name="theirs", scope={"tags": {"customer": "ac*"}}).rule], NOW)
    before = everything_of(of_customers)
    said = forget(of_customers, "--yes")

    assert (1, before) == (said.exit_code, everything_of(of_customers))
    assert "the budget 'theirs' counts only attempts with that tag" in said.output


def test_a_sum_that_cannot_be_merged_and_may_have_the_tag_keeps_it_from_being_erased(of_customers: str) -> None:
    with changing(read_address(of_customers)) as connection:
        values = {"hourly": [], "tag_daily": [], "totals": [], "made_at": moment_of(NOW), "is_apart": True}
        if connection.dialect.name == "sqlite":
            values |= dict.fromkeys(("hourly", "tag_daily", "totals"), "[]")
        connection.execute(DELTAS.insert().values(values))
    before = everything_of(of_customers)
    said = forget(of_customers, "--yes")

    assert (1, before) == (said.exit_code, everything_of(of_customers))
    assert "1 sums cannot be merged, and may have that tag" in said.output


def test_what_is_no_tag_is_refused(sqlite_url: str) -> None:
    for text in ("customer", "=acme", "customer="):
        assert "write KEY=VALUE" in run("db", "forget", "--tag", text, "--database-url", sqlite_url).output


def test_a_forgotten_value_is_in_no_byte_of_a_sqlite_file(sqlite_url: str) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([tagged(1, customer="acme"), tagged(1)], {}, [])
    forget(sqlite_url, "--yes")

    assert b"acme" not in Path(read_address(sqlite_url).path).read_bytes()
