"""The sums by hour, by day and by the value of a tag are those of the attempts, merged or not."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixelmeter.core.attempts.jobs import Record
from pixelmeter.core.attempts.record import OUTCOMES, Attempt
from pixelmeter.ledger import migrate
from pixelmeter.ledger.address import read_address
from pixelmeter.ledger.merging import Merger, merge_all
from pixelmeter.ledger.postgres import PostgresWriter
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.sums import read_totals
from pixelmeter.ledger.wide_tags import MOST_VALUES, is_rolled_up, wide_tags
from pixelmeter.ledger.writer import open_writer
from tests.effort import examples
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.reading import (
    hours,
    recomputed,
    recomputed_hours,
    recomputed_tag_days,
    recomputed_totals,
    rollup,
    stored,
    tag_days,
    totals,
)
from tests.ledger.test_adjusting import AUTHOR, corrected, heard, submitted
from tests.ledger.test_migrate import any_attempt

HOUR = 3_600_000_000


def tagged(**tags: object) -> str:
    return json.dumps(tags, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def agree(url: str) -> None:
    """Check that all sums are those of the attempts."""
    assert recomputed_hours(url) == hours(url)
    assert recomputed(url) == rollup(url)
    assert recomputed_tag_days(url) == tag_days(url)
    assert recomputed_totals(url) == totals(url)


def merge(url: str) -> None:
    """Merge all that is appended, on PostgreSQL."""
    if read_address(url).dialect == "postgresql":
        with psycopg.connect(url) as connection:
            merge_all(connection, read_address(url))


_TAGS = st.dictionaries(st.sampled_from(["team", "né", "x" * 64]), st.sampled_from(["", "a", "b", "ä\u2603", "'\\\""]))
# What is drawn is only what attempts differ in: they are made of it in the test.
_ATTEMPTS = st.fixed_dictionaries(
    {
        "started_at": st.integers(STARTED_AT, STARTED_AT + 30 * HOUR),
        "duration": st.sampled_from([0, 1000, 5_000_000, 90_000_000]),
        "attempt": st.integers(0, 2),
        "gateway": st.sampled_from(["aigateway", "fal"]),
        "provider": st.sampled_from([None, "acme"]),
        "outcome": st.sampled_from([outcome for outcome in OUTCOMES if outcome != "pending"]),
        "billing": st.sampled_from(["billed", "not_billed", "unknown"]),
        "images": st.sampled_from([None, 0, 1, 4, 2_000_000]),
        "size": st.sampled_from([None, "auto", "1024x1024", "31x7", "099x5", "123456x7", "1024x", "x7", "1K"]),
        "cost": st.sampled_from([None, 0, 42_240_000, 10**15]),
        "fee": st.sampled_from([None, 0, 2_112_000]),
        "at_risk": st.sampled_from([None, 0, 7]),
        "tags": _TAGS,
    }
)
_WRITES = st.lists(
    st.one_of(_ATTEMPTS, _TAGS.map(lambda tags: ("submitted", tags)), st.just("heard")), min_size=1, max_size=9
)
_STEPS = st.one_of(
    st.tuples(st.integers(0, 1), _WRITES),
    st.tuples(st.just("adjust"), st.integers(0, 5), st.sampled_from([0, 5, 10**12])),
    st.just("replay"),
    st.just("merge"),
)


@pytest.mark.slow
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(_STEPS, max_size=10))
def test_sums_are_those_of_the_attempts_after_any_interleaving(ledger_url: str, steps: Sequence[Any]) -> None:
    last: Sequence[Record] = []
    with closing(open_writer(ledger_url)) as one, closing(open_writer(ledger_url)) as other:
        one.positions([])
        for step in steps:
            if step == "merge":
                merge(ledger_url)
            elif step == "replay":
                other.write(last, {}, [])
            elif step[0] == "adjust":
                known = sorted(stored(ledger_url))
                chosen = known[step[1] % len(known) :][:1] if known else []
                one.adjust(chosen, partial(corrected, cost=step[2]), AUTHOR)
            else:
                last = [record_of(drawn) for drawn in step[1]]
                (one, other)[step[0]].write(last, {}, [])
    agree(ledger_url)
    merge(ledger_url)
    agree(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert sum(total.attempts for total in read_totals(reader)) == len(stored(ledger_url))


def record_of(drawn: Any) -> Record:
    """Return what was drawn: an attempt, one that submits a job, or the end of that job."""
    if drawn == "heard":
        return heard("job_1")
    if isinstance(drawn, tuple):
        return submitted("job_1", tags=tagged(**drawn[1]))
    return make_attempt(**{**drawn, "tags": tagged(**drawn["tags"])})


@pytest.mark.slow
def test_a_tag_with_too_many_values_in_one_write_has_no_sums_and_the_others_have(ledger_url: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt(tags=tagged(team="growth", user="u-0"))], {}, [])
        writer.write(customers(MOST_VALUES + 1), {}, [])
        writer.write(customers(3), {}, [])

    assert ({"user"}, False, True) == wide(ledger_url, "user", "team")
    assert {"team"} == {key[0] for key in tag_days(ledger_url)}
    agree(ledger_url)
    merge(ledger_url)
    agree(ledger_url)


@pytest.mark.slow
def test_a_tag_becomes_wide_though_each_process_has_seen_few_of_its_values(ledger_url: str) -> None:
    every = customers(1500)
    for start in range(0, 1500, 50):
        with closing(open_writer(ledger_url)) as writer:
            writer.write(every[start : start + 50], {}, [])
            agree(ledger_url) if start % 500 == 0 else None

    assert ({"user"}, False, True) == wide(ledger_url, "user", "team")
    agree(ledger_url)


@pytest.mark.slow
def test_a_tag_with_as_many_values_as_there_may_be_keeps_its_sums(ledger_url: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        for day in range(2):
            some = customers(MOST_VALUES)
            writer.write(
                [msgspec.structs.replace(one, started_at=STARTED_AT + day * 24 * HOUR) for one in some], {}, []
            )
            merge(ledger_url)
            writer.write(some[:3], {}, [])

    assert (set(), True, True) == wide(ledger_url, "user", "team")
    agree(ledger_url)


@pytest.mark.parametrize("value", [7, 1.5, True, None, {"a": "b"}, ["a"], "x" * 257, "a\tb"], ids=repr)
def test_a_tag_with_a_value_that_databases_tell_apart_is_wide(ledger_url: str, value: object) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt(tags=tagged(team="growth", odd="x"))], {}, [])
        writer.write([make_attempt(tags=tagged(team="growth", odd=value))], {}, [])

    assert ({"odd"}, False, True) == wide(ledger_url, "odd", "team")
    assert {("team", "growth")} == {(key[0], key[2]) for key in tag_days(ledger_url)}


@pytest.mark.parametrize("key", ["", "x" * 65, "a\tb"])
def test_a_tag_of_a_name_that_none_of_ours_has_is_never_rolled_up(ledger_url: str, key: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt(tags=tagged(**{key: "x", "team": "growth"}))], {}, [])

    assert (set(), False, True) == wide(ledger_url, key, "team")
    assert {"team"} == {row[0] for row in tag_days(ledger_url)}


@pytest.mark.parametrize("tags", ["[]", "7", '"team"', "null"])
def test_tags_that_are_no_object_are_no_tags(ledger_url: str, tags: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.write([make_attempt(tags=tags)], {}, [])

    assert ({}, 1) == (tag_days(ledger_url), len(stored(ledger_url)))


@pytest.mark.slow
def test_a_value_with_a_character_that_jsonb_lacks_has_the_sums_of_what_is_kept(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.write([make_attempt(tags='{"team":"a\\u0000b"}')], {}, [])
        writer.write([make_attempt(tags='{"team":"a\\u0000b"}') for _ in range(20)], {}, [])

    assert {("team", "a\ufffdb")} == {(key[0], key[2]) for key in tag_days(postgres_url)}
    agree(postgres_url)


@pytest.mark.slow
def test_what_a_writer_adds_to_a_tag_that_has_just_become_wide_is_not_seen(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as late, closing(open_writer(postgres_url)) as writer:
        late.write([make_attempt(tags=tagged(user="first"))], {}, [])
        with psycopg.connect(postgres_url) as holder:
            holder.execute("INSERT INTO pixelmeter_wide_tags VALUES ('user', now())")
            late.write([make_attempt(tags=tagged(user="second"))], {}, [])
        writer.write([make_attempt(tags=tagged(user="third"))], {}, [])

    before = tag_days(postgres_url)
    merge(postgres_url)

    assert {} == before == tag_days(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM pixelmeter_tag_daily_merged").fetchone() == (0,)
    agree(postgres_url)


@pytest.mark.slow
def test_a_merge_leaves_what_somebody_else_is_merging(postgres_url: str) -> None:
    with closing(open_writer(postgres_url)) as writer:
        writer.write([make_attempt()], {}, [])
    with psycopg.connect(postgres_url) as holder, psycopg.connect(postgres_url) as connection:
        merge_all(holder, read_address(postgres_url))
        merge_all(connection, read_address(postgres_url))
        agree(postgres_url)
        holder.rollback()
    assert 1 == unmerged(postgres_url)
    merge(postgres_url)

    assert 0 == unmerged(postgres_url)
    agree(postgres_url)


@pytest.mark.slow
def test_a_delta_whose_sum_would_outgrow_its_column_stays_apart_and_is_read(postgres_url: str) -> None:
    minutes: list[int] = []
    with closing(PostgresWriter(read_address(postgres_url))) as writer:
        writer._merger = Merger(lambda: len(minutes) * 1000.0)
        for cost in (2**62, 2**62, *range(20)):
            minutes.append(cost)
            writer.write([make_attempt(cost=cost)], {}, [])

    with psycopg.connect(postgres_url) as connection:
        apart = connection.execute("SELECT count(*) FROM pixelmeter_deltas WHERE is_apart").fetchone()
    assert (1,) == apart
    agree(postgres_url)


def test_the_numbers_of_totals_keep_the_order_in_which_they_came(ledger_url: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        for number, model in enumerate(["b", "a", "b", "c", "a", "d"]):
            writer.write([make_attempt(model=model)], {}, [])
            if number == 2:
                merge(ledger_url)

    for _ in range(2):
        with reading_ledger(ledger_url) as reader:
            assert [("b", 2), ("a", 2), ("c", 1), ("d", 1)] == [
                (one.model, one.attempts) for one in read_totals(reader)
            ]
        merge(ledger_url)


@pytest.mark.slow
def test_a_ledger_of_before_has_all_sums_after_an_upgrade(ledger_url: str) -> None:
    with closing(open_writer(ledger_url)) as writer:
        writer.write([submitted("job_1", tags=tagged(team="a")), make_attempt(tags=tagged(team="b", odd=7))], {}, [])
        writer.write([heard("job_1"), make_attempt(tags="[]"), *customers(MOST_VALUES + 1)], {}, [])
        chance = random.Random(11)
        writer.write([any_attempt(chance) for _ in range(300)], {}, [])
    before = tag_days(ledger_url)
    migrate.downgrade(ledger_url, "0006")
    migrate.upgrade(ledger_url)

    assert ({"odd", "user"}, False, True) == wide(ledger_url, "odd", "team")
    assert before == tag_days(ledger_url)
    assert {"team"} == {key[0] for key in before}
    assert recomputed_hours(ledger_url) == hours(ledger_url)
    assert recomputed(ledger_url) == rollup(ledger_url)


@pytest.mark.slow
def test_who_may_read_the_sums_may_still_do_so_after_an_upgrade(postgres_url: str) -> None:
    migrate.upgrade(postgres_url, "0006")
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        name = f"reader_{admin.info.dbname}"
        admin.execute(f"CREATE ROLE {name}".encode())
        admin.execute(
            f"GRANT SELECT ON pixelmeter_daily TO {name}; GRANT SELECT ON pixelmeter_totals TO PUBLIC".encode()
        )
        migrate.upgrade(postgres_url)
        try:
            admin.execute(f"SET ROLE {name}".encode())
            for view in ("pixelmeter_daily", "pixelmeter_totals"):
                assert [] == admin.execute(f"SELECT attempts FROM {view}".encode()).fetchall()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute("SELECT attempts FROM pixelmeter_hourly")
        finally:
            admin.execute("RESET ROLE")
            admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.mark.parametrize("is_merged", [False, True], ids=["as appended", "merged"])
def test_what_nothing_is_known_of_is_null_in_every_sum_and_what_is_nothing_is_0(
    ledger_url: str, is_merged: bool
) -> None:
    lost: dict[str, Any] = {"cost": None, "fee": None, "billing": "unknown", "outcome": "timeout"}
    not_charged: dict[str, Any] = {"cost": 0, "fee": 0, "billing": "not_billed", "outcome": "rejected"}
    known = {
        "paid": ([{"cost": 4, "fee": 1}], (4, 1, 0)),
        "refused": ([not_charged, not_charged], (0, 0, 0)),
        "lost": ([lost, lost], (None, None, None)),
        "partly": ([lost, {"cost": 5, "fee": 2, "outcome": "timeout"}], (5, 2, None)),
        "estimated": ([lost | {"at_risk": 7}, lost], (None, None, 7)),
        "unpriced": ([{"cost": None, "fee": None, "cost_reason": "no_price"}], (None, None, 0)),
    }
    attempts = [
        make_attempt(model=model, tags=tagged(model=model), **fields)
        for model, (each, _) in known.items()
        for fields in each
    ]
    with closing(open_writer(ledger_url)) as writer:
        writer.write(attempts, {}, [])
    if is_merged:
        merge(ledger_url)

    expected = {model: amounts for model, (_, amounts) in known.items()}
    of_failures = {"lost": None, "partly": 5, "estimated": None}
    of_totals = {model: None if cost is None else 0 for model, (cost, _, _) in expected.items()}
    assert expected == by_model(ledger_url, "pixelmeter_hourly", "model", "cost", "fee", "at_risk")
    assert expected == by_model(ledger_url, "pixelmeter_daily", "model", "cost", "fee", "at_risk")
    assert expected == by_model(ledger_url, "pixelmeter_tag_daily", "value", "cost", "fee", "at_risk")
    assert {model: (of_failures.get(model, 0),) for model in known} == by_model(
        ledger_url, "pixelmeter_tag_daily", "value", "failure_cost"
    )
    assert {model: (dollars, expected[model][0]) for model, dollars in of_totals.items()} == by_model(
        ledger_url, "pixelmeter_totals", "model", "cost_usd", "cost_nano"
    )
    agree(ledger_url)
    with reading_ledger(ledger_url) as reader:
        assert 9 == sum(total.cost for total in read_totals(reader))


def test_what_is_found_out_to_have_cost_nothing_is_0_in_the_sums_before_a_merge_too(ledger_url: str) -> None:
    lost = make_attempt(model="m", cost=None, fee=0, billing="unknown", outcome="timeout")
    with closing(open_writer(ledger_url)) as writer:
        writer.write([lost], {}, [])
        before = by_model(ledger_url, "pixelmeter_daily", "model", "cost", "at_risk")
        writer.adjust([lost.id], partial(corrected, cost=0), AUTHOR)

    assert {"m": (None, None)} == before
    assert {"m": (0, 0)} == by_model(ledger_url, "pixelmeter_daily", "model", "cost", "at_risk")


def by_model(url: str, view: str, key: str, *sums: str) -> dict[str, tuple[int | None, ...]]:
    """Return sums as somebody writes them who has not read of the counters beside them."""
    added = ", ".join(f"sum({name})" for name in sums)
    with reading_ledger(url) as reader:
        rows = reader.rows(f"SELECT {key}, {added} FROM {view} GROUP BY {key}")
    return {str(found): tuple(None if value is None else int(value) for value in values) for found, *values in rows}


def customers(number: int) -> list[Attempt]:
    """Return attempts that each have a customer of their own, within one day."""
    return [make_attempt(tags=tagged(team="growth", user=f"u-{each}")) for each in range(number)]


def wide(url: str, *keys: str) -> tuple[Any, ...]:
    """Return the tags that are wide, and of some whether they are rolled up."""
    with reading_ledger(url) as reader:
        return (set(wide_tags(reader)), *(is_rolled_up(reader, key) for key in keys))


def unmerged(url: str) -> int:
    with psycopg.connect(url) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM pixelmeter_deltas").fetchall()
    return int(count)
