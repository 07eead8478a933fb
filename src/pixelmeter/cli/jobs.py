"""`pixelmeter jobs`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from pixelmeter.cli.options import database_url_option, format_option
from pixelmeter.core.reporting.periods import moment_of, utc_text
from pixelmeter.core.text import dollars, exact_usd

if TYPE_CHECKING:
    from pixelmeter.core.attempts.jobs import Job
    from pixelmeter.reports.jobs import OpenJob, Pending

__all__ = ["command"]

_COLUMNS = (
    "gateway", "job_id", "model", "submitted_at", "age_seconds", "at_risk_usd", "attempt_id", "ended_at", "outcome",
    "source",
)  # fmt: skip
_OF_OPEN = ("submitted_at", "age", "at_risk", "model", "gateway", "job_id", "attempt_id")
_OF_ENDS = ("ended_at", "outcome", "source", "gateway", "job_id")
_NAMES = ("model", "gateway", "job_id", "attempt_id")
_DROP = ("attempt_id", "gateway")
_SHOWN = 50
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@click.command
@click.option("--all", "shows_all", is_flag=True, help=f"List all jobs, not only the {_SHOWN} oldest.")
@format_option
@database_url_option
def command(shows_all: bool, format: str, database_url: str) -> None:
    """List the jobs whose end is not known yet, oldest first.

    What a job may cost is at risk until its end is known. A second list has ends of jobs whose start is not in the
    ledger: it may still arrive, or a program without pixelmeter started the job.
    """
    from pixelmeter.cli.output import emit, emit_json, warn
    from pixelmeter.reports.jobs import pending
    from pixelmeter.reports.opening import open_ledger

    with open_ledger(database_url, warn) as reader:
        found = pending(reader, limit=None if shows_all else _SHOWN)
    now = datetime.now(UTC)
    jobs, ends = [_listed(one, now) for one in found.jobs], [_listed_end(job) for job in found.ends]
    if format == "json":
        total = found.total
        at_risk = total.known_at_risk
        emit_json(
            {
                "jobs": [{name: row[name] for name in _COLUMNS[:7]} for row in jobs],
                "open": total.jobs,
                "at_risk_usd": None if at_risk is None else exact_usd(at_risk),
                "unestimated": total.unestimated,
                "ends_without_submit": [
                    {name: row[name] for name in ("gateway", "job_id", *_COLUMNS[7:])} for row in ends
                ],
            }
        )
    elif format == "csv":
        emit([*jobs, *ends], _COLUMNS, format)
    else:
        _print(found, jobs, ends)


def _print(found: Pending, jobs: Sequence[dict[str, Any]], ends: Sequence[dict[str, Any]]) -> None:
    from pixelmeter.cli.output import emit, say

    if jobs:
        rows = [row | _cells(one, row) for one, row in zip(found.jobs, jobs, strict=True)]
        emit(rows, _OF_OPEN, "table", right=("age", "at_risk"), names=_NAMES, drop=_DROP)
        click.echo()
    say(_said(found))
    if ends:
        click.echo()
        say("Ends without a submit:")
        rows = [row | {"ended_at": _second(row["ended_at"])} for row in ends]
        emit(rows, _OF_ENDS, "table", names=_NAMES)


def _said(found: Pending) -> str:
    jobs, unestimated, at_risk = found.total.jobs, found.total.unestimated, found.total.known_at_risk
    if not jobs:
        return "No job is open."
    said = "1 job is open" if jobs == 1 else f"{jobs:,} jobs are open"
    if at_risk is not None:
        said += f", {dollars(at_risk)} at risk"
    if unestimated:
        said += f"; what {unestimated:,} of them may cost is unknown"
    if jobs > len(found.jobs):
        said += f"; these are the {len(found.jobs)} oldest, --all shows them all"
    return f"{said}."


def _listed(one: OpenJob, now: datetime) -> dict[str, Any]:
    job, attempt = one
    submitted = None if job.submitted_at is None else moment_of(job.submitted_at)
    at_risk = attempt.at_risk if attempt else None
    return {
        **dict.fromkeys(_COLUMNS),
        "gateway": job.gateway,
        "job_id": job.job_id,
        "model": attempt.model if attempt else None,
        "submitted_at": submitted and utc_text(submitted),
        "age_seconds": submitted and max((now - submitted) // timedelta(seconds=1), 0),
        "at_risk_usd": None if at_risk is None else exact_usd(at_risk),
        "attempt_id": job.attempt_id,
    }


def _listed_end(job: Job) -> dict[str, Any]:
    return {
        **dict.fromkeys(_COLUMNS),
        "gateway": job.gateway,
        "job_id": job.job_id,
        "ended_at": None if job.ended_at is None else utc_text(moment_of(job.ended_at)),
        "outcome": job.outcome,
        "source": job.end and job.end.source,
    }


def _cells(one: OpenJob, row: dict[str, Any]) -> dict[str, str]:
    attempt = one.attempt
    at_risk = "unknown"
    if attempt is not None and attempt.at_risk is not None:
        at_risk = dollars(attempt.at_risk)
    elif attempt is not None and attempt.cost is not None:
        at_risk = ""
    return {"submitted_at": _second(row["submitted_at"]), "age": _age(row["age_seconds"]), "at_risk": at_risk}


def _second(text: str | None) -> str:
    return "" if text is None else text[:19].replace("T", " ")


def _age(seconds: int | None) -> str:
    if seconds is None:
        return ""
    size, unit = next((one for one in _UNITS if seconds >= 2 * one[0]), _UNITS[-1])
    return f"{seconds // size} {unit}"
