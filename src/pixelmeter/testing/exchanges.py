"""What the gateway answers to an image request, and what it puts on the bill for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pixelmeter.testing.asks import Ask, Route
from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.billing import Entry
from pixelmeter.testing.body import Answer, document, plain
from pixelmeter.testing.dialects import head_start
from pixelmeter.testing.failures import failure_text, refusal_text
from pixelmeter.testing.incoming import Head
from pixelmeter.testing.jobs import Jobs
from pixelmeter.testing.successes import model_that_runs, price_of, succeed

__all__ = ["Request", "answer", "entry_for"]

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
    ask: Ask | None = None
    """None when it has not been read or cannot be understood."""
    problem: tuple[int, str] | None = None
    """The status and message for what is wrong with it."""


def entry_for(request: Request, behaviour: Behaviour) -> Entry:
    """Return the line of the billing log for a request that no answer is intended for."""
    head, ask = request.head, request.ask
    dialect = behaviour.gateway or request.route.family
    return Entry(
        request_id=request.request_id,
        received_at=head.received_at,
        method=head.method,
        path=head.path,
        gateway=dialect,
        operation=request.route.operation,
        model=model_that_runs(request.route, dialect, ask) if ask is not None else "",
        images=0,
        input_images=ask.input_images if ask is not None else 0,
        status=None,
        charged_nano=0,
        outcome="incomplete",
        tag=head.headers.get("x-aig-tag"),
        retry_count=head.retry_count,
        test_id=head.headers.get("x-test-id"),
    )


def answer(request: Request, behaviour: Behaviour, jobs: Jobs) -> tuple[Answer, Entry]:
    """Return the answer to an image request, and its line of the billing log."""
    ask, entry = request.ask, entry_for(request, behaviour)
    status, problem = request.problem or (behaviour.status or 200, None)
    if status >= 400 or ask is None or behaviour.refusal:
        return _fail(request, entry, behaviour, status, problem)
    if behaviour.job is True or (behaviour.job is None and entry.model == _JOB_MODEL):
        images = ask.images if behaviour.images is None else behaviour.images
        job = jobs.submit(entry.model, ask, images, price_of(entry.model, images, None, behaviour, 100), behaviour)
        text = document({"id": job, "status": "queued", "object": "job"})
        headers = tuple(head_start(entry.gateway, request.request_id))
        return Answer(202, headers, plain(text.encode())), replace(entry, status=202, outcome="pending")
    host = f"http://{request.head.headers.get('host', '127.0.0.1')}"
    reply, done = succeed(ask, entry, behaviour, seed=request.seed, host=host)
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
    if behaviour.charged and request.ask is not None:
        charged = price_of(entry.model, request.ask.images, None, behaviour, 100)
    reply = Answer(status, tuple(headers), plain(text.encode()))
    return reply, replace(entry, status=status, outcome=outcome, charged_nano=charged)
