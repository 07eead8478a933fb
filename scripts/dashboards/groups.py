"""Every group of rules and alerts, in the order in which files and pages show them."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.budget_alerts import budget_alerts
from scripts.dashboards.call_alerts import call_alerts
from scripts.dashboards.money_alerts import money_alerts
from scripts.dashboards.pace import UNHURRIED, Pace
from scripts.dashboards.pipeline_alerts import pipeline_alerts
from scripts.dashboards.reconciliation_alerts import reconciliation_alerts
from scripts.dashboards.recordings import objective_rules, usage_rules
from scripts.dashboards.rule import Group

__all__ = ["alert_groups", "recording_groups"]


def recording_groups(thresholds: Thresholds, pace: Pace = UNHURRIED) -> tuple[Group, ...]:
    """Return the groups of recording rules."""
    return objective_rules(thresholds, pace), usage_rules(pace)


def alert_groups(thresholds: Thresholds, pace: Pace = UNHURRIED) -> tuple[Group, ...]:
    """Return the groups of alerts."""
    return (
        call_alerts(thresholds, pace),
        money_alerts(thresholds, pace),
        budget_alerts(thresholds, pace),
        reconciliation_alerts(thresholds),
        pipeline_alerts(thresholds, pace),
    )
