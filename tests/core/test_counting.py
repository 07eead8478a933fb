"""One table says what an attempt adds to each metric and to the ledger's totals."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest

from pixelmeter.core.attempts.record import FIELDS
from pixelmeter.core.counting import (
    ADJUSTMENT_COUNTS,
    COUNTS,
    AdjustmentKey,
    AdjustmentTally,
    Count,
    Key,
    Tally,
    key_of,
    tally_of,
    tokens,
)
from pixelmeter.core.labels import Direction, Modality
from pixelmeter.core.metrics import METRICS, metric
from pixelmeter.ledger.sums import TOTALS_KEY, Total
from tests.factories import make_attempt

SUMS = {field.name for field in fields(Tally)} - set(Key._fields)

each_count = pytest.mark.parametrize("count", COUNTS, ids=lambda count: f"{count.metric}-{count.number}")


def test_every_metric_of_attempts_that_ended_has_its_number() -> None:
    others = {"pixelmeter_requests_in_flight", "pixelmeter_jobs_open", "pixelmeter_oldest_job_seconds"}
    of_attempts = [each for each in METRICS if not each.name.startswith("pixelmeter_reconciliation_")]
    expected = {each.name for each in of_attempts if "gateway" in each.labels} - others
    assert expected == {count.metric for count in (*COUNTS, *ADJUSTMENT_COUNTS)}


@pytest.mark.parametrize("count", ADJUSTMENT_COUNTS, ids=lambda count: f"{count.metric}-{count.number}")
def test_a_metric_of_adjustments_takes_its_labels_from_their_key(count: Count) -> None:
    names = metric(count.metric).labels
    from_the_key = len(names) - len(count.fixed)
    found = count.labels(AdjustmentTally(*AdjustmentKey._fields))
    assert (*names[:from_the_key], *count.fixed) == found
    assert count.number in {field.name for field in fields(AdjustmentTally)} - set(AdjustmentKey._fields)


@each_count
def test_a_metric_takes_its_labels_from_the_key_by_their_names(count: Count) -> None:
    names = {"reason": "cost_reason"}
    expected = [names.get(name, name) for name in metric(count.metric).labels]
    found = count.labels(Key(*Key._fields))
    from_the_key = len(expected) - len(count.fixed)
    assert (*expected[:from_the_key], *count.fixed) == found
    assert set(Key._fields).isdisjoint(expected[from_the_key:])


@each_count
def test_a_number_is_a_sum_of_the_ledger_too_or_one_of_an_attempt(count: Count) -> None:
    if count.kind == "counter":
        assert count.number in SUMS
        assert count.number in {field.name for field in fields(Total)}
    else:
        assert count.number in FIELDS


def test_the_ledger_tells_totals_apart_by_the_key() -> None:
    assert TOTALS_KEY == Key._fields == tuple(field.name for field in fields(Tally))[: len(Key._fields)]


def test_numbers_of_several_attempts_add_up() -> None:
    tally = Tally(*key_of(make_attempt()))
    tally.add(make_attempt(attempt=0, images=2, cost=5, at_risk=None, duration=10))
    tally.add(make_attempt(attempt=1, images=None, cost=None, cost_reason="no_price", at_risk=7, duration=20))
    assert (2, 1, 2, 5, 7, 1, 30) == (
        tally.attempts, tally.retries, tally.images, tally.cost, tally.at_risk, tally.unknown_cost_attempts,
        tally.duration,
    )  # fmt: skip


@pytest.mark.parametrize(("cost", "expected"), [(None, "no_price"), (0, "")])
def test_only_an_unknown_cost_has_a_reason(cost: int | None, expected: str) -> None:
    assert expected == key_of(make_attempt(cost=cost, cost_reason="no_price")).cost_reason


def test_a_job_that_has_not_ended_counts_as_one_whatever_its_end_has_to_know() -> None:
    submit = make_attempt(outcome="pending", billing="pending", cost=None, cost_reason="unread_request")
    assert "pending_job" == key_of(submit).cost_reason


def test_money_and_time_are_shown_in_units_and_counts_stay_integers() -> None:
    shown = {count.metric: count.value(1_500_000_000) for count in COUNTS}
    assert 1.5 == shown["pixelmeter_cost_usd_total"] == shown["pixelmeter_at_risk_usd_total"]
    assert 1500 == shown["pixelmeter_request_duration_seconds"]
    assert isinstance(shown["pixelmeter_requests_total"], int)


def test_every_token_is_counted_once() -> None:
    counted = make_attempt(
        input_text_tokens=12,
        cached_input_tokens=5,
        input_image_tokens=0,
        output_text_tokens=None,
        output_image_tokens=1056,
    )
    assert [("input", "text", 7), ("input", "cached_text", 5), ("output", "image", 1056)] == list(
        tokens(tally_of(counted))
    )


def test_every_direction_and_modality_of_tokens_is_listed() -> None:
    all_kinds = make_attempt(
        input_text_tokens=2, cached_input_tokens=1, input_image_tokens=1, output_text_tokens=1, output_image_tokens=1
    )
    found = [(direction, modality) for direction, modality, _ in tokens(tally_of(all_kinds))]
    assert set(get_args(Direction)) == {direction for direction, _ in found}
    assert set(get_args(Modality)) == {modality for _, modality in found}


def test_more_cached_tokens_than_there_are_count_no_more_than_there_are() -> None:
    counted = make_attempt(input_text_tokens=3, cached_input_tokens=5, input_image_tokens=0, output_image_tokens=None)
    assert [("input", "cached_text", 3)] == list(tokens(tally_of(counted)))
