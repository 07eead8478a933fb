from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from pixelmeter.core.reconciling.ours import Ours
from pixelmeter.core.reconciling.settling import Settlement, settled, settlements
from pixelmeter.core.reconciling.statement import Statement
from tests.core.reconciling.builders import (
    CENT,
    DAY,
    HOUR,
    LATER,
    NOON,
    SECOND,
    at_risk,
    matched,
    ours,
    refused,
    summed,
    theirs,
)
from tests.factories import make_attempt, ours_of

MINUTE = 60 * SECOND


def planned(
    rows: Sequence[Statement], attempts: Sequence[Ours], *, is_complete: bool = False, accept: bool = False
) -> list[tuple[int, int, str]]:
    """Return which attempts are settled, with how much and why."""
    found = settlements(matched(rows, attempts), oldest=LATER - DAY, is_complete=is_complete, accept=accept)
    return [(int(one.attempt.id[-12:], 16), one.amount, one.why) for one in found]


@pytest.mark.parametrize(
    "attempt",
    [
        at_risk(request_id="req_1"),
        ours(cost=None, billing="billed"),
        ours(outcome="pending", billing="pending", cost=None, request_id=None, job_id="req_1"),
    ],
)
def test_an_amount_settles_what_nobody_knew(attempt: Ours) -> None:
    assert [(1, 4 * CENT, "unknown")] == planned([theirs()], [attempt])


@pytest.mark.parametrize(
    ("row", "attempt"),
    [
        (theirs(amount=None), at_risk(request_id="req_1")),
        (theirs(amount=None, status="failed"), at_risk(request_id="req_1")),
        (theirs(amount=-CENT), at_risk(request_id="req_1")),
        (theirs(), ours()),
        (theirs(), ours(cost=None, byok=True)),
        (theirs(amount=0), ours(outcome="pending", billing="pending", cost=None)),
        (theirs(amount=CENT), ours()),
        (summed(), at_risk()),
    ],
)
def test_what_is_known_already_and_what_is_not_said_settles_nothing(row: Statement, attempt: Ours) -> None:
    assert [] == planned([row], [attempt])


def test_what_failed_for_nothing_is_not_billed() -> None:
    pending = ours(2, outcome="pending", billing="pending", cost=None)
    assert [(1, 0, "unknown"), (2, 0, "unknown")] == planned(
        [theirs(amount=0), theirs(2, amount=0, status="failed")], [at_risk(request_id="req_1"), pending]
    )


def test_a_zero_that_may_still_become_an_amount_settles_nothing() -> None:
    result = matched([theirs(amount=0)], [at_risk(request_id="req_1")], now=NOON + DAY - 1)
    assert [] == settlements(result, oldest=NOON - 1, is_complete=True, accept=True)
    assert 1 == len(settlements(result, oldest=NOON, is_complete=True, accept=True))


def test_their_amount_is_taken_where_ours_differs_only_if_it_is_accepted() -> None:
    rows, attempts = [theirs(amount=CENT), theirs(2), theirs(3)], [ours(), refused(2), ours(3)]
    assert [] == planned(rows, attempts)
    assert [(1, CENT, "accepted"), (2, 4 * CENT, "accepted")] == planned(rows, attempts, accept=True)


def around(**fields: Any) -> tuple[list[Statement], list[Ours]]:
    """Return five attempts ten minutes apart with their rows, and one at risk in the middle without any."""
    times = [NOON + n * 10 * MINUTE for n in range(5)]
    rows = [theirs(n, starts_at=at) for n, at in enumerate(times)]
    lost = at_risk(9, started_at=NOON + 25 * MINUTE, **fields)
    return rows, [*(ours(n, started_at=at) for n, at in enumerate(times)), lost]


def test_what_a_complete_report_does_not_have_was_not_billed() -> None:
    rows, attempts = around()
    assert [(9, 0, "not_on_statement")] == planned(rows, attempts, is_complete=True)
    assert [] == planned(rows, attempts)


def test_a_job_that_has_not_ended_may_still_come_on_the_report() -> None:
    assert [] == planned(*around(billing="pending", outcome="pending"), is_complete=True)


@pytest.mark.parametrize("gap", [[2], [3], [2, 3]])
def test_a_report_with_a_gap_proves_nothing_about_what_lies_in_it(gap: list[int]) -> None:
    rows, attempts = around()
    assert [] == planned([row for n, row in enumerate(rows) if n not in gap], attempts, is_complete=True)


@pytest.mark.parametrize("kept", [slice(0, 3), slice(3, 5), slice(0, 0)])
def test_nothing_is_proved_before_the_first_and_after_the_last_row(kept: slice) -> None:
    rows, attempts = around()
    assert [] == planned(rows[kept], [*attempts[kept], attempts[-1]], is_complete=True)


def test_neighbours_that_are_far_away_prove_nothing() -> None:
    rows = [theirs(1), theirs(2, starts_at=NOON + 2 * HOUR)]
    attempts = [ours(1), ours(2, started_at=NOON + 2 * HOUR), at_risk(9, started_at=NOON + 59 * MINUTE)]
    assert [] == planned(rows, attempts, is_complete=True)
    attempts[1] = ours(2, started_at=NOON + HOUR + 59 * MINUTE)
    assert [(9, 0, "not_on_statement")] == planned(rows, attempts, is_complete=True)


def test_a_row_that_is_left_over_at_that_time_could_be_it() -> None:
    rows, attempts = around()
    assert [] == planned([*rows, theirs(8, starts_at=NOON + 60 * MINUTE)], attempts, is_complete=True)


@pytest.mark.parametrize(("amount", "billing", "fee"), [(CENT, "billed", CENT // 20), (0, "not_billed", 0)])
def test_an_attempt_that_is_settled_is_as_the_statement_says(amount: int, billing: str, fee: int) -> None:
    attempt = make_attempt(
        outcome="timeout", billing="unknown", cost=None, cost_source="none", cost_reason="outcome_unknown",
        at_risk=9, fee=None,
    )  # fmt: skip
    after = settled(attempt, Settlement(ours_of(attempt), amount, theirs(), "unknown"))
    reason = None if amount else "reconciled_zero"
    assert (billing, amount, "reconciled", reason, None, fee, "timeout") == (
        after.billing, after.cost, after.cost_source, after.cost_reason, after.at_risk, after.fee, after.outcome
    )  # fmt: skip
    assert after == settled(after, Settlement(ours_of(after), amount, theirs(), "unknown"))
    missing = settled(attempt, Settlement(ours_of(attempt), 0, None, "not_on_statement"))
    assert ("not_on_statement", 0) == (missing.cost_reason, missing.cost)
    assert msgspec.structs.replace(missing, cost_reason="reconciled_zero") == settled(
        attempt, Settlement(ours_of(attempt), 0, theirs(), "unknown")
    )
