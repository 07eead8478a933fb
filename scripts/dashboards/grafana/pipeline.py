"""Whether pixelmeter itself is well: the way of attempts into the ledger, and who is scraped."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.dashboard import Line, Section, dashboard
from scripts.dashboards.grafana.panel import NOW, PERCENTILES, column, stat, state_timeline, table, timeseries
from scripts.dashboards.grafana.query import Json, increase, instant, moving, ranged, series
from scripts.dashboards.grafana.shared import EXPORTER_ONLY

__all__ = ["pipeline"]

_PROGRAMS = "Only programs report this: choose their job"
_SCRAPED = 'job=~"$job"'


def pipeline(thresholds: Thresholds) -> Json:
    """Return the dashboard."""
    return dashboard(
        thresholds,
        "pixelmeter-pipeline",
        "Pipeline",
        "Whether pixelmeter itself is well. Programs report how attempts get into the ledger; the exporter reports"
        " whether it can read the ledger. Here both jobs may be chosen: they do not report the same.",
        (
            Section("Now", (Line(4, _numbers(thresholds)),)),
            Section(
                "Into the ledger",
                (
                    Line(8, (_rows(), _writes(), _refused())),
                    Line(8, (_lag(thresholds), _waiting(), _spool(thresholds), _internal())),
                ),
            ),
            Section("Out of the ledger", (Line(6, (_ledger_up(), _last_attempt(), _months())),)),
            Section("Scrapes", (Line(8, (_targets(), _samples(), _versions())),)),
        ),
    )


def _numbers(thresholds: Thresholds) -> tuple[Json, ...]:
    bad = ((None, "green"), (1e-9, "red"))
    return (
        stat(
            "Lag",
            "How long the oldest attempt that ended has been waiting for the ledger.",
            instant(f"max({series('pixelmeter_ledger_lag_seconds')})"),
            unit="s",
            decimals=1,
            steps=((None, "green"), (thresholds.ledger_lag_seconds, "red")),
            empty=_PROGRAMS,
        ),
        stat(
            "Waiting",
            "Attempts that ended and are not in the ledger yet.",
            instant(f"sum({series('pixelmeter_ledger_waiting_records')})"),
            unit="locale",
            decimals=0,
            empty=_PROGRAMS,
        ),
        stat(
            "Lost",
            "Attempts lost in this time range: the spool had its limit, or neither the disk nor the memory had room.",
            instant(increase("pixelmeter_dropped_records_total")),
            unit="locale",
            decimals=0,
            steps=bad,
            empty=_PROGRAMS,
        ),
        stat(
            "Internal errors",
            "Failures of pixelmeter itself in this time range, none of which reached a caller.",
            instant(increase("pixelmeter_internal_errors_total")),
            unit="locale",
            decimals=0,
            steps=bad,
            empty=_PROGRAMS,
        ),
        stat(
            "Ledger readable",
            "The share of scrapes in this time range at which the exporter could read the ledger.",
            instant(f"min(avg_over_time({series('pixelmeter_ledger_up')}[$__range]))"),
            unit="percentunit",
            decimals=1,
            steps=((None, "red"), (0.99, "orange"), (1, "green")),
            empty=EXPORTER_ONLY,
        ),
        stat(
            "Age of the prices",
            "Time since the bundled prices were last checked against their sources.",
            instant(f"time() - min({series('pixelmeter_price_book_timestamp_seconds')})"),
            unit="s",
            decimals=0,
            steps=((None, "green"), (thresholds.price_age_days * 86_400, "orange")),
        ),
    )


def _rows() -> Json:
    return timeseries(
        "Attempts written, per minute",
        "What the writers put into the ledger.",
        ranged(f"{moving('pixelmeter_ledger_rows_total', by='backend')} * 60", "{{backend}}"),
        unit="short",
        at_least=1,
        empty=_PROGRAMS,
    )


def _writes() -> Json:
    buckets = moving("pixelmeter_ledger_write_duration_seconds_bucket", by="le")
    return timeseries(
        "Time of a write",
        "The time within which a half, 95 % and 99 % of the transactions were done.",
        *(
            ranged(f"histogram_quantile({value}, {buckets}) >= 0", name)
            for name, value in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        ),
        unit="s",
        colours=PERCENTILES,
        empty=_PROGRAMS,
    )


def _refused() -> Json:
    return timeseries(
        "Failed writes, per minute",
        "Transactions that the ledger refused; their attempts wait in the spool and are tried again.",
        ranged(f"{moving('pixelmeter_ledger_write_errors_total', by='backend')} * 60", "{{backend}}"),
        unit="short",
        at_least=1,
        empty=_PROGRAMS,
    )


def _lag(thresholds: Thresholds) -> Json:
    return timeseries(
        "Lag",
        "How long the oldest attempt that ended has been waiting for the ledger; the line is where the alert begins.",
        ranged(f"max by (job) ({series('pixelmeter_ledger_lag_seconds')})", "{{job}}"),
        unit="s",
        steps=((None, "transparent"), (thresholds.ledger_lag_seconds, "red")),
        empty=_PROGRAMS,
        sums=NOW,
    )


def _waiting() -> Json:
    return timeseries(
        "Waiting",
        "Attempts that ended and are not in the ledger yet.",
        ranged(f"sum by (job) ({series('pixelmeter_ledger_waiting_records')})", "{{job}}"),
        unit="locale",
        decimals=0,
        at_least=1,
        empty=_PROGRAMS,
        sums=NOW,
    )


def _spool(thresholds: Thresholds) -> Json:
    return timeseries(
        "Spool used",
        "Which part of its limit the spool folder holds that is not in the ledger yet; the line is where the alert"
        " begins. At 100 % attempts are lost.",
        ranged(f"max by (job) ({series('pixelmeter_spool_used_ratio')})", "{{job}}"),
        unit="percentunit",
        steps=((None, "transparent"), (thresholds.spool_used_ratio, "red")),
        empty=_PROGRAMS,
        sums=NOW,
    )


def _internal() -> Json:
    return timeseries(
        "Internal errors, per minute",
        "Failures of pixelmeter itself, by where they happened.",
        ranged(f"{moving('pixelmeter_internal_errors_total', by='place')} * 60", "{{place}}"),
        unit="short",
        at_least=1,
        empty=_PROGRAMS,
    )


def _ledger_up() -> Json:
    return state_timeline(
        "Ledger readable",
        "Whether the exporter could read the ledger.",
        ranged(f"min by (instance) ({series('pixelmeter_ledger_up')})", "{{instance}}"),
        states=_UP,
        empty=EXPORTER_ONLY,
    )


def _last_attempt() -> Json:
    return timeseries(
        "Age of the latest attempt",
        "Time since the latest attempt of the ledger was sent. It grows while nobody asks for images, and while"
        " attempts do not get into the ledger.",
        ranged(f"time() - max({series('pixelmeter_ledger_last_attempt_timestamp_seconds')})", "age"),
        unit="s",
        empty=EXPORTER_ONLY,
        sums=NOW,
    )


def _months() -> Json:
    return timeseries(
        "Months of a PostgreSQL ledger",
        "For how many months after the present one there are partitions, which `pixelmeter db upgrade` and `db prune`"
        " make, and attempts that came without one for their month, up to 10,000.",
        ranged(f"min({series('pixelmeter_ledger_months_ahead')})", "months ahead"),
        ranged(f"max({series('pixelmeter_ledger_attempts_without_month')})", "attempts without a month"),
        unit="locale",
        decimals=0,
        at_least=1,
        empty=EXPORTER_ONLY,
        sums=NOW,
    )


def _targets() -> Json:
    return state_timeline(
        "Targets",
        "Whether Prometheus could scrape each target.",
        ranged(f"min by (job, instance) (up{{{_SCRAPED}}})", "{{job}} {{instance}}"),
        states=_UP,
    )


def _samples() -> Json:
    return timeseries(
        "Samples a scrape",
        "How much each target exposes. pixelmeter's part of it is bounded, whatever models are called.",
        ranged(f"sum by (job, instance) (scrape_samples_scraped{{{_SCRAPED}}})", "{{job}} {{instance}}"),
        unit="locale",
        decimals=0,
        sums=NOW,
    )


def _versions() -> Json:
    return table(
        "Versions",
        "The versions of pixelmeter that are scraped, and how many targets run each.",
        instant(f"count by (job, version) ({series('pixelmeter_build_info')})", table=True),
        names={"job": "Job", "version": "Version", "Value": "Targets"},
        columns=(column("Targets", decimals=0),),
    )


_UP = {"0": ("down", "red"), "1": ("up", "green")}
