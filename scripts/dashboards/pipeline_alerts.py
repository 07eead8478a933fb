"""Alerts on pixelmeter itself: what it could not write, read or measure."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.growth import grown
from scripts.dashboards.pace import Pace
from scripts.dashboards.rule import Alert, Group

__all__ = ["pipeline_alerts"]


def pipeline_alerts(thresholds: Thresholds, pace: Pace) -> Group:
    """Return the alerts that concern whoever runs pixelmeter."""
    return Group(
        name="pixelmeter-pipeline",
        rules=(
            _records_dropped(thresholds, pace),
            _spool_filling(thresholds, pace),
            _ledger_writes(thresholds, pace),
            _ledger_lag(thresholds, pace),
            _ledger_down(thresholds, pace),
            _months_missing(thresholds, pace),
            _internal_errors(thresholds, pace),
            _prices_stale(thresholds, pace),
            _metrics_absent(thresholds, pace),
        ),
    )


def _records_dropped(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterRecordsDropped"
    return Alert(
        name=name,
        expression=f"sum by (job, instance) (\n{grown('pixelmeter_dropped_records_total', '1h', pace)}\n)",
        wait="0s",
        severity="critical",
        summary="Records of image calls were lost.",
        description=(
            "{{ $labels.instance }} lost about {{ $value | humanize }} records in the last "
            f"{pace('1h')}; spend is under-reported."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _spool_filling(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterSpoolFilling"
    return Alert(
        name=name,
        expression=f"max by (job, instance) (pixelmeter_spool_used_ratio) > {thresholds.spool_used_ratio:g}",
        wait=pace("5m"),
        severity="warning",
        summary="The spool fills up with what the ledger does not take.",
        description=(
            "The spool of {{ $labels.instance }} holds {{ $value | humanizePercentage }} of what it may; at 100% "
            "records are lost."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _ledger_writes(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterLedgerWritesFailing"
    return Alert(
        name=name,
        expression=f"sum by (job, instance) (rate(pixelmeter_ledger_write_errors_total[{pace('5m')}])) > 0",
        wait=pace("10m"),
        severity="warning",
        summary="The ledger refuses what is written to it.",
        description="{{ $labels.instance }} cannot write to the ledger; its records wait on disk and are tried again.",
        runbook_url=thresholds.runbook(name),
    )


def _ledger_lag(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterLedgerLag"
    return Alert(
        name=name,
        expression=f"max by (job, instance) (pixelmeter_ledger_lag_seconds) > {thresholds.ledger_lag_seconds:g}",
        wait=pace("5m"),
        severity="warning",
        summary="Records wait too long for the ledger.",
        description="The oldest record of {{ $labels.instance }} has been waiting for {{ $value | humanizeDuration }}.",
        runbook_url=thresholds.runbook(name),
    )


def _ledger_down(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterLedgerDown"
    return Alert(
        name=name,
        expression="min by (job, instance) (pixelmeter_ledger_up) == 0",
        wait=pace("5m"),
        severity="critical",
        summary="The exporter cannot read the ledger.",
        description="{{ $labels.instance }} answers, but cannot read the ledger: it has no numbers until it can.",
        runbook_url=thresholds.runbook(name),
    )


def _months_missing(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterMonthsMissing"
    return Alert(
        name=name,
        expression=(
            "min by (job) (pixelmeter_ledger_months_ahead) < 1\nor\n"
            "max by (job) (pixelmeter_ledger_attempts_without_month) > 0"
        ),
        wait=pace("1h"),
        severity="warning",
        summary="The ledger lacks partitions for months.",
        description=(
            "Attempts of {{ $labels.job }} come, or will come next month, without a partition for their month; "
            "run pixelmeter db upgrade."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _internal_errors(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterInternalErrors"
    return Alert(
        name=name,
        expression=f"sum by (job, instance, place) (\n{grown('pixelmeter_internal_errors_total', '1h', pace)}\n)",
        wait="0s",
        severity="warning",
        summary="pixelmeter itself failed; no caller noticed.",
        description=(
            "About {{ $value | humanize }} failures in {{ $labels.place }} of {{ $labels.instance }} in the last "
            f"{pace('1h')}; calls went through, their records may lack something."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _prices_stale(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterPricesStale"
    return Alert(
        name=name,
        expression=(
            f"time() - min by (job) (pixelmeter_price_book_timestamp_seconds) > {thresholds.price_age_days:g} * 86400"
        ),
        wait=pace("1h"),
        severity="warning",
        summary="The bundled prices are old.",
        description="The prices in {{ $labels.job }} were last checked {{ $value | humanizeDuration }} ago.",
        runbook_url=thresholds.runbook(name),
    )


def _metrics_absent(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterMetricsAbsent"
    lately = f"last_over_time(pixelmeter_build_info[{pace('1d')}])"
    return Alert(
        name=name,
        expression=(f"group by (job) ({lately}) unless group by (job) (pixelmeter_build_info)\nor\nabsent({lately})"),
        wait=pace("10m"),
        severity="critical",
        summary="Prometheus gets no metrics of pixelmeter.",
        description=(
            "{{ with $labels.job }}No target of the job {{ . }}{{ else }}No target of any job{{ end }} has metrics of "
            "pixelmeter, so no other alert can fire."
        ),
        runbook_url=thresholds.runbook(name),
    )
