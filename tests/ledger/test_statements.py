"""Statements are kept as they came, each reading of them once, together with how far the report was read."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixelmeter.core.reconciling.reconciliation import COUNTS, SUMS, Reconciliation
from pixelmeter.core.reconciling.statement import Period, Statement, month
from pixelmeter.errors import LedgerError, SchemaOutdated
from pixelmeter.ledger import migrate
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.statements import (
    Reading,
    attempts_in,
    keep_page,
    keep_reconciliation,
    latest_reconciliations,
    reading_of,
    said_otherwise,
    settled_without_attempt,
    statements_of,
)
from pixelmeter.ledger.writer import open_writer
from tests.effort import examples
from tests.factories import STARTED_AT, make_attempt, ours_of

MAY = month("2026-05")


def stated(**fields: Any) -> Statement:
    """Return a statement of one request."""
    said: dict[str, Any] = {
        "gateway": "aigateway",
        "source": "aigateway_recent",
        "external_id": "row_1",
        "grain": "request",
        "starts_at": STARTED_AT,
        "ends_at": None,
        "ids": ("req_1", "gen_1"),
        "model": "openai/gpt-image-2",
        "amount": 42_240_000,
        "images": 1,
        "requests": 1,
        "status": "succeeded",
        "label": None,
        "raw": '{"request_id":"req_1","cost_cents":4.224}',
        "read_at": STARTED_AT + 10**6,
    }
    return Statement(**{**said, **fields})


def read_to(cursor: str | None, **fields: Any) -> Reading:
    """Return how far the report of May was read."""
    said: dict[str, Any] = {
        "gateway": "aigateway", "source": "aigateway_recent", "month": "2026-05", "began_at": STARTED_AT,
        "read_at": STARTED_AT + 10**6, "pages": 1, "problems": 0,
        "covered_from": None, "cursor": cursor, "is_complete": cursor is None,
    }  # fmt: skip
    return Reading(**{**said, **fields})


def kept(url: str, period: Period = MAY) -> list[Statement]:
    """Return the statements of the ledger."""
    with reading_ledger(url) as reader:
        return statements_of(reader, "aigateway", "aigateway_recent", period)


def test_a_page_comes_back_as_it_was_and_says_how_far_it_is_read(ledger_url: str) -> None:
    page = [
        stated(),
        stated(external_id="row_2", starts_at=STARTED_AT + 1, ids=(), model=None, amount=None, images=None,
               requests=None, status=None, raw="{}"),
        stated(external_id="row_3", starts_at=STARTED_AT + 2, ids=('a"b', "\u0000"), amount=-1, label="é"),
        stated(external_id="row_4", starts_at=STARTED_AT + 3, grain="day", ends_at=STARTED_AT + 4, status="failed"),
    ]  # fmt: skip
    assert 4 == keep_page(ledger_url, page, read_to("2"))
    assert page == kept(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert read_to("2") == reading_of(reader, "aigateway", "aigateway_recent", "2026-05")
        assert None is reading_of(reader, "aigateway", "aigateway_recent", "2026-06")
    assert 0 == keep_page(ledger_url, page, read_to(None, pages=2, problems=3, covered_from=STARTED_AT))
    with reading_ledger(ledger_url) as reader:
        found = reading_of(reader, "aigateway", "aigateway_recent", "2026-05")
        assert read_to(None, pages=2, problems=3, covered_from=STARTED_AT) == found
        assert 0 == said_otherwise(reader, "aigateway", "aigateway_recent", MAY)


def test_a_row_that_is_read_again_is_added_only_where_it_says_something_else(ledger_url: str) -> None:
    first, changed = stated(), stated(amount=1, raw='{"cost_cents":0.0000001}')
    later = [msgspec.structs.replace(one, read_at=one.read_at + 9) for one in (first, changed, first)]
    assert [1, 0, 1, 0, 1] == [
        keep_page(ledger_url, [one], read_to(None)) for one in (first, later[0], changed, later[1], later[2])
    ]
    assert [later[2]] == kept(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert 1 == said_otherwise(reader, "aigateway", "aigateway_recent", MAY)


def test_a_row_that_stands_twice_on_a_page_is_one(ledger_url: str) -> None:
    assert 1 == keep_page(ledger_url, [stated(), stated()], read_to(None))
    assert [stated()] == kept(ledger_url)


def test_only_statements_that_begin_in_the_period_are_of_it(ledger_url: str) -> None:
    times = [MAY.start - 1, MAY.start, MAY.end - 1, MAY.end]
    keep_page(ledger_url, [stated(external_id=str(at), starts_at=at) for at in times], read_to(None))
    assert times[1:3] == [one.starts_at for one in kept(ledger_url)]


def test_a_character_that_a_database_cannot_hold_keeps_no_row_out(ledger_url: str) -> None:
    assert 1 == keep_page(ledger_url, [stated(model="a\x00b")], read_to(None))
    assert 0 == keep_page(ledger_url, [stated(model="a\x00b")], read_to(None))
    assert ["a\ufffdb"] == [one.model for one in kept(ledger_url)]


def test_where_a_page_is_refused_the_cursor_stays_where_it_was(ledger_url: str) -> None:
    keep_page(ledger_url, [stated()], read_to("2"))
    with pytest.raises((LedgerError, OverflowError)):
        keep_page(ledger_url, [stated(external_id="row_2"), stated(external_id="row_3", amount=2**70)], read_to("3"))
    assert [stated()] == kept(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert read_to("2") == reading_of(reader, "aigateway", "aigateway_recent", "2026-05")


def test_nothing_is_kept_in_a_ledger_of_another_schema(ledger_url: str) -> None:
    migrate.downgrade(ledger_url, "0004")
    with pytest.raises(SchemaOutdated):
        keep_page(ledger_url, [stated()], read_to(None))


_ROWS = st.builds(
    stated,
    external_id=st.sampled_from(["a", "b", "c"]),
    amount=st.sampled_from([None, 0, 1, 2]),
    raw=st.sampled_from(["{}", '{"a":1}']),
)


@pytest.mark.slow
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pages=st.lists(st.lists(_ROWS, max_size=4), max_size=5))
def test_the_last_reading_of_each_row_holds(sqlite_url: str, pages: list[list[Statement]]) -> None:
    migrate.downgrade(sqlite_url, "base")
    migrate.upgrade(sqlite_url)
    last: dict[str, Statement] = {}
    for page in pages:
        keep_page(sqlite_url, page, read_to(None))
        last |= {one.external_id: one for one in page}
    assert last == {one.external_id: one for one in kept(sqlite_url)}


def test_attempts_are_read_as_they_are_now(ledger_url: str) -> None:
    times = [MAY.start - 1, MAY.start, MAY.end - 1, MAY.end]
    attempts = [make_attempt(started_at=at) for at in times]
    own_key = make_attempt(byok=True, job_id="job_1", cost=None, cost_reason="no_price")
    attempts += [make_attempt(gateway="fal"), own_key]
    with closing(open_writer(ledger_url)) as writer:
        writer.write(attempts, {}, [])
        with reading_ledger(ledger_url) as reader:
            expected = {one.id: ours_of(one) for one in (*attempts[1:3], own_key)}
            assert expected == {one.id: one for one in attempts_in(reader, "aigateway", MAY)}
        author = Author("manual", "command line", STARTED_AT, "0.1.0")
        writer.adjust([attempts[1].id], lambda now: msgspec.structs.replace(now, cost=1), author)
    with reading_ledger(ledger_url) as reader:
        expected[attempts[1].id] = msgspec.structs.replace(expected[attempts[1].id], cost=1)
        assert expected == {one.id: one for one in attempts_in(reader, "aigateway", MAY)}


def came_to(**fields: Any) -> Reconciliation:
    """Return what a reconciliation came to."""
    said: dict[str, Any] = {
        "gateway": "aigateway", "source": "aigateway_recent", "month": "2026-05", "number": 0, "run_at": STARTED_AT,
        "made_by": "ann", "version": "0.1.0", **dict.fromkeys(COUNTS, 1), **dict.fromkeys(SUMS, 10**12),
        "coverage": 999_999,
    }  # fmt: skip
    return Reconciliation(**{**said, **fields})


def test_a_reconciliation_is_kept_where_it_came_to_something_new(ledger_url: str) -> None:
    first = keep_reconciliation(ledger_url, came_to())
    again = keep_reconciliation(ledger_url, came_to(run_at=STARTED_AT + 1))
    second = keep_reconciliation(ledger_url, came_to(run_at=STARTED_AT + 2, coverage=None, drift=-3))
    other = keep_reconciliation(ledger_url, came_to(month="2026-06"))
    assert first is not None
    assert second is not None
    assert other is not None
    assert (1, None, 2, 1) == (first.number, again, second.number, other.number)
    with reading_ledger(ledger_url) as reader:
        assert [other, second] == latest_reconciliations(reader)


def test_adjustments_whose_attempt_is_gone_are_named(ledger_url: str) -> None:
    attempts = [make_attempt(), make_attempt(), make_attempt()]
    with closing(open_writer(ledger_url)) as writer:
        writer.write(attempts, {}, [])
        for number, one in enumerate(attempts):
            author = Author("reconciled" if number else "manual", f"source row_{number}", STARTED_AT, "0.1.0")
            writer.adjust([one.id], lambda now: msgspec.structs.replace(now, cost=1), author)
    with reading_ledger(ledger_url) as reader:
        assert {} == settled_without_attempt(reader)
    delete(ledger_url, attempts[0].id, attempts[1].id)
    with reading_ledger(ledger_url) as reader:
        assert {"source row_1": attempts[1].id} == settled_without_attempt(reader)


def delete(url: str, *ids: str) -> None:
    """Delete attempts, as retention may."""
    from sqlalchemy import text

    from pixelmeter.ledger.address import read_address
    from pixelmeter.ledger.engine import changing

    with changing(read_address(url)) as connection:
        for identity in ids:
            connection.execute(text("DELETE FROM pixelmeter_attempts WHERE id = :id"), {"id": identity})
