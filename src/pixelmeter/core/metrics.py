"""Every Prometheus metric of pixelmeter, as data: the sink, the exporter, rules, dashboards and docs are held to it."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["DURATION_BUCKETS", "METRICS", "WRITE_BUCKETS", "Metric", "MetricKind", "Origin", "metric"]

MetricKind = Literal["counter", "histogram", "gauge"]
Origin = Literal["process", "ledger"]
Merge = Literal["livesum", "livemax", "mostrecent"]

DURATION_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0)
"""Seconds; an image takes from a tenth of a second to minutes."""
WRITE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds of one transaction."""

_CALL = ("gateway", "operation", "model")
_ADJUSTED = (*_CALL, "kind", "direction")
_BOTH: tuple[Origin, ...] = ("process", "ledger")
_PROCESS: tuple[Origin, ...] = ("process",)
_LEDGER: tuple[Origin, ...] = ("ledger",)


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One family of series, by the name that Prometheus stores (a histogram without `_bucket`, `_sum`, `_count`)."""

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    help: str
    origins: tuple[Origin, ...]
    """`process`: of the program that makes the calls; `ledger`: of `pixelmeter serve --metrics`."""
    buckets: tuple[float, ...] = ()
    merge: Merge | None = None
    """How a gauge of several worker processes becomes one."""


METRICS: tuple[Metric, ...] = (
    Metric(
        name="pixelmeter_requests_total",
        kind="counter",
        labels=(*_CALL, "outcome", "error_type"),
        help="Attempts that ended: HTTP requests on the wire, retries included, and those that a budget refused.",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_retries_total",
        kind="counter",
        labels=_CALL,
        help="Attempts that repeated an earlier one of the same call.",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_request_duration_seconds",
        kind="histogram",
        labels=(*_CALL, "outcome"),
        help="Time from sending an attempt to the end of its answer.",
        origins=_BOTH,
        buckets=DURATION_BUCKETS,
    ),
    Metric(
        name="pixelmeter_time_to_first_byte_seconds",
        kind="histogram",
        labels=_CALL,
        help="Time from sending an attempt to the headers of its answer.",
        origins=_PROCESS,
        buckets=DURATION_BUCKETS,
    ),
    Metric(
        name="pixelmeter_time_to_first_image_seconds",
        kind="histogram",
        labels=_CALL,
        help="Time from sending an attempt that streams to its first image, a partial one included.",
        origins=_PROCESS,
        buckets=DURATION_BUCKETS,
    ),
    Metric(
        name="pixelmeter_cost_usd_total",
        kind="counter",
        labels=(*_CALL, "cost_source"),
        help="Known cost in US dollars of attempts as they ended; what was learnt later is an adjustment.",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_at_risk_usd_total",
        kind="counter",
        labels=_CALL,
        help="Estimated US dollars of attempts that may have been billed as they ended; never part of the cost.",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_unknown_cost_requests_total",
        kind="counter",
        labels=(*_CALL, "reason"),
        help="Attempts whose cost was unknown as they ended, by the reason.",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_images_total",
        kind="counter",
        labels=(*_CALL, "size", "quality"),
        help="Images delivered, by attempts and at the end of jobs.",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_tokens_total",
        kind="counter",
        labels=("gateway", "model", "direction", "modality"),
        help="Tokens that the gateway counted, each once: cached text input is not part of text input.",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_jobs_total",
        kind="counter",
        labels=(*_CALL, "outcome"),
        help="Jobs that ended, each once, as their end was heard of first.",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_adjustments_usd_total",
        kind="counter",
        labels=_ADJUSTED,
        help="US dollars that later facts added to the known cost of attempts (up), or took from it (down).",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_at_risk_adjustments_usd_total",
        kind="counter",
        labels=_ADJUSTED,
        help="Estimated US dollars that later facts added to what is at risk (up), or took from it (down).",
        origins=_BOTH,
    ),
    Metric(
        name="pixelmeter_requests_in_flight",
        kind="gauge",
        labels=("gateway", "operation"),
        help="Attempts that have left and not ended.",
        origins=_PROCESS,
        merge="livesum",
    ),
    Metric(
        name="pixelmeter_ratelimit_remaining",
        kind="gauge",
        labels=("gateway", "kind"),
        help="How much more the gateway said it takes in its window: requests, by its latest answer.",
        origins=_PROCESS,
        merge="mostrecent",
    ),
    Metric(
        name="pixelmeter_ledger_rows_total",
        kind="counter",
        labels=("backend",),
        help="Attempts that the writer put into the ledger.",
        origins=_PROCESS,
    ),
    Metric(
        name="pixelmeter_ledger_write_duration_seconds",
        kind="histogram",
        labels=("backend",),
        help="Time of one transaction of the writer.",
        origins=_PROCESS,
        buckets=WRITE_BUCKETS,
    ),
    Metric(
        name="pixelmeter_ledger_write_errors_total",
        kind="counter",
        labels=("backend",),
        help="Transactions that the ledger refused; their attempts wait in the spool and are tried again.",
        origins=_PROCESS,
    ),
    Metric(
        name="pixelmeter_ledger_lag_seconds",
        kind="gauge",
        labels=(),
        help="How long the oldest attempt that ended has been waiting for the ledger.",
        origins=_PROCESS,
        merge="livemax",
    ),
    Metric(
        name="pixelmeter_ledger_waiting_records",
        kind="gauge",
        labels=(),
        help="Attempts that ended and are not in the ledger yet.",
        origins=_PROCESS,
        merge="livesum",
    ),
    Metric(
        name="pixelmeter_dropped_records_total",
        kind="counter",
        labels=(),
        help="Attempts lost: the spool had its limit, or neither the disk nor the memory had room.",
        origins=_PROCESS,
    ),
    Metric(
        name="pixelmeter_spool_used_ratio",
        kind="gauge",
        labels=(),
        help="Which part of its limit the spool folder holds that is not in the ledger yet; at 1 records are lost.",
        origins=_PROCESS,
        merge="livemax",
    ),
    Metric(
        name="pixelmeter_internal_errors_total",
        kind="counter",
        labels=("place",),
        help="Failures of pixelmeter itself, none of which reached a caller.",
        origins=_PROCESS,
    ),
    Metric(
        name="pixelmeter_ledger_up",
        kind="gauge",
        labels=(),
        help="Whether the exporter could read the ledger at this scrape.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_ledger_last_attempt_timestamp_seconds",
        kind="gauge",
        labels=(),
        help="When the latest attempt of the ledger was sent.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_ledger_months_ahead",
        kind="gauge",
        labels=(),
        help="Months after the present one for whose attempts a PostgreSQL ledger has partitions; -1 where the present "
        "one has none.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_ledger_attempts_without_month",
        kind="gauge",
        labels=(),
        help="Attempts of a PostgreSQL ledger that came without a partition for their month, up to 10,000.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_jobs_open",
        kind="gauge",
        labels=("gateway",),
        help="Jobs that were submitted and of which no end was heard.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_oldest_job_seconds",
        kind="gauge",
        labels=("gateway",),
        help="How long ago the oldest open job was submitted; 0 while none is open.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_budget_limit_usd",
        kind="gauge",
        labels=("budget",),
        help="US dollars that may be spent of a budget in its present period.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_budget_spent_usd",
        kind="gauge",
        labels=("budget",),
        help="US dollars spent in the period of a budget, known or at risk, less resets; absent if nothing is known.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_budget_reserved_usd",
        kind="gauge",
        labels=("budget",),
        help="US dollars that programs may spend of a budget without asking, calls under way included.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_budget_used_ratio",
        kind="gauge",
        labels=("budget",),
        help="Which part of its limit is spent of a budget; absent for a limit of nothing, and if nothing is known.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_budget_forecast_usd",
        kind="gauge",
        labels=("budget",),
        help="US dollars spent by the end of the period at this pace; absent early in it, and if nothing is known.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_budget_overrun_usd",
        kind="gauge",
        labels=("budget",),
        help="US dollars that attempts of the present period cost beyond what was reserved for them.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_budget_values_over",
        kind="gauge",
        labels=("budget",),
        help="For how many of its values (one, if it has not one each) a budget has spent its limit.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_budget_reset_timestamp_seconds",
        kind="gauge",
        labels=("budget",),
        help="When a budget resets; absent for one that never does.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_tag_cost_usd",
        kind="gauge",
        labels=("tag", "value"),
        help="Known cost in US dollars of the present UTC month, by the value of a tag; empty is without the tag.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_tag_last_month_cost_usd",
        kind="gauge",
        labels=("tag", "value"),
        help="Known cost in US dollars of the UTC month before, by the value of a tag.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_tag_at_risk_usd",
        kind="gauge",
        labels=("tag", "value"),
        help="Estimated US dollars of the present UTC month that may have been billed, by the value of a tag.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_tag_unknown_cost_requests",
        kind="gauge",
        labels=("tag", "value"),
        help="Attempts of the present UTC month whose cost is unknown, by the value of a tag.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_reconciliation_coverage_ratio",
        kind="gauge",
        labels=("gateway", "source"),
        help="Which part of what a gateway charged, by its report of a month, belongs to attempts of the ledger.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_reconciliation_charged_usd",
        kind="gauge",
        labels=("gateway", "source"),
        help="US dollars that a gateway charged in a month, by its report.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_reconciliation_drift_usd",
        kind="gauge",
        labels=("gateway", "source"),
        help="US dollars by which the ledger is above a gateway's report, for what both have; negative where below.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_reconciliation_timestamp_seconds",
        kind="gauge",
        labels=("gateway", "source"),
        help="When a gateway's report of a month was reconciled with this result.",
        origins=_LEDGER,
    ),
    Metric(
        name="pixelmeter_price_book_timestamp_seconds",
        kind="gauge",
        labels=(),
        help="When the bundled prices were last checked against their sources.",
        origins=_BOTH,
        merge="mostrecent",
    ),
    Metric(
        name="pixelmeter_build_info",
        kind="gauge",
        labels=("version",),
        help="The version of pixelmeter; the value is always 1.",
        origins=_BOTH,
        merge="mostrecent",
    ),
)

_BY_NAME = {each.name: each for each in METRICS}


def metric(name: str) -> Metric:
    """Return a metric by its name; KeyError for one that does not exist."""
    return _BY_NAME[name]
