"""Money: what the ledger says, which is exact, and how fast it goes, which the counters say."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.budget_panels import blocked_attempts, budgets, used_of_budgets
from scripts.dashboards.grafana.dashboard import (
    LEDGER_CHOICE,
    TAG_CHOICE,
    TRACES_CHOICE,
    Line,
    Section,
    dashboard,
)
from scripts.dashboards.grafana.ledger_panels import (
    at_risk_this_month,
    by_tag,
    daily_by_gateway,
    daily_by_model,
    forecast,
    most_expensive_calls,
    reported_and_priced,
    spend_in_range,
    spend_this_month,
    unknown_by_reason,
    unknown_this_month,
)
from scripts.dashboards.grafana.panel import GATEWAYS, SOURCES, stat, timeseries
from scripts.dashboards.grafana.query import (
    AT_RISK,
    SPEND,
    Json,
    gained,
    instant,
    known,
    moving,
    moving_with_jobs,
    net,
    net_of_jobs,
    ranged,
)
from scripts.dashboards.grafana.reconciliation_panels import coverage, reconciliations
from scripts.dashboards.grafana.shared import NOT_OF_JOBS, spend_per_image
from scripts.dashboards.grafana.tag_panels import daily_by_tag, month_by_value, month_so_far, months_by_value

__all__ = ["cost"]


def cost(thresholds: Thresholds) -> Json:
    """Return the dashboard."""
    return dashboard(
        thresholds,
        "pixelmeter-cost",
        "Cost",
        "Where the money goes. The upper half is SQL over the ledger and exact; it needs a ledger on PostgreSQL. The"
        " lower half is made of the counters in Prometheus. Days and months are those of UTC.",
        (
            Section(
                "This month, by the ledger",
                (
                    Line(4, (spend_this_month(), forecast(), at_risk_this_month(), unknown_this_month())),
                    Line(9, (month_so_far(),)),
                ),
            ),
            Section(
                "In this time range, by the ledger",
                (
                    Line(10, (daily_by_tag(),)),
                    Line(10, (daily_by_model(), daily_by_gateway())),
                    Line(8, (by_tag(),)),
                    Line(8, (reported_and_priced(), unknown_by_reason())),
                    Line(10, (most_expensive_calls(),)),
                ),
            ),
            Section("By tag, by the exporter", (Line(9, (month_by_value(), months_by_value())),)),
            Section("Budgets", (Line(8, (budgets(),)), Line(8, (used_of_budgets(thresholds), blocked_attempts())))),
            Section("Reconciliation", (Line(8, (reconciliations(), coverage(thresholds))),)),
            Section(
                "Ledger and counters",
                (Line(4, (spend_in_range(), _counted())),),
            ),
            Section(
                "Pace, by the counters",
                (
                    Line(8, (_by_gateway(), _by_source(), spend_per_image())),
                    Line(8, (_adjustments(), _at_risk(thresholds), _unknown())),
                    Line(8, (_images(), _tokens())),
                ),
            ),
        ),
        since="now-30d",
        zone="utc",
        choices=(LEDGER_CHOICE, TRACES_CHOICE, TAG_CHOICE),
    )


def _counted() -> Json:
    return stat(
        "Spend, by the counters",
        "What Prometheus saw the counters gain: cost and what later facts added, less what they took. It differs from"
        " the ledger where a scrape was missed, where Prometheus keeps less than this time range, by calls of programs"
        " that the chosen jobs do not cover, and by jobs and corrections of attempts that were sent before.",
        instant(known(net(SPEND), gained("pixelmeter_unknown_cost_requests_total", NOT_OF_JOBS))),
        unit="currencyUSD",
        decimals=4,
        empty="Unknown",
    )


def _by_gateway() -> Json:
    return timeseries(
        "Spend per hour, by gateway",
        "Known cost, as if the pace lasted an hour; that of a job when it ends.",
        ranged(f"{moving_with_jobs(SPEND, by='gateway')} * 3600", "{{gateway}}"),
        unit="currencyUSD",
        stacked=True,
        colours=GATEWAYS,
    )


def _by_source() -> Json:
    return timeseries(
        "Spend per hour, by source",
        "Whether the gateway reported the cost or the price book gave it, of attempts as they ended. What was learnt"
        " later is under Adjustments.",
        ranged(f"{moving('pixelmeter_cost_usd_total', by='cost_source')} * 3600", "{{cost_source}}"),
        unit="currencyUSD",
        stacked=True,
        colours=SOURCES,
    )


def _adjustments() -> Json:
    moved = gained("pixelmeter_adjustments_usd_total", window="1h", by="kind, direction")
    return timeseries(
        "Adjustments per hour",
        "What later facts added to the known cost (up) and took from it (down) in the hour before each point: ends of"
        " jobs (job), statements of gateways (reconciled), prices found later (repriced) and people (manual).",
        ranged(moved, "{{kind}} {{direction}}"),
        unit="currencyUSD",
        empty="Nothing was adjusted",
    )


def _at_risk(thresholds: Thresholds) -> Json:
    return timeseries(
        "At risk per hour",
        "Estimated cost of attempts that may have been billed though they failed, in the hour before each point, and of"
        " jobs until they end, by job and gateway; the line is where the alert begins, at"
        f" {thresholds.at_risk_usd:g} USD.",
        ranged(net_of_jobs(AT_RISK, window="1h", by="job, gateway"), "{{gateway}} {{job}}"),
        unit="currencyUSD",
        steps=((None, "transparent"), (thresholds.at_risk_usd, "orange")),
    )


def _unknown() -> Json:
    return timeseries(
        "Attempts of unknown cost, per hour",
        "By the reason why their cost was unknown as they ended, in the hour before each point; that of a pending_job"
        " is known once the job ends.",
        ranged(gained("pixelmeter_unknown_cost_requests_total", window="1h", by="reason"), "{{reason}}"),
        unit="short",
        stacked=True,
    )


def _images() -> Json:
    images = f"{gained('pixelmeter_images_total', window='1h', by='size, quality')} > 0"
    return timeseries(
        "Images per hour",
        "Images delivered in the hour before each point, by size and quality, as far as the answers say.",
        ranged(f'label_replace({images}, "size", "unknown size", "size", "")', "{{size}} {{quality}}"),
        unit="short",
        stacked=True,
    )


def _tokens() -> Json:
    return timeseries(
        "Tokens per minute",
        "As gateways that bill by token count them; each token is counted once.",
        ranged(f"{moving('pixelmeter_tokens_total', by='direction, modality')} * 60", "{{direction}} {{modality}}"),
        unit="short",
        stacked=True,
        empty="No gateway counted tokens",
    )
