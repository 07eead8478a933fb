from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uuid_utils
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixelmeter.core.attempts.record import COST_SOURCES, OUTCOMES, Attempt
from pixelmeter.errors import ConfigError
from pixelmeter.ledger.writer import Writer, open_writer
from tests.effort import examples
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals

DAY = 86_400_000_000


@pytest.fixture
def writer(ledger_url: str) -> Iterator[Writer]:
    with closing(open_writer(ledger_url)) as opened:
        yield opened


def test_an_attempt_reads_back_as_it_was_written(writer: Writer, ledger_url: str) -> None:
    full = make_attempt(
        attempt=2**40,
        requested_images=2**53,
        started_at=STARTED_AT // 1_000_000 * 1_000_000,
        model="модель",
        trace_id="0af7651916cd43dd8448eb211c80319c",
        byok=True,
        at_risk=2**62,
    )
    empty = make_attempt(
        started_at=0,
        requested_model=None,
        model="",
        provider=None,
        images=None,
        size=None,
        status=None,
        outcome="timeout",
        error_type="ReadTimeout",
        first_byte=None,
        billing="unknown",
        cost=None,
        cost_source="none",
        cost_reason="timeout",
        tags="{}",
    )

    assert 2 == writer.write([full, empty], {}, [])

    assert {full.id: full, empty.id: empty} == stored(ledger_url)


def test_a_batch_written_twice_is_there_once(writer: Writer, ledger_url: str) -> None:
    batch = [make_attempt(duration=number * 100_000) for number in range(50)]

    first = writer.write(batch, {"a": 100}, [])
    again = writer.write(batch, {"a": 100}, [])
    more = writer.write([*batch[20:], make_attempt()], {"a": 200}, [])

    assert (50, 0, 1) == (first, again, more)
    assert 51 == len(stored(ledger_url))
    assert recomputed(ledger_url) == rollup(ledger_url)
    assert recomputed_totals(ledger_url) == totals(ledger_url)


def test_an_id_twice_in_one_batch_is_written_once_as_the_first_of_them(writer: Writer, ledger_url: str) -> None:
    first = make_attempt(cost=1)
    second = make_attempt(id=first.id, cost=2)

    assert 1 == writer.write([first, second], {}, [])

    assert {first.id: first} == stored(ledger_url)
    assert recomputed(ledger_url) == rollup(ledger_url)
    assert recomputed_totals(ledger_url) == totals(ledger_url)


def test_positions_move_forward_only_and_go_when_a_spool_is_finished(writer: Writer) -> None:
    writer.write([], {"a": 10, "b": 20}, [])
    writer.write([], {"a": 5, "b": 30}, [])
    moved = dict(writer.positions(["a", "b", "c"]))
    writer.write([], {}, ["a"])

    assert {"a": 10, "b": 30} == moved
    assert {"b": 30} == writer.positions(["a", "b"])


def test_many_positions_can_be_asked_for_at_once(writer: Writer) -> None:
    names = [f"spool-{number}" for number in range(40_000)]
    writer.write([], {names[0]: 1, names[-1]: 2}, [])

    assert {names[0]: 1, names[-1]: 2} == writer.positions(names)


def test_no_position_can_be_asked_for_before_there_is_a_ledger(writer: Writer) -> None:
    assert {} == writer.positions(["a"])


def test_a_closed_writer_opens_again(writer: Writer, ledger_url: str) -> None:
    writer.write([make_attempt()], {}, [])
    writer.close()
    writer.close()

    assert 1 == writer.write([make_attempt()], {}, [])
    assert 2 == len(stored(ledger_url))


def test_a_tag_that_json_of_postgres_cannot_hold_does_not_stop_the_ledger(writer: Writer, ledger_url: str) -> None:
    writer.write([make_attempt(tags='{"a":"\\u0000"}')], {}, [])

    assert 1 == len(stored(ledger_url))


def test_nothing_is_opened_before_the_first_call(sqlite_url: str, tmp_path: Path) -> None:
    open_writer(sqlite_url)

    assert [] == os.listdir(tmp_path)


def test_a_ledger_deleted_under_a_writer_is_made_anew(sqlite_url: str, tmp_path: Path) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])
        for file in tmp_path.iterdir():
            file.unlink()
        kept = make_attempt()
        writer.write([kept], {}, [])

    assert {kept.id: kept} == stored(sqlite_url)


def test_a_closed_writer_leaves_no_wal_behind(sqlite_url: str, tmp_path: Path) -> None:
    with closing(open_writer(sqlite_url)) as writer:
        writer.write([make_attempt()], {}, [])

    assert ["ledger.db", "ledger.db.lock"] == sorted(os.listdir(tmp_path))


def test_a_ledger_in_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="must outlive the process"):
        open_writer("sqlite:///:memory:")


amounts = st.none() | st.integers(0, 10**15)
counts = st.none() | st.integers(0, 3) | st.integers(0, 2**53)
parts = st.fixed_dictionaries(
    {
        "started_at": st.integers(STARTED_AT - DAY, STARTED_AT + DAY)
        | st.sampled_from([0, DAY - 1, DAY, 20_000 * DAY]),
        "attempt": st.integers(0, 2),
        "gateway": st.sampled_from(["aigateway", "litellm"]),
        "provider": st.sampled_from([None, "", "openai"]),
        "model": st.sampled_from(["a", "B", "ä", ""]),
        "outcome": st.sampled_from(OUTCOMES),
        "images": st.none() | st.integers(0, 10),
        "cost": amounts,
        "fee": amounts,
        "at_risk": amounts,
        "duration": st.integers(0, 600_000_000) | st.sampled_from([1000, 1001, 1100, 100_000, 100_001, 7_500_000]),
        "status": st.sampled_from([None, 200, 400, 401, 429, 503]),
        "error_type": st.sampled_from([None, "ReadError", "insufficient_quota"]),
        "error_code": st.sampled_from([None, "content_policy_violation"]),
        "cost_source": st.sampled_from(COST_SOURCES),
        "cost_reason": st.sampled_from([None, "no_price", "rejected"]),
        "size": st.sampled_from([None, "1024x1024", "17x17"]),
        "quality": st.sampled_from([None, "low", "splendid"]),
        "input_text_tokens": counts,
        "cached_input_tokens": counts,
        "input_image_tokens": counts,
        "output_text_tokens": counts,
        "output_image_tokens": counts,
    }
)
batches = st.lists(st.lists(st.tuples(st.integers(0, 5), parts), max_size=8), min_size=1, max_size=4)


@pytest.mark.slow
@given(batches=batches)
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_the_rollup_and_the_totals_are_always_what_the_rows_add_up_to(
    writer: Writer, ledger_url: str, batches: Sequence[Sequence[tuple[int, dict[str, Any]]]]
) -> None:
    ids = [str(uuid_utils.uuid7()) for _ in range(6)]
    given: dict[str, Attempt] = {}
    inserted = 0
    for batch in batches:
        attempts = [make_attempt(id=ids[number], **fields) for number, fields in batch]
        inserted += writer.write(attempts, {}, [])
        for attempt in attempts:
            given.setdefault(attempt.id, attempt)

    rows = stored(ledger_url)
    assert len(given) == inserted
    assert given == {identity: rows[identity] for identity in given}
    assert recomputed(ledger_url) == rollup(ledger_url)
    assert recomputed_totals(ledger_url) == totals(ledger_url)
