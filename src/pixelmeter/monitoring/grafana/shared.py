"""What more than one dashboard shows."""

from __future__ import annotations

from pixelmeter.monitoring.grafana.panel import Steps, timeseries
from pixelmeter.monitoring.grafana.query import Json, moving, ranged, share
from pixelmeter.monitoring.thresholds import Thresholds

__all__ = ["error_steps", "reasons", "spend_per_image"]


def error_steps(thresholds: Thresholds) -> Steps:
    """Return green while the objective is met, and red from where an hour of it wakes somebody."""
    allowed = round(1 - thresholds.objective, 6)
    return (None, "green"), (allowed, "orange"), (round(min(14.4 * allowed, 1), 6), "red")


def spend_per_image() -> Json:
    """Return what an image of each model costs, over time."""
    # A model without a price stays at 0, which is not what its images cost.
    known = f"({moving('pixelmeter_cost_usd_total', by='model')} > 0)"
    return timeseries(
        "Cost per image",
        "Known cost over images delivered, by model; a model without any known cost has no line.",
        ranged(share(known, moving("pixelmeter_images_total", by="model")), "{{model}}"),
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
