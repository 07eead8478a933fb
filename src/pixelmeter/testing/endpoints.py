"""What the gateway answers to a request, and what it charges for it: image operations, and its other pages."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.billing import Entry, balance_text, by_tag_text, models_text, recent_text
from pixelmeter.testing.bodies import LARGEST_SIDE, Answer, document, picture, plain
from pixelmeter.testing.control import State
from pixelmeter.testing.jobs import Job, Jobs, cancel, poll
from pixelmeter.testing.requests import Head, ImageRequest, Route
from pixelmeter.testing.responses import failure_text, head_start, model_that_runs, price_of, refusal_text, succeed

__all__ = ["Request", "answer", "entry_for", "page"]

_JOB_MODEL = "black-forest-labs/flux-2-flex"
_OUTCOMES = {400: "rejected", 401: "rejected", 402: "rejected", 403: "rejected", 404: "rejected", 413: "rejected"}
_OUTCOMES[429] = "throttled"


@dataclass(frozen=True, slots=True)
class Request:
    """An image request with all that is known about it."""

    head: Head
    route: Route
    request_id: str
    seed: int
    asked: ImageRequest | None = None
    """None when it has not been read or cannot be understood."""
    problem: tuple[int, str] | None = None
    """The status and message for what is wrong with it."""


def entry_for(request: Request, behaviour: Behaviour) -> Entry:
    """Return the line of the billing log for a request that no answer is intended for."""
    head, asked = request.head, request.asked
    dialect = behaviour.gateway or request.route.family
    return Entry(
        request_id=request.request_id,
        received_at=head.received_at,
        method=head.method,
        path=head.path,
        gateway=dialect,
        operation=request.route.operation,
        model=model_that_runs(request.route, dialect, asked) if asked is not None else "",
        images=0,
        input_images=asked.input_images if asked is not None else 0,
        status=None,
        charged_nano=0,
        outcome="incomplete",
        tag=head.headers.get("x-aig-tag"),
        retry_count=head.retry_count,
        test_id=head.headers.get("x-test-id"),
    )


def answer(request: Request, behaviour: Behaviour, jobs: Jobs) -> tuple[Answer, Entry]:
    """Return the answer to an image request, and its line of the billing log."""
    asked, entry = request.asked, entry_for(request, behaviour)
    status, problem = request.problem or (behaviour.status or 200, None)
    if status >= 400 or asked is None or behaviour.refusal:
        return _fail(request, entry, behaviour, status, problem)
    if behaviour.job is True or (behaviour.job is None and entry.model == _JOB_MODEL):
        images = asked.images if behaviour.images is None else behaviour.images
        job = jobs.submit(entry.model, asked, images, price_of(entry.model, images, None, behaviour, 100), behaviour)
        text = document({"id": job, "status": "queued", "object": "job"})
        headers = tuple(head_start(entry.gateway, request.request_id))
        return Answer(202, headers, plain(text.encode())), replace(entry, status=202, outcome="pending")
    host = f"http://{request.head.headers.get('host', '127.0.0.1')}"
    reply, done = succeed(asked, entry, behaviour, seed=request.seed, host=host)
    if behaviour.cut is not None or behaviour.reset:
        done = replace(done, outcome="cut")
    return replace(reply, status=status), replace(done, status=status)


def _fail(
    request: Request, entry: Entry, behaviour: Behaviour, status: int, problem: str | None
) -> tuple[Answer, Entry]:
    headers = head_start(entry.gateway, request.request_id)
    if behaviour.refusal:
        status, text, outcome = 400, refusal_text(entry.gateway), "refused"
    else:
        text = failure_text(entry.gateway, status, None, problem)
        outcome = _OUTCOMES.get(status, "error")
    if status == 429:
        headers.append(("retry-after", "1"))
    if entry.gateway == "litellm" and entry.operation == "edit":
        headers.append(("x-litellm-response-cost", "0"))
    charged = 0
    if behaviour.charged and request.asked is not None:
        charged = price_of(entry.model, request.asked.images, None, behaviour, 100)
    reply = Answer(status, tuple(headers), plain(text.encode()))
    return reply, replace(entry, status=status, outcome=outcome, charged_nano=charged)


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
        width, height = job.asked.width, job.asked.height
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
        input_images=job.asked.input_images,
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
