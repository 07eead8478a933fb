"""The recording rules: shares of failed and slow attempts in each window, and the rates that dashboards show."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.growth import grown, grown_with_jobs, rate_with_jobs
from scripts.dashboards.pace import Pace
from scripts.dashboards.rule import Group, Recording

__all__ = ["COUNTED", "FAILED", "SENT", "UNPRICED", "errors_ratio", "objective_rules", "slow_ratio", "usage_rules"]

_WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

_FAILURES = "auth|bad_answer|connection|insufficient_funds|interrupted|server|timeout"
FAILED = f'error_type=~"{_FAILURES}"'
"""Attempts that failed and should not have."""
COUNTED = f'error_type=~"|{_FAILURES}"'
"""Attempts that should succeed: not those that the caller ended, got wrong or must repeat later."""

SENT = 'error_type!="blocked"'
"""Attempts that were sent: not those that a budget refused."""

UNPRICED = 'reason!~"outcome_unknown|pending_job"'
"""Attempts whose cost can be looked up; the others are at risk: how one ended, or what a job under way costs."""


_SPEND = ("pixelmeter_cost_usd_total", "pixelmeter_adjustments_usd_total")


def errors_ratio(window: str) -> str:
    """Return the name of the share of counted attempts that failed."""
    return f"job_gateway:pixelmeter_request_errors:ratio_rate{window}"


def slow_ratio(window: str) -> str:
    """Return the name of the share of images that took too long."""
    return f"job_gateway:pixelmeter_slow_requests:ratio_rate{window}"


def objective_rules(thresholds: Thresholds, pace: Pace) -> Group:
    """Return what the budget alerts compare with the objectives."""
    windows = [pace(window) for window in _WINDOWS]
    errors = [Recording(name=errors_ratio(window), expression=_errors(window)) for window in windows]
    slow = [Recording(name=slow_ratio(window), expression=_slow(thresholds, window)) for window in windows]
    return Group(name="pixelmeter-objectives.rules", rules=(*errors, *slow))


def usage_rules(pace: Pace) -> Group:
    """Return rates and sums by model, and what an image cost."""
    short, hour, day = pace("5m"), pace("1h"), pace("1d")
    rules = {
        f"job_gateway_model:pixelmeter_requests:rate{short}": (
            f"sum by (job, gateway, model) (rate(pixelmeter_requests_total{{{SENT}}}[{short}]))"
        ),
        f"job_gateway_model:pixelmeter_images:increase{hour}": _grown_by_model("images", "1h", pace),
        f"job_gateway_model:pixelmeter_unknown_cost_requests:increase{hour}": _grown_by_model(
            "unknown_cost_requests", "1h", pace, UNPRICED
        ),
    }
    for window in (hour, day):
        rules[f"job_gateway_model:pixelmeter_spend_usd:rate{window}"] = _by_model(rate_with_jobs(*_SPEND, window))
        rules[f"job_gateway:pixelmeter_spend_usd:rate{window}"] = (
            f"sum by (job, gateway) (job_gateway_model:pixelmeter_spend_usd:rate{window})"
        )
    rules[f"job_gateway_model:pixelmeter_image_cost_usd:ratio_increase{hour}"] = (
        # Both sides with what a series is born with: costs have a series at 0 before them, sizes of images have none.
        _by_model(grown_with_jobs(*_SPEND, "1h", pace))
        + f"\n/\n(job_gateway_model:pixelmeter_images:increase{hour} > 0)"
    )
    rules[f"job_gateway_model_le:pixelmeter_request_duration_seconds_bucket:rate{short}"] = (
        "sum by (job, gateway, model, le) (\n"
        f'  rate(pixelmeter_request_duration_seconds_bucket{{outcome="success"}}[{short}])\n'
        ")"
    )
    rules[f"job_gateway_model:pixelmeter_request_duration_seconds:p95_rate{short}"] = (
        f"histogram_quantile(\n  0.95, job_gateway_model_le:pixelmeter_request_duration_seconds_bucket:rate{short}\n)"
    )
    return Group(
        name="pixelmeter-usage.rules",
        rules=tuple(Recording(name=name, expression=expression) for name, expression in rules.items()),
    )


def _grown_by_model(counted: str, window: str, pace: Pace, matchers: str = "") -> str:
    return _by_model(grown(f"pixelmeter_{counted}_total", window, pace, matchers))


def _by_model(series: str) -> str:
    return f"sum by (job, gateway, model) (\n{series}\n)"


def _errors(window: str) -> str:
    return (
        f"sum by (job, gateway) (rate(pixelmeter_requests_total{{{FAILED}}}[{window}]))\n"
        "/\n"
        f"sum by (job, gateway) (rate(pixelmeter_requests_total{{{COUNTED}}}[{window}]))"
    )


def _slow(thresholds: Thresholds, window: str) -> str:
    # Prometheus stores bounds as floats are printed: le="60.0".
    within = (
        f'pixelmeter_request_duration_seconds_bucket{{outcome="success", le="{float(thresholds.latency_seconds)}"}}'
    )
    return (
        "1 - (\n"
        f"  sum by (job, gateway) (rate({within}[{window}]))\n"
        "  /\n"
        f'  sum by (job, gateway) (rate(pixelmeter_request_duration_seconds_count{{outcome="success"}}[{window}]))\n'
        ")"
    )
