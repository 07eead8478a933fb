"""Alerts on budgets: how far they are used up, where they are going, and calls that they refuse."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.growth import grown
from scripts.dashboards.pace import Pace
from scripts.dashboards.rule import Alert, Group

__all__ = ["budget_alerts"]

_USED = "max by (job, budget) (pixelmeter_budget_used_ratio)"


def budget_alerts(thresholds: Thresholds, pace: Pace) -> Group:
    """Return the alerts that concern whoever has set a budget."""
    return Group(
        name="pixelmeter-budgets",
        rules=(
            _nearly_used(thresholds, pace),
            _used_up(thresholds),
            _forecast(thresholds, pace),
            _blocked(thresholds, pace),
            _overrun(thresholds, pace),
        ),
    )


def _nearly_used(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterBudgetNearlyUsed"
    return Alert(
        name=name,
        expression=f"{_USED} >= {thresholds.budget_used_ratio:g}\nunless\n{_USED} >= 1",
        wait=pace("5m"),
        severity="info",
        summary="A budget is nearly used up.",
        description="{{ $value | humanizePercentage }} of the budget {{ $labels.budget }} is spent.",
        runbook_url=thresholds.runbook(name),
    )


def _used_up(thresholds: Thresholds) -> Alert:
    name = "PixelmeterBudgetUsedUp"
    return Alert(
        name=name,
        # A limit of nothing has no ratio: it is used up on purpose.
        expression=f"{_USED} >= 1",
        wait="0s",
        severity="warning",
        summary="A budget is used up.",
        description="{{ $value | humanizePercentage }} of the budget {{ $labels.budget }} is spent.",
        runbook_url=thresholds.runbook(name),
    )


def _forecast(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterBudgetForecast"
    return Alert(
        name=name,
        expression=(
            "max by (job, budget) (pixelmeter_budget_forecast_usd)\n"
            ">\n"
            "max by (job, budget) (pixelmeter_budget_limit_usd)\n"
            "unless\n"
            f"{_USED} >= 1"
        ),
        wait=pace("1h"),
        severity="info",
        summary="A budget will not last.",
        description=(
            'At its pace so far, {{ $value | printf "%.2f" }} USD will be spent of the budget {{ $labels.budget }} '
            "before it resets: more than its limit."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _blocked(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterCallsBlocked"
    refused = grown("pixelmeter_requests_total", "15m", pace, 'error_type="blocked"')
    return Alert(
        name=name,
        expression=f"sum by (job, gateway) (\n{refused}\n)",
        wait="0s",
        severity="warning",
        summary="A budget refuses image calls.",
        description=(
            "About {{ $value | humanize }} attempts through {{ $labels.gateway }} were refused by a budget in the last "
            f"{pace('15m')}; none of them was sent."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _overrun(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterBudgetOverrun"
    return Alert(
        name=name,
        # It begins at 0 again with each period.
        expression=f"max by (job, budget) (delta(pixelmeter_budget_overrun_usd[{pace('1h')}])) > 0",
        wait="0s",
        severity="warning",
        summary="Calls cost more than a budget had reserved for them.",
        description=(
            'Calls cost {{ $value | printf "%.4f" }} USD more in the last '
            f"{pace('1h')} than the budget " + "{{ $labels.budget }} had reserved for them."
        ),
        runbook_url=thresholds.runbook(name),
    )
