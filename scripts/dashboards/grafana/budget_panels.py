"""Panels of budgets: what is spent of each, where it is going, and which calls they refuse."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.panel import NOW, column, timeseries
from scripts.dashboards.grafana.query import Json, gained, ranged, series
from scripts.dashboards.grafana.shared import EXPORTER_ONLY, gauges

__all__ = ["blocked_attempts", "budgets", "used_of_budgets"]

_OF_USERS = "of a budget for each value of a tag or the like, the value that is used most"


def budgets() -> Json:
    """Return what each budget is, has spent and will have spent."""
    shown = {
        "Limit": "limit_usd",
        "Spent": "spent_usd",
        "Reserved": "reserved_usd",
        "Used": "used_ratio",
        "Forecast": "forecast_usd",
        "Overrun": "overrun_usd",
        "Values at their limit": "values_over",
        "Resets": "reset_timestamp_seconds",
    }
    return gauges(
        "Budgets",
        f"Each in its present period; {_OF_USERS}. Spent is the known cost and what is at risk. Reserved is what"
        " programs may spend without asking, calls under way included. Forecast is where the pace so far leads. The"
        " exporter reports this, programs do not.",
        prefix="pixelmeter_budget_",
        by={"budget": "Budget"},
        shown=shown,
        columns=(
            *(column(name, unit="currencyUSD", decimals=4) for name in ("Limit", "Spent", "Reserved", "Forecast")),
            column("Overrun", unit="currencyUSD", decimals=4),
            column("Used", unit="percentunit", decimals=1),
            column("Values at their limit", unit="locale", decimals=0),
            column("Resets", unit="dateTimeAsIso"),
        ),
        sort="Used",
    )


def used_of_budgets(thresholds: Thresholds) -> Json:
    """Return which part of each budget is spent, over time."""
    return timeseries(
        "Used of each budget",
        f"The part of its limit that is spent in its period; {_OF_USERS}. The lines are where the alerts begin. The"
        " exporter reports this, programs do not.",
        ranged(f"max by (budget) ({series('pixelmeter_budget_used_ratio')})", "{{budget}}"),
        unit="percentunit",
        steps=((None, "transparent"), (thresholds.budget_used_ratio, "orange"), (1, "red")),
        at_least=1,
        empty=EXPORTER_ONLY,
        sums=NOW,
    )


def blocked_attempts() -> Json:
    """Return how many attempts budgets refused."""
    refused = gained("pixelmeter_requests_total", 'error_type="blocked"', window="1h", by="gateway, model")
    return timeseries(
        "Refused by a budget, per hour",
        "Attempts that a budget refused in the hour before each point, by gateway and model; none of them was sent.",
        ranged(f"{refused} > 0", "{{gateway}} {{model}}"),
        unit="short",
        stacked=True,
        empty="No budget has refused anything",
    )
