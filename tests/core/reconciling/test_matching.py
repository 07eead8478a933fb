from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from pixelmeter.core.reconciling.ours import Ours, model_key
from tests.core.reconciling.builders import (
    CENT,
    DAY,
    HOUR,
    LATER,
    MAY,
    NOON,
    SECOND,
    at_risk,
    classes,
    matched,
    ours,
    refused,
    summed,
    theirs,
)
from tests.factories import make_attempt, ours_of

ELSEWHERE: dict[str, Any] = {"ids": ()}


@pytest.mark.parametrize(
    ("ids", "attempt", "how"),
    [
        (("x", "req_1"), ours(), "request_id"),
        (("x", "job_1"), ours(request_id=None, job_id="job_1"), "job_id"),
        (("00000000-0000-0000-0000-000000000001",), ours(request_id=None), "attempt_id"),
    ],
)
def test_a_name_in_common_matches_whatever_else_is_said(ids: tuple[str, ...], attempt: Ours, how: str) -> None:
    statement = theirs(ids=ids, starts_at=NOON + 9 * DAY, model="another", amount=5 * CENT)
    result = matched([statement], [attempt])
    assert {"differs": ["1=1"]} == classes(result)
    assert (how, -CENT) == (result.matches[0].how, result.drift)


def test_of_several_with_one_name_the_likeliest_is_taken() -> None:
    retried = [at_risk(1, request_id="req_1", started_at=NOON - 40 * SECOND), ours(2, request_id="req_1"), refused(3)]
    rows = [theirs(1, ids=("req_1",)), theirs(2, ids=("req_1",), starts_at=NOON - 39 * SECOND)]
    assert {"equal": ["1=2"], "unsettled": ["2=1"], "not_charged": ["3"]} == classes(matched(rows, retried))


def test_a_row_that_charges_for_a_refused_attempt_differs() -> None:
    assert {"differs": ["1=1"]} == classes(matched([theirs()], [refused()]))


def test_a_name_that_many_have_matches_nobody() -> None:
    rows = [theirs(n, ids=("-",), starts_at=NOON + n * HOUR) for n in range(20)]
    attempts = [ours(n, request_id="-", started_at=NOON + n * HOUR) for n in range(20)]
    assert {"time"} == {one.how for one in matched(rows, attempts).matches}


@pytest.mark.parametrize(
    ("row", "attempt", "found"),
    [
        ({}, {"request_id": None}, "equal"),
        ({"model": "gpt-image-2"}, {}, "equal"),
        ({"model": "house-alias"}, {"requested_model": "House-Alias"}, "equal"),
        ({"model": None}, {}, "equal"),
        ({"status": None}, {}, "equal"),
        ({"starts_at": NOON + 120 * SECOND}, {}, "equal"),
        ({"starts_at": NOON + 120 * SECOND + 1}, {}, None),
        ({"model": "another"}, {}, None),
        ({"status": "failed"}, {}, None),
        ({"amount": None}, {}, "unsettled"),
        ({}, {"cost": None, "billing": "unknown", "outcome": "timeout", "status": None}, "unsettled"),
        ({"amount": 0, "status": "failed"}, {"cost": 0, "outcome": "rejected", "status": 400}, "equal"),
        ({"amount": None, "status": "failed"}, {"cost": 0, "outcome": "rejected", "status": 400}, "equal"),
    ],
)
def test_without_names_model_time_amount_and_status_decide(
    row: dict[str, Any], attempt: dict[str, Any], found: str | None
) -> None:
    result = matched([theirs(**ELSEWHERE, **row)], [ours(**attempt)])
    expected = {found: ["1=1"]} if found else {"only_ours": ["1"], "only_theirs": ["1"]}
    assert expected == classes(result)
    assert all(one.how == "time" for one in result.matches)


def test_what_was_never_sent_is_not_taken_for_what_is_on_the_statement() -> None:
    kept_back = [
        ours(1, outcome="blocked", cost=0, billing="not_billed", request_id=None, status=None),
        ours(2, outcome="error", cost=0, billing="not_billed", cost_reason="not_sent", request_id=None, status=None),
    ]
    row = theirs(**ELSEWHERE, amount=0, status="failed")
    assert {"not_charged": ["1", "2"], "only_theirs": ["1"]} == classes(matched([row], kept_back))


def test_two_that_may_be_one_are_compared_by_the_sums_of_their_day() -> None:
    rows = [theirs(n, **ELSEWHERE, starts_at=NOON + n * SECOND) for n in range(10)]
    attempts = [ours(n, started_at=NOON + n * SECOND) for n in range(10)]
    whole, one_less = matched(rows, attempts), matched(rows[1:], attempts)
    assert ["equal"] == list(classes(whole))
    assert ("sums", 10) == (whole.matches[0].how, len(whole.matches[0].attempts))
    assert (["differs"], 4 * CENT) == (list(classes(one_less)), one_less.drift)
    assert Fraction(1) == one_less.coverage


def test_where_names_are_known_on_both_sides_two_names_are_two_requests() -> None:
    rows = [theirs(1), theirs(2, ids=("stranger",)), theirs(3, ids=("stranger_too",), starts_at=NOON + 5 * SECOND)]
    attempts = [ours(1), ours(2), at_risk(3, started_at=NOON + 3 * HOUR)]
    assert {"equal": ["1=1"], "only_theirs": ["2", "3"], "only_ours": ["2", "3"]} == classes(matched(rows, attempts))


def test_a_timeout_is_found_by_its_time_among_named_rows() -> None:
    rows = [theirs(1), theirs(2, starts_at=NOON + 1)]
    assert {"equal": ["1=1"], "unsettled": ["2=2"]} == classes(matched(rows, [ours(1), at_risk(2)]))


def test_two_timeouts_and_one_row_settle_neither() -> None:
    result = matched([theirs(1), theirs(9)], [ours(1), at_risk(2), at_risk(3)])
    assert {"equal": ["1=1"], "unsettled": ["9=2,3"]} == classes(result)
    assert 2 == result.matches[1].unknown


def test_sums_of_a_day_are_compared_with_all_attempts_of_it_by_model() -> None:
    rows = [
        summed(1, amount=12 * CENT),
        summed(2, amount=5 * CENT, model="black-forest-labs/flux-2"),
        summed(3, amount=7 * CENT, model="gpt-5"),
        summed(4, amount=-CENT, model="gpt-image-2-2026-04-21", label="credit"),
    ]
    attempts = [
        *(ours(n, started_at=NOON + n * HOUR) for n in range(1, 4)),
        ours(4, model="flux-2", cost=5 * CENT),
        ours(5, model="unheard/of", requested_model=None),
        ours(6, started_at=NOON - DAY),
        refused(7),
    ]
    result = matched(rows, attempts)
    assert {
        "equal": ["2=4"], "differs": ["1,4=1,2,3"], "only_theirs": ["3"], "only_ours": ["5", "6"], "not_charged": ["7"]
    } == classes(result)  # fmt: skip
    assert (CENT, CENT, 23 * CENT, 25 * CENT) == (result.drift, result.differing, result.theirs, result.ours)
    assert Fraction(16, 23) == result.coverage


def test_a_sum_without_a_model_is_about_all_of_them() -> None:
    attempts = [ours(1), ours(2, model="flux"), ours(3, model="")]
    assert {"equal": ["1=1,2,3"]} == classes(matched([summed(model=None, amount=12 * CENT)], attempts))


def test_hours_are_added_up_to_days_and_a_month_takes_all_of_it() -> None:
    hours = [summed(n, grain="hour", starts_at=NOON + n * HOUR, ends_at=NOON + n * HOUR + HOUR) for n in range(3)]
    attempts = [ours(n, started_at=NOON + n * HOUR) for n in range(3)]
    assert {"equal": ["0,1,2=0,1,2"]} == classes(matched(hours, attempts))
    monthly = summed(1, grain="month", starts_at=MAY.start, ends_at=MAY.end, amount=8 * CENT)
    assert {"equal": ["1=1,2"]} == classes(matched([monthly], [ours(1), ours(2, started_at=MAY.end - 1)]))


def test_what_is_younger_than_the_lag_is_not_missed() -> None:
    rows, attempts = [theirs(1), theirs(2)], [ours(2, cost=CENT), ours(3)]
    young = matched(rows, attempts, now=NOON + DAY - 1)
    assert {"differs": ["2=2"], "young_statements": ["1"], "young_attempts": ["3"]} == classes(young)
    assert (-3 * CENT, Fraction(1)) == (young.drift, young.coverage)
    old = matched(rows, attempts, now=NOON + DAY)
    assert {"differs": ["2=2"], "only_theirs": ["1"], "only_ours": ["3"]} == classes(old)


def test_a_day_is_too_young_until_all_of_it_is_old_enough() -> None:
    end = NOON // DAY * DAY + DAY
    rows, attempts = [summed(amount=CENT)], [ours(1), ours(2, model="other", requested_model=None)]
    assert {"young_statements": ["1"], "young_attempts": ["1", "2"]} == classes(
        matched(rows, attempts, now=end + DAY - 1)
    )
    assert {"differs": ["1=1"], "only_ours": ["2"]} == classes(matched(rows, attempts, now=end + DAY))


def test_what_lies_outside_the_period_only_helps_to_match() -> None:
    rows = [theirs(1, starts_at=MAY.start), theirs(2, starts_at=MAY.end), theirs(3, starts_at=MAY.start - 1)]
    attempts = [ours(1, started_at=MAY.start - 1), ours(2, started_at=MAY.end - 1), ours(4, started_at=MAY.end)]
    result = matched(rows, attempts)
    assert {"equal": ["1=1"], "outside_statements": ["2", "3"], "outside_attempts": ["2", "4"]} == classes(result)


def test_a_report_that_does_not_go_back_far_enough_misses_nothing_there() -> None:
    attempts = [ours(1), ours(2), ours(3, started_at=NOON + 1)]
    found = classes(matched([theirs(1)], attempts, covered_from=NOON + 1))
    assert {"equal": ["1=1"], "not_covered": ["2"], "only_ours": ["3"]} == found


def test_attempts_with_the_callers_own_key_are_left_out_of_the_money() -> None:
    rows = [theirs(1, amount=1), theirs(2, ids=(), amount=2)]
    result = matched(rows, [ours(1, byok=True), ours(2, byok=True)])
    assert {"own_key": ["1=1"], "byok": ["2"], "only_theirs": ["2"]} == classes(result)
    assert (2, 0, 0) == (result.theirs, result.ours, result.drift)


def test_of_several_readings_of_a_row_the_latest_holds() -> None:
    readings = [theirs(amount=CENT), theirs(read_at=LATER + 1), theirs(amount=2 * CENT), theirs(amount=CENT)]
    assert {"equal": ["1=1"], "repeated": ["1", "1", "1"]} == classes(matched(readings, [ours()]))


@pytest.mark.parametrize(
    ("attempt", "why"),
    [
        (ours(), "lost"),
        (ours(cost=None), "unknown_cost"),
        (at_risk(), "at_risk"),
        (at_risk(billing="pending", outcome="pending"), "pending"),
        (ours(outcome="throttled", cost=None), "refused"),
    ],
)
def test_it_says_why_an_attempt_may_be_on_no_statement(attempt: Ours, why: str) -> None:
    assert [why] == [one.missing for one in matched([], [attempt]).only_ours]


def test_what_a_statement_can_say_is_read_from_an_attempt() -> None:
    attempt = make_attempt(job_id="job_1", requested_model="GPT-Image-2")
    found = ours_of(attempt)
    assert (attempt.id, attempt.cost, "job_1", ("gpt-image-2",)) == (found.id, found.cost, found.job_id, found.models)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("openai/gpt-image-2", "gpt-image-2"),
        ("gpt-image-2-2026-04-21", "GPT-Image-2"),
        ("openai/gpt-image-2-20260421", "gpt-image-2"),
        ("bfl/flux-2-klein-4b", "black-forest-labs/flux-2-klein-4b"),
    ],
)
def test_two_spellings_of_a_model_are_one(one: str, other: str) -> None:
    assert model_key(one) == model_key(other)


@pytest.mark.parametrize(("one", "other"), [("flux-2", "flux-2-pro"), ("a/b/c", "c"), ("2026-04-21", "2025-04-21")])
def test_two_models_are_two(one: str, other: str) -> None:
    assert model_key(one) != model_key(other)
