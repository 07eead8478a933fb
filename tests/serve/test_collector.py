"""What a scrape says of a database that does not answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.collector import LedgerCollector
from tests.conftest import FakeClock
from tests.factories import make_attempt
from tests.ledger.test_writer_postgres import WAITING
from tests.postgres import PASSWORD


def test_scrapes_of_a_database_that_hangs_end_and_share_the_one_question_that_was_asked(
    postgres_url: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.write([make_attempt()], {}, [])
    collector = LedgerCollector(postgres_url, clock=clock, patience=0.3)
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(postgres_url) as locking,
        psycopg.connect(postgres_url, autocommit=True) as observer,
    ):
        locking.execute("LOCK TABLE pixelmeter_totals IN ACCESS EXCLUSIVE MODE")
        shown: list[dict[str, float]] = []
        for _ in range(2):
            scrapes = [threads.submit(collector.collect) for _ in range(3)]
            shown += [{family.name: family.samples[0].value for family in scrape.result()} for scrape in scrapes]
            clock.advance(2_000_000)
        asked = observer.execute(WAITING).fetchone()
        [reading] = [one for one in threading.enumerate() if one.name == "pixelmeter-scrape"]
        locking.rollback()
        reading.join(20)
        after = {family.name: family.samples[0].value for family in collector.collect()}

    assert [0] * 6 == [one["pixelmeter_ledger_up"] for one in shown]
    assert {"pixelmeter_ledger_up", "pixelmeter_build_info", "pixelmeter_price_book_timestamp_seconds"} == set(shown[0])
    assert (1,) == asked
    assert 1 == after["pixelmeter_ledger_up"]
    assert ["has not answered for 0.3 seconds", "can be read again"] == [
        " ".join(record.getMessage().split()[-6 if "answered" in record.getMessage() else -4 :])
        for record in caplog.records
    ]
    assert PASSWORD not in caplog.text
