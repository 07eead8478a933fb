"""Everything but the image operations: models, usage, jobs, and the pictures behind the urls."""

from __future__ import annotations

import re

from pixelmeter.testing.account import balance_text, by_tag_text, models_text, recent_text
from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.billing import Entry
from pixelmeter.testing.body import Answer, plain
from pixelmeter.testing.dialects import head_start
from pixelmeter.testing.failures import failure_text
from pixelmeter.testing.images import LARGEST_SIDE, picture
from pixelmeter.testing.incoming import Head
from pixelmeter.testing.jobs import Job, cancel, poll
from pixelmeter.testing.state import State

__all__ = ["page"]

_PREFIX = re.compile(r"^(/openai/v1|/api/v1|/v1)?/")
_FILE = re.compile(r"files/([0-9]{1,4})x([0-9]{1,4})/[^/]+")
_JOB = re.compile(r"jobs/([^/]+)(/cancel)?")
_JOB_FILE = re.compile(r"files/jobs/([^/]+)/[^/]+")


def page(state: State, head: Head, behaviour: Behaviour, request_id: str) -> tuple[Answer, Entry | None]:
    """Return the answer, and a line of the billing log when it is the poll that completes a job."""
    if behaviour.status is not None and behaviour.status >= 400:
        return _failure(behaviour.status, None, request_id), None
    path = _PREFIX.sub("", head.path)
    if found := _JOB.fullmatch(path):
        job = state.jobs.find(found[1])
        return _job(job, head, request_id) if job is not None else (_failure(404, "not_found", request_id), None)
    png = _picture(state, path)
    if png is not None:
        return Answer(200, (("content-type", "image/png"), ("x-request-id", request_id)), plain(png)), None
    text = _text(state, head, path, behaviour)
    if text is None:
        return _failure(404, "not_found", request_id), None
    return Answer(200, tuple(head_start("aigateway", request_id)), plain(text.encode())), None


def _text(state: State, head: Head, path: str, behaviour: Behaviour) -> str | None:
    match path:
        case "models":
            return models_text()
        case "balance":
            return balance_text(state.billing)
        case "usage/recent":
            limit = head.query.get("limit", "")
            return recent_text(state.billing, int(limit) if limit.isdecimal() and len(limit) < 7 else 100)
        case "usage/by-tag":
            return by_tag_text(state.billing, head.query.get("month"), behaviour.by_tag_shape)
        case _:
            return None


def _picture(state: State, path: str) -> bytes | None:
    if found := _FILE.fullmatch(path):
        width, height = int(found[1]), int(found[2])
    elif (found := _JOB_FILE.fullmatch(path)) and (job := state.jobs.find(found[1])) is not None:
        width, height = job.ask.width, job.ask.height
    else:
        return None
    return picture(width, height, state.seed) if 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE else None


def _job(job: Job, head: Head, request_id: str) -> tuple[Answer, Entry | None]:
    if head.method == "DELETE" or head.path.endswith("/cancel"):
        cancel(job)
    reply, completed = poll(job, f"http://{head.headers.get('host', '127.0.0.1')}", request_id)
    if not completed:
        return reply, None
    return reply, Entry(
        request_id=request_id,
        received_at=head.received_at,
        method=head.method,
        path=head.path,
        gateway="aigateway",
        operation="job",
        model=job.model,
        images=job.images,
        input_images=job.ask.input_images,
        status=reply.status,
        charged_nano=job.price,
        outcome="success",
        tag=head.headers.get("x-aig-tag"),
        retry_count=head.retry_count,
        test_id=head.headers.get("x-test-id"),
    )


def _failure(status: int, kind: str | None, request_id: str) -> Answer:
    text = failure_text("aigateway", status, kind)
    return Answer(status, tuple(head_start("aigateway", request_id)), plain(text.encode()))
