"""What happens to attempts that are in the ledger: their jobs end, and they are adjusted. The same for each database.

A writer asks here, in the middle of its transaction and with all others kept out, which rows come of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec

from pixelmeter._version import __version__
from pixelmeter.core.attempts.adjustment import FIELDS, Adjustment, AdjustmentKind, Change, change_of
from pixelmeter.core.attempts.jobs import Job, JobEnd, JobKey, Settler, expired, key_of, repeated
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.reporting.periods import microseconds_of, moment_of
from pixelmeter.gateways import load_profiles
from pixelmeter.ledger.attempts import attempts_of
from pixelmeter.ledger.reader import LedgerReader
from pixelmeter.ledger.retention import horizon
from pixelmeter.prices import book_of

__all__ = [
    "JOB_COLUMNS",
    "Author",
    "Authors",
    "Brought",
    "Changed",
    "Corrected",
    "OpenJobs",
    "adjust",
    "bring_to_end",
    "bundled_settler",
    "expiring",
    "has_job",
    "history",
    "job_row",
    "jobs_of",
    "open_jobs",
    "open_jobs_by_gateway",
    "unknown_jobs",
]

JOB_COLUMNS = ("job_id", "gateway", "attempt_id", "submitted_at", "ended_at", "outcome", "heard")
"""The columns of a job's row, in order."""

_AT_ONCE = 400
_SHORTEST_AGE = 3_600_000_000
_JOB = f"SELECT {', '.join(JOB_COLUMNS)} FROM pixelmeter_jobs"
# What a correction settles, so that no later end of a job changes it.
_MONEY = (
    "billing", "cost", "cost_source", "cost_reason", "reported_cost", "token_cost", "image_cost", "reported_text",
    "price_id", "at_risk", "fee", "priced_parts",
)  # fmt: skip
_IDENTITY = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CORRECTIONS: tuple[AdjustmentKind, ...] = ("reconciled", "manual")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(JobEnd).decode


class Brought(NamedTuple):
    """What ends of jobs bring: jobs as they are now, and changes of the attempts that submitted them."""

    jobs: Sequence[Job]
    changes: Sequence[Change]


class Author(NamedTuple):
    """Who adjusts, when and why."""

    kind: AdjustmentKind
    source: str
    made_at: int
    """Unix time in microseconds."""
    version: str
    made_by: str | None = None
    why: str | None = None


Authors = Author | Callable[[Attempt], Author]
"""Who adjusts: the same for all attempts, or told for each as it is now."""


class OpenJobs(NamedTuple):
    """The jobs of a gateway that have not ended."""

    gateway: str
    jobs: int
    since: int
    """When the oldest of them was submitted: Unix time in microseconds."""


Changed = Callable[[Sequence[Change]], None]
"""Takes changes of attempts that have just been committed."""

Corrected = Callable[[Attempt], Attempt | None]
"""Returns what an attempt should be, or None where it stays."""


class _State(NamedTuple):
    attempt: Attempt
    """As it was written."""
    adjustments: Sequence[Adjustment]

    @property
    def now(self) -> Attempt:
        return self.adjustments[-1].laid_over(self.attempt) if self.adjustments else self.attempt

    @property
    def is_corrected(self) -> bool:
        return any(one.kind in _CORRECTIONS for one in self.adjustments)

    @property
    def is_repriced(self) -> bool:
        return any(one.kind == "repriced" for one in self.adjustments)


@cache
def bundled_settler() -> Settler:
    """Return what tells the cost of a job that has ended, by bundled profiles and prices."""
    return Settler(load_profiles({}), book_of(None))


def bring_to_end(
    reader: LedgerReader, settler: Settler, submitted: Iterable[Attempt], ends: Sequence[JobEnd]
) -> Brought:
    """Return what comes of attempts that have just been inserted and of ends that have just been heard of.

    Each may come before the other, and any of them twice.
    """
    attempts = list(submitted)
    pending = [(key, attempt) for attempt in attempts if (key := key_of(attempt)) is not None]
    at_once = {(attempt.gateway, attempt.job_id) for attempt in attempts if attempt.job_id and _is_paid(attempt)}
    keys = dict.fromkeys([*(key for key, _ in pending), *(end.key for end in ends)])
    jobs = jobs_of(reader, [*keys, *at_once])
    for key in keys:
        jobs.setdefault(key, Job.of(key))
    for key, attempt in sorted(pending, key=lambda one: (one[1].started_at, one[1].id)):
        jobs[key].submit(attempt)
    news = {end.key for end in ends if jobs[end.key].hear(end)}
    news |= {key for key in (*(key for key, _ in pending), *at_once) if key in jobs and jobs[key].end is not None}
    submits = _submits(reader, news)
    states = _states(reader, {one for found in submits.values() for one in found})
    changes: list[Change] = []
    for key in news:
        job = jobs[key]
        changes += _changes(
            job, sorted((states[one] for one in submits.get(key, ()) if one in states), key=_age), settler
        )
    return Brought(list(jobs.values()), changes)


def has_job(attempt: Attempt) -> bool:
    """Return whether an attempt says something of a job: it has submitted it, or paid for what it was answered with."""
    return attempt.outcome == "pending" or (attempt.job_id is not None and _is_paid(attempt))


def _is_paid(attempt: Attempt) -> bool:
    return attempt.outcome != "pending" and attempt.billing == "billed"


def _age(state: _State) -> tuple[int, str]:
    return state.attempt.started_at, state.attempt.id


def _changes(job: Job, submits: Sequence[_State], settler: Settler) -> Iterable[Change]:
    """Yield what the end of a job changes of the attempts that were answered with it."""
    end = job.end
    if end is None or not submits:
        return
    if job.attempt_id is None:
        # It was answered at once with all there is, and its end is told all the same.
        job.submit(submits[0].attempt)
    is_paid = any(_is_paid(state.attempt) for state in submits)
    for state in submits:
        if state.attempt.outcome != "pending":
            continue
        is_first = state.attempt.id == job.attempt_id and not is_paid
        after = settler.ended(state.attempt, end) if is_first else repeated(state.attempt, end)
        now = state.now
        if state.is_corrected or (state.is_repriced and after.cost is None and now.cost is not None):
            # A price that was found later may be one that the book at hand lacks.
            after = msgspec.structs.replace(after, **{name: getattr(now, name) for name in _MONEY})
        if after != now:
            yield change_of(
                now,
                after,
                number=len(state.adjustments) + 1,
                kind="job",
                made_at=end.heard_at,
                source=end.source,
                version=end.version,
                job_duration=max((job.ended_at or end.heard_at) - state.attempt.started_at, 0) if is_first else None,
            )


def adjust(reader: LedgerReader, ids: Iterable[str], corrected: Corrected, author: Authors) -> Sequence[Change]:
    """Return the changes of attempts by what is said of each of them as it is now."""
    changes: list[Change] = []
    for state in _states(reader, ids).values():
        now = state.now
        after = corrected(now)
        if after is not None and after != now:
            by = author if isinstance(author, Author) else author(now)
            changes.append(change_of(now, after, number=len(state.adjustments) + 1, **by._asdict()))
    return changes


def history(reader: LedgerReader, ids: Iterable[str]) -> dict[str, list[Adjustment]]:
    """Return the adjustments of attempts, oldest first; attempts without any are left out."""
    found: dict[str, list[Adjustment]] = {}
    for some in _parts(ids):
        statement = (
            f"SELECT {', '.join(FIELDS)} FROM pixelmeter_adjustments"
            f" WHERE attempt_id IN ({', '.join('?' * len(some))}) ORDER BY attempt_id, number"
        )
        for row in reader.rows(statement, some):
            fields = dict(zip(FIELDS, row, strict=True))
            fields["attempt_id"] = str(fields["attempt_id"])
            fields["made_at"] = reader.dialect.microseconds(fields["made_at"])
            found.setdefault(fields["attempt_id"], []).append(Adjustment(**fields))
    return found


def open_jobs(reader: LedgerReader, *, before: int | None = None, limit: int | None = None) -> list[Job]:
    """Return the jobs that have not ended, oldest first; `before` (Unix microseconds) leaves out younger ones."""
    when = "" if before is None else " AND submitted_at < ?"
    parameters: list[object] = [] if before is None else [reader.dialect.moment(moment_of(before))]
    return _read(reader, f"{_JOB} WHERE ended_at IS NULL{when} ORDER BY submitted_at", parameters, limit)


def expiring(reader: LedgerReader, settler: Settler, at: int, limit: int) -> list[JobEnd]:
    """Return the ends of jobs that are too old at this Unix time in microseconds, the oldest first."""
    found = open_jobs(reader, before=at - _SHORTEST_AGE, limit=limit)
    ages = {gateway: settler.max_age(gateway) for gateway in {job.gateway for job in found}}
    return [
        expired(job, at=at, id=job.attempt_id, version=__version__)
        for job in found
        if job.attempt_id and job.submitted_at is not None and at - job.submitted_at > ages[job.gateway]
    ]


def open_jobs_by_gateway(reader: LedgerReader) -> list[OpenJobs]:
    """Return how many jobs of each gateway have not ended and since when, the gateway with the oldest one first."""
    statement = (
        "SELECT gateway, count(*), min(submitted_at) FROM pixelmeter_jobs WHERE ended_at IS NULL"
        " GROUP BY gateway ORDER BY 3, 1"
    )
    found = reader.rows(statement)
    return [OpenJobs(gateway, jobs, reader.dialect.microseconds(since)) for gateway, jobs, since in found]


def unknown_jobs(reader: LedgerReader, *, limit: int | None = None) -> list[Job]:
    """Return the jobs of which only the end is known, oldest first.

    Those that were answered at once with all there is are known: their attempts have the id.
    """
    known = "SELECT 1 FROM pixelmeter_attempts AS a WHERE a.job_id = j.job_id AND a.gateway = j.gateway"
    condition = f"attempt_id IS NULL AND NOT EXISTS ({known})"
    return _read(reader, f"{_JOB} AS j WHERE {condition} ORDER BY ended_at", [], limit)


def job_row(job: Job) -> tuple[Any, ...]:
    """Return the values of JOB_COLUMNS, times as they are in a `Job`."""
    heard = None if job.end is None else _encode(job.end).decode()
    return (job.job_id, job.gateway, job.attempt_id, job.submitted_at, job.ended_at, job.outcome, heard)


def jobs_of(reader: LedgerReader, keys: Iterable[JobKey]) -> dict[JobKey, Job]:
    """Return the jobs with these keys, as far as anything is known of them."""
    wanted = set(keys)
    found: dict[JobKey, Job] = {}
    for some in _parts(job_id for _, job_id in wanted):
        statement = f"{_JOB} WHERE job_id IN ({', '.join('?' * len(some))})"
        found |= {job.key: job for job in _read(reader, statement, some, None) if job.key in wanted}
    return found


def _submits(reader: LedgerReader, keys: Iterable[JobKey]) -> dict[JobKey, list[str]]:
    """Return the attempts that were answered with each job."""
    wanted = set(keys)
    found: dict[JobKey, list[str]] = {}
    for some in _parts(job_id for _, job_id in wanted):
        marks = ", ".join("?" * len(some))
        statement = f"SELECT gateway, job_id, id FROM pixelmeter_attempts WHERE job_id IN ({marks})"
        for gateway, job_id, identity in reader.rows(statement, some):
            if (gateway, job_id) in wanted:
                found.setdefault((gateway, job_id), []).append(str(identity))
    # What has no id of its gateway goes by that of its attempt.
    unnamed = [key for key in wanted - found.keys() if _IDENTITY.fullmatch(key[1])]
    for attempt in attempts_of(reader, {identity for _, identity in unnamed}):
        key = attempt.gateway, attempt.id
        if attempt.job_id is None and key in unnamed:
            found[key] = [attempt.id]
    return found


def _states(reader: LedgerReader, ids: Iterable[str]) -> dict[str, _State]:
    """Return the attempts with these ids; those that are about to be pruned are gone already, as their adjustments."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    known, since = history(reader, wanted), horizon(reader)
    pruned = 0 if since is None else microseconds_of(since)
    found = [one for one in attempts_of(reader, wanted) if one.started_at >= pruned]
    return {one.id: _State(one, known.get(one.id, ())) for one in found}


def _read(reader: LedgerReader, statement: str, parameters: Sequence[object], limit: int | None) -> list[Job]:
    if limit is not None:
        statement, parameters = f"{statement} LIMIT ?", [*parameters, limit]
    return [_job(row, reader) for row in reader.rows(statement, parameters)]


def _job(row: Sequence[Any], reader: LedgerReader) -> Job:
    fields = dict(zip(JOB_COLUMNS, row, strict=True))
    heard = fields.pop("heard")
    for name in ("submitted_at", "ended_at"):
        if fields[name] is not None:
            fields[name] = reader.dialect.microseconds(fields[name])
    if fields["attempt_id"] is not None:
        fields["attempt_id"] = str(fields["attempt_id"])
    return Job(**fields, end=None if heard is None else _decode(heard))


def _parts(texts: Iterable[str]) -> Iterable[Sequence[str]]:
    every = sorted(set(texts))
    return [every[start : start + _AT_ONCE] for start in range(0, len(every), _AT_ONCE)]
