"""Several processes that submit, end, end again, correct, price and give up jobs of one ledger at once."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from multiprocessing.connection import Connection

import psycopg
import pytest

from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.ledger.address import in_schema
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.writer import open_writer
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.reading import adjusted
from tests.ledger.test_adjusting import HOUR, assert_consistent, corrected, heard, submitted

pytestmark = pytest.mark.slow

ROUNDS = 12
JOBS = 24
IDS: list[str] = []
BY_HAND = "by hand"


def everything(url: str, number: int) -> int:
    """Do all that can be done to the jobs that every process knows, and to some of its own; each record comes twice."""
    source = random.Random(number)
    changed = 0
    with closing(open_writer(url)) as writer:
        for turn in range(ROUNDS):
            names = [f"job_{source.randrange(JOBS)}" for _ in range(5)]
            records: list[Record] = [submitted(name, started_at=STARTED_AT + turn) for name in names[:2]]
            records += [_end(name, source) for name in names]
            records += [make_attempt(model=f"m-{turn % 3}") for _ in range(3)]
            source.shuffle(records)
            for _ in range(2):
                writer.write(records, {f"spool-{number}": turn}, [])
            writer.write([make_attempt(model=f"m-{turn % 3}") for _ in range(3)], {"everybody": turn}, [])
            author = Author(source.choice(["manual", "repriced"]), BY_HAND, STARTED_AT, "0.1.0")
            to = partial(corrected, cost=source.randrange(10**9))
            changed += len(writer.adjust(source.sample(IDS, 3), to, author))
            if turn % 5 == 0:
                writer.write(writer.expiring(STARTED_AT + 24 * HOUR + 50, 10), {}, [])
    return changed


def _end(name: str, source: random.Random) -> JobEnd:
    return heard(
        name,
        source=source.choice(["poll", "result", "webhook"]),
        images=source.choice([None, 1, 2]),
        units=source.choice([None, "2"]),
        outcome=source.choice(["success", "success", "error"]),
    )


def run(*urls: str) -> None:
    """Have a process for each URL of one ledger do all that at once, and look at what the ledger says then."""
    with closing(open_writer(urls[0])) as writer:
        first = [submitted(f"job_{number}") for number in range(JOBS)]
        writer.write(first, {}, [])
    IDS[:] = [one.id for one in first]
    in_processes(everything, urls)
    assert_consistent(urls[0])
    paid = Counter(one.job_id for one in adjusted(urls[0]).values() if one.cost_source == "priced" and one.cost)
    del paid[None]
    assert {1} >= set(paid.values())


def test_four_processes_bring_the_same_jobs_to_their_end(ledger_url: str) -> None:
    run(*[ledger_url] * 4)


def test_the_same_where_the_default_of_the_database_is_strict(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET default_transaction_isolation = 'serializable'".encode())
    run(*[postgres_url] * 4)


def test_the_same_by_way_of_a_pooler(pooled_url: str) -> None:
    run(*[pooled_url] * 4)


def test_the_same_where_some_name_the_schema_that_others_find_by_the_search_path(postgres_url: str) -> None:
    run(*[postgres_url, in_schema(postgres_url, "public")] * 2)


def in_processes(work: Callable[[str, int], int], urls: Sequence[str]) -> None:
    """Run the work in new processes that begin together; an error in one fails the test."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pipes = [context.Pipe() for _ in urls]
    children = [
        context.Process(target=child, args=(work, urls[number], number, IDS, theirs))
        for number, (_, theirs) in enumerate(pipes)
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
    assert [0] * len(urls) == [process.exitcode for process in children], results


def child(work: Callable[[str, int], int], url: str, number: int, ids: list[str], pipe: Connection) -> None:
    IDS[:] = ids
    pipe.send("ready")
    pipe.recv()
    pipe.send(work(url, number))
