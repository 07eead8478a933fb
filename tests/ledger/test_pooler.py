"""A ledger behind a PgBouncer that gives each transaction another connection, with two connections for everybody."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest

import pixelmeter
from pixelmeter.ledger import migrate
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.sums import read_totals
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals
from tests.ledger.test_writer_postgres import END_OTHERS, WAITING

pytestmark = pytest.mark.slow

WRITERS = 4
WRITES = 50
SHARED = [make_attempt(model=f"shared-{number % 3}", duration=number * 70_000) for number in range(20)]


def test_writers_and_readers_all_succeed_though_there_are_more_of_them_than_connections(
    pooled_url: str, postgres_url: str
) -> None:
    def write(number: int) -> int:
        written = 0
        with closing(open_writer(pooled_url)) as writer:
            for count in range(WRITES):
                new = [make_attempt(model=f"m-{n % 5}", duration=n * 400_000) for n in range(3)]
                name = f"spool-{number}-{count // 10}"
                written += writer.write([*new, *SHARED[count % 7 :: number + 1]], {name: count}, [])
                assert count == writer.positions([name])[name]
                writer.write([], {}, [name] if count % 10 == 9 else [])
        return written

    def read(_: int) -> int:
        for _ in range(WRITES):
            with reading_ledger(pooled_url) as reader:
                read_totals(reader)
        return 0

    migrate.upgrade(pooled_url)
    with ThreadPoolExecutor(WRITERS + 2) as threads:
        written = [*threads.map(write, range(WRITERS)), *threads.map(read, range(2))]

    reached = {attempt.id for number in range(WRITERS) for start in range(7) for attempt in SHARED[start :: number + 1]}
    assert WRITERS * WRITES * 3 + len(reached) == sum(written)
    assert sum(written) == len(stored(postgres_url))
    assert recomputed(postgres_url) == rollup(postgres_url)
    assert recomputed_totals(postgres_url) == totals(postgres_url)


def test_nothing_of_ours_stays_on_a_connection_that_others_get_next(pooled_url: str) -> None:
    with closing(open_writer(pooled_url)) as writer:
        batch = [make_attempt()]
        for _ in range(10):
            writer.write(batch, {"a": 1}, [])
            writer.write([*batch, make_attempt()], {"a": 1}, [])
        with psycopg.connect(pooled_url, autocommit=True, prepare_threshold=None) as other:
            left = other.execute(
                "SELECT (SELECT count(*) FROM pg_prepared_statements), "
                "(SELECT count(*) FROM pg_class WHERE relpersistence = 't'), "
                # It lists the locks of the whole server, where other tests have databases of their own.
                "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())), "
                "current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
            ).fetchone()

    assert (0, 0, 0, "0", "0") == left


def test_a_meter_flushes_behind_it_every_time(pooled_url: str, postgres_url: str, tmp_path: Path) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": [{"url": "https://images.example/1.png"}]})

    def call_and_flush(number: int) -> list[bool]:
        with (
            pixelmeter.Meter(pooled_url, spool_dir=f"{tmp_path}/{number}") as meter,
            pixelmeter.instrument(httpx.Client(transport=httpx.MockTransport(answer)), meter) as client,
        ):
            flushed: list[bool] = []
            for _ in range(WRITES):
                client.post("https://api.openai.com/v1/images/generations", json={"model": "gpt-image-1"})
                flushed.append(meter.flush(60))
            assert {} == meter.status()["failures"]
        return flushed

    with ThreadPoolExecutor(WRITERS) as threads:
        flushed = [one for each in threads.map(call_and_flush, range(WRITERS)) for one in each]

    assert [True] * WRITERS * WRITES == flushed
    assert WRITERS * WRITES == len(stored(postgres_url))


def test_a_schema_can_be_upgraded_and_downgraded_through_it(pooled_url: str, postgres_url: str) -> None:
    up = migrate.upgrade(pooled_url)
    with closing(open_writer(pooled_url)) as writer:
        writer.write([make_attempt()], {}, [])
    down = migrate.downgrade(pooled_url, "0001")
    again = migrate.upgrade(pooled_url)

    assert ["current", "outdated", "current"] == [up.state, down.state, again.state]
    assert recomputed_totals(postgres_url) == totals(postgres_url)


def test_a_connection_that_the_pooler_loses_in_the_middle_is_replaced_at_once(
    pooled_url: str, postgres_url: str
) -> None:
    with (
        closing(open_writer(pooled_url)) as writer,
        ThreadPoolExecutor() as threads,
        psycopg.connect(postgres_url, autocommit=True) as admin,
        psycopg.connect(postgres_url) as holder,
    ):
        writer.write([make_attempt()], {}, [])
        holder.execute("LOCK TABLE pixelmeter_deltas IN SHARE MODE")
        written = threads.submit(writer.write, [make_attempt()], {"a": 1}, [])
        while admin.execute(WAITING).fetchone() != (1,):
            assert not written.done(), written.result()
        admin.execute(f"{END_OTHERS} AND pid <> {holder.info.backend_pid}".encode())
        holder.rollback()
        assert 1 == written.result()

    assert 2 == len(stored(postgres_url))
    assert recomputed_totals(postgres_url) == totals(postgres_url)
