"""Jobs: what a 202 promises, going on by the number of polls and not by time."""

from __future__ import annotations

from dataclasses import dataclass

from pixelmeter.testing.asks import Ask
from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.body import EMPTY, Answer, document, plain
from pixelmeter.testing.dialects import head_start
from pixelmeter.testing.tariff import cents

__all__ = ["Job", "Jobs", "cancel", "poll"]


@dataclass(slots=True)
class Job:
    """A job and how far it has got."""

    id: str
    model: str
    ask: Ask
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

    def submit(self, model: str, ask: Ask, images: int, price: int, behaviour: Behaviour) -> str:
        """Start a job and return its id."""
        identity = f"job_{len(self._jobs) + 1:02d}"
        self._jobs[identity] = Job(identity, model, ask, images, price, behaviour)
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
