"""Panels that only the metrics of a program can fill: how soon answers begin, and how much is under way."""

from __future__ import annotations

from scripts.dashboards.grafana.panel import GATEWAYS, NOW, timeseries
from scripts.dashboards.grafana.query import Json, moving, ranged, series

__all__ = ["first_byte", "first_image", "in_flight", "remaining_requests"]

_EMPTY = "Only programs report this: choose their job"


def first_byte() -> Json:
    """Return the panel of the time to the headers of an answer."""
    buckets = moving("pixelmeter_time_to_first_byte_seconds_bucket", by="model, le")
    return timeseries(
        "Time to the first byte, p95, by model",
        "From sending an attempt to the headers of its answer. Programs report it, the exporter does not.",
        ranged(f"histogram_quantile(0.95, {buckets}) >= 0", "{{model}}"),
        unit="s",
        empty=_EMPTY,
    )


def first_image() -> Json:
    """Return the panel of the time to the first image of a stream."""
    buckets = moving("pixelmeter_time_to_first_image_seconds_bucket", by="model, le")
    return timeseries(
        "Time to the first image, p95, by model",
        "From sending an attempt that streams to its first image, a partial one included. Programs report it, the"
        " exporter does not.",
        ranged(f"histogram_quantile(0.95, {buckets}) >= 0", "{{model}}"),
        unit="s",
        empty=_EMPTY,
    )


def in_flight() -> Json:
    """Return the panel of attempts under way."""
    return timeseries(
        "In flight",
        "Attempts that have left and not ended, by gateway. Programs report it, the exporter does not.",
        ranged(f"sum by (gateway) ({series('pixelmeter_requests_in_flight')})", "{{gateway}}"),
        unit="locale",
        decimals=0,
        stacked=True,
        colours=GATEWAYS,
        empty=_EMPTY,
        sums=NOW,
    )


def remaining_requests() -> Json:
    """Return the panel of what gateways still take."""
    return timeseries(
        "Requests left",
        "How many more requests the gateway said it takes in its window, the least of all programs. Programs report"
        " it, the exporter does not.",
        ranged(f"min by (gateway, kind) ({series('pixelmeter_ratelimit_remaining')})", "{{gateway}} {{kind}}"),
        unit="locale",
        decimals=0,
        empty=_EMPTY,
        sums=NOW,
    )
