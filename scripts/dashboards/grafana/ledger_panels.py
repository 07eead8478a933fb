"""Panels that ask the ledger itself, in the SQL of PostgreSQL. Money is in nano-dollars there."""

from __future__ import annotations

from scripts.dashboards.grafana.panel import GATEWAYS, column, stat, table, timeseries
from scripts.dashboards.grafana.query import SCOPE, Json, sql

__all__ = [
    "DAYS", "KNOWN", "MONTH", "at_risk_this_month", "by_tag", "daily_by_gateway", "daily_by_model", "forecast",
    "most_expensive_calls", "reported_and_priced", "spend_in_range", "spend_this_month", "unknown_by_reason",
    "unknown_this_month",
]  # fmt: skip

_TODAY = "(now() AT TIME ZONE 'UTC')::date"
MONTH = f"date_trunc('month', {_TODAY})::date"
"""The day on which the present month of UTC began."""
DAYS = (
    "day BETWEEN ($__timeFrom()::timestamptz AT TIME ZONE 'UTC')::date"
    " AND ($__timeTo()::timestamptz AT TIME ZONE 'UTC')::date"
)
"""The condition of SQL that a day of UTC is in the time range of the dashboard."""
KNOWN = (
    "CASE WHEN coalesce(sum(cost), 0) <> 0 OR coalesce(sum(unknown_cost_attempts), 0) = 0"
    " THEN coalesce(sum(cost), 0) / 1e9 END"
)
"""The dollars of rows of sums by day; NULL where nothing is known of what they cost."""
# The same of the attempts.
_KNOWN_OF_ATTEMPTS = "CASE WHEN sum(cost) <> 0 OR count(cost) = count(*) THEN coalesce(sum(cost), 0) / 1e9 END"
_AT_RISK = """CASE
    WHEN sum(at_risk) <> 0
      OR count(*) FILTER (WHERE cost IS NULL AND at_risk IS NULL AND billing IN ('unknown', 'pending')) = 0
    THEN coalesce(sum(at_risk), 0) / 1e9
  END"""
_UNKNOWN = "Unknown"
_TRACE = (
    "/explore?schemaVersion=1&panes=%7B%22a%22:%7B%22datasource%22:%22${traces}%22,%22queries%22:%5B%7B%22refId%22:"
    "%22A%22,%22datasource%22:%7B%22type%22:%22tempo%22,%22uid%22:%22${traces}%22%7D,%22queryType%22:%22traceql%22,"
    "%22query%22:%22${__value.raw}%22%7D%5D,%22range%22:%7B%22from%22:%22${__from}%22,%22to%22:%22${__to}%22%7D%7D%7D"
)


def spend_this_month() -> Json:
    """Return what is known to have been spent since the month began."""
    return stat(
        "Spend this month",
        "Known cost since the month began.",
        _of_month(KNOWN),
        unit="currencyUSD",
        decimals=2,
        empty=_UNKNOWN,
    )


def forecast() -> Json:
    """Return what the month will have cost at the pace of the last seven days."""
    return stat(
        "Forecast for the month",
        "Spend so far, and the days that are left at the pace of the last seven days (of fewer where the ledger is"
        " younger, of one at least).",
        sql(
            f"""
WITH spend AS (
  SELECT day, {KNOWN} AS dollars
  FROM pixelmeter_daily
  WHERE {SCOPE}
  GROUP BY day
), pace AS (
  SELECT
    sum(dollars) FILTER (WHERE day > {_TODAY} - 7) / greatest(
      extract(epoch FROM now() - greatest(min(day), {_TODAY} - 6)::timestamp AT TIME ZONE 'UTC') / 86400, 1
    ) AS a_day
  FROM spend
)
SELECT
  CASE WHEN (SELECT count(day) > 0 AND count(dollars) = 0 FROM spend WHERE day >= least({MONTH}, {_TODAY} - 6))
  THEN NULL
  ELSE coalesce((SELECT sum(dollars) FROM spend WHERE day >= {MONTH}), 0)
    + coalesce((SELECT a_day FROM pace), 0)
    * extract(epoch FROM ({MONTH} + interval '1 month') AT TIME ZONE 'UTC' - now()) / 86400
  END AS forecast
"""
        ),
        unit="currencyUSD",
        decimals=2,
        empty=_UNKNOWN,
    )


def at_risk_this_month() -> Json:
    """Return what this month's attempts may have cost on top."""
    return stat(
        "At risk this month",
        "Estimated cost of attempts that may have been billed though they failed. Not part of the spend.",
        sql(
            f"""
SELECT
  {_AT_RISK} AS value
FROM pixelmeter_spend
WHERE started_at >= {MONTH}::timestamp AT TIME ZONE 'UTC' AND {SCOPE}
"""
        ),
        unit="currencyUSD",
        decimals=2,
        empty=_UNKNOWN,
    )


def unknown_this_month() -> Json:
    """Return how many of this month's attempts have no known cost."""
    return stat(
        "Unknown cost this month",
        "Attempts whose cost nobody knows. They are not in the spend.",
        _of_month("coalesce(sum(unknown_cost_attempts), 0)"),
        unit="locale",
        decimals=0,
    )


def spend_in_range() -> Json:
    """Return what is known to have been spent between the ends of the time range."""
    return stat(
        "Spend, by the ledger",
        "Known cost of the attempts that were sent in this time range.",
        sql(
            f"""
SELECT {_KNOWN_OF_ATTEMPTS} AS spend
FROM pixelmeter_spend
WHERE $__timeFilter(started_at) AND {SCOPE}
"""
        ),
        unit="currencyUSD",
        decimals=4,
        empty=_UNKNOWN,
    )


def daily_by_model() -> Json:
    """Return a bar a day, by model."""
    return _daily("model")


def daily_by_gateway() -> Json:
    """Return a bar a day, by gateway."""
    return _daily("gateway")


def by_tag() -> Json:
    """Return the spend of each value of the chosen tag."""
    return table(
        "Spend by tag",
        "By the value of the tag that is named at the top; attempts without it are the empty line.",
        sql(
            f"""
SELECT
  coalesce(tags ->> ${{tag:sqlstring}}, '') AS "Tag",
  {_KNOWN_OF_ATTEMPTS} AS "Spend",
  {_AT_RISK} AS "At risk",
  count(*) - count(cost) AS "Unknown",
  coalesce(sum(images), 0) AS "Images"
FROM pixelmeter_spend
WHERE $__timeFilter(started_at) AND {SCOPE}
GROUP BY 1
ORDER BY 2 DESC NULLS LAST
LIMIT 100
"""
        ),
        columns=(
            column("Spend", unit="currencyUSD", decimals=4),
            column("At risk", unit="currencyUSD", decimals=4),
        ),
    )


def reported_and_priced() -> Json:
    """Return the gateway's word beside the price book's, where both are known."""
    return table(
        "Reported against priced",
        "Attempts for which both are known: what the gateway reported and what the price book says. A difference is a"
        " price that changed, a discount, or a wrong bill.",
        sql(
            f"""
SELECT
  model AS "Model",
  count(*) AS "Attempts",
  sum(reported_cost) / 1e9 AS "Reported",
  sum(coalesce(token_cost, image_cost)) / 1e9 AS "Priced",
  sum(reported_cost - coalesce(token_cost, image_cost)) / 1e9 AS "Difference"
FROM pixelmeter_spend
WHERE $__timeFilter(started_at) AND {SCOPE}
  AND reported_cost IS NOT NULL AND coalesce(token_cost, image_cost) IS NOT NULL
GROUP BY model
ORDER BY abs(sum(reported_cost - coalesce(token_cost, image_cost))) DESC
LIMIT 100
"""
        ),
        columns=tuple(column(name, unit="currencyUSD", decimals=4) for name in ("Reported", "Priced", "Difference")),
    )


def unknown_by_reason() -> Json:
    """Return why costs are unknown, and of what models."""
    return table(
        "Unknown cost and at risk",
        "Attempts whose cost is unknown, by the reason, with the estimate of what they may have cost, if there is one.",
        sql(
            f"""
SELECT
  cost_reason AS "Reason",
  model AS "Model",
  count(*) AS "Attempts",
  {_AT_RISK} AS "At risk"
FROM pixelmeter_spend
WHERE $__timeFilter(started_at) AND {SCOPE} AND cost IS NULL
GROUP BY cost_reason, model
ORDER BY 3 DESC, 4 DESC NULLS LAST
LIMIT 100
"""
        ),
        columns=(column("At risk", unit="currencyUSD", decimals=4),),
        empty="Every cost is known",
    )


def most_expensive_calls() -> Json:
    """Return the calls that cost most, all attempts of each together."""
    return table(
        "Most expensive calls",
        "The fifty calls of this time range with the highest known cost, retries included. A call leads to the"
        " page of pixelmeter, a trace to the data source that is chosen as Traces.",
        sql(
            f"""
SELECT
  min(started_at) AS "Sent",
  max(gateway) AS "Gateway",
  max(model) AS "Model",
  sum(cost) / 1e9 AS "Cost",
  {_AT_RISK} AS "At risk",
  sum(images) AS "Images",
  count(*) AS "Attempts",
  extract(epoch FROM max(started_at + duration * interval '1 microsecond') - min(started_at)) AS "Duration",
  max(tags ->> ${{tag:sqlstring}}) AS "Tag",
  call_id AS "Call",
  max(request_id) AS "Request",
  max(trace_id) AS "Trace"
FROM pixelmeter_spend
WHERE $__timeFilter(started_at) AND {SCOPE} AND outcome <> 'blocked'
GROUP BY call_id
HAVING sum(cost) > 0
ORDER BY sum(cost) DESC, min(started_at) DESC
LIMIT 50
"""
        ),
        columns=(
            column("Sent", unit="dateTimeAsIso"),
            column("Cost", unit="currencyUSD", decimals=4),
            column("At risk", unit="currencyUSD", decimals=4),
            column("Duration", unit="s", decimals=1),
            column("Trace", link={"title": "Show the trace", "url": _TRACE, "targetBlank": True}),
        ),
    )


def _of_month(value: str) -> Json:
    return sql(
        f"""
SELECT {value} AS value
FROM pixelmeter_daily
WHERE day >= {MONTH} AND {SCOPE}
"""
    )


def _daily(name: str) -> Json:
    return timeseries(
        f"Spend by day and {name}",
        "Known cost; a bar is a day of UTC, and the last one has only begun. A day without any known cost has no bar.",
        sql(
            f"""
SELECT day::timestamp AT TIME ZONE 'UTC' AS time, {name} AS metric, {KNOWN} AS value
FROM pixelmeter_daily
WHERE {DAYS} AND {SCOPE}
GROUP BY 1, 2
ORDER BY 1, 2
""",
            over_time=True,
        ),
        unit="currencyUSD",
        decimals=2,
        stacked=True,
        bars=True,
        colours=GATEWAYS if name == "gateway" else None,
    )
