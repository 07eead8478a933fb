"""What more than one dashboard shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.panel import ENDINGS, Steps, table, timeseries
from scripts.dashboards.grafana.query import SPEND, Json, gained, instant, moving, net_of_jobs, ranged, series, share

__all__ = [
    "EXPORTER_ONLY",
    "NOT_OF_JOBS",
    "UNSETTLED",
    "allowed",
    "error_steps",
    "gauges",
    "reasons",
    "spend_per_image",
]

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
        colours=ENDINGS,
    )


def gauges(
    title: str,
    description: str,
    *,
    prefix: str,
    by: Mapping[str, str],
    shown: Mapping[str, str],
    columns: Sequence[Json],
    sort: str,
    matchers: Sequence[str] = (),
    empty: str = EXPORTER_ONLY,
) -> Json:
    """Return a table of the exporter's gauges: a row for each value of the labels `by`, a column for each one `shown`.

    Both name columns: `by` by the labels, `shown` the gauges without `prefix` by the columns.
    """
    labels = ", ".join(by)
    queries = [
        # Grafana's times are milliseconds.
        f"max by ({labels}) ({series(prefix + name, *matchers)})"
        + (" * 1000" if name.endswith("timestamp_seconds") else "")
        for name in shown.values()
    ]
    letters = (f"Value #{chr(ord('A') + place)}" for place in range(len(shown)))
    return table(
        title,
        description,
        *(instant(query, table=True) for query in queries),
        names={**by, **dict(zip(letters, shown, strict=True))},
        columns=columns,
        sort=sort,
        empty=empty,
    )
