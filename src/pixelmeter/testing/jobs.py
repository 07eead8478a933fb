"""Jobs: what a submit promises, how far each has got, and its bill. They go on by polls, or after a told time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pixelmeter.testing.behaviour import Behaviour
from pixelmeter.testing.billing import Entry
from pixelmeter.testing.requests import Head, ImageRequest

__all__ = ["Job", "JobState", "Jobs"]

JobState = Literal["queued", "running", "completed", "failed", "cancelled", "aborted"]
_OPEN = ("queued", "running")


@dataclass(slots=True, kw_only=True)
class Job:
    """A job, how far it has got, and what it is charged."""

    id: str
    vendor: str
    """aigateway, fal, replicate or black-forest-labs."""
    app: str
    """The path of the submit, without the slash before it."""
    asked: ImageRequest
    images: int
    """How many it delivers when it completes."""
    price: int
    """Nano-dollars that it costs when it completes."""
    units: str
    """How many units of the model's price that is."""
    base: str
    """The URL under which it was asked for."""
    behaviour: Behaviour
    submit: Entry
    """The line of the bill of the attempt that submitted it."""
    state: JobState = "queued"
    polls: int = 0
    began: bool = False
    charged: int = 0
    """Nano-dollars on the bill, whichever line has them."""

    @property
    def model(self) -> str:
        """The model that runs."""
        return self.submit.model

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in _OPEN

    @property
    def links(self) -> list[str]:
        """URLs of its images."""
        if self.vendor == "aigateway":
            return [f"{self.base}/v1/files/jobs/{self.id}/image.png"]
        return [f"{self.base}/v1/files/{self.asked.size}/{self.id}-{index}.png" for index in range(self.images)]

    def facts(self) -> dict[str, object]:
        """Return what a test compares with a ledger."""
        return {
            "job": self.id,
            "gateway": self.vendor,
            "model": self.model,
            "state": self.state,
            "images": self.images if self.state == "completed" else 0,
            "charged_nano": self.charged,
            "polls": self.polls,
            "submit": self.submit.request_id,
            "tag": self.submit.tag,
            "test_id": self.submit.test_id,
        }


class Jobs:
    """The jobs of one gateway process. `ended` is told of each once, with its line of the bill where it is charged."""

    def __init__(self, seed: int, ended: Callable[[Job, Entry | None], None]) -> None:
        self._seed = seed
        self._ended = ended
        self._jobs: dict[str, Job] = {}

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def new_id(self, vendor: str) -> str:
        """Return the id of the next job of a vendor."""
        number = len(self._jobs) + 1
        if vendor == "aigateway":
            return f"job_{number:02d}"
        if vendor == "replicate":
            return f"rp{self._seed:04x}{number:08x}"
        return str(uuid.UUID(int=(self._seed << 64) + number, version=4))

    def add(self, job: Job) -> None:
        """Take a job that was submitted."""
        self._jobs[job.id] = job
        if job.vendor == "black-forest-labs":
            # The submit has charged it.
            job.charged = job.submit.charged_nano

    def find(self, identity: str, vendor: str | None = None) -> Job | None:
        """Return the job of that id."""
        job = self._jobs.get(identity)
        return job if job is None or vendor in (None, job.vendor) else None

    def latest(self, vendor: str) -> Job | None:
        """Return the job of a vendor that was submitted last."""
        return next((job for job in reversed(self._jobs.values()) if job.vendor == vendor), None)

    def poll(self, job: Job, head: Head, request_id: str) -> None:
        """Let a job go on by one poll."""
        job.polls += 1
        if not job.is_open:
            return
        if job.behaviour.job_end != "never" and job.polls >= job.behaviour.job_polls:
            self.end(job, head, request_id)
        else:
            job.state, job.began = "running", True

    def cancel(self, job: Job) -> None:
        """Take a cancellation."""
        if job.is_open and job.behaviour.job_cancel == "stops":
            self._close(job, "cancelled", None, None)

    def end(self, job: Job, head: Head | None = None, request_id: str | None = None) -> bool:
        """End a job as it was told to; return False where it never ends. One that has ended stays as it is."""
        if not job.is_open:
            return True
        end = job.behaviour.job_end
        if end == "never":
            return False
        state: JobState = "failed" if end == "failed_object" else end
        job.began = job.began or state != "aborted"
        self._close(job, state, head, request_id)
        return True

    def end_at_once(self, job: Job) -> Entry | None:
        """End a job within the request that submits it; return what the bill is to say of its end."""
        end = job.behaviour.job_end
        job.state = "completed" if end == "never" else "failed" if end == "failed_object" else end
        job.began = job.state != "aborted"
        entry = self._line(job, None, None)
        job.charged = entry.charged_nano if entry is not None else 0
        return entry

    def _close(self, job: Job, state: JobState, head: Head | None, request_id: str | None) -> None:
        job.state = state
        entry = self._line(job, head, request_id)
        if entry is not None:
            job.charged = entry.charged_nano
        self._ended(job, entry)

    def _line(self, job: Job, head: Head | None, request_id: str | None) -> Entry | None:
        if job.vendor == "black-forest-labs":
            return None
        completed = job.state == "completed"
        # Replicate charges for what has begun, whether it fails or not.
        fair = completed or (job.vendor == "replicate" and job.began)
        charged = fair if job.behaviour.charged is None else job.behaviour.charged
        if not charged and not completed:
            return None
        submit = job.submit
        return Entry(
            request_id=request_id or submit.request_id,
            received_at=head.received_at if head is not None else time.time_ns() // 1000,
            method=head.method if head is not None else "",
            path=head.path if head is not None else "",
            gateway=job.vendor,
            operation="job",
            model=job.model,
            images=job.images if completed else 0,
            input_images=job.asked.input_images,
            status=200 if head is not None else None,
            charged_nano=job.price if charged else 0,
            outcome="success" if completed else "error",
            tag=submit.tag,
            retry_count=head.retry_count if head is not None else 0,
            test_id=submit.test_id,
            job=job.id,
            submit=submit.request_id,
        )
