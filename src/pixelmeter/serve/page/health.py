"""What the page of health shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pixelmeter.core.text import dollars
from pixelmeter.reports.finding import Finding
from pixelmeter.reports.health import Health
from pixelmeter.serve.page.asked import Asked
from pixelmeter.serve.page.calls import time_text

__all__ = ["HealthView", "health_view"]

_ORDER = ("problem", "warning", "ok")


@dataclass(kw_only=True)
class HealthView:
    """The page of health."""

    at: str
    facts: Sequence[str]
    findings: Sequence[Finding]
    """Problems first."""


def health_view(found: Health, asked: Asked) -> HealthView:
    """Return what is shown of what was found."""
    return HealthView(
        at=time_text(found.at, asked.zone),
        facts=list(_facts(found, asked)),
        findings=sorted(found.findings, key=lambda one: _ORDER.index(one.state)),
    )


def _facts(found: Health, asked: Asked) -> Iterator[str]:
    if found.jobs is None:
        yield "The ledger cannot be read: the findings say why."
        return
    if found.latest is None:
        yield "The ledger has no attempt yet."
    else:
        minutes = int((found.at - found.latest).total_seconds()) // 60
        ago = "less than a minute ago" if minutes < 1 else f"{minutes:,} minutes ago"
        yield f"The latest attempt was sent at {time_text(found.latest, asked.zone)}, {ago}."
    jobs = found.jobs
    if jobs.jobs:
        at_risk = "" if jobs.known_at_risk is None else f"; {dollars(jobs.known_at_risk)} are at risk for them"
        unknown = f"; what {jobs.unestimated:,} of them may cost is unknown" if jobs.unestimated else ""
        have = "job has" if jobs.jobs == 1 else "jobs have"
        yield f"{jobs.jobs:,} {have} not ended{at_risk}{unknown}."
    else:
        yield "No job is under way."
