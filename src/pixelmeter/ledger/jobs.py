"""Sums of the jobs that have not ended."""

from __future__ import annotations

from typing import NamedTuple

from pixelmeter.core.reporting.report import known
from pixelmeter.ledger.dialect import wide
from pixelmeter.ledger.measures import UNESTIMATED
from pixelmeter.ledger.queries import spend
from pixelmeter.ledger.reader import LedgerReader

__all__ = ["JobSums", "sum_of_open_jobs"]


class JobSums(NamedTuple):
    """How many jobs have not ended, and what they may cost."""

    jobs: int
    at_risk: int
    """Nano-dollars, as far as they can be estimated."""
    unestimated: int
    """How many of the jobs have no estimate, and no known cost either."""

    @property
    def known_at_risk(self) -> int | None:
        """What they may cost as far as it can be estimated; None where none of it can."""
        return known(self.at_risk, self.unestimated)


def sum_of_open_jobs(reader: LedgerReader) -> JobSums:
    """Return the sums of all jobs that have not ended."""
    [(jobs, unestimated, *at_risk)] = reader.rows(f"""
SELECT count(*), count(*) FILTER (WHERE {UNESTIMATED}), {", ".join(reader.dialect.wide_sum("at_risk"))}
FROM pixelmeter_jobs AS job LEFT JOIN (SELECT id, cost, billing, at_risk FROM {spend(reader)}) AS found
  ON found.id = job.attempt_id
WHERE job.ended_at IS NULL
""")
    return JobSums(int(jobs), wide(*at_risk), int(unestimated))
