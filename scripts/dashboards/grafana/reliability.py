"""Whether the objectives are met, how fast their budgets burn, and what burns them."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.dashboard import Line, Section, dashboard
from scripts.dashboards.grafana.job_panels import jobs_ended, oldest_job, open_jobs
from scripts.dashboards.grafana.load_panels import first_byte, first_image, in_flight, remaining_requests
from scripts.dashboards.grafana.panel import GATEWAYS, WINDOWS, column, stat, table, timeseries
from scripts.dashboards.grafana.query import Json, increase, instant, moving, ranged, share
from scripts.dashboards.grafana.shared import allowed, error_steps, reasons
from scripts.dashboards.recordings import COUNTED, FAILED, SENT

__all__ = ["reliability"]

_REQUESTS = "pixelmeter_requests_total"
_DURATION = "pixelmeter_request_duration_seconds"
_SUCCESS = 'outcome="success"'
# The outcome of an attempt that was refused for lack of funds is "throttled" too.
_THROTTLED = 'error_type="throttled"'
_WINDOWS = ("1h", "6h", "1d", "3d")
_BURN_STEPS = ((None, "transparent"), (1, "green"), (3, "yellow"), (6, "orange"), (14.4, "red"))
_LEFT_STEPS = ((None, "red"), (0, "orange"), (0.25, "green"))


def reliability(thresholds: Thresholds) -> Json:
    """Return the dashboard."""
    return dashboard(
        thresholds,
        "pixelmeter-reliability",
        "Reliability",
        f"Objectives: {100 * thresholds.objective:.9g} % of attempts succeed, and"
        f" {100 * thresholds.latency_objective:.9g} % of images come within {thresholds.latency_seconds:g} seconds.",
        (
            Section(
                "Objectives", (Line(4, _numbers(thresholds)), Line(8, (_burn(thresholds), _slow_burn(thresholds))))
            ),
            Section(
                "Failures",
                (
                    Line(8, (_failed("gateway", thresholds), _failed("model", thresholds))),
                    Line(8, (reasons(), _throttled(thresholds), _retries())),
                ),
            ),
            Section(
                "Latency and load",
                (
                    Line(8, (_slow(thresholds), _latency(thresholds))),
                    Line(8, (first_byte(), first_image())),
                    Line(8, (in_flight(), remaining_requests())),
                ),
            ),
            Section("Jobs", (Line(8, (jobs_ended(), open_jobs(), oldest_job(thresholds))),)),
            Section("Alerts", (Line(7, (_alerts(),)),)),
        ),
    )


def _errors(window: str, by: str = "") -> str:
    return share(increase(_REQUESTS, FAILED, window=window, by=by), increase(_REQUESTS, COUNTED, window=window, by=by))


def _slowness(thresholds: Thresholds, window: str, by: str = "") -> str:
    within = increase(f"{_DURATION}_bucket", _SUCCESS, _bound(thresholds), window=window, by=by)
    return f"1 - {share(within, increase(f'{_DURATION}_count', _SUCCESS, window=window, by=by))}"


def _bound(thresholds: Thresholds) -> str:
    # Prometheus stores bounds as floats are printed.
    return f'le="{float(thresholds.latency_seconds)}"'


def _numbers(thresholds: Thresholds) -> tuple[Json, ...]:
    objective, latency_objective = thresholds.objective, thresholds.latency_objective
    return (
        stat(
            "Succeeded",
            "Share of the attempts that should have succeeded, in this time range. Those that were throttled,"
            " cancelled, or refused by moderation or as invalid are not counted.",
            instant(f"1 - {_errors('$__range')}"),
            unit="percentunit",
            decimals=2,
            steps=((None, "red"), (objective, "green")),
        ),
        stat(
            "Error budget left",
            "How much of the failures that the objective allows in thirty days has not happened.",
            instant(f"1 - ({_errors('30d')}) / {allowed(objective)}"),
            unit="percentunit",
            decimals=1,
            steps=_LEFT_STEPS,
        ),
        stat(
            "In time",
            f"Share of images that came within {thresholds.latency_seconds:g} seconds, in this time range.",
            instant(f"1 - ({_slowness(thresholds, '$__range')})"),
            unit="percentunit",
            decimals=2,
            steps=((None, "red"), (latency_objective, "green")),
        ),
        stat(
            "Latency budget left",
            "How much of the slow images that the objective allows in thirty days has not happened.",
            instant(f"1 - ({_slowness(thresholds, '30d')}) / {allowed(latency_objective)}"),
            unit="percentunit",
            decimals=1,
            steps=_LEFT_STEPS,
        ),
        stat(
            "Throttled",
            "Share of attempts that the gateway turned away because they were too many, in this time range.",
            instant(share(increase(_REQUESTS, _THROTTLED), increase(_REQUESTS, SENT))),
            unit="percentunit",
            decimals=2,
            steps=((None, "green"), (thresholds.throttled_ratio, "orange")),
        ),
        stat(
            "Refused by moderation",
            "Share of attempts that moderation refused, in this time range.",
            instant(share(increase(_REQUESTS, 'error_type="moderation"'), increase(_REQUESTS, SENT))),
            unit="percentunit",
            decimals=2,
            steps=((None, "green"), (thresholds.moderation_ratio, "orange")),
        ),
    )


def _burn(thresholds: Thresholds) -> Json:
    return timeseries(
        "Burn of the error budget",
        "How many times faster than allowed failures come, in windows of four lengths. At 1 the budget of thirty days"
        " lasts thirty days; the lines are where the alerts begin.",
        *(ranged(f"({_errors(window)}) / {allowed(thresholds.objective)}", f"over {window}") for window in _WINDOWS),
        unit="short",
        decimals=1,
        colours=WINDOWS,
        steps=_BURN_STEPS,
        at_least=2,
    )


def _slow_burn(thresholds: Thresholds) -> Json:
    return timeseries(
        "Burn of the latency budget",
        "How many times more often than allowed images take too long, in windows of four lengths.",
        *(
            ranged(f"({_slowness(thresholds, window)}) / {allowed(thresholds.latency_objective)}", f"over {window}")
            for window in _WINDOWS
        ),
        unit="short",
        decimals=1,
        colours=WINDOWS,
        steps=_BURN_STEPS,
        at_least=2,
    )


def _failed(label: str, thresholds: Thresholds) -> Json:
    failed, counted = moving(_REQUESTS, FAILED, by=label), moving(_REQUESTS, COUNTED, by=label)
    return timeseries(
        f"Failed, by {label}",
        f"Share of the attempts that should have succeeded and did not; the objective allows"
        f" {allowed(thresholds.objective):.4g}.",
        ranged(share(failed, counted), f"{{{{{label}}}}}"),
        unit="percentunit",
        colours=GATEWAYS if label == "gateway" else None,
        steps=((None, "transparent"), *error_steps(thresholds)[1:]),
        at_least=0.1,
    )


def _throttled(thresholds: Thresholds) -> Json:
    throttled = moving(_REQUESTS, _THROTTLED, by="gateway")
    return timeseries(
        "Throttled, by gateway",
        "Share of attempts that the gateway turned away because they were too many; the line is where the alert"
        " begins.",
        ranged(share(throttled, moving(_REQUESTS, SENT, by="gateway")), "{{gateway}}"),
        unit="percentunit",
        colours=GATEWAYS,
        steps=((None, "transparent"), (thresholds.throttled_ratio, "orange")),
        at_least=0.1,
    )


def _retries() -> Json:
    return timeseries(
        "Retries per minute",
        "Attempts that repeated an earlier one of the same call, by gateway and model.",
        ranged(f"{moving('pixelmeter_retries_total', by='gateway, model')} * 60 > 0", "{{gateway}} {{model}}"),
        unit="short",
        stacked=True,
    )


def _slow(thresholds: Thresholds) -> Json:
    within = moving(f"{_DURATION}_bucket", _SUCCESS, _bound(thresholds), by="gateway")
    every = moving(f"{_DURATION}_count", _SUCCESS, by="gateway")
    return timeseries(
        "Too slow, by gateway",
        f"Share of images that took longer than {thresholds.latency_seconds:g} seconds; the line is what the objective"
        " allows.",
        ranged(f"1 - {share(within, every)}", "{{gateway}}"),
        unit="percentunit",
        colours=GATEWAYS,
        steps=((None, "transparent"), (allowed(thresholds.latency_objective), "orange")),
        at_least=0.1,
    )


def _latency(thresholds: Thresholds) -> Json:
    quantile = f"histogram_quantile(0.95, {moving(f'{_DURATION}_bucket', _SUCCESS, by='model, le')}) >= 0"
    return timeseries(
        "Latency p95, by model",
        "The time within which 95 % of a model's images came. Dots are single calls and lead to their traces.",
        ranged(quantile, "{{model}}", exemplars=True),
        unit="s",
        steps=((None, "transparent"), (thresholds.latency_seconds, "red")),
    )


def _alerts() -> Json:
    return table(
        "Alerts",
        "What the rules of pixelmeter found at the end of this time range, pending ones included.",
        instant(
            'sum by (alertname, severity, alertstate, job, gateway, model, budget) (ALERTS{alertname=~"Pixelmeter.+",'
            # That nothing is scraped is of no job.
            ' job=~"$job|"})',
            table=True,
        ),
        names={
            "alertname": "Alert",
            "severity": "Severity",
            "alertstate": "State",
            "job": "Job",
            "gateway": "Gateway",
            "model": "Model",
            "budget": "Budget",
            "Value": "Series",
        },
        columns=(column("Series", decimals=0),),
        empty="No alert",
    )
