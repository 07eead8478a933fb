"""Old attempts go, their sums stay, and nothing of before is added again."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.reconciling.reconciliation import Reconciliation
from pixelmeter.core.reconciling.statement import month as month_named
from pixelmeter.core.reporting.periods import microseconds_of, moment_of
from pixelmeter.errors import AttemptPruned, LedgerError
from pixelmeter.ledger import pruning_postgres
from pixelmeter.ledger.address import in_schema, read_address
from pixelmeter.ledger.adjusting import Author, unknown_jobs
from pixelmeter.ledger.engine import changing, ensure_schema, open_engine
from pixelmeter.ledger.partitions import first_id, make_ahead, partitions
from pixelmeter.ledger.pruning import Plan, horizon_of, plan, prune
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.retention import horizon
from pixelmeter.ledger.schema import JOBS, METADATA, PRUNES
from pixelmeter.ledger.statements import Reading, keep_page, keep_reconciliation
from pixelmeter.ledger.writer import open_writer
from tests.effort import examples
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.reading import adjustments, rollup, stored, totals
from tests.ledger.test_adjusting import heard, submitted
from tests.ledger.test_statements import came_to
from tests.ledger.test_writer_postgres import WAITING
from tests.postgres import Server

DAY = 86_400_000_000
NOW = STARTED_AT
"""2026-05-28T20:26:40."""
HORIZON = datetime(2026, 4, 28, tzinfo=UTC)
"""What `keep` keeps from then on."""
KEEP = timedelta(days=30)
BOUND = microseconds_of(HORIZON)


def at(started_at: int, **fields: Any) -> Attempt:
    """Return an attempt that began at a Unix time in microseconds, with an id of that time."""
    low = started_at // 1000 << 80
    identity = str(UUID(int=low | UUID(make_attempt().id).int & (1 << 80) - 1))
    return make_attempt(id=identity, started_at=started_at, **fields)


def write(url: str, *records: Any) -> int:
    with closing(open_writer(url)) as writer:
        return writer.write(records, {}, [])


def planned(url: str, until: datetime = HORIZON, now: int = NOW) -> Plan:
    with reading_ledger(url) as reader:
        return plan(reader, until, now)


def horizon_in(url: str) -> datetime | None:
    with reading_ledger(url) as reader:
        return horizon(reader)


def prunes(url: str) -> list[tuple[datetime, bool, int]]:
    with open_engine(url).connect() as connection:
        rows = connection.execute(select(PRUNES).order_by(PRUNES.c.horizon)).mappings()
        return [(row["horizon"].replace(tzinfo=UTC), row["ended_at"] is not None, row["attempts"]) for row in rows]


def test_a_horizon_is_the_latest_midnight_before_which_nothing_is_kept() -> None:
    assert datetime(2026, 4, 28, tzinfo=UTC) == horizon_of(KEEP, NOW)


def test_old_attempts_go_with_their_adjustments_and_jobs_and_the_sums_stay(ledger_url: str) -> None:
    old = at(BOUND - 1)
    ended = submitted("job_1", id=at(BOUND - DAY).id, started_at=BOUND - DAY)
    edge, young = at(BOUND), submitted("job_2", id=at(NOW).id, started_at=NOW)
    write(ledger_url, old, ended, edge, young)
    write(ledger_url, heard("job_1", heard_at=BOUND - DAY + 9), heard("job_2", heard_at=NOW + 9))
    before = rollup(ledger_url), totals(ledger_url)
    foreseen = planned(ledger_url)
    done = prune(ledger_url, HORIZON, NOW, by="ann")

    assert (2, []) == (foreseen.attempts, foreseen.obstacles)
    assert 2 == done.attempts
    assert {edge.id, young.id} == stored(ledger_url).keys()
    assert [young.id] == [row["attempt_id"] for row in adjustments(ledger_url)]
    with open_engine(ledger_url).connect() as connection:
        assert ["job_2"] == list(connection.scalars(select(JOBS.c.job_id)))
    assert before == (rollup(ledger_url), totals(ledger_url))
    assert HORIZON == horizon_in(ledger_url)
    assert [(HORIZON, True, 2)] == prunes(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert [] == unknown_jobs(reader)


def test_what_began_before_the_horizon_is_refused_and_says_what_to_do(ledger_url: str) -> None:
    old, young, job = at(BOUND - 1), at(BOUND), submitted(id=at(BOUND - 1).id, started_at=BOUND - 1)
    with closing(open_writer(ledger_url)) as writer:
        writer.write([old, young], {"a": 1}, [])
        prune(ledger_url, HORIZON, NOW)
        sums = rollup(ledger_url)
        for batch in ([old], [young, old], [job], [old] * 20, [at(BOUND - 2), at(BOUND + 2)]):
            with pytest.raises(AttemptPruned, match="began before 2026-04-28.*docs/retention.md") as raised:
                writer.write(batch, {"a": 2}, [])
            assert BOUND == raised.value.horizon
        assert {"a": 1} == writer.positions(["a"])
        again = writer.write([young], {"a": 2}, [])

    assert (0, sums, {young.id}) == (again, rollup(ledger_url), set(stored(ledger_url)))


def test_an_end_of_a_job_whose_attempt_was_pruned_changes_nothing(ledger_url: str) -> None:
    write(ledger_url, submitted(id=at(BOUND - 9).id, started_at=BOUND - 9), at(NOW))
    write(ledger_url, heard(heard_at=BOUND + 9))
    prune(ledger_url, HORIZON, NOW)
    sums = rollup(ledger_url)
    write(ledger_url, heard(heard_at=BOUND + 9, reported_cost=99))

    assert (sums, []) == (rollup(ledger_url), adjustments(ledger_url))


def test_an_attempt_that_is_about_to_go_is_adjusted_no_more(ledger_url: str) -> None:
    old = at(BOUND - 9)
    write(ledger_url, old, at(NOW))
    record_only(ledger_url)
    with closing(open_writer(ledger_url)) as writer:
        author = Author("manual", "command line", NOW, "1")
        changes = writer.adjust([old.id], lambda attempt: make_attempt(id=attempt.id, cost=1), author)

    assert ([], {old.id}) == (list(changes), stored(ledger_url).keys() & {old.id})


def record_only(url: str) -> None:
    """Record the horizon and leave it at that, as a prune that was killed does."""
    values = {"horizon": HORIZON, "began_at": moment_of(NOW), "attempts": 0, "version": "1"}
    with changing(read_address(url)) as connection:
        connection.execute(PRUNES.insert().values(values))


def test_a_prune_of_before_that_was_broken_off_is_brought_to_its_end(ledger_url: str) -> None:
    write(ledger_url, at(BOUND - 9), at(NOW))
    record_only(ledger_url)
    foreseen = planned(ledger_url, HORIZON - timedelta(days=9))
    done = prune(ledger_url, HORIZON - timedelta(days=9), NOW)

    assert (HORIZON, 1, 1) == (foreseen.horizon, foreseen.attempts, done.attempts)
    assert [(HORIZON, True, 1)] == prunes(ledger_url)


def test_the_same_prune_again_does_nothing(ledger_url: str) -> None:
    write(ledger_url, at(BOUND - 9), at(NOW))
    done = [prune(ledger_url, HORIZON, NOW).attempts for _ in range(2)]

    assert ([1, 0], [(HORIZON, True, 1)]) == (done, prunes(ledger_url))


# --------------------------------------------------------------------------------------------------------- obstacles


def refused(url: str, match: str) -> None:
    """Check that a prune is refused, and that nothing is changed."""
    before = stored(url)
    assert 1 == len(planned(url).obstacles)
    with pytest.raises(LedgerError, match=match):
        prune(url, HORIZON, NOW)
    assert (before, None) == (stored(url), horizon_in(url))


@pytest.mark.parametrize(
    ("budget", "is_in_the_way"),
    [
        (Budget(1, per="total", name="ever"), True),
        (Budget(1, per="month", name="month"), False),
        (Budget(1, per="day", name="day"), False),
    ],
    ids=["total", "month", "day"],
)
def test_a_budget_whose_attempts_would_go_is_named(ledger_url: str, budget: Budget, is_in_the_way: bool) -> None:
    write(ledger_url, at(BOUND - 9), at(NOW))
    with closing(open_writer(ledger_url)) as writer:
        writer.register([budget.rule], NOW)
        if not is_in_the_way:
            assert [] == planned(ledger_url).obstacles
            return
        refused(ledger_url, "the budget 'ever' counts all attempts: keep more, or remove it")
        writer.remove("ever", NOW)
    assert 1 == prune(ledger_url, HORIZON, NOW).attempts


def test_a_month_of_a_budget_that_is_cut_is_named(ledger_url: str) -> None:
    write(ledger_url, at(BOUND - 9), at(NOW))
    with closing(open_writer(ledger_url)) as writer:
        writer.register([Budget(1, per="month", name="month").rule], NOW)
    later = datetime(2026, 5, 20, tzinfo=UTC)

    assert ["the budget 'month' counts attempts since 2026-05-01T00:00:00Z: keep more, or remove it"] == list(
        planned(ledger_url, later).obstacles
    )


def test_a_job_that_has_not_ended_is_named(ledger_url: str) -> None:
    write(ledger_url, submitted(id=at(BOUND - DAY).id, started_at=BOUND - DAY), at(NOW))

    refused(ledger_url, "the job that was submitted at 2026-04-27T00:00:00Z has not ended: `pixelmeter jobs`")


def test_a_prune_that_would_leave_nothing_is_refused(ledger_url: str) -> None:
    write(ledger_url, at(BOUND - DAY))

    refused(ledger_url, "the newest attempt began at 2026-04-27T00:00:00Z.*the clock of this machine")


def read_until(name: str) -> Reading:
    return Reading(gateway="aigateway", source="listed", month=name, began_at=1, read_at=2, pages=1, problems=0,
                   covered_from=None, cursor=None, is_complete=True)  # fmt: skip


def settled(name: str, run_at: int) -> Reconciliation:
    return came_to(source="listed", month=name, run_at=run_at, too_young=0, equal=run_at)


@pytest.mark.parametrize("name", ["2026-04", "2026-03"])
def test_a_month_whose_report_was_read_must_be_reconciled_after_its_end(ledger_url: str, name: str) -> None:
    write(ledger_url, at(BOUND - 9), at(NOW))
    keep_page(ledger_url, [], read_until(name))
    keep_reconciliation(ledger_url, settled(name, month_named(name).end - 1))
    refused(ledger_url, f"{name} of aigateway was not reconciled with listed since it ended")
    keep_reconciliation(ledger_url, settled(name, month_named(name).end))

    assert 1 == prune(ledger_url, HORIZON, NOW).attempts


def test_a_month_that_is_young_or_was_pruned_before_is_in_nobodys_way(ledger_url: str) -> None:
    write(ledger_url, at(BOUND - 9), at(NOW))
    prune(ledger_url, HORIZON, NOW)
    keep_page(ledger_url, [], read_until("2026-05"))
    keep_page(ledger_url, [], read_until("2026-03"))

    assert [] == planned(ledger_url).obstacles


# ------------------------------------------------------------------------------------------------------------ months


@pytest.fixture(params=[None, "meter"], ids=["no-schema", "schema"])
def monthly_url(request: pytest.FixtureRequest, postgres_url: str) -> str:
    """The URL of a PostgreSQL ledger with a month for each month since March 2026, also in a schema of its own."""
    url = in_schema(postgres_url, request.param)
    ensure_schema(read_address(url))
    with changing(read_address(url)) as connection:
        connection.exec_driver_sql(f"SET LOCAL search_path TO {request.param or 'public'}")
        months_by_hand(connection)
    return url


def months_in(url: str) -> set[str]:
    with reading_ledger(url) as reader:
        return {one.name.removeprefix("pixelmeter_attempts_") for one in partitions(reader)}


def days(url: str) -> list[Any]:
    with reading_ledger(url) as reader:
        return reader.rows("SELECT day, sum(attempts), sum(cost) FROM pixelmeter_daily GROUP BY day ORDER BY day")


MAY = datetime(2026, 5, 10, tzinfo=UTC)


@pytest.mark.slow
def test_months_that_are_over_are_dropped_whole_with_their_adjustments_and_the_rest_row_by_row(
    monthly_url: str,
) -> None:
    in_may = microseconds_of(MAY)
    ended = submitted("job_1", id=at(BOUND - DAY).id, started_at=BOUND - DAY)
    old = [at(BOUND - 90 * DAY), at(BOUND - 40 * DAY), ended, at(in_may - 1)]
    write(monthly_url, *old, at(in_may), at(NOW))
    write(monthly_url, heard("job_1", heard_at=BOUND))
    sums, before = days(monthly_url), months_in(monthly_url)
    done = prune(monthly_url, MAY, NOW)

    assert {"first", "2026_03", "2026_04", "2026_05"} <= before
    assert {"first", "2026_03", "2026_04"} == before - months_in(monthly_url)
    assert (4, 2, []) == (done.attempts, len(stored(monthly_url)), adjustments(monthly_url))
    assert ([(MAY, True, 4)], sums) == (prunes(monthly_url), days(monthly_url))
    # What comes with an id of before, and was sent since, has a place.
    assert 1 == write(monthly_url, msgspec.structs.replace(at(BOUND - DAY), started_at=in_may))


@pytest.mark.slow
def test_a_month_with_an_attempt_that_was_sent_later_than_its_id_says_stays(monthly_url: str) -> None:
    odd = msgspec.structs.replace(at(BOUND - DAY), started_at=NOW)
    write(monthly_url, odd, at(BOUND - DAY))
    done = prune(monthly_url, MAY, NOW)

    assert (1, {odd.id}) == (done.attempts, set(stored(monthly_url)))
    assert "2026_04" in months_in(monthly_url)


@pytest.mark.slow
def test_an_attempt_that_comes_into_a_month_just_before_it_is_dropped_stays(
    monthly_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = msgspec.structs.replace(at(BOUND - DAY), started_at=NOW)
    write(monthly_url, at(BOUND - DAY), at(NOW))
    is_old = pruning_postgres._Pruning._is_old
    looks = 0

    def looked_at(pruning: Any, name: str) -> bool:
        nonlocal looks
        found = is_old(pruning, name)
        if "2026_04" in name:
            looks += 1
            if looks == 1:
                write(monthly_url, odd)
        return found

    monkeypatch.setattr(pruning_postgres._Pruning, "_is_old", looked_at)
    done = prune(monthly_url, MAY, NOW)

    assert 1 == done.attempts
    assert odd.id in stored(monthly_url)
    assert 2 == len(stored(monthly_url))
    assert "2026_04" in months_in(monthly_url)


@pytest.mark.slow
def test_a_month_that_is_read_for_long_is_left_to_the_next_prune(
    monthly_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(monthly_url, at(BOUND - DAY), at(NOW))
    monkeypatch.setattr("pixelmeter.ledger.pruning_postgres._TRIES", 1)
    with reading_ledger(monthly_url) as report:
        report.rows("SELECT count(*) FROM pixelmeter_attempts")
        with pytest.raises(LedgerError, match="cannot drop .*: somebody has read it"):
            prune(monthly_url, MAY, NOW)
        assert 2 == len(stored(monthly_url))
    done = prune(monthly_url, MAY, NOW)

    assert (1, [(MAY, True, 1)]) == (done.attempts, prunes(monthly_url))


def test_a_commit_that_is_under_way_when_a_prune_begins_is_waited_for(postgres_url: str) -> None:
    write(postgres_url, at(NOW))
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(postgres_url) as writing,
        psycopg.connect(postgres_url, autocommit=True) as observer,
    ):
        writing.execute("LOCK TABLE ONLY pixelmeter_attempts IN ROW EXCLUSIVE MODE")
        writing.execute(
            "INSERT INTO pixelmeter_attempts SELECT (jsonb_populate_record(a, jsonb_build_object('id', %s::text,"
            " 'started_at', %s::text))).* FROM pixelmeter_attempts AS a",
            (at(BOUND - 9).id, (HORIZON - timedelta(days=1)).isoformat()),
        )
        pruned = threads.submit(prune, postgres_url, HORIZON, NOW)
        while observer.execute(WAITING).fetchone() != (1,):
            assert not pruned.done(), pruned.result()
        assert horizon_in(postgres_url) is None
        writing.commit()

        assert 1 == pruned.result().attempts


# ------------------------------------------------------------------------------------------------------------- kills


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do some work in a child that is killed at one of its statements; return whether it lived to its end."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
    try:
        left = step

        def count() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        class Counted(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                count()
                return super().execute(*arguments)

        connect, execute = sqlite3.connect, psycopg.Cursor.execute
        sqlite3.connect = lambda *arguments, **named: connect(*arguments, **named, factory=Counted)  # type: ignore[assignment]

        def counted(self: Any, *arguments: Any, **named: Any) -> Any:
            count()
            return execute(self, *arguments, **named)

        psycopg.Cursor.execute = counted  # type: ignore[method-assign]
        work()
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.slow
def test_a_prune_that_is_killed_at_any_statement_is_brought_to_its_end_by_the_next(ledger_url: str) -> None:
    old = [at(BOUND - number * DAY - 1) for number in range(40)]
    young = [at(BOUND + number * DAY) for number in range(5)]
    write(ledger_url, *old, *young)
    if ledger_url.startswith("postgres"):
        with changing(read_address(ledger_url)) as connection:
            months_by_hand(connection)
    sums = rollup(ledger_url), totals(ledger_url)
    step = 0
    while not killed_at(step, lambda: prune(ledger_url, HORIZON, NOW)):
        step += 1
        # Whoever comes in between adds nothing twice: it is there, or refused.
        with closing(open_writer(ledger_url)) as writer:
            try:
                assert 0 == writer.write(old, {}, [])
            except AttemptPruned:
                assert HORIZON == horizon_in(ledger_url)
        [(count, pruned)] = counted_in(ledger_url)
        assert len(old) + len(young) == count + pruned
        assert step < 200

    assert step > 10
    assert {one.id for one in young} == stored(ledger_url).keys()
    assert sums == (rollup(ledger_url), totals(ledger_url))
    assert [(HORIZON, True, len(old))] == prunes(ledger_url)


def months_by_hand(connection: Any) -> None:
    """Give what is before the present month months of its own, as if the ledger had had them."""
    run = connection.exec_driver_sql
    parts = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'pixelmeter_attempts'::regclass"
    run("CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM pixelmeter_attempts")
    for name in run(parts).scalars().all():
        run(f"DROP TABLE {name}")
    first = first_id(date(2026, 3, 1))
    run("CREATE TABLE pixelmeter_attempts_first PARTITION OF pixelmeter_attempts"
        f" FOR VALUES FROM (MINVALUE) TO ('{first}')")  # fmt: skip
    run("CREATE TABLE pixelmeter_attempts_default PARTITION OF pixelmeter_attempts DEFAULT")
    make_ahead(connection, None, moment_of(NOW))
    run("INSERT INTO pixelmeter_attempts SELECT * FROM kept")


def counted_in(url: str) -> list[Any]:
    statement = (
        "SELECT (SELECT count(*) FROM pixelmeter_attempts), (SELECT coalesce(sum(attempts), 0) FROM pixelmeter_prunes)"
    )
    with open_engine(url).connect() as connection:
        return [(int(count), int(pruned)) for count, pruned in connection.execute(text(statement))]


# ---------------------------------------------------------------------------------------------------- all in any order

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(-60, 0), st.integers(1, 3)),
        st.tuples(st.just("again"), st.integers(0, 40), st.integers(1, 3)),
        st.tuples(st.just("prune"), st.integers(-50, -7), st.just(0)),
        st.tuples(st.just("adjust"), st.integers(0, 40), st.integers(0, 9)),
    ),
    max_size=25,
)


@pytest.fixture
def twin_url(request: pytest.FixtureRequest, ledger_url: str, tmp_path: Path) -> Iterator[str]:
    """The URL of another ledger of the same kind."""
    if ledger_url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path}/twin.db"
        return
    server: Server = request.getfixturevalue("postgres_server")
    with server.database(f"twin_{uuid4().hex}") as url:
        yield url


@pytest.mark.slow
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_after_any_writes_replays_and_prunes_the_sums_are_of_all_and_the_rows_of_what_is_since(
    ledger_url: str, twin_url: str, steps: Sequence[tuple[str, int, int]]
) -> None:
    """The twin is told the same, but for what is refused, and never pruned."""
    for url in (ledger_url, twin_url):
        clear(url)
    everything: dict[str, Attempt] = {}
    since = 0
    with closing(open_writer(ledger_url)) as pruned, closing(open_writer(twin_url)) as twin:
        for kind, number, size in [("write", 0, 1), *steps]:
            known = list(everything.values())
            if kind == "prune":
                since = max(since, microseconds_of(horizon_of(timedelta(days=-number), NOW)))
                prune(ledger_url, moment_of(since), NOW)
            elif kind == "adjust":
                one = known[number % len(known)]
                change = (
                    [one.id],
                    partial(lambda now, cost: msgspec.structs.replace(now, cost=cost), cost=size),
                    Author("manual", "command line", NOW, "1"),
                )
                if pruned.adjust(*change):
                    twin.adjust(*change)
            else:
                some = known[number:][:size]
                if kind == "write":
                    some = [at(NOW + number * DAY + each) for each in range(size)]
                young = [one for one in some if one.started_at >= since]
                if young != some:
                    with pytest.raises(AttemptPruned):
                        pruned.write(some, {}, [])
                assert twin.write(young, {}, []) == pruned.write(young, {}, [])
                everything |= {one.id: one for one in young}

    assert (rollup(twin_url), totals(twin_url)) == (rollup(ledger_url), totals(ledger_url))
    assert {name: one for name, one in stored(twin_url).items() if one.started_at >= since} == stored(ledger_url)
    assert {one["attempt_id"] for one in adjustments(ledger_url)} <= stored(ledger_url).keys()


def clear(url: str) -> None:
    """Make a ledger where there is none, with months that can be dropped, and empty it."""
    ensure_schema(read_address(url))
    with changing(read_address(url)) as connection:
        if url.startswith("postgres"):
            months_by_hand(connection)
        for table in METADATA.sorted_tables:
            connection.execute(table.delete())
