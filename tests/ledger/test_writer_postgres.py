from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import psycopg
import pytest
from psycopg.types.json import Jsonb

from pixelmeter import Budget
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.lease import Draw, LeaseKey
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.budget_changes import ResetAuthor
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.schema import METADATA
from pixelmeter.ledger.views import VIEWS
from pixelmeter.ledger.writer import open_writer
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals
from tests.postgres import PASSWORD, Server

END_OTHERS = (
    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_a_connection_that_the_server_ended_is_replaced_at_once(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as writer, psycopg.connect(postgres_url, autocommit=True) as admin:
        writer.write([make_attempt()], {}, [])
        admin.execute(END_OTHERS)
        written = writer.write([make_attempt()], {"a": 1}, [])
        admin.execute(END_OTHERS)
        position = writer.positions(["a"])

    assert (1, {"a": 1}) == (written, position)
    assert 2 == len(stored(postgres_url))
    assert recomputed(postgres_url) == rollup(postgres_url)
    assert recomputed_totals(postgres_url) == totals(postgres_url)


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def test_a_writer_that_loses_a_deadlock_tries_again(postgres_url: str) -> None:
    low, high = sorted([make_attempt(), make_attempt()], key=lambda attempt: attempt.id)
    insert = "INSERT INTO pixelmeter_attempts SELECT (jsonb_populate_record(NULL::pixelmeter_attempts, %s)).*"
    with closing(open_writer(postgres_url)) as writer, ThreadPoolExecutor() as threads:
        writer.write([low, high], {}, [])
        with psycopg.connect(postgres_url) as other, psycopg.connect(postgres_url, autocommit=True) as observer:
            copies: dict[str, object] = dict(
                other.execute("SELECT id::text, to_jsonb(a) FROM pixelmeter_attempts AS a").fetchall()
            )
            other.execute(
                "TRUNCATE pixelmeter_attempts, pixelmeter_daily_merged, pixelmeter_totals_merged, pixelmeter_deltas"
            )
            other.execute("SET deadlock_timeout = '60s'")
            other.commit()
            other.execute(insert, (Jsonb(copies[high.id]),))
            written = threads.submit(writer.write, [low, high], {}, [])
            while observer.execute(WAITING).fetchone() != (1,):
                pass
            other.execute(insert, (Jsonb(copies[low.id]),))
            other.rollback()
            inserted = written.result()

    assert 2 == inserted
    assert {low.id, high.id} == set(stored(postgres_url))
    assert recomputed(postgres_url) == rollup(postgres_url)
    assert recomputed_totals(postgres_url) == totals(postgres_url)


@pytest.mark.slow
@pytest.mark.usefixtures("postgres_server")
def test_a_server_that_was_killed_is_found_again() -> None:
    server = Server.start(settings={})
    try:
        with closing(open_writer(server.url())) as writer:
            first, second = [make_attempt()], [make_attempt()]
            writer.write(first, {"a": 1}, [])
            server.crash()
            for _ in range(2):
                with pytest.raises(LedgerError) as raised:
                    writer.write(second, {"a": 2}, [])
                assert PASSWORD not in str(raised.value)
            server.resume()
            inserted = writer.write([*first, *second], {"a": 2}, [])

        assert 1 == inserted
        assert {*(one.id for one in first), *(one.id for one in second)} == set(stored(server.url()))
        assert recomputed(server.url()) == rollup(server.url())
        assert recomputed_totals(server.url()) == totals(server.url())
    finally:
        server.stop()


def test_what_the_database_says_of_bad_data_is_not_repeated(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as writer:
        with pytest.raises(LedgerError, match="SQLSTATE 22P02") as raised:
            writer.write([make_attempt(tags='{"canary": canary}')], {}, [])
        assert "canary" not in str(raised.value)

        assert 1 == writer.write([make_attempt()], {}, [])


def test_a_role_with_the_documented_rights_can_write(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as owner:
        owner.write([], {}, [])
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'only-this'".encode())
        for grant in documented_grants():
            admin.execute(grant.replace("role_name", name).encode())
    limited = postgres_url.replace(f"postgres:{PASSWORD}", f"{name}:only-this")
    try:
        with closing(open_writer(limited)) as writer:
            assert 1 == writer.write([make_attempt()], {"a": 1}, [])
            assert 0 == writer.write([], {}, ["a"])
            promised = make_attempt(outcome="pending", job_id="job")
            assert 1 == writer.write([promised, end_of(promised)], {"a": 2}, [])
            for cost in (1, 2):
                spent = partial(msgspec.structs.replace, cost=cost)
                assert 1 == len(writer.adjust([promised.id], spent, Author("manual", "command line", 1, "1.0.0")))
            for limit in (1, 2):
                writer.register([Budget(limit, name="ours", per="total" if limit == 1 else "month").rule], STARTED_AT)
            key = LeaseKey("ours", "", Budget(1).rule.span_of(STARTED_AT).start)
            writer.draw("a-1", [Draw(key, 10**9, 1, 2, 2, 2)], STARTED_AT)
            writer.renew("a-1", [key], STARTED_AT)
            writer.give_back("a-1", {key: 1})
            writer.end_stale(STARTED_AT + 1)
            assert 1 == writer.write([make_attempt()], {}, [])
            assert 1 == len(writer.reset("ours", None, ResetAuthor(STARTED_AT, "anna", "a test")))
            assert writer.remove("ours", STARTED_AT)
        with reading_ledger(limited) as reader:
            assert 3 == len(attempts(reader, limit=9))
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def test_a_role_that_only_reads_may_read_all_there_is(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as owner:
        owner.write([make_attempt()], {}, [])
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'only-this'".encode())
        [grant] = documented_grants("reader_name")
        admin.execute(grant.replace("reader_name", name).encode())
    limited = postgres_url.replace(f"postgres:{PASSWORD}", f"{name}:only-this")
    try:
        with psycopg.connect(limited) as reader:
            names = [*(table.name for table in METADATA.sorted_tables), *VIEWS["postgresql"], "pixelmeter_schema"]
            for each in names:
                reader.execute(f"SELECT * FROM {each}".encode())
        with pytest.raises(LedgerError, match="permission denied"), closing(open_writer(limited)) as writer:
            writer.write([make_attempt()], {}, [])
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def end_of(attempt: Attempt) -> JobEnd:
    return JobEnd(id=make_attempt().id, gateway=attempt.gateway, job_id=attempt.job_id or "", source="poll",
                  heard_at=attempt.started_at + 1, outcome="success", images=1)  # fmt: skip


def test_a_role_that_may_not_make_tables_is_told_what_to_do(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'only-this'".encode())
    limited = postgres_url.replace(f"postgres:{PASSWORD}", f"{name}:only-this")
    try:
        with pytest.raises(LedgerError, match="pixelmeter db upgrade"), closing(open_writer(limited)) as writer:
            writer.write([make_attempt()], {}, [])
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(f"DROP ROLE {name}".encode())


def documented_grants(role: str = "role_name") -> list[str]:
    text = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
    return re.findall(rf"^GRANT [^;]* TO {role};$", text, re.MULTILINE)
