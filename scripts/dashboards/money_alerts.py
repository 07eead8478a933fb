"""Alerts on what calls cost, may have cost, or cost without our knowing."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.growth import grown, grown_with_jobs
from scripts.dashboards.pace import Pace
from scripts.dashboards.recordings import UNPRICED
from scripts.dashboards.rule import Alert, Group

__all__ = ["money_alerts"]


def money_alerts(thresholds: Thresholds, pace: Pace) -> Group:
    """Return the alerts that concern whoever pays."""
    return Group(
        name="pixelmeter-money",
        rules=(
            _spend_spike(thresholds, pace),
            _image_cost(thresholds, pace),
            _unknown_cost(thresholds, pace),
            _at_risk(thresholds, pace),
        ),
    )


def _spend_spike(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterSpendSpike"
    hour, day = (f"job_gateway:pixelmeter_spend_usd:rate{pace(window)}" for window in ("1h", "1d"))
    ratio, before = f"{thresholds.spend_spike_ratio:g}", f"offset {pace('1d')}"
    return Alert(
        name=name,
        # The mean of the day besides the same hour: a night without calls is nothing to compare with. And a gateway
        # that had no day before has no usual spend.
        expression=(
            f"3600 * {hour} > {thresholds.spend_spike_usd:g}\n"
            "and\n"
            f"{hour} > {ratio} * ({hour} {before} or 0 * {hour})\n"
            "and\n"
            f"{hour} > {ratio} * {day}\n"
            "and\n"
            f"{day} {before}"
        ),
        wait=pace("15m"),
        severity="warning",
        summary="Images cost far more than the day before.",
        description=(
            '{{ $value | printf "%.2f" }} USD an hour go through {{ $labels.gateway }}: more than '
            f"{ratio} times the same hour of the day before, and {ratio} times the mean of a day."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _image_cost(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterImageCostJump"
    cost = f'job_gateway_model:pixelmeter_image_cost_usd:ratio_increase{pace("1h")}{{model!="other"}}'
    images = f"job_gateway_model:pixelmeter_images:increase{pace('1h')}"
    unknown = f"job_gateway_model:pixelmeter_unknown_cost_requests:increase{pace('1h')}"

    def before(duration: str) -> str:
        # Images of unknown cost make the mean too low, so a price that becomes known would look like a jump.
        offset = f"offset {pace(duration)}"
        return (
            f"  {cost} {offset} > 0\n"
            f"  and {images} {offset} >= {thresholds.minimum_requests:g}\n"
            f"  unless {unknown} {offset}\n"
        )

    return Alert(
        name=name,
        expression=(
            f"{cost}\n"
            f"> {thresholds.image_cost_ratio:g} * (\n"
            f"{before('1d')}"
            "  or\n"
            f"{before('1w')}"
            ")\n"
            "and\n"
            f"{images} >= {thresholds.minimum_requests:g}"
        ),
        wait=pace("15m"),
        severity="warning",
        summary="An image of the same model costs more than before.",
        description=(
            'An image of {{ $labels.model }} through {{ $labels.gateway }} costs {{ $value | printf "%.4f" }} USD: '
            f"more than {thresholds.image_cost_ratio:g} times what it was a day, or else a week, before."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _unknown_cost(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterUnknownCost"
    unknown = grown("pixelmeter_unknown_cost_requests_total", "1h", pace, UNPRICED)
    return Alert(
        name=name,
        expression=f"sum by (job, gateway, model, reason) (\n{unknown}\n)",
        wait="0s",
        severity="warning",
        summary="Images were made whose cost is unknown.",
        description=(
            "About {{ $value | humanize }} attempts of {{ $labels.model }} through {{ $labels.gateway }} in the last "
            f"{pace('1h')} are missing from the spend: " + "{{ $labels.reason }}."
        ),
        runbook_url=thresholds.runbook(name),
    )


def _at_risk(thresholds: Thresholds, pace: Pace) -> Alert:
    name = "PixelmeterAtRiskSpend"
    # What a job under way may cost is at risk until it ends.
    at_risk = grown_with_jobs("pixelmeter_at_risk_usd_total", "pixelmeter_at_risk_adjustments_usd_total", "1h", pace)
    return Alert(
        name=name,
        expression=f"sum by (job, gateway) (\n{at_risk}\n) > {thresholds.at_risk_usd:g}",
        wait="0s",
        severity="warning",
        summary="Attempts without an answer may have been billed.",
        description=(
            'Attempts through {{ $labels.gateway }} that gave no image may have cost {{ $value | printf "%.2f" }} USD '
            f"in the last {pace('1h')}."
        ),
        runbook_url=thresholds.runbook(name),
    )
