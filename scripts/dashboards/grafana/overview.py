"""The first page: what images cost, how many came, how long they took and what went wrong."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.dashboard import Line, Section, dashboard
from scripts.dashboards.grafana.panel import ENDINGS, PERCENTILES, column, heatmap, stat, table, timeseries
from scripts.dashboards.grafana.query import (
    AT_RISK,
    SPEND,
    Json,
    gained,
    increase,
    instant,
    known,
    moving,
    moving_with_jobs,
    net,
    ranged,
    share,
)
from scripts.dashboards.grafana.shared import NOT_OF_JOBS, UNSETTLED, error_steps, reasons, spend_per_image
from scripts.dashboards.recordings import COUNTED, FAILED, SENT

__all__ = ["overview"]

_IMAGES = "pixelmeter_images_total"
_REQUESTS = "pixelmeter_requests_total"
_DURATION = "pixelmeter_request_duration_seconds_bucket"
_UNKNOWN = "pixelmeter_unknown_cost_requests_total"
_SUCCESS = 'outcome="success"'


def overview(thresholds: Thresholds) -> Json:
    """Return the dashboard."""
    return dashboard(
        thresholds,
        "pixelmeter-overview",
        "Overview",
        "What image generation costs, how long it takes and how it fails, from the counters that Prometheus scrapes.",
        (
            Section("In this time range", (Line(4, _numbers(thresholds)),)),
            Section("Spend and requests", (Line(9, (_spend(), _requests())), Line(9, (spend_per_image(), reasons())))),
            Section("Latency", (Line(9, (_latency(thresholds), _spread())),)),
            Section("Models", (Line(9, (_models(),)),)),
        ),
    )


def _numbers(thresholds: Thresholds) -> tuple[Json, ...]:
    # A model without a price stays at 0, which is not what its images cost.
    spent = f"({net(SPEND, by='gateway, model')} > 0)"
    images = gained(_IMAGES, by="gateway, model")
    return (
        stat(
            "Spend",
            "Known cost, with what ends of jobs and corrections changed in this time range. A counter's estimate: the"
            " exact sum is in the ledger.",
            instant(known(net(SPEND), gained(_UNKNOWN, NOT_OF_JOBS))),
            unit="currencyUSD",
            decimals=2,
            empty="Unknown",
        ),
        stat(
            "At risk",
            "Estimated cost of attempts that may have been billed though they failed, and of jobs under way. Not part"
            " of the spend.",
            instant(known(f"clamp_min({net(AT_RISK)}, 0)", gained(_UNKNOWN, UNSETTLED))),
            unit="currencyUSD",
            decimals=2,
            empty="Unknown",
        ),
        stat(
            "Unknown cost",
            "Attempts whose cost nobody knows. They are not in the spend. Jobs are not counted here, as their cost is"
            " known once they end: open ones are on the page Reliability.",
            instant(gained(_UNKNOWN, NOT_OF_JOBS)),
            unit="locale",
            decimals=0,
        ),
        stat("Images", "Images delivered.", instant(gained(_IMAGES)), unit="locale", decimals=0),
        stat(
            "Cost per image",
            "Known cost over the images of those models that have any. Where only some images of a model have a known"
            " cost, the others count as free.",
            instant(share(f"sum({spent})", f"sum({images} and on (gateway, model) {spent})")),
            unit="currencyUSD",
            decimals=4,
        ),
        stat(
            "Requests",
            "Attempts that ended: HTTP requests on the wire, retries included. Not those that a budget refused.",
            instant(increase(_REQUESTS, SENT)),
            unit="locale",
            decimals=0,
        ),
        stat(
            "Failed",
            "Share of attempts that should have succeeded and did not. Those that were throttled, cancelled, or refused"
            " by moderation or as invalid are not counted.",
            instant(share(increase(_REQUESTS, FAILED), increase(_REQUESTS, COUNTED))),
            unit="percentunit",
            decimals=2,
            steps=error_steps(thresholds),
        ),
        stat(
            "Latency p95",
            "The time within which 95 % of the images came.",
            instant(f"histogram_quantile(0.95, {increase(_DURATION, _SUCCESS, by='le')})"),
            unit="s",
            decimals=1,
            steps=((None, "green"), (thresholds.latency_seconds, "red")),
        ),
    )


def _spend() -> Json:
    return timeseries(
        "Spend per hour",
        "Known cost by model, as if the pace lasted an hour; that of a job when it ends.",
        ranged(f"{moving_with_jobs(SPEND, by='model')} * 3600", "{{model}}"),
        unit="currencyUSD",
        stacked=True,
    )


def _requests() -> Json:
    return timeseries(
        "Requests per minute",
        "Attempts by how they ended.",
        ranged(f"{moving(_REQUESTS, by='outcome')} * 60 > 0", "{{outcome}}"),
        unit="short",
        stacked=True,
        colours=ENDINGS,
    )


def _latency(thresholds: Thresholds) -> Json:
    def quantile(name: str, value: float) -> Json:
        expression = f"histogram_quantile({value}, {moving(_DURATION, _SUCCESS, by='le')}) >= 0"
        return ranged(expression, name, exemplars=name == "p95")

    return timeseries(
        "Latency of images",
        f"The time within which a half, 95 % and 99 % of the images came; the line is at {thresholds.latency_seconds:g}"
        " seconds. Dots are single calls and lead to their traces.",
        quantile("p50", 0.5),
        quantile("p95", 0.95),
        quantile("p99", 0.99),
        unit="s",
        colours=PERCENTILES,
        steps=((None, "transparent"), (thresholds.latency_seconds, "red")),
    )


def _spread() -> Json:
    return heatmap(
        "Spread of latency",
        "How many images took how long.",
        ranged(increase(_DURATION, _SUCCESS, window="$__rate_interval", by="le"), "{{le}}", heatmap=True),
        unit="s",
    )


def _models() -> Json:
    spent = f"{net(SPEND, by='model')} > 0"
    images = gained(_IMAGES, by="model")
    return table(
        "Models",
        "Each model in this time range: what it cost, what it gave, how it failed and how long it took. Empty is not"
        " known, or nothing. A name that a gateway routes by, such as auto/image, has only the attempts that got no"
        " further.",
        instant(spent, table=True),
        instant(f"{net(AT_RISK, by='model')} > 0", table=True),
        instant(f"{gained(_UNKNOWN, NOT_OF_JOBS, by='model')} > 0", table=True),
        instant(images, table=True),
        instant(share(f"({spent})", images), table=True),
        instant(increase(_REQUESTS, SENT, by="model"), table=True),
        instant(
            share(increase(_REQUESTS, FAILED, by="model"), increase(_REQUESTS, COUNTED, by="model")),
            table=True,
        ),
        instant(f"histogram_quantile(0.95, {increase(_DURATION, _SUCCESS, by='model, le')}) >= 0", table=True),
        names={
            "model": "Model",
            "Value #A": "Spend",
            "Value #B": "At risk",
            "Value #C": "Unknown cost",
            "Value #D": "Images",
            "Value #E": "Cost per image",
            "Value #F": "Requests",
            "Value #G": "Failed",
            "Value #H": "Latency p95",
        },
        columns=(
            column("Spend", unit="currencyUSD", decimals=4),
            column("At risk", unit="currencyUSD", decimals=4),
            column("Unknown cost", unit="locale", decimals=0),
            column("Images", unit="locale", decimals=0),
            column("Cost per image", unit="currencyUSD", decimals=4),
            column("Requests", unit="locale", decimals=0),
            column("Failed", unit="percentunit", decimals=2),
            column("Latency p95", unit="s", decimals=1),
        ),
        sort="Spend",
    )
