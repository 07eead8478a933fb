"""Panels of work that gateways go on with after they have answered: how it ended, and how much is under way."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.panel import ENDINGS, GATEWAYS, NOW, timeseries
from scripts.dashboards.grafana.query import Json, gained, ranged, series
from scripts.dashboards.grafana.shared import EXPORTER_ONLY

__all__ = ["jobs_ended", "oldest_job", "open_jobs"]


def jobs_ended() -> Json:
    """Return the panel of jobs that ended."""
    return timeseries(
        "Jobs that ended, per hour",
        "Jobs whose end was heard of in the hour before each point, by how they ended. A timeout is a job that the"
        " gateway gave up, or of which nothing was heard until it was too old.",
        ranged(gained("pixelmeter_jobs_total", window="1h", by="outcome"), "{{outcome}}"),
        unit="short",
        stacked=True,
        colours=ENDINGS,
        empty="No job has ended",
    )


def open_jobs() -> Json:
    """Return the panel of jobs that have not ended."""
    return timeseries(
        "Open jobs",
        "Jobs that were submitted and of which no end was heard, by gateway. The exporter reports them, programs do"
        " not.",
        # Two exporters of a ledger, of one scrape job, say the same.
        ranged(f"sum by (gateway) (max by (job, gateway) ({series('pixelmeter_jobs_open')}))", "{{gateway}}"),
        unit="locale",
        decimals=0,
        stacked=True,
        colours=GATEWAYS,
        empty=EXPORTER_ONLY,
        sums=NOW,
    )


def oldest_job(thresholds: Thresholds) -> Json:
    """Return the panel of how long the oldest of them has been open."""
    return timeseries(
        "Oldest open job",
        "How long ago the oldest open job was submitted, by gateway; the line is where the alert begins. The exporter"
        " reports it, programs do not.",
        ranged(f"max by (gateway) ({series('pixelmeter_oldest_job_seconds')})", "{{gateway}}"),
        unit="s",
        colours=GATEWAYS,
        steps=((None, "transparent"), (thresholds.open_job_seconds, "orange")),
        empty=EXPORTER_ONLY,
        sums=NOW,
    )
