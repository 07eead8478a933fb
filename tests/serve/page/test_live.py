"""Asking again costs little while nothing has changed; and what goes wrong is a page with a sentence."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest
from sqlalchemy import text

import pixelmeter
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.engine import changing
from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.page.desk import Desk
from tests.conftest import FakeClock
from tests.factories import STARTED_AT, make_attempt
from tests.postgres import PASSWORD
from tests.serve.page.browsing import Browser, browsing, fill

PATHS = ["/", "/calls", "/budgets"]


def again(browser: Browser, path: str, etag: str) -> int:
    return browser.get(path, **{"if-none-match": etag}).status


@pytest.mark.parametrize("path", PATHS)
def test_a_page_is_sent_again_only_when_the_ledger_has_changed(ledger_url: str, clock: FakeClock, path: str) -> None:
    attempt = make_attempt(started_at=STARTED_AT - 10)
    with closing(open_writer(ledger_url)) as writer, browsing(ledger_url, clock) as browser:
        writer.write([attempt], {}, [])
        first = browser.get(path).headers["etag"]
        unchanged = [again(browser, path, first), again(browser, path, f'"other", {first}')]
        writer.write([make_attempt(started_at=STARTED_AT - 9)], {}, [])
        added, second = again(browser, path, first), browser.get(path).headers["etag"]
        kept = again(browser, path, second)
        author = Author("manual", "test", STARTED_AT, "1")
        writer.adjust([attempt.id], lambda now: msgspec.structs.replace(now, cost=1), author)
        adjusted, third = again(browser, path, second), browser.get(path).headers["etag"]
        writer.register([pixelmeter.Budget(5, per="day", name="daily").rule], STARTED_AT)
        budgeted = again(browser, path, third)

    assert [304, 304] == unchanged
    assert (200, 304, 200, 200) == (added, kept, adjusted, budgeted)


def test_a_page_is_sent_again_when_time_has_passed_or_more_is_asked(sqlite_url: str, clock: FakeClock) -> None:
    fill(sqlite_url, [make_attempt()])
    with browsing(sqlite_url, clock) as browser:
        etag = browser.get("/").headers["etag"]
        elsewhere = [again(browser, path, etag) for path in ("/?tz=Europe/Berlin", "/calls")]
        clock.advance(3_600_000_000)
        later = again(browser, "/", etag)

    assert [200, 200, 200] == [*elsewhere, later]


def test_no_ledger_and_another_schema_are_said_without_a_password(tmp_path: Path, clock: FakeClock) -> None:
    urls = (f"sqlite:///{tmp_path}/none.db", "postgresql://somebody:correct-horse@127.0.0.1:9/none")
    for url in urls:
        with browsing(url, clock) as browser:
            shown = [browser.get(path) for path in ("/", "/calls", f"/calls/{make_attempt().id}", "/budgets")]
            health = browser.get("/health")
        assert [503] * 4 == [page.status for page in shown]
        assert all("The ledger cannot be read" in page.words for page in shown)
        assert 200 == health.status
        assert "correct-horse" not in health.text + "".join(page.text for page in shown)


def test_a_ledger_of_a_newer_pixelmeter_is_said(ledger_url: str, clock: FakeClock) -> None:
    fill(ledger_url, [make_attempt()])
    with changing(read_address(ledger_url)) as connection:
        connection.execute(text("UPDATE pixelmeter_schema SET version_num = '9999'"))
    with browsing(ledger_url, clock) as browser:
        shown = browser.get("/")

    assert 503 == shown.status
    assert "upgrade the package" in shown.words


@contextmanager
def held(url: str) -> Iterator[None]:
    """Have a PostgreSQL ledger answer nobody meanwhile."""
    with psycopg.connect(url) as locking:
        locking.execute("LOCK TABLE pixelmeter_attempts, pixelmeter_totals_merged IN ACCESS EXCLUSIVE MODE")
        yield


@pytest.mark.slow
def test_a_database_that_hangs_is_told_in_time_and_takes_a_few_places_only(postgres_url: str, clock: FakeClock) -> None:
    fill(postgres_url, [make_attempt()])
    desk = Desk(postgres_url, places=2, seconds=1.0)
    with browsing(postgres_url, clock, desk=desk) as browser:
        with held(postgres_url):
            shown: list[tuple[int, str]] = []

            def ask() -> None:
                page = browser.get("/calls")
                shown.append((page.status, page.words))

            threads = [threading.Thread(target=ask) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        after = browser.get("/calls")

    assert [503] * 5 == [status for status, _ in shown]
    assert 2 == sum("no answer within 1 seconds" in words for _, words in shown)
    assert 3 == sum("As many pages as may be made at once" in words for _, words in shown)
    assert 200 == after.status
    assert PASSWORD not in after.text


def test_a_machine_without_threads_leaves_each_place_free(
    sqlite_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_url, [make_attempt()])
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == "pixelmeter-page":
            raise RuntimeError("can't start new thread")
        start(thread)

    with browsing(sqlite_url, clock, desk=Desk(sqlite_url, places=1)) as browser:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refused)
            without = [browser.get("/calls").status for _ in range(2)]
        after = browser.get("/calls").status

    assert ([503, 503], 200) == (without, after)


def test_what_takes_its_time_comes_head_first_and_says_where_it_was_broken_off(
    postgres_url: str, clock: FakeClock
) -> None:
    fill(postgres_url, [make_attempt(started_at=STARTED_AT - 1_000_000)])
    desk = Desk(postgres_url, seconds=1.0)
    with browsing(postgres_url, clock, desk=desk) as browser:
        with held(postgres_url), browser.client.stream("GET", "/calls?read=all") as answer:
            pieces = list(answer.iter_text())
        whole = browser.get("/calls?read=all")

    assert 200 == answer.status_code
    assert len(pieces) > 1
    assert "<h1>Calls</h1>" in pieces[0]
    assert "no answer within 1 seconds" in pieces[-1]
    assert "".join(pieces).rstrip().endswith("</html>")
    assert 1 == len(whole.tables["attempts"])
    assert "etag" not in whole.headers
