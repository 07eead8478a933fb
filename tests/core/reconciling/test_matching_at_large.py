"""Whatever is matched: all is in one class, the sums add up, the order does not matter, and it does not take long."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.reconciling.ours import Ours
from pixelmeter.core.reconciling.statement import Statement
from tests.core.reconciling.builders import (
    CENT,
    DAY,
    LATER,
    MAY,
    NOON,
    SECOND,
    at_risk,
    classes,
    matched,
    ours,
    summed,
    theirs,
)

_NAMES = st.sampled_from([None, "a", "b", "c", "d"])
_TIMES = st.one_of(
    st.integers(0, 8).map(lambda n: NOON + n * 50 * SECOND),
    st.sampled_from([MAY.start - 1, MAY.start, MAY.end - 1, MAY.end, NOON + 30 * DAY, NOON + DAY // 2]),
)
_AMOUNTS = st.sampled_from([None, 0, CENT, 4 * CENT])
_MODELS = st.sampled_from(["m", "x/m", "n"])
_STATEMENTS = st.builds(
    theirs,
    st.integers(0, 12),
    ids=st.one_of(st.lists(_NAMES.filter(bool), max_size=2).map(tuple)),
    starts_at=_TIMES,
    model=st.one_of(_MODELS, st.none()),
    amount=st.one_of(_AMOUNTS, st.just(-CENT)),
    status=st.sampled_from([None, "succeeded", "failed"]),
    read_at=st.integers(1, 2),
)
_SUMS = st.builds(
    summed,
    st.integers(13, 20),
    grain=st.sampled_from(["day", "hour", "month"]),
    starts_at=st.sampled_from([MAY.start, NOON // DAY * DAY, NOON // DAY * DAY + DAY]),
    model=st.one_of(_MODELS, st.none()),
    amount=_AMOUNTS,
)
_ATTEMPTS = st.builds(
    ours,
    st.integers(1, 10**6),
    request_id=_NAMES,
    job_id=_NAMES,
    started_at=_TIMES,
    model=st.one_of(_MODELS, st.just("")),
    requested_model=st.one_of(_MODELS, st.none()),
    cost=_AMOUNTS,
    billing=st.sampled_from(["billed", "not_billed", "unknown", "pending"]),
    outcome=st.sampled_from(["success", "timeout", "rejected", "blocked", "pending"]),
    byok=st.sampled_from([False, False, True]),
)


@given(
    st.lists(_STATEMENTS, max_size=8),
    st.one_of(st.just([]), st.lists(_SUMS, max_size=4)),
    st.lists(_ATTEMPTS, max_size=8, unique_by=lambda one: one.id),
    st.sampled_from([NOON + DAY + 60 * SECOND, NOON + 2 * DAY, LATER]),
    st.sampled_from([None, MAY.start, NOON + 100 * SECOND]),
    st.randoms(use_true_random=False),
)
def test_all_are_in_exactly_one_class_and_the_sums_add_up_in_any_order(
    rows: list[Statement],
    sums: list[Statement],
    attempts: list[Ours],
    now: int,
    covered_from: int | None,
    chance: random.Random,
) -> None:
    statements = [*rows, *sums]
    result = matched(statements, attempts, now=now, covered_from=covered_from)

    found_statements = Counter(
        [
            *(each for one in (*result.matches, *result.own_key) for each in one.statements),
            *(one.statement for one in result.only_theirs),
            *result.young_statements, *result.repeated, *result.outside_statements,
        ]
    )  # fmt: skip
    assert Counter(statements) == found_statements
    found_attempts = Counter(
        [
            *(each.id for one in (*result.matches, *result.own_key) for each in one.attempts),
            *(one.id for one in (*result.only_ours, *result.young_attempts, *result.not_charged, *result.byok,
                                 *result.outside_attempts, *result.not_covered)),
        ]
    )  # fmt: skip
    assert Counter(one.id for one in attempts) == found_attempts

    assert result.ours - result.theirs == (
        result.drift
        + sum(one.ours or 0 for one in result.of_kind("unsettled"))
        - sum(one.theirs or 0 for one in result.of_kind("unsettled"))
        + sum(one.cost or 0 for one in result.only_ours)
        - sum(one.statement.amount or 0 for one in result.only_theirs)
    )
    assert result.coverage is None or 0 <= result.coverage <= 1
    assert all((one.how == "sums") or (1, 1) == (len(one.statements), len(one.attempts)) for one in result.matches)

    chance.shuffle(statements)
    chance.shuffle(attempts)
    again = matched(statements, attempts, now=now, covered_from=covered_from)
    assert classes(result) == classes(again)
    assert (result.theirs, result.ours, result.drift, result.coverage) == (
        again.theirs, again.ours, again.drift, again.coverage
    )  # fmt: skip


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["m", "n"]), st.sampled_from([CENT, 4 * CENT])), max_size=12
    ),
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["m", "n"]), st.sampled_from([CENT, 4 * CENT])), max_size=12
    ),
)
def test_one_to_one_is_only_what_leaves_no_choice(
    some: Sequence[tuple[int, str, int]], others: Sequence[tuple[int, str, int]]
) -> None:
    step = 50 * SECOND
    rows = [theirs(n, ids=(), starts_at=NOON + t * step, model=m, amount=a) for n, (t, m, a) in enumerate(some)]
    attempts = [
        ours(n, request_id=None, started_at=NOON + t * step, model=m, requested_model=None, cost=a)
        for n, (t, m, a) in enumerate(others)
    ]

    def near(one: tuple[int, str, int], other: tuple[int, str, int]) -> bool:
        return one[1:] == other[1:] and abs(one[0] - other[0]) * step <= 120 * SECOND

    expected = {
        f"{i}={j}"
        for i, one in enumerate(some)
        for j, other in enumerate(others)
        if near(one, other)
        and [i] == [k for k, each in enumerate(some) if near(each, other)]
        and [j] == [k for k, each in enumerate(others) if near(one, each)]
    }
    pairs = [one for one in matched(rows, attempts).matches if one.how == "time"]
    assert expected == {f"{one.statements[0].external_id[4:]}={int(one.attempts[0].id[-12:], 16)}" for one in pairs}


@pytest.mark.parametrize("has_names", [True, False])
@given(seed=st.integers(0, 2**32))
def test_every_planted_difference_is_found_and_nothing_else(has_names: bool, seed: int) -> None:
    chance = random.Random(seed)
    attempts = [ours(n, started_at=MAY.start + n * 15 * 60 * SECOND) for n in range(1, 200)]
    rows = {
        n: theirs(n, ids=(f"req_{n}",) if has_names else (), starts_at=one.started_at + chance.randrange(30 * SECOND))
        for n, one in enumerate(attempts, start=1)
    }
    hour = chance.randrange(1, 190)
    missing = {str(n) for n in range(hour, hour + 4)}
    altered, timed_out, ours_only = chance.sample([n for n in rows if str(n) not in missing], 3)
    for n in missing:
        del rows[int(n)]
    rows[altered] = msgspec.structs.replace(rows[altered], amount=5 * CENT)
    attempts[timed_out - 1] = at_risk(timed_out, started_at=attempts[timed_out - 1].started_at)
    del rows[ours_only]
    # Of another client: at a time when nothing of ours was under way, or in the middle of the hour that is missing.
    at = attempts[hour].started_at + (0 if has_names else 7 * 60 * SECOND)
    rows[900] = theirs(900, starts_at=at, ids=("alien",) if has_names else ())
    found = classes(matched([*rows.values(), rows[altered], rows[900]], attempts))
    assert sorted({*missing, str(ours_only)}) == found["only_ours"]
    assert ["900"] == found["only_theirs"]
    assert [f"{timed_out}={timed_out}"] == found["unsettled"]
    assert [f"{altered}={altered}"] == found["differs"]
    assert 199 - 7 == len(found["equal"])


@pytest.mark.slow
@pytest.mark.parametrize("ids", [True, False])
def test_a_hundred_thousand_of_each_take_seconds(ids: bool) -> None:
    chance = random.Random(1)
    times = [MAY.start + chance.randrange(30 * DAY) for _ in range(100_000)]
    attempts = [ours(n, started_at=at, model=f"m{n % 7}") for n, at in enumerate(times)]
    rows = [
        theirs(n, starts_at=at, model=f"v/m{n % 7}", ids=(f"req_{n}",) if ids else ()) for n, at in enumerate(times)
    ]
    began = time.process_time()
    result = matched(rows, attempts)
    # What is quadratic takes hours.
    assert time.process_time() - began < 60
    assert (0, 100_000 * 4 * CENT) == (result.drift, result.matched)
