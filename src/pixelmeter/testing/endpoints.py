"""What the gateway answers to a request, and what it charges for it: image operations, and its other pages."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.billing import (
    PER_UNIT,
    Entry,
    balance_text,
    charge_units,
    models_text,
)
from pixelmeter.testing.bodies import LARGEST_SIDE, Answer, document, picture, plain
from pixelmeter.testing.control import State
from pixelmeter.testing.job_apis import direct_answer, follow_answer, missing_answer, submit_answer, version_text
from pixelmeter.testing.job_requests import Follow, follow, is_direct
from pixelmeter.testing.jobs import Job, Jobs
from pixelmeter.testing.requests import Head, ImageRequest, Route
from pixelmeter.testing.responses import failure_text, head_start, model_that_runs, price_of, refusal_text, succeed
from pixelmeter.testing.usage import usage_text
from pixelmeter.testing.webhooks import FAL_KEY, STANDARD_SECRET

__all__ = ["Request", "answer", "entry_for", "page"]

_JOB_MODEL = "black-forest-labs/flux-2-flex"
_OUTCOMES = {400: "rejected", 401: "rejected", 402: "rejected", 403: "rejected", 404: "rejected", 413: "rejected"}
_OUTCOMES[429] = "throttled"
_SUB_ACCOUNT = re.compile(r"Bearer sk-aig-sub-([a-z0-9_-]{1,40})")


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
        account=found[1] if (found := _SUB_ACCOUNT.fullmatch(head.headers.get("authorization", ""))) else None,
    )


def answer(request: Request, behaviour: Behaviour, state: State) -> tuple[Answer, Entry]:
    """Return the answer to an image request, and its line of the billing log."""
    asked, entry = request.asked, entry_for(request, behaviour)
    status, problem = request.problem or (behaviour.status or 200, None)
    if status >= 400 or asked is None or behaviour.refusal:
        return _fail(request, entry, behaviour, status, problem)
    vendor = request.route.family if request.route.family in PER_UNIT else "aigateway"
    job = behaviour.job
    if job is None:
        job = not is_direct(vendor, request.head) if vendor != "aigateway" else entry.model == _JOB_MODEL
    if job or vendor != "aigateway":
        return _submit(request, asked, entry, behaviour, state, vendor, goes_on=job)
    host = f"http://{request.head.headers.get('host', '127.0.0.1')}"
    reply, done = succeed(asked, entry, behaviour, seed=request.seed, host=host)
    if behaviour.cut is not None or behaviour.reset:
        done = replace(done, outcome="cut")
    return replace(reply, status=status), replace(done, status=status)


def _submit(
    request: Request,
    asked: ImageRequest,
    entry: Entry,
    behaviour: Behaviour,
    state: State,
    vendor: str,
    *,
    goes_on: bool,
) -> tuple[Answer, Entry]:
    """Start a job; where it does not go on after its answer, end it at once."""
    jobs, head = state.jobs, request.head
    if behaviour.job_again and (job := jobs.latest(vendor)) is not None:
        reply = submit_answer(job)
        again = replace(entry, status=reply.status, outcome="pending", job=job.id, submit=job.submit.request_id)
        return reply, replace(again, request_id=job.id if vendor == "fal" else again.request_id)
    images = asked.images if behaviour.images is None else behaviour.images
    price, units = _price(vendor, entry.model, asked, images, behaviour)
    identity = jobs.new_id(vendor) if goes_on or vendor == "replicate" else request.request_id
    entry = replace(entry, outcome="pending", job=identity)
    if vendor != "aigateway":
        entry = replace(entry, gateway=vendor, request_id=identity if vendor == "fal" else entry.request_id)
    if vendor == "black-forest-labs" and behaviour.charged is not False:
        entry = replace(entry, charged_nano=price)
    entry = replace(entry, submit=entry.request_id)
    job = Job(
        id=identity,
        vendor=vendor,
        app=head.path[1:],
        asked=asked,
        images=images,
        price=price,
        units=units,
        base=f"http://{head.headers.get('host', '127.0.0.1')}",
        behaviour=behaviour,
        submit=entry,
    )
    if not goes_on and vendor in ("fal", "replicate"):
        return _at_once(job, entry, state)
    jobs.add(job)
    state.watch(job)
    reply = submit_answer(job)
    return reply, replace(entry, status=reply.status)


def _at_once(job: Job, entry: Entry, state: State) -> tuple[Answer, Entry]:
    """End a job with its submit, whose line of the bill has the charge."""
    done = state.jobs.end_at_once(job)
    if job.vendor == "fal":
        reply = direct_answer(job, entry.request_id)
        entry = replace(entry, job=None, submit=None)
    else:
        state.jobs.add(job)
        state.announce(job)
        reply = submit_answer(job)
    outcome = "success" if job.state == "completed" else "error"
    images = job.images if job.state == "completed" else 0
    charged = done.charged_nano if done is not None else 0
    return reply, replace(entry, status=reply.status, outcome=outcome, images=images, charged_nano=charged)


def _price(vendor: str, model: str, asked: ImageRequest, images: int, behaviour: Behaviour) -> tuple[int, str]:
    """Return nano-dollars for images, and how many units that is where a vendor counts units."""
    if vendor not in PER_UNIT:
        return price_of(model, images, None, behaviour, 100), ""
    return charge_units(vendor, model, images, asked.width, asked.height, behaviour.charge_nano)


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
        vendor, asked = request.route.family, request.asked
        charged, _ = _price(vendor, entry.model, asked, asked.images, behaviour)
    reply = Answer(status, tuple(headers), plain(text.encode()))
    return reply, replace(entry, status=status, outcome=outcome, charged_nano=charged)


_PREFIX = re.compile(r"^(/openai/v1|/api/v1|/v1)?/")
_FILE = re.compile(r"files/([0-9]{1,4})x([0-9]{1,4})/[^/]+")
_JOB_FILE = re.compile(r"files/jobs/([^/]+)/[^/]+")
_VERSION = re.compile(r"models/([^/]+/[^/]+)/versions/([^/]+)")


def page(state: State, head: Head, behaviour: Behaviour, request_id: str) -> Answer:
    """Return the answer to a request that is for no image: about a job, a picture, or one of the other pages."""
    about = follow(head)
    if behaviour.status is not None and behaviour.status >= 400:
        return _failure(behaviour.status, None, request_id, about.vendor if about is not None else "aigateway")
    if about is not None:
        job = state.jobs.find(about.job, about.vendor)
        if job is None:
            return missing_answer(about.vendor, about.job, request_id)
        return _follow(state.jobs, job, about, head, request_id)
    path = _PREFIX.sub("", head.path)
    png = _picture(state, path)
    if png is not None:
        return Answer(200, (("content-type", "image/png"), ("x-request-id", request_id)), plain(png))
    if path == "webhooks/default/secret":
        return Answer(200, tuple(head_start("replicate", request_id)), plain(_secret_text().encode()))
    if found := _VERSION.fullmatch(path):
        return Answer(200, tuple(head_start("replicate", request_id)), plain(version_text(*found.groups()).encode()))
    text = _text(state, head, path, behaviour)
    if text is None:
        return _failure(404, "not_found", request_id)
    return Answer(200, tuple(head_start("aigateway", request_id)), plain(text.encode()))


def _follow(jobs: Jobs, job: Job, about: Follow, head: Head, request_id: str) -> Answer:
    late = not job.is_open
    if about.what == "cancel":
        jobs.cancel(job)
        if job.vendor == "aigateway":
            jobs.poll(job, head, request_id)
    elif about.what == "status":
        jobs.poll(job, head, request_id)
    return follow_answer(job, about.what, late=late, request_id=request_id)


def _secret_text() -> str:
    return document({"key": STANDARD_SECRET})


def _text(state: State, head: Head, path: str, behaviour: Behaviour) -> str | None:
    match path:
        case "models":
            return models_text()
        case ".well-known/jwks.json":
            return document({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": FAL_KEY}]})
        case "balance":
            return balance_text(state.billing)
        case _:
            return usage_text(state.billing, path, head.query, behaviour)


def _picture(state: State, path: str) -> bytes | None:
    if found := _FILE.fullmatch(path):
        width, height = int(found[1]), int(found[2])
    elif (found := _JOB_FILE.fullmatch(path)) and (job := state.jobs.find(found[1])) is not None:
        width, height = job.asked.width, job.asked.height
    else:
        return None
    return picture(width, height, state.seed) if 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE else None


def _failure(status: int, kind: str | None, request_id: str, dialect: str = "aigateway") -> Answer:
    text = failure_text(dialect, status, kind)
    return Answer(status, tuple(head_start(dialect, request_id)), plain(text.encode()))
