"""Panels of spend by the tag that is named at the top, of months beside each other, and of their limits."""

from __future__ import annotations

from scripts.dashboards.grafana.ledger_panels import DAYS, KNOWN, MONTH
from scripts.dashboards.grafana.panel import MONTHS, WITHOUT_TAG, column, timeseries
from scripts.dashboards.grafana.query import SCOPE, Json, ranged, series, sql
from scripts.dashboards.grafana.shared import gauges

__all__ = ["daily_by_tag", "month_by_value", "month_so_far", "months_by_value"]

# The sums by tag are of all gateways and models. Where some are chosen, and for a tag that has too many values to be
# summed up, the attempts are read. Each half of the query is skipped whole where the other one answers.
_EVERYTHING = """$re$${gateway:regex}$re$ = '.*' AND $re$${model:regex}$re$ = '.*'
    AND NOT EXISTS (SELECT FROM pixelmeter_wide_tags WHERE tag = ${tag:sqlstring})"""
_LIMIT = "limit of "
_TAGGED = 'tag="$tag"'
_WITH_TAG = "Only the exporter reports this: choose its job, and start it with --tag"


def daily_by_tag() -> Json:
    """Return a bar a day, by the value of the chosen tag."""
    return timeseries(
        "Spend by day and tag",
        "Known cost by the value of the tag that is named at the top, (none) without it; a bar is a day of UTC, and the"
        " last one has only begun. Where gateways or models are chosen, this reads every attempt of the time range.",
        sql(
            f"""
SELECT day::timestamp AT TIME ZONE 'UTC' AS time, coalesce(nullif(value, ''), '(none)') AS metric, {KNOWN} AS value
FROM (
  SELECT day, value, cost, unknown_cost_attempts FROM pixelmeter_tag_daily
  WHERE tag = ${{tag:sqlstring}} AND {DAYS} AND {_EVERYTHING}
  UNION ALL
  SELECT day, '', cost, unknown_cost_attempts FROM pixelmeter_daily
  WHERE {DAYS} AND {_EVERYTHING}
  UNION ALL
  SELECT day, '', -cost, -unknown_cost_attempts FROM pixelmeter_tag_daily
  WHERE tag = ${{tag:sqlstring}} AND {DAYS} AND {_EVERYTHING}
  UNION ALL
  SELECT (started_at AT TIME ZONE 'UTC')::date, coalesce(tags ->> ${{tag:sqlstring}}, ''), coalesce(cost, 0),
    CASE WHEN cost IS NULL THEN 1 ELSE 0 END
  FROM pixelmeter_spend
  WHERE $__timeFilter(started_at) AND {SCOPE} AND NOT ({_EVERYTHING})
) AS parts
GROUP BY 1, 2
HAVING sum(cost) <> 0 OR sum(unknown_cost_attempts) > 0
ORDER BY 1, 2
""",
            over_time=True,
        ),
        unit="currencyUSD",
        decimals=2,
        stacked=True,
        bars=True,
        colours=WITHOUT_TAG,
    )


def month_so_far() -> Json:
    """Return how this month and the one before add up, day by day, below the limits of monthly budgets."""
    return timeseries(
        "Month so far",
        "Known cost since the month began, at the end of each day of UTC, beside the same days of the month before. The"
        " dashed lines are the limits of budgets of a month, which may be of some gateways, models or tags only.",
        sql(
            f"""
WITH days AS (
  SELECT day, date_trunc('month', day)::date AS month, sum(cost) AS cost, sum(unknown_cost_attempts) AS unknown
  FROM pixelmeter_daily
  WHERE day >= ({MONTH} - interval '1 month')::date AND {SCOPE}
  GROUP BY 1
), months AS (
  SELECT
    CASE WHEN month = {MONTH} THEN 'this month' ELSE 'the month before' END AS metric,
    {MONTH} + (day - month) AS day,
    CASE WHEN sum(cost) OVER so_far = 0 AND sum(unknown) OVER so_far > 0 THEN NULL
      ELSE sum(cost) OVER so_far / 1e9 END AS value
  FROM days
  WINDOW so_far AS (PARTITION BY month ORDER BY day)
)
SELECT day::timestamp AT TIME ZONE 'UTC' AS time, metric, value FROM months
UNION ALL
SELECT moment, '{_LIMIT}' || name, (definition::jsonb ->> 'limit')::numeric / 1e9
FROM pixelmeter_budgets, (VALUES ({MONTH}::timestamp AT TIME ZONE 'UTC'), (now())) AS ends (moment)
WHERE is_active AND definition::jsonb ->> 'per' = 'month'
ORDER BY 1, 2
""",
            over_time=True,
        ),
        unit="currencyUSD",
        decimals=2,
        colours=MONTHS,
        sums=("lastNotNull",),
        limits=_LIMIT,
        since="now/M",
    )


def month_by_value() -> Json:
    """Return how the spend of the month grows by value, below the limits of budgets."""
    return timeseries(
        "Spend of the month, by tag",
        "Known cost since the month of UTC began, by the value of the tag that is named at the top, (none) without it."
        " The dashed lines are the limits of all budgets. The exporter reports this if it was started with --tag.",
        ranged(_by_value("pixelmeter_tag_cost_usd"), "{{value}}"),
        ranged(f"max by (budget) ({series('pixelmeter_budget_limit_usd')})", _LIMIT + "{{budget}}"),
        unit="currencyUSD",
        decimals=2,
        colours=WITHOUT_TAG,
        sums=("lastNotNull",),
        limits=_LIMIT,
        empty=_WITH_TAG,
    )


def months_by_value() -> Json:
    """Return each value of the chosen tag with this month and the one before."""
    money = ("This month", "The month before", "At risk")
    return gauges(
        "Months by tag",
        "Known cost of this month of UTC so far and of the whole month before, by the value of the tag that is named at"
        " the top. At risk and unknown are of this month. The exporter reports this if it was started with --tag.",
        prefix="pixelmeter_tag_",
        by={"value": "Tag"},
        shown={
            "This month": "cost_usd",
            "The month before": "last_month_cost_usd",
            "At risk": "at_risk_usd",
            "Unknown": "unknown_cost_requests",
        },
        matchers=(_TAGGED,),
        columns=tuple(column(name, unit="currencyUSD", decimals=4) for name in money),
        sort="This month",
        empty=_WITH_TAG,
    )


def _by_value(name: str) -> str:
    return f'label_replace(max by (value) ({series(name, _TAGGED)}), "value", "(none)", "value", "")'
