from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection

import psycopg
import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger import migrate
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals

pytestmark = pytest.mark.slow

PROCESSES = 4
BATCHES = 25
SHARED = [make_attempt(model=f"shared-{number % 3}", duration=number * 70_000) for number in range(40)]


def test_four_processes_fill_one_new_ledger_without_an_error(new_url: str) -> None:
    results = in_processes(write_own_and_shared, new_url)

    own = PROCESSES * BATCHES * 20
    assert own + len(SHARED) == sum(results)
    assert own + len(SHARED) == len(stored(new_url))
    assert recomputed(new_url) == rollup(new_url)
    assert recomputed_totals(new_url) == totals(new_url)


def test_four_processes_do_not_abort_each_other_where_the_default_of_the_database_is_strict(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET default_transaction_isolation = 'serializable'".encode())

    results = in_processes(write_own_and_shared, postgres_url)

    assert PROCESSES * BATCHES * 20 + len(SHARED) == sum(results)
    assert recomputed_totals(postgres_url) == totals(postgres_url)


def test_four_processes_that_open_a_missing_ledger_at_once_all_succeed(new_url: str) -> None:
    for _ in range(3):
        assert [1] * PROCESSES == in_processes(write_one, new_url)
        migrate.downgrade(new_url, "base")


def write_own_and_shared(url: str, number: int) -> int:
    """Write batches of new attempts, with attempts that every process has among them, in an order of its own."""
    inserted = 0
    with closing(open_writer(url)) as writer:
        for batch in range(BATCHES):
            attempts = [make_attempt(model=f"m-{n % 5}", duration=n * 400_000) for n in range(20)]
            shared: list[Attempt] = SHARED[batch % 7 :: 1 + number]
            mixed = attempts + (shared if number % 2 else shared[::-1])
            inserted += writer.write(mixed, {f"spool-{number}": batch, "everybody": batch}, [])
        inserted += writer.write(SHARED, {}, [])
    return inserted


def write_one(url: str, number: int) -> int:
    with closing(open_writer(url)) as writer:
        return writer.write([make_attempt()], {f"spool-{number}": 1}, [])


def in_processes(work: Callable[[str, int], int], url: str) -> list[int]:
    """Run the work in new processes that begin together; an error in one fails the test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pipes = [context.Pipe() for _ in range(PROCESSES)]
    ids = SHARED
    children = [
        context.Process(target=child, args=(work, url, number, ids, theirs)) for number, (_, theirs) in enumerate(pipes)
    ]
    for process in children:
        process.start()
    for ours, theirs in pipes:
        theirs.close()
        assert "ready" == ours.recv()
    for ours, _ in pipes:
        ours.send("go")
    results = [ours.recv() for ours, _ in pipes]
    for process in children:
        process.join()
    assert [0] * PROCESSES == [process.exitcode for process in children], results
    return results


def child(work: Callable[[str, int], int], url: str, number: int, ids: list[Attempt], pipe: Connection) -> None:
    SHARED[:] = ids
    pipe.send("ready")
    pipe.recv()
    pipe.send(work(url, number))
