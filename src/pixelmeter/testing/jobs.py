"""Jobs: what a 202 promises, and the event posted when one has completed. They go on by polls and not by time."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.billing import cents
from pixelmeter.testing.bodies import EMPTY, Answer, document, number, plain
from pixelmeter.testing.requests import ImageRequest
from pixelmeter.testing.responses import head_start

__all__ = ["Job", "Jobs", "cancel", "poll", "post_webhook"]


@dataclass(slots=True)
class Job:
    """A job and how far it has got."""

    id: str
    model: str
    asked: ImageRequest
    images: int
    price: int
    """Nano-dollars to charge when it completes."""
    behaviour: Behaviour
    polls: int = 0
    status: str = "queued"


class Jobs:
    """The jobs of one gateway process."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def submit(self, model: str, asked: ImageRequest, images: int, price: int, behaviour: Behaviour) -> str:
        """Start a job and return its id."""
        identity = f"job_{len(self._jobs) + 1:02d}"
        self._jobs[identity] = Job(identity, model, asked, images, price, behaviour)
        return identity

    def find(self, identity: str) -> Job | None:
        """Return the job of that id."""
        return self._jobs.get(identity)


def cancel(job: Job) -> None:
    """End a job that still runs, uncharged."""
    if job.status in ("queued", "running", "processing"):
        job.status = "cancelled"


def poll(job: Job, base: str, request_id: str) -> tuple[Answer, bool]:
    """Return the answer to a poll, and whether this poll is the one that finds the job completed."""
    job.polls += 1
    behaviour = job.behaviour
    headers = head_start("aigateway", request_id)
    if job.status in ("queued", "running", "processing"):
        if job.polls >= behaviour.job_polls:
            job.status = behaviour.job_end.partition("_")[0]
            return _state(job, base, headers), job.status == "completed"
        if behaviour.job_not_modified and job.polls % 2 == 0:
            return Answer(304, tuple(headers), EMPTY), False
        job.status = behaviour.job_word
    return _state(job, base, headers), False


def _state(job: Job, base: str, headers: list[tuple[str, str]]) -> Answer:
    created = 1
    state: dict[str, object] = {"id": job.id, "status": job.status, "modality": "image", "object": "job"}
    state |= {"created_at": created, "updated_at": created + job.polls}
    if job.status == "completed":
        link = f"{base}/v1/files/jobs/{job.id}/image.png"
        state |= {"model": job.model, "result_url": link, "result": {"file_url": link}}
        if job.behaviour.job_cost_header:
            headers.append(("x-cost-cents", cents(job.price)))
    elif job.status == "failed":
        words = "the provider could not make the image"
        plain_text = job.behaviour.job_end == "failed"
        state["error"] = words if plain_text else {"code": "provider_error", "message": words}
    return Answer(200, tuple(headers), plain(document(state).encode()))


_PATIENCE = 10


async def post_webhook(url: str, job: Job, base: str, secret: str, signature: str) -> int:
    """Post the event and return the status of the answer; raise OSError or TimeoutError when nobody answers.

    `signature` "aig" signs with the two headers of the documentation, "gateway" with the one header of the SDKs; both
    are an HMAC-SHA256 over "TIMESTAMP.BODY".
    """
    now = int(time.time())
    link = f"{base}/v1/files/jobs/{job.id}/image.png"
    data: dict[str, object] = {"job_id": job.id, "model": job.model, "result_url": link}
    data |= {"usage": {"cost_cents": number(cents(job.price))}}
    body = document({"id": f"evt_{job.id}", "type": "job.completed", "created": now, "data": data})
    digest = hmac.new(secret.encode(), f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
    signed = f"aig-timestamp: {now}\r\naig-signature: {digest}"
    if signature == "gateway":
        signed = f"X-Gateway-Signature: t={now},v1={digest}"
    target = urlsplit(url)
    request = (
        f"POST {target.path or '/'} HTTP/1.1\r\nhost: {target.netloc}\r\ncontent-type: application/json\r\n"
        f"{signed}\r\nconnection: close\r\ncontent-length: {len(body.encode())}\r\n\r\n{body}"
    )
    async with asyncio.timeout(_PATIENCE):
        reader, writer = await asyncio.open_connection(target.hostname, target.port or 80)
        try:
            writer.write(request.encode())
            await writer.drain()
            words = (await reader.readline()).split(b" ")
        finally:
            writer.close()
    if len(words) < 2 or not words[1].isdigit():
        raise ConnectionError("the receiver of the webhook did not answer in HTTP")
    return int(words[1])
