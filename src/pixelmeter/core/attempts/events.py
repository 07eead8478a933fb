"""What an event of a webhook says: its id and type, which job it is about, and how that has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pixelmeter.core.apis import prediction_jobs
from pixelmeter.core.apis.answers import answer_of
from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.attempts.job_ends import end_of
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import DocumentPath, ResponsePlaces, is_one_of, values_at
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.routes import laid_over
from pixelmeter.core.gateways.webhooks import Webhook
from pixelmeter.core.text import NAME_LIMIT, bounded

__all__ = ["Event", "event_of"]


class Event(NamedTuple):
    """What an event says."""

    id: str | None
    type: str | None
    job_id: str | None
    status: str | None
    end: JobEnd | None
    """None where no job has ended with it."""


class _Reading(NamedTuple):
    response: ResponsePlaces
    job: Job | None


def event_of(document: bytes, profile: Profile, *, at: int, id: str, version: str) -> Event | None:
    """Read an event that was heard at this Unix time in microseconds; None where it is no JSON object.

    `id` is what the end of a job has, where one has ended.
    """
    webhook = profile.webhook
    if webhook is None:
        return None
    job = _job_of(webhook, profile)
    places = laid_over(prediction_jobs.RESPONSE, profile.response, webhook.response)
    response = answer_of(document, ImageRequest(), _Reading(places, job))
    body = response.body
    if not response.readable:
        return None
    kind = _word(body, webhook.type)
    job_id = status = end = None
    if job is not None and (kind is None or not webhook.jobs or is_one_of(kind, webhook.jobs)):
        job_id, status = _word(body, job.id), _word(body, job.status)
    if job is not None and job_id is not None:
        end = end_of(
            response,
            {},
            profile=profile,
            job=job,
            cost=(*webhook.cost, *profile.cost),
            source="webhook",
            gateway=profile.id,
            job_id=job_id,
            heard_at=at,
            id=id,
            version=version,
        )
    return Event(_word(body, webhook.event_id), kind, job_id, status, end)


def _job_of(webhook: Webhook, profile: Profile) -> Job | None:
    if not webhook.job_id:
        return profile.job
    return Job(
        id=webhook.job_id,
        status=webhook.status,
        done=webhook.done,
        failed=webhook.failed,
        cancelled=webhook.cancelled,
        not_charged=webhook.not_charged,
    )


def _word(body: Mapping[str, Any], paths: Sequence[DocumentPath]) -> str | None:
    found = (bounded(value, NAME_LIMIT) for path in paths for value in values_at(body, path))
    return next((word for word in found if word is not None), None)
