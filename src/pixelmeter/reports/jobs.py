"""Jobs that have not ended, and ends whose submit nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pixelmeter.core.attempts.jobs import Job
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.ledger.adjusting import open_jobs, unknown_jobs
from pixelmeter.ledger.attempts import adjusted_attempts_of
from pixelmeter.ledger.jobs import JobSums, sum_of_open_jobs
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["OpenJob", "Pending", "pending"]


class OpenJob(NamedTuple):
    """A job that has not ended, and the attempt that submitted it."""

    job: Job
    attempt: Attempt | None


class Pending(NamedTuple):
    """What the ledger waits for."""

    jobs: Sequence[OpenJob]
    """The oldest first."""
    total: JobSums
    """Of all that are open, those that are not among `jobs` too."""
    ends: Sequence[Job]
    """Jobs of which only the end is known, the oldest first."""


def pending(reader: LedgerReader, *, limit: int | None) -> Pending:
    """Return the oldest jobs that have not ended and the oldest ends without a submit, at most so many of each."""
    jobs = open_jobs(reader, limit=limit)
    known = {one.id: one for one in adjusted_attempts_of(reader, {job.attempt_id for job in jobs if job.attempt_id})}
    return Pending(
        [OpenJob(job, known.get(job.attempt_id or "")) for job in jobs],
        sum_of_open_jobs(reader),
        unknown_jobs(reader, limit=limit),
    )
