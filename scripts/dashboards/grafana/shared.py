"""What more than one dashboard shows."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.panel import Steps, timeseries
from scripts.dashboards.grafana.query import SPEND, Json, gained, moving, net_of_jobs, ranged, share

__all__ = ["EXPORTER_ONLY", "NOT_OF_JOBS", "UNSETTLED", "allowed", "error_steps", "reasons", "spend_per_image"]

UNSETTLED = 'reason=~"outcome_unknown|reported_zero_unverified"'
"""The reasons for an unknown cost that leave open whether anything was charged; a job under way is shown as open."""
NOT_OF_JOBS = 'reason!="pending_job"'
"""Unknown costs that no end of a job settles: the counter of those that one may settle goes on as if they stayed."""
EXPORTER_ONLY = "Only the exporter reports this: choose its job"


def allowed(objective: float) -> float:
    """Return the share of failures that an objective leaves, without the noise of floats, and never 0."""
    return float(f"{1 - objective:.6g}")


def error_steps(thresholds: Thresholds) -> Steps:
    """Return green while the objective is met, and red from where an hour of it wakes somebody."""
    left = allowed(thresholds.objective)
    return (None, "green"), (left, "orange"), (float(f"{min(14.4 * left, 1):.6g}"), "red")


def spend_per_image() -> Json:
    """Return what an image of each model costs, over time."""
    # A model without a price stays at 0, which is not what its images cost.
    window = "$__rate_interval"
    known = f"({net_of_jobs(SPEND, window=window, by='model')} > 0)"
    return timeseries(
        "Cost per image",
        "Known cost over images delivered, by model; a model without any known cost has no line.",
        ranged(share(known, gained("pixelmeter_images_total", window=window, by="model")), "{{model}}"),
        unit="currencyUSD",
        decimals=4,
    )


def reasons() -> Json:
    """Return why attempts gave no image, over time."""
    without = moving("pixelmeter_requests_total", 'error_type!=""', by="error_type")
    return timeseries(
        "Attempts without an image, per minute",
        "By the reason, whoever is to blame.",
        ranged(f"{without} * 60 > 0", "{{error_type}}"),
        unit="short",
        stacked=True,
        coloured=True,
    )
