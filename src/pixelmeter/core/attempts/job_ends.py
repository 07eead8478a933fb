"""What an answer or a message about a job says of its end: a `JobEnd`, or nothing while the job goes on. Total."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from pixelmeter.core.apis.reader import ImageResponse
from pixelmeter.core.apis.usage import Usage, worse
from pixelmeter.core.attempts.billing import reported_by, units_told
from pixelmeter.core.attempts.jobs import JobEnd, JobSource
from pixelmeter.core.attempts.record import Outcome
from pixelmeter.core.gateways.amounts import CostReader
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import is_one_of, values_at
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.text import ERROR_LIMIT, bounded
from pixelmeter.core.wire.headers import Headers, first

__all__ = ["end_of"]

_ACCEPTED = 202
_TIMEOUTS = (408, 504)


def end_of(
    response: ImageResponse,
    headers: Headers,
    *,
    profile: Profile,
    job: Job,
    cost: Sequence[CostReader],
    source: JobSource,
    gateway: str,
    job_id: str,
    heard_at: int,
    id: str,
    version: str,
    status: int = 200,
    failed_statuses: Collection[int] = (),
) -> JobEnd | None:
    """Return what was heard of the end of a job; None where nothing says that it has ended.

    `response` is what the document says by its places, `job` has the places and the words of its status, `status` is
    that of HTTP. An error of HTTP is none of the job, unless it is one of `failed_statuses` and the answer names it.
    """
    said = _status_of(response.body, job)
    failed = status in failed_statuses and response.error_type is not None
    outcome = _of_error(status) if failed else _outcome(response, job, source, said, status)
    if outcome is None:
        return None
    error_type = None
    if outcome == "success" and response.images == 0 and not response.whole:
        outcome, error_type = "error", "no_images"
    elif outcome != "success":
        # Where a cancellation was accepted, the status is still that of before, or none of the job's.
        is_end = outcome != "cancelled" or (said is not None and is_one_of(said, job.cancelled))
        error_type = response.error_type or (said if is_end else None)
    reported = reported_by(cost, headers, response.body, response.images)
    return JobEnd(
        id=id,
        gateway=gateway,
        job_id=job_id,
        heard_at=heard_at,
        # What tells more than that a cancellation was accepted, tells it as any other look at the job would.
        source="poll" if source == "cancel" and outcome != "cancelled" else source,
        outcome=outcome,
        error_type=error_type,
        error_code=response.error_code if error_type is not None else None,
        not_charged=outcome != "success"
        and (
            reported.nano == 0
            or (said is not None and is_one_of(said, job.not_charged))
            or (failed and profile.errors.has(status, error_type))
        ),
        model=first(headers, profile.identity.model) or response.model,
        provider=first(headers, profile.identity.provider),
        images=response.images,
        size=response.size,
        quality=response.quality,
        usage=_usage_of(response),
        reported_cost=reported.nano,
        reported_text=bounded(reported.text),
        doubtful_zero=reported.doubtful_zero,
        units=bounded(units_told(cost, headers, response.body)),
        version=version,
    )


def _status_of(body: Mapping[str, Any], job: Job) -> str | None:
    """Return the status of a job; of several images, that of one which is not done, else of one that has not failed."""
    for path in job.status:
        words = [word for value in values_at(body, path) if (word := bounded(value, ERROR_LIMIT))]
        if words:
            ended = (*job.failed, *job.cancelled)
            pending = (word for word in words if is_one_of(word, job.pending))
            others = (word for word in words if not is_one_of(word, ended))
            return next(pending, None) or next(others, words[0])
    return None


def _outcome(response: ImageResponse, job: Job, source: JobSource, said: str | None, status: int) -> Outcome | None:
    if not 200 <= status < 300:
        return None
    if source == "cancel":
        known = _known(response, job, source, said)
        if known is None and response.error_type is None:
            return "cancelled"
        return known
    return None if status == _ACCEPTED or not response.readable else _known(response, job, source, said)


def _known(response: ImageResponse, job: Job, source: JobSource, said: str | None) -> Outcome | None:
    """Return how a job has ended, by its status, else by what there is of its result; None where it may go on."""
    if said is not None:
        if is_one_of(said, job.pending):
            return None
        if is_one_of(said, job.cancelled):
            return "cancelled"
        if is_one_of(said, job.failed):
            return "error"
    if response.images:
        return "success"
    if said is not None:
        is_done = is_one_of(said, job.done) if job.done else bool(job.pending)
        return None if not is_done else "success" if response.error_type is None else "error"
    if source in ("poll", "cancel") and (job.status or source == "cancel"):
        # An error without a status is that of the look at the job.
        return None
    if response.error_type is not None:
        return "error"
    # What a result is that has no status and no image is not known, but it is there; so of an event without any status.
    return "success" if source == "result" or (source == "webhook" and not job.status) else None


def _of_error(status: int) -> Outcome:
    if status in _TIMEOUTS:
        return "timeout"
    return "error" if status >= 500 or status == 429 else "rejected"


def _usage_of(response: ImageResponse) -> Usage:
    if not response.blocks:
        return response.usage
    return msgspec.structs.replace(response.usage, doubt=worse(response.usage.doubt, "unpriced_usage"))
