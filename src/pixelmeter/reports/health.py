"""How the way from calls to the ledger is doing: what `pixelmeter doctor` knows, and how fresh the ledger is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from pixelmeter.core.ports import Clock
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import PixelmeterError
from pixelmeter.ledger.jobs import JobSums, sum_of_open_jobs
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.sums import last_attempt
from pixelmeter.reports.doctor import examine
from pixelmeter.reports.finding import Finding

__all__ = ["Health", "HealthCheck"]

_FRESH = 10_000_000
# A ledger of any size must not keep whoever looks at a page.
_CHECK_SECONDS = 0.5


class Health(NamedTuple):
    """What was found, and when."""

    findings: Sequence[Finding]
    latest: datetime | None
    """When the latest attempt of the ledger was sent; None without one, and where it cannot be read."""
    jobs: JobSums | None
    """Jobs that have not ended; None where the ledger cannot be read."""
    at: datetime


class HealthCheck:
    """Looks once for all who ask within ten seconds."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._url = url
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Health | None = None
        self._found_at = 0

    def __call__(self) -> Health:
        """Return what is found; it takes as long as the database does."""
        with self._lock:
            now = self._clock.monotonic()
            if self._found is None or now - self._found_at >= _FRESH:
                self._found, self._found_at = self._look(), now
            return self._found

    def _look(self) -> Health:
        latest: int | None = None
        jobs: JobSums | None = None
        # Why it cannot be read is one of the findings.
        with suppress(PixelmeterError, OSError), reading_ledger(self._url) as reader:
            latest, jobs = last_attempt(reader), sum_of_open_jobs(reader)
        findings = list(examine(self._url, seconds=_CHECK_SECONDS))
        return Health(findings, None if latest is None else moment_of(latest), jobs, moment_of(self._clock.now()))
