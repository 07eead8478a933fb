"""Ends of jobs that contradict each other, come with ids of another kind, or meet other adjustments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing

import msgspec
import pytest

from pixelmeter.core.attempts.jobs import Record
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.queries import EVERYTHING
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import LedgerWriter, open_writer
from pixelmeter.reports.repricing import apply, foresee, repricer_of
from tests.factories import STARTED_AT, make_attempt
from tests.ledger.reading import adjusted
from tests.ledger.test_adjusting import assert_consistent, heard, submitted, the_only


@pytest.fixture
def writer(ledger_url: str) -> Iterator[LedgerWriter]:
    with closing(open_writer(ledger_url)) as opened:
        yield opened


def test_a_success_has_no_error_code_of_a_failure_that_was_heard_of_before(
    ledger_url: str, writer: LedgerWriter
) -> None:
    failed = heard(outcome="error", error_type="FAILED", error_code="nsfw", images=0)
    writer.write([submitted(), failed, heard(images=2)], {}, [])
    now = the_only(ledger_url)
    assert ("success", None, None) == (now.outcome, now.error_type, now.error_code)
    assert_consistent(ledger_url)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=lambda order: "".join(map(str, order)))
def test_a_job_that_one_attempt_was_answered_with_at_once_is_not_paid_again_by_another(
    ledger_url: str, writer: LedgerWriter, order: Sequence[int]
) -> None:
    done = make_attempt(gateway="fal", job_id="job_1", started_at=STARTED_AT + 5, attempt=1)
    records: list[Record] = [submitted(), done, heard(units="2")]
    for at in order:
        writer.write([records[at]], {}, [])
    now = adjusted(ledger_url).values()
    assert 1 == sum(bool(one.cost) for one in now), [one.cost for one in now]
    assert_consistent(ledger_url)


def test_a_job_id_that_looks_like_a_uuid_and_is_none_is_kept(ledger_url: str, writer: LedgerWriter) -> None:
    for job in ("-" * 4 + "a" * 32, "a" * 32 + "-" * 4):
        writer.write([heard(job), submitted(job), heard(job)], {}, [])
    assert ["success"] * 2 == [one.outcome for one in adjusted(ledger_url).values()]
    assert_consistent(ledger_url)


def test_a_job_whose_id_is_that_of_an_attempt_of_another_job_does_not_end_it(
    ledger_url: str, writer: LedgerWriter
) -> None:
    attempt = submitted()
    writer.write([attempt], {}, [])
    writer.write([heard(attempt.id), heard(attempt.id, gateway="replicate")], {}, [])
    assert "pending" == the_only(ledger_url).outcome
    assert_consistent(ledger_url)


def test_a_cost_that_was_found_later_is_not_lost_when_more_is_heard(ledger_url: str, writer: LedgerWriter) -> None:
    attempt = submitted(model="fal-ai/nobody-knows", requested_model="fal-ai/nobody-knows")
    writer.write([attempt, heard(images=2)], {}, [])
    assert the_only(ledger_url).cost is None
    author = Author("repriced", "somewhere", STARTED_AT, "0.1.0")
    writer.adjust(
        [attempt.id],
        lambda now: msgspec.structs.replace(
            now, billing="billed", cost=7, cost_source="priced", cost_reason=None, price_id="somewhere", at_risk=None
        ),
        author,
    )
    writer.write([heard(images=2, size="1024x1024", source="result", units="2")], {}, [])
    now = the_only(ledger_url)
    assert 7 == now.cost
    assert_consistent(ledger_url)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_ends_that_contradict_each_other_are_the_same_in_any_order(
    ledger_url: str, writer: LedgerWriter, order: Sequence[int]
) -> None:
    ends = [heard(images=1), heard(images=4)]
    writer.write([submitted(), *(ends[at] for at in order)], {}, [])
    assert 4 == the_only(ledger_url).images
    assert_consistent(ledger_url)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=lambda order: "".join(map(str, order)))
def test_of_a_job_that_expired_was_cancelled_failed_and_was_done_the_images_count(
    ledger_url: str, writer: LedgerWriter, order: Sequence[int]
) -> None:
    ends = [
        heard(source="expired", outcome="timeout", error_type="job_expired", images=None),
        heard(source="cancel", outcome="cancelled", images=None),
        heard(outcome="error", error_type="FAILED", images=0, not_charged=False),
        heard(source="result", images=2, heard_at=STARTED_AT - 5),
    ]
    writer.write([submitted()], {}, [])
    for at in order:
        writer.write([ends[at]], {}, [])
    now = the_only(ledger_url)
    assert ("success", 2, None) == (now.outcome, now.images, now.error_type)
    assert now.cost
    assert_consistent(ledger_url)


def test_what_is_heard_of_a_job_after_prices_were_looked_up_is_not_overwritten_by_them(
    ledger_url: str, writer: LedgerWriter
) -> None:
    attempt = submitted()
    writer.write([attempt, heard(images=1)], {}, [])
    author = Author("repriced", "somewhere", STARTED_AT, "0.1.0")
    writer.adjust([attempt.id], lambda now: msgspec.structs.replace(now, cost=1), author)
    repricer = repricer_of(None, None)
    with reading_ledger(ledger_url) as reader:
        plan = foresee(reader, repricer, since=None, until=None, filters=EVERYTHING, with_priced=True)
    assert plan.ids

    writer.write([heard(images=4, source="result", units="7")], {}, [])
    assert 0 == apply(ledger_url, repricer, plan)

    assert (4, 21_000_000) == (the_only(ledger_url).images, the_only(ledger_url).cost)
    assert_consistent(ledger_url)
