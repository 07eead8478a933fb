"""What is heard of a job is put together, and what the attempt that submitted it is then."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from pixelmeter.core.apis.usage import Usage
from pixelmeter.core.attempts.jobs import Job, JobEnd, Settler
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.gateways import load_profiles
from pixelmeter.prices import book_of
from tests.ledger.test_adjusting import HOUR, heard, submitted

SETTLER = Settler(load_profiles({}), book_of(None))


def together(*ends: JobEnd) -> JobEnd:
    """Return what is known once all of them were heard of, which is the same in any order but for who said it."""
    found: list[JobEnd] = []
    for order in itertools.permutations(ends):
        job = Job.of(ends[0].key)
        for end in order:
            job.hear(end)
        assert job.end is not None
        found.append(msgspec.structs.replace(job.end, id=ends[0].id))
    assert all(one == found[0] for one in found)
    return found[0]


def test_a_job_that_failed_because_it_was_cancelled_is_cancelled() -> None:
    cancelled = heard(source="cancel", outcome="cancelled", images=None)
    assert "cancelled" == together(cancelled, heard(outcome="error", error_type="stopped", images=0)).outcome
    assert "success" == together(cancelled, heard()).outcome


def test_tokens_that_only_one_message_tells_are_kept() -> None:
    usage = Usage(output_image=1290)
    known = together(heard(usage=usage), heard(source="webhook", reported_cost=5, images=None))
    assert (usage, 5, 2) == (known.usage, known.reported_cost, known.images)


def test_what_a_gateway_says_of_its_jobs_age_is_their_age() -> None:
    profiles = load_profiles({})
    named = {one.id: one.job.max_age_hours for one in profiles.profiles if one.job is not None}
    assert {name: hours * HOUR for name, hours in named.items()} == {name: SETTLER.max_age(name) for name in named}


def test_with_the_callers_own_key_the_gateways_amount_is_its_fee() -> None:
    ended = SETTLER.ended(submitted(byok=True), heard(reported_cost=7))
    assert 7 == ended.fee
    assert 7 != ended.cost


def test_a_job_whose_submit_nobody_has_read_has_no_price_of_a_default_at_its_end() -> None:
    silent: dict[str, Any] = {"requested_size": None, "size": None, "requested_quality": None, "at_risk": None}
    model = "openai/gpt-image-2"
    read = submitted(model=model, requested_model=model, **silent)
    unread = msgspec.structs.replace(read, cost_reason="unread_request")
    ends = [heard(), heard(size="1024x1024", quality="low"), heard(reported_cost=7)]
    assert [(290_000_000, None), (12_000_000, None), (7, None)] == [told(read, end) for end in ends]
    assert [(None, "unread_request"), (12_000_000, None), (7, None)] == [told(unread, end) for end in ends]


def told(submit: Attempt, end: JobEnd) -> tuple[int | None, str | None]:
    ended = SETTLER.ended(submit, end)
    return ended.cost, ended.cost_reason


def test_the_vendor_behind_the_gateway_is_the_one_that_the_end_names() -> None:
    assert "bria" == SETTLER.ended(submitted(provider=None), heard(provider="bria")).provider
