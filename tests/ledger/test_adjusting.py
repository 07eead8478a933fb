"""Ends of jobs and adjustments, in whatever order they come: rows, rollup, totals and views tell the same."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixelmeter.core.attempts.adjustment import ADJUSTABLE
from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.adjusting import Author, open_jobs, unknown_jobs
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.sums import read_adjustment_totals
from pixelmeter.ledger.writer import LedgerWriter, open_writer
from pixelmeter.system import SystemIds
from tests.effort import examples
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.reading import adjusted, adjustments, recomputed, recomputed_totals, rollup, stored, totals, viewed

IDS = SystemIds()
HOUR = 3_600_000_000
ESTIMATE = 40_000_000
AUTHOR = Author("manual", "command line", STARTED_AT + 9 * HOUR, "0.1.0", "ann", "the invoice says so")


@pytest.fixture
def writer(ledger_url: str) -> Iterator[LedgerWriter]:
    with closing(open_writer(ledger_url)) as opened:
        yield opened


def submitted(job: str | None = "job_1", **fields: Any) -> Attempt:
    """Return an attempt that was answered with a job."""
    pending: dict[str, Any] = {
        "gateway": "fal",
        "provider": None,
        "model": "fal-ai/flux/schnell",
        "requested_model": "fal-ai/flux/schnell",
        "outcome": "pending",
        "images": None,
        "billing": "pending",
        "cost": None,
        "cost_source": "none",
        "cost_reason": "pending_job",
        "reported_cost": None,
        "price_id": None,
        "token_cost": None,
        "image_cost": None,
        "at_risk": ESTIMATE,
        "fee_rate": 0,
        "fee": None,
        "input_text_tokens": None,
        "input_image_tokens": None,
        "output_image_tokens": None,
        "quality": None,
        "job_id": job,
    }
    return make_attempt(**{**pending, **fields})


def heard(job: str = "job_1", **fields: Any) -> JobEnd:
    """Return what was heard of the end of a job: two images, unless it is said otherwise."""
    said: dict[str, Any] = {
        "gateway": "fal", "heard_at": STARTED_AT + 60_000_000, "source": "poll", "outcome": "success", "images": 2,
        "version": "0.1.0",
    }  # fmt: skip
    return JobEnd(id=IDS.new(), job_id=job, **{**said, **fields})


def the_only(url: str) -> Attempt:
    [attempt] = adjusted(url).values()
    return attempt


def assert_consistent(url: str) -> None:
    """Check that everything that a ledger says of its attempts is the same."""
    now = adjusted(url)
    assert recomputed(url) == rollup(url)
    assert recomputed_totals(url) == totals(url)
    assert {one.id: {name: getattr(one, name) for name in ADJUSTABLE} for one in now.values()} == viewed(url)
    with reading_ledger(url) as reader:
        tallies = read_adjustment_totals(reader)
    written = stored(url)
    for money, up, down in (("cost", "cost_up", "cost_down"), ("at_risk", "at_risk_up", "at_risk_down")):
        before, after = (sum(getattr(one, money) or 0 for one in some.values()) for some in (written, now))
        assert after == before + sum(getattr(one, up) - getattr(one, down) for one in tallies)
    rows = adjustments(url)
    assert len(rows) == sum(one.adjustments for one in tallies)
    by_attempt = Counter(row["attempt_id"] for row in rows)
    assert {(one, True): 1 for one in by_attempt} == Counter(
        (row["attempt_id"], True) for row in rows if row["is_latest"]
    )
    assert all(
        sorted(int(row["number"]) for row in rows if row["attempt_id"] == one) == list(range(1, count + 1))
        for one, count in by_attempt.items()
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=lambda order: "".join(map(str, order)))
def test_a_job_ends_the_same_in_whatever_order_it_is_heard_of(
    ledger_url: str, writer: LedgerWriter, order: Sequence[int]
) -> None:
    attempt = submitted()
    records: list[Record] = [attempt, heard(images=None), heard(source="result", images=2, units="3")]
    for at in order:
        writer.write([records[at]], {}, [])
        writer.write([records[at]], {}, [])
    now = the_only(ledger_url)
    assert {60_000_000} == {row["job_duration"] for row in adjustments(ledger_url)}
    assert ("success", 2, "billed", "priced", 9_000_000, None) == (
        now.outcome, now.images, now.billing, now.cost_source, now.cost, now.at_risk
    )  # fmt: skip
    assert_consistent(ledger_url)


def test_a_finished_job_without_its_images_keeps_its_estimate_at_risk(ledger_url: str, writer: LedgerWriter) -> None:
    writer.write([submitted(), heard(images=None)], {}, [])
    now = the_only(ledger_url)
    assert ("success", "unknown", None, ESTIMATE) == (now.outcome, now.billing, now.cost, now.at_risk)
    assert_consistent(ledger_url)


def test_a_charge_that_was_stated_at_the_submit_stays(ledger_url: str, writer: LedgerWriter) -> None:
    stated = submitted(
        gateway="black-forest-labs", billing="billed", cost=30_000_000, cost_source="reported", cost_reason=None,
        at_risk=None,
    )  # fmt: skip
    writer.write([stated, heard(gateway="black-forest-labs", images=1)], {}, [])
    now = the_only(ledger_url)
    assert ("success", 1, "billed", 30_000_000) == (now.outcome, now.images, now.billing, now.cost)
    assert_consistent(ledger_url)


def test_a_charge_that_was_stated_at_the_submit_goes_where_the_end_says_so(
    ledger_url: str, writer: LedgerWriter
) -> None:
    stated = submitted(billing="billed", cost=30_000_000, cost_source="reported", cost_reason=None, at_risk=None)
    writer.write([stated, heard(outcome="error", error_type="refunded", images=0, not_charged=True)], {}, [])
    now = the_only(ledger_url)
    assert ("error", "not_billed", 0, "job_not_charged") == (now.outcome, now.billing, now.cost, now.cost_reason)
    assert_consistent(ledger_url)


@pytest.mark.parametrize(("not_charged", "cost"), [(True, 0), (False, None)])
def test_a_job_that_failed_is_free_only_where_the_gateway_says_so(
    ledger_url: str, writer: LedgerWriter, not_charged: bool, cost: int | None
) -> None:
    writer.write([submitted(), heard(outcome="error", error_type="FAILED", images=0, not_charged=not_charged)], {}, [])
    now = the_only(ledger_url)
    billing = "not_billed" if not_charged else "unknown"
    assert ("error", "FAILED", billing, cost) == (now.outcome, now.error_type, now.billing, now.cost)
    assert (None if not_charged else ESTIMATE) == now.at_risk
    assert_consistent(ledger_url)


def test_two_submits_that_were_answered_with_one_job_are_paid_once(ledger_url: str, writer: LedgerWriter) -> None:
    first, again = submitted(), submitted(attempt=1, started_at=STARTED_AT + 5)
    writer.write([first], {}, [])
    writer.write([heard(units="2")], {}, [])
    writer.write([again], {}, [])
    now = adjusted(ledger_url)
    assert (6_000_000, "billed") == (now[first.id].cost, now[first.id].billing)
    assert (0, "not_billed", "same_job") == (now[again.id].cost, now[again.id].billing, now[again.id].cost_reason)
    assert_consistent(ledger_url)


def test_an_end_without_its_submit_is_kept_and_listed(ledger_url: str, writer: LedgerWriter) -> None:
    writer.write([heard("job_9")], {}, [])
    with reading_ledger(ledger_url) as reader:
        [job] = unknown_jobs(reader)
        assert ("fal", "job_9", None, "success", 2) == (
            job.gateway, job.job_id, job.attempt_id, job.outcome, job.end and job.end.images
        )  # fmt: skip
    writer.write([submitted("job_9")], {}, [])
    with reading_ledger(ledger_url) as reader:
        assert [] == unknown_jobs(reader) == open_jobs(reader)
    assert "success" == the_only(ledger_url).outcome
    assert_consistent(ledger_url)


@pytest.mark.parametrize("job", ["job_1", None])
def test_a_job_that_is_too_old_is_given_up_once_and_its_estimate_stays_at_risk(
    ledger_url: str, writer: LedgerWriter, job: str | None
) -> None:
    writer.write([submitted(job)], {}, [])
    assert [] == list(writer.expiring(STARTED_AT + 24 * HOUR, 10))
    for _ in range(2):
        writer.write(writer.expiring(STARTED_AT + 24 * HOUR + 1, 10), {}, [])
    now = the_only(ledger_url)
    assert ("timeout", "job_expired", "unknown", None, ESTIMATE) == (
        now.outcome, now.error_type, now.billing, now.cost, now.at_risk
    )  # fmt: skip
    assert 1 == len(adjustments(ledger_url))
    if job is not None:
        writer.write([heard(heard_at=STARTED_AT + 30 * HOUR, units="2")], {}, [])
        assert ("success", 6_000_000) == (the_only(ledger_url).outcome, the_only(ledger_url).cost)
    assert_consistent(ledger_url)


def test_what_a_person_has_corrected_no_end_of_a_job_changes(ledger_url: str, writer: LedgerWriter) -> None:
    attempt = submitted()
    writer.write([attempt], {}, [])
    writer.adjust([attempt.id], lambda now: corrected(now, 5_000_000), AUTHOR)
    writer.write([heard(units="2")], {}, [])
    now = the_only(ledger_url)
    assert ("success", 2, 5_000_000, "reconciled") == (now.outcome, now.images, now.cost, now.cost_source)
    assert ["manual", "job"] == [row["kind"] for row in sorted(adjustments(ledger_url), key=lambda one: one["number"])]
    assert_consistent(ledger_url)


def corrected(now: Attempt, cost: int) -> Attempt:
    return msgspec.structs.replace(
        now, billing="billed", cost=cost, cost_source="reconciled", cost_reason=None, at_risk=None
    )


_JOBS = [f"job_{number}" for number in range(3)]
_ENDS = st.builds(
    heard,
    st.sampled_from(_JOBS),
    source=st.sampled_from(["poll", "result", "webhook"]),
    outcome=st.sampled_from(["success", "error"]),
    images=st.sampled_from([None, 0, 1, 4]),
    units=st.sampled_from([None, "1", "2.5"]),
    not_charged=st.booleans(),
    model=st.sampled_from([None, "fal-ai/flux/dev"]),
    heard_at=st.integers(STARTED_AT, STARTED_AT + HOUR),
)
_SUBMITS = st.builds(
    submitted,
    st.sampled_from([*_JOBS, None]),
    attempt=st.integers(0, 1),
    started_at=st.integers(STARTED_AT, STARTED_AT + 30 * HOUR),
    at_risk=st.sampled_from([None, ESTIMATE]),
)
_CORRECTIONS = st.tuples(
    st.integers(0, 5), st.sampled_from([0, 1, 10**12]), st.sampled_from(["manual", "reconciled", "repriced"])
)


@pytest.mark.slow
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.one_of(st.lists(st.one_of(_ENDS, _SUBMITS), min_size=1, max_size=4), _CORRECTIONS, st.just("expire")),
        max_size=8,
    ),
    data=st.data(),
)
def test_all_sums_agree_after_any_interleaving(ledger_url: str, steps: Sequence[Any], data: st.DataObject) -> None:
    fallen: dict[Any, Any] = {}
    with closing(open_writer(ledger_url)) as writer:
        writer.positions([])
        for step in steps:
            if step == "expire":
                writer.write(writer.expiring(STARTED_AT + 40 * HOUR, 100), {}, [])
            elif isinstance(step, tuple):
                known = sorted(stored(ledger_url))
                chosen = known[step[0] % len(known) :][:1] if known else []
                writer.adjust(chosen, partial(corrected, cost=step[1]), AUTHOR._replace(kind=step[2]))
            else:
                writer.write(step, {}, [])
                writer.write(data.draw(st.permutations(step)), {}, [])
            with reading_ledger(ledger_url) as reader:
                for tally in read_adjustment_totals(reader):
                    key = (
                        tally.gateway,
                        tally.operation,
                        tally.model,
                        tally.kind,
                        tally.outcome,
                        tally.size,
                        tally.quality,
                    )
                    counts = (tally.jobs, tally.images, tally.cost_up, tally.cost_down, tally.at_risk_up)
                    assert all(map(int.__le__, fallen.get(key, (0,) * 5), counts))
                    fallen[key] = counts
    assert_consistent(ledger_url)
