"""Alerts on calls that fail, are slow, or are refused."""

from __future__ import annotations

from collections.abc import Iterator

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.growth import grown
from scripts.dashboards.pace import Pace
from scripts.dashboards.recordings import COUNTED, SENT, errors_ratio, slow_ratio
from scripts.dashboards.rule import Alert, Group, Severity

__all__ = ["call_alerts"]

# Windows, how many times faster than the objective allows, how long: of a 30 day budget that is 2 % in an hour, 5 % in
# six, 10 % in a day, and 10 % in three.
_BURNS: tuple[tuple[Severity, str, str, float, str], ...] = (
    ("critical", "1h", "5m", 14.4, "2m"),
    ("critical", "6h", "30m", 6, "15m"),
    ("warning", "1d", "2h", 3, "1h"),
    ("warning", "3d", "6h", 1, "3h"),
)
# With a low objective a budget cannot burn so fast; yet when nearly everything fails, somebody must hear of it.
_HIGHEST_SHARE = 0.9


def call_alerts(thresholds: Thresholds, pace: Pace) -> Group:
    """Return the alerts that concern the callers."""
    return Group(
        name="pixelmeter-calls",
        rules=(
            *_error_burns(thresholds, pace),
            *_latency_burns(thresholds, pace),
            _throttled(thresholds, pace),
            _access_refused(thresholds, pace),
            _moderation(thresholds, pace),
            _interrupted(thresholds, pace),
            _jobs_stuck(thresholds, pace),
        ),
    )


def _error_burns(thresholds: Thresholds, pace: Pace) -> Iterator[Alert]:
    name = "PixelmeterErrorBudgetBurn"
    for severity, long, short, factor, wait in _BURNS:
        limit = _limit(factor, thresholds.objective)
        yield Alert(
            name=name,
            expression=(
                f"{errors_ratio(pace(long))} > {limit}\n"
                "and\n"
                f"{errors_ratio(pace(short))} > {limit}\n"
                "and on (job, gateway)\n"
                f"sum by (job, gateway) (increase(pixelmeter_requests_total{{{COUNTED}}}[{pace(long)}]))"
                f" >= {thresholds.minimum_requests:g}\n"
                f"{_known_since(f'pixelmeter_requests_total{{{COUNTED}}}', pace(short))}"
            ),
            wait=pace(wait),
            severity=severity,
            labels={"long": pace(long), "short": pace(short)},
            summary="Image calls fail more often than the objective allows.",
            description=(
                "{{ $value | humanizePercentage }} of the attempts through {{ $labels.gateway }} failed in the last "
                f"{pace(long)}; the objective allows {_percent(1 - thresholds.objective)}."
            ),
            runbook_url=thresholds.runbook(name),
        )


def _latency_burns(thresholds: Thresholds, pace: Pace) -> Iterator[Alert]:
    name = "PixelmeterLatencyBudgetBurn"
    for _, long, short, factor, wait in _BURNS:
        limit = _limit(factor, thresholds.latency_objective)
        images = f'pixelmeter_request_duration_seconds_count{{outcome="success"}}[{pace(long)}]'
        yield Alert(
            name=name,
            expression=(
                f"{slow_ratio(pace(long))} > {limit}\n"
                "and\n"
                f"{slow_ratio(pace(short))} > {limit}\n"
                "and on (job, gateway)\n"
                f"sum by (job, gateway) (increase({images})) >= {thresholds.minimum_requests:g}\n"
                f"{_known_since('pixelmeter_request_duration_seconds_count', pace(short))}"
            ),
            wait=pace(wait),
            severity="warning",
            labels={"long": pace(long), "short": pace(short)},
            summary="Images take longer than the objective allows.",
            description=(
                "{{ $value | humanizePercentage }} of the images through {{ $labels.gateway }} took more than "
                f"{thresholds.latency_seconds:g} s in the last {pace(long)}; "
                f"the objective allows {_percent(1 - thresholds.latency_objective)}."
            ),
            runbook_url=thresholds.runbook(name),
        )


def _throttled(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterThrottled"
    return Alert(
        name=name,
        expression=_share("throttled", "15m", "job, gateway", thresholds.throttled_ratio, thresholds, pace),
        wait=pace("10m"),
        severity="warning",
        summary="A gateway throttles image calls.",
        description="{{ $value | humanizePercentage }} of the attempts through {{ $labels.gateway }} were throttled.",
        runbook_url=thresholds.runbook(name),
    )


def _access_refused(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterAccessRefused"
    refused = grown("pixelmeter_requests_total", "15m", pace, 'error_type=~"auth|insufficient_funds"')
    return Alert(
        name=name,
        expression=f"sum by (job, gateway, error_type) (\n{refused}\n)",
        wait="0s",
        severity="warning",
        summary="A gateway refuses image calls for their key or for lack of funds.",
        description=(
            "About {{ $value | humanize }} attempts through {{ $labels.gateway }} were refused in the last "
            f"{pace('15m')}: " + "{{ $labels.error_type }}."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _moderation(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterModerationRefusals"
    return Alert(
        name=name,
        expression=_share("moderation", "1h", "job, gateway, model", thresholds.moderation_ratio, thresholds, pace),
        wait=pace("15m"),
        severity="info",
        summary="Moderation refuses many image calls.",
        description=(
            "{{ $value | humanizePercentage }} of the attempts of {{ $labels.model }} through {{ $labels.gateway }} "
            "were refused by moderation."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _interrupted(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterInterruptedCalls"
    cut = grown("pixelmeter_requests_total", "1h", pace, 'error_type="interrupted"')
    return Alert(
        name=name,
        expression=f"sum by (job, gateway) (\n{cut}\n)",
        wait="0s",
        severity="warning",
        summary="Programs died with image calls under way.",
        description=(
            "About {{ $value | humanize }} attempts through {{ $labels.gateway }} were cut off by the end of their "
            "process; they may have been billed."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _jobs_stuck(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterJobsStuck"
    return Alert(
        name=name,
        expression=f"max by (job, gateway) (pixelmeter_oldest_job_seconds) > {thresholds.open_job_seconds:g}",
        wait=pace("5m"),
        severity="warning",
        summary="No end is heard of a job.",
        description=(
            "The oldest open job of {{ $labels.gateway }} was submitted {{ $value | humanizeDuration }} ago; what it "
            "cost is not known."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _share(error_type: str, window: str, by: str, limit: float, thresholds: Thresholds, pace: Pace) -> str:
    length = pace(window)
    return (
        f'sum by ({by}) (rate(pixelmeter_requests_total{{error_type="{error_type}"}}[{length}]))\n'
        "/\n"
        f"sum by ({by}) (rate(pixelmeter_requests_total{{{SENT}}}[{length}])) > {limit:g}\n"
        "and\n"
        f"sum by ({by}) (increase(pixelmeter_requests_total{{{SENT}}}[{length}])) >= {thresholds.minimum_requests:g}"
    )


def _known_since(name: str, window: str) -> str:
    """Return the condition that a gateway was known a window ago, so that no share is that of its first minutes."""
    return f"and on (job, gateway)\ngroup by (job, gateway) (last_over_time({name}[{window}] offset {window}))"


def _limit(factor: float, objective: float) -> str:
    return f"{min(factor * (1 - objective), _HIGHEST_SHARE):.6g}"


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"
