"""What each gateway says of a job: at its submit, at a poll, with its result, at a cancellation, and in a webhook."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pixelmeter.testing.billing import cents
from pixelmeter.testing.bodies import EMPTY, Answer, document, number, plain
from pixelmeter.testing.jobs import Job
from pixelmeter.testing.responses import failure_text, head_start
from pixelmeter.testing.webhooks import STANDARD_SECRET, Event

__all__ = ["direct_answer", "events_of", "follow_answer", "missing_answer", "submit_answer", "version_text"]

_Document = dict[str, Any]
_Headers = list[tuple[str, str]]
_Said = tuple[int, _Headers, _Document]
"""A status, headers beyond those of every answer, and a body."""

_BROKEN = "the provider could not make the image"
_CREATED = 1
_MEGAPIXEL = 1_000_000


def submit_answer(job: Job) -> Answer:
    """Return the answer to the request that submitted a job, as the job is by now."""
    return _answer(job.submit.gateway, job.submit.request_id, _APIS[job.vendor].submit(job))


def follow_answer(job: Job, what: str, *, late: bool, request_id: str) -> Answer:
    """Return the answer to a request about a job: status, result or cancel. `late`: it had ended before."""
    api = _APIS[job.vendor]
    if what == "status" and job.is_open and job.behaviour.job_not_modified and job.polls % 2 == 0:
        # As AIgateway does for polls that come too fast.
        return Answer(304, tuple(head_start(job.vendor, request_id)), EMPTY)
    match what:
        case "cancel":
            said = api.cancelled(job, late)
        case "result":
            said = api.result(job)
        case _:
            said = api.status(job)
    return _answer(job.vendor, job.id if job.vendor == "fal" else request_id, said)


def missing_answer(vendor: str, identity: str, request_id: str) -> Answer:
    """Return the answer to a request about a job that does not exist."""
    headers = tuple(head_start(vendor, request_id))
    if vendor == "black-forest-labs":
        text = document({"id": identity, "status": "Task not found", "result": None})
    else:
        text = failure_text(vendor, 404, "not_found")
    return Answer(404, headers, plain(text.encode()))


def direct_answer(job: Job, request_id: str) -> Answer:
    """Return fal's answer to a request that waits for its images; the job is no job that anybody can ask for."""
    return _answer("fal", request_id, _fal_result(job))


def events_of(job: Job, url: str, *, secret: str | None = None, signature: str | None = None) -> list[Event]:
    """Return the events of a job that has ended, in order, each as its gateway says it."""
    behaviour = job.behaviour
    usual = {"aigateway": "", "replicate": STANDARD_SECRET}.get(job.vendor, "")
    told = job.asked.webhook_secret if behaviour.webhook_secret is None else behaviour.webhook_secret
    chosen: Any = signature or behaviour.webhook_signature
    return [
        Event(
            id=f"evt_{job.id}" if kind in ("completed", "failed", "cancelled", "aborted") else f"evt_{job.id}_{kind}",
            vendor=job.vendor,
            job=job.id,
            kind=kind,
            url=url,
            body=document(body),
            secret=secret or told or usual,
            signature=chosen,
            age=behaviour.webhook_age,
        )
        for kind, body in _APIS[job.vendor].events(job)
    ]


def version_text(model: str, version: str) -> str:
    """Return the JSON of a version of one of Replicate's models: its output is a list of links."""
    items = {"type": "array", "items": {"type": "string", "format": "uri"}}
    schema = {"components": {"schemas": {"Output": items}}}
    return document(
        {"id": version, "model": model, "created_at": _iso(), "cog_version": "0.16.8", "openapi_schema": schema}
    )


def _answer(vendor: str, request_id: str, said: _Said) -> Answer:
    status, headers, body = said
    return Answer(status, (*head_start(vendor, request_id), *headers), plain(document(body).encode()))


def _iso() -> str:
    return "2026-11-26T12:00:00.000000Z"


def _aigateway_submit(job: Job) -> _Said:
    return 202, [], {"id": job.id, "status": "queued", "object": "job"}


def _aigateway_status(job: Job) -> _Said:
    headers: _Headers = []
    state: _Document = {"id": job.id, "status": job.state, "modality": "image", "object": "job"}
    state |= {"created_at": _CREATED, "updated_at": _CREATED + job.polls}
    if job.state == "running":
        state["status"] = job.behaviour.job_word
    elif job.state == "completed":
        [link] = job.links
        state |= {"model": job.model, "result_url": link, "result": {"file_url": link}}
        if job.behaviour.job_cost_header:
            headers.append(("x-cost-cents", cents(job.charged)))
    elif job.state in ("failed", "aborted"):
        as_text = job.behaviour.job_end != "failed_object"
        state |= {"status": "failed", "error": _BROKEN if as_text else {"code": "provider_error", "message": _BROKEN}}
    return 200, headers, state


def _aigateway_events(job: Job) -> list[tuple[str, _Document]]:
    kind = "failed" if job.state == "aborted" else job.state
    data: _Document = {"job_id": job.id, "model": job.model}
    if job.state == "completed":
        data |= {"result_url": job.links[0], "usage": {"cost_cents": number(cents(job.charged))}}
    elif kind == "failed":
        data["error"] = _BROKEN
    return [(kind, {"id": f"evt_{job.id}", "type": f"job.{kind}", "created": int(time.time()), "data": data})]


_FAL_ERRORS = {
    "failed": (500, "Internal Server Error", "internal_error"),
    "aborted": (504, "the request waited too long for a runner", "request_timeout"),
    "cancelled": (499, "the request was cancelled by its client", "client_cancelled"),
}


def _fal_queue(job: Job) -> _Document:
    owner, alias, *_ = job.app.split("/")
    response = f"{job.base}/{owner}/{alias}/requests/{job.id}"
    return {
        "request_id": job.id,
        "response_url": response,
        "status_url": f"{response}/status",
        "cancel_url": f"{response}/cancel",
    }


def _fal_submit(job: Job) -> _Said:
    return 200, [], {"status": "IN_QUEUE"} | _fal_queue(job) | {"queue_position": 0}


def _fal_status(job: Job) -> _Said:
    common = _fal_queue(job) | {"logs": None}
    if job.state == "queued":
        return 202, [], {"status": "IN_QUEUE", "queue_position": 0} | common
    if job.state == "running":
        return 202, [], {"status": "IN_PROGRESS"} | common
    done = {"status": "COMPLETED", "metrics": {"inference_time": 0.7}} | common
    if job.state != "completed":
        _, detail, kind = _fal_error(job)
        done |= {"error": detail if isinstance(detail, str) else "the request is not valid", "error_type": kind}
    return 200, [], done


def _fal_error(job: Job) -> tuple[int, Any, str]:
    if job.state == "failed" and job.behaviour.job_end == "failed_object":
        place = {"loc": ["body", "prompt"], "msg": "the prompt was flagged", "type": "content_policy_violation"}
        return 422, [place], "content_policy_violation"
    return _FAL_ERRORS[job.state]


def _fal_result(job: Job) -> _Said:
    if job.is_open:
        return 400, [], {"detail": "Request is still in progress"}
    if job.state != "completed":
        status, detail, kind = _fal_error(job)
        return status, [("x-fal-error-type", kind)], {"detail": detail, "error_type": kind}
    return 200, [("x-fal-billable-units", job.units)], _fal_images(job)


def _fal_images(job: Job) -> _Document:
    asked = job.asked
    size = {"width": asked.width, "height": asked.height, "content_type": "image/png"}
    images = [{"url": link} | size for link in job.links]
    return {"images": images, "seed": 1, "has_nsfw_concepts": [False] * job.images, "prompt": asked.prompt}


def _fal_cancelled(job: Job, late: bool) -> _Said:
    if late:
        return 400, [], {"status": "ALREADY_COMPLETED"}
    if job.state == "cancelled" and not job.began:
        return 200, [], {"status": "OK"}
    return 202, [], {"status": "CANCELLATION_REQUESTED"}


def _fal_events(job: Job) -> list[tuple[str, _Document]]:
    common = {"request_id": job.id, "gateway_request_id": job.id}
    if job.state == "completed":
        return [(job.state, common | {"status": "OK", "payload": _fal_images(job)})]
    status, detail, _ = _fal_error(job)
    error = {"status": "ERROR", "error": f"Invalid status code: {status}", "payload": {"detail": detail}}
    return [(job.state, common | error)]


_REPLICATE = {"queued": "starting", "running": "processing", "completed": "succeeded", "cancelled": "canceled"}


def _prediction(job: Job, state: str | None = None) -> _Document:
    url = f"{job.base}/v1/predictions/{job.id}"
    state = state or job.state
    done = state == "completed"
    body: _Document = {
        "id": job.id,
        "model": job.model,
        "version": "hidden",
        "input": {"prompt": job.asked.prompt, "num_outputs": job.asked.images},
        "logs": "",
        "output": job.links if done else None,
        "data_removed": False,
        "error": _BROKEN if state == "failed" else None,
        "source": "api",
        "status": _REPLICATE.get(state, state),
        "created_at": _iso(),
        "urls": {"get": url, "cancel": f"{url}/cancel", "web": f"{job.base}/p/{job.id}"},
    }
    if state not in ("queued", "running"):
        body |= {"started_at": _iso(), "completed_at": _iso()}
        metrics: _Document = {"predict_time": 0.7, "total_time": 0.8}
        body["metrics"] = metrics | {"image_count": job.images} if done else metrics
    return body


def _replicate_submit(job: Job) -> _Said:
    return 201, [], _prediction(job)


def _replicate_status(job: Job) -> _Said:
    return 200, [], _prediction(job)


def _replicate_events(job: Job) -> list[tuple[str, _Document]]:
    wanted = job.asked.webhook_events or ("output", "completed")
    told: list[tuple[str, _Document]] = [("start", _prediction(job, "running"))]
    if job.state == "completed":
        told.append(("output", _prediction(job, "running") | {"output": job.links}))
    told.append(("completed", _prediction(job)))
    return [event for event in told if event[0] in wanted]


def _bfl_submit(job: Job) -> _Said:
    # Megapixels to two digits.
    pixels = job.asked.width * job.asked.height * 100 // _MEGAPIXEL / 100
    stated = {"cost": number(cents(job.charged)), "input_mp": float(job.asked.input_images), "output_mp": pixels}
    return 200, [], {"id": job.id, "polling_url": f"{job.base}/v1/get_result?id={job.id}"} | stated


def _bfl_status(job: Job) -> _Said:
    return 200, [], _bfl_result(job)


def _bfl_result(job: Job) -> _Document:
    body: _Document = {"id": job.id, "status": "Pending", "result": None, "progress": None, "details": None}
    if job.state == "completed":
        body |= {"status": "Ready", "result": {"sample": job.links[0], "prompt": job.asked.prompt, "seed": 1}}
    elif not job.is_open:
        body["status"] = "Content Moderated" if job.behaviour.job_end == "failed_object" else "Error"
    return body


def _bfl_events(job: Job) -> list[tuple[str, _Document]]:
    return [(job.state, _bfl_result(job))]


@dataclass(frozen=True, slots=True)
class _Api:
    submit: Callable[[Job], _Said]
    status: Callable[[Job], _Said]
    result: Callable[[Job], _Said]
    cancelled: Callable[[Job, bool], _Said]
    """Told whether the job had ended before."""
    events: Callable[[Job], list[tuple[str, _Document]]]


def _same(status: Callable[[Job], _Said]) -> Callable[[Job, bool], _Said]:
    """Return what answers a cancellation as it does a poll."""
    return lambda job, late: status(job)


_APIS = {
    "aigateway": _Api(
        _aigateway_submit, _aigateway_status, _aigateway_status, _same(_aigateway_status), _aigateway_events
    ),
    "fal": _Api(_fal_submit, _fal_status, _fal_result, _fal_cancelled, _fal_events),
    "replicate": _Api(
        _replicate_submit, _replicate_status, _replicate_status, _same(_replicate_status), _replicate_events
    ),
    "black-forest-labs": _Api(_bfl_submit, _bfl_status, _bfl_status, _same(_bfl_status), _bfl_events),
}
