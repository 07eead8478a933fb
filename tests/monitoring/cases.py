"""What Prometheus has seen, and which alerts that must or must not give: input of `promtool test rules`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.groups import alert_groups

ALERTS = [alert for group in alert_groups(Thresholds()) for alert in group.alerts]
_MONTHS_MISSING = {
    "Attempts of pixelmeter come, or will come next month, without a partition for their month; run pixelmeter "
    "db upgrade.": {"job": "pixelmeter"}
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Series, and the alerts of one name that fire at a moment."""

    name: str
    alert: str
    series: Mapping[str, str]
    """Values by series, in the notation of promtool, a value a `step`."""
    at: str
    step: str = "1m"
    firing: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """Labels (without `severity`) by description; none means silence."""

    def as_test(self) -> dict[str, Any]:
        """Return the case as promtool takes it."""
        return {
            "name": self.name,
            "interval": self.step,
            "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
            "alert_rule_test": [
                {"eval_time": self.at, "alertname": self.alert, "exp_alerts": list(self._expected())},
            ],
        }

    def _expected(self) -> Iterator[dict[str, Any]]:
        for description, labels in self.firing.items():
            found = next(each for each in ALERTS if each.name == self.alert and each.labels.items() <= labels.items())
            yield {
                "exp_labels": {"severity": found.severity, **labels},
                "exp_annotations": {
                    "summary": found.summary,
                    "description": description,
                    "runbook_url": found.runbook_url,
                },
            }


_MODEL = 'job="pixelmeter",instance="a",gateway="gw",operation="generate",model="m"'
_GATEWAY = {"job": "pixelmeter", "gateway": "gw"}
_INSTANCE = {"job": "pixelmeter", "instance": "a"}
_LEDGER_UP = 'pixelmeter_ledger_up{job="pixelmeter-ledger",instance="a"}'
_LEDGER_CUT = (
    'pixelmeter_requests_total{job="pixelmeter-ledger",instance="a",gateway="gw",operation="generate",model="m",'
    'outcome="interrupted",error_type="interrupted"}'
)
_OLDEST_JOB = 'pixelmeter_oldest_job_seconds{job="pixelmeter-ledger",instance="a",gateway="gw"}'
_CUT_OFF = {"job": "pixelmeter-ledger", "gateway": "gw"}
_OF_BUDGET = {"job": "pixelmeter-ledger", "budget": "month"}


def _budget(name: str, budget: str = "month") -> str:
    return f'pixelmeter_budget_{name}{{job="pixelmeter-ledger",instance="a",budget="{budget}"}}'


_OF_REPORT = {"job": "pixelmeter-ledger", "gateway": "gw", "source": "recent"}


def _reconciliation(name: str, source: str = "recent") -> str:
    labels = f'job="pixelmeter-ledger",instance="a",gateway="gw",source="{source}"'
    return f"pixelmeter_reconciliation_{name}{{{labels}}}"


_BUILD = 'pixelmeter_build_info{job="pixelmeter",instance="a",version="1"}'


def _attempts(error_type: str = "", outcome: str = "success") -> str:
    return f'pixelmeter_requests_total{{{_MODEL},outcome="{outcome}",error_type="{error_type}"}}'


def _counter(name: str, labels: str = "", model: str = "m", instance: str = "a") -> str:
    named = _MODEL.replace('model="m"', f'model="{model}"').replace('instance="a"', f'instance="{instance}"')
    return f"{name}{{{named}{labels}}}"


def _own(name: str, labels: str = "") -> str:
    return f'{name}{{job="pixelmeter",instance="a"{labels}}}'


def _burn(text: str, windows: str) -> dict[str, Mapping[str, str]]:
    found: dict[str, Mapping[str, str]] = {}
    for pair in windows.split():
        long, short = pair.split("/")
        found[text.replace("LONG", long)] = {**_GATEWAY, "long": long, "short": short}
    return found


def _durations(fast: str, all_: str) -> dict[str, str]:
    labels = f'{_MODEL},outcome="success"'
    return {
        f'pixelmeter_request_duration_seconds_bucket{{{labels},le="60.0"}}': fast,
        f"pixelmeter_request_duration_seconds_count{{{labels}}}": all_,
    }


_COST = _counter("pixelmeter_cost_usd_total", ',cost_source="priced"')
_AT_RISK = _counter("pixelmeter_at_risk_usd_total")
_RISK_TAKEN = _counter("pixelmeter_at_risk_adjustments_usd_total", ',kind="job",direction="down"')
_SETTLED = _counter("pixelmeter_at_risk_adjustments_usd_total", ',kind="reconciled",direction="down"')
_JOB_COST = _counter("pixelmeter_adjustments_usd_total", ',kind="job",direction="up"')
_CORRECTED = _counter("pixelmeter_adjustments_usd_total", ',kind="reconciled",direction="up"')
_PENDING = _counter("pixelmeter_unknown_cost_requests_total", ',reason="pending_job"')
_UNKNOWN = _counter("pixelmeter_unknown_cost_requests_total", ',reason="no_price"')
_LOST = _counter("pixelmeter_unknown_cost_requests_total", ',reason="outcome_unknown"')


def _images(cost: str, images: str, model: str = "m", instance: str = "a") -> dict[str, str]:
    return {
        _counter("pixelmeter_cost_usd_total", ',cost_source="priced"', model, instance): cost,
        _counter("pixelmeter_images_total", ',size="",quality=""', model, instance): images,
    }


def _deployment(end: str) -> dict[str, str]:
    """Twenty programs take over from one, with two images each for what an image cost before."""
    found = _images("0+0.04x1440 stale", "0+1x1440 stale", instance="old")
    for number in range(20):
        found |= _images(f"_x1441 0 0.04x5 {end.format(0.08)}", f"_x1442 1x5 {end.format(2)}", instance=f"new{number}")
    return found


CASES = [
    Case(
        name="a fifth of the attempts fails",
        alert="PixelmeterErrorBudgetBurn",
        series={_attempts(): "0+8x240", _attempts("server", "error"): "0+2x240"},
        at="190m",
        firing=_burn(
            "20% of the attempts through gw failed in the last LONG; the objective allows 1%.", "1h/5m 6h/30m 1d/2h"
        ),
    ),
    Case(
        name="one in fifty fails for hours",
        alert="PixelmeterErrorBudgetBurn",
        series={_attempts(): "0+490x60", _attempts("timeout", "timeout"): "0+10x60"},
        step="10m",
        at="9h",
        firing=_burn("2% of the attempts through gw failed in the last LONG; the objective allows 1%.", "3d/6h"),
    ),
    Case(
        name="one in twenty-five fails for hours",
        alert="PixelmeterErrorBudgetBurn",
        series={_attempts(): "0+480x60", _attempts("timeout", "timeout"): "0+20x60"},
        step="10m",
        at="9h",
        firing=_burn("4% of the attempts through gw failed in the last LONG; the objective allows 1%.", "1d/2h 3d/6h"),
    ),
    Case(
        name="a fifth of what should succeed fails, and ten times as much is throttled or refused",
        alert="PixelmeterErrorBudgetBurn",
        series={
            _attempts(): "0+8x240",
            _attempts("server", "error"): "0+2x240",
            _attempts("throttled", "throttled"): "0+80x240",
            _attempts("blocked", "blocked"): "0+90x240",
        },
        at="60m",
        firing=_burn(
            "20% of the attempts through gw failed in the last LONG; the objective allows 1%.", "1h/5m 6h/30m"
        ),
    ),
    Case(
        name="an account without funds is a failure, whatever the status says",
        alert="PixelmeterErrorBudgetBurn",
        series={_attempts("insufficient_funds", "rejected"): "0+5x60"},
        at="50m",
        firing=_burn(
            "100% of the attempts through gw failed in the last LONG; the objective allows 1%.", "1h/5m 6h/30m"
        ),
    ),
    Case(
        name="all attempts of a new gateway fail for longer than its first minutes",
        alert="PixelmeterErrorBudgetBurn",
        series={_attempts("server", "error"): "_x60 0+5x60"},
        at="70m",
        firing=_burn("100% of the attempts through gw failed in the last LONG; the objective allows 1%.", "1h/5m"),
    ),
    Case(
        name="half of the attempts of a new gateway fail in its first minutes",
        alert="PixelmeterErrorBudgetBurn",
        series={_attempts(): "_x60 0+10x60", _attempts("server", "error"): "_x60 0+10x4 40x56"},
        at="64m",
    ),
    Case(
        name="images of a new gateway are slow in its first minutes",
        alert="PixelmeterLatencyBudgetBurn",
        series=_durations("_x60 0x4 0+10x56", "_x60 0+10x60"),
        at="64m",
    ),
    Case(
        name="half a dozen failures are too few to judge by",
        alert="PixelmeterErrorBudgetBurn",
        series={_attempts("server", "error"): "0 1 2 3 4 5 6x60"},
        at="9m",
    ),
    Case(
        name="what the caller got wrong, or must send again, is no failure",
        alert="PixelmeterErrorBudgetBurn",
        series={
            _attempts(): "0+2x120",
            _attempts("invalid_request", "rejected"): "0+8x120",
            _attempts("moderation", "rejected"): "0+8x120",
            _attempts("throttled", "throttled"): "0+8x120",
            _attempts("cancelled", "cancelled"): "0+8x120",
        },
        at="90m",
    ),
    Case(
        name="four of five images are slow",
        alert="PixelmeterLatencyBudgetBurn",
        series=_durations("0+2x240", "0+10x240"),
        at="190m",
        firing=_burn(
            "80% of the images through gw took more than 60 s in the last LONG; the objective allows 5%.",
            "1h/5m 6h/30m 1d/2h",
        ),
    ),
    Case(
        name="one image in twenty-five is slow",
        alert="PixelmeterLatencyBudgetBurn",
        series=_durations("0+24x120", "0+25x120"),
        at="90m",
    ),
    Case(
        name="a fifth of the attempts is throttled",
        alert="PixelmeterThrottled",
        series={_attempts(): "0+8x60", _attempts("throttled", "throttled"): "0+2x60"},
        at="40m",
        firing={"20% of the attempts through gw were throttled.": _GATEWAY},
    ),
    Case(
        name="one attempt in twenty is throttled",
        alert="PixelmeterThrottled",
        series={_attempts(): "0+19x60", _attempts("throttled", "throttled"): "0+1x60"},
        at="40m",
    ),
    Case(
        name="too few attempts are sent to judge by, however many a budget refuses",
        alert="PixelmeterThrottled",
        series={_attempts("throttled", "throttled"): "0x20 5x40", _attempts("blocked", "blocked"): "0+50x60"},
        at="33m",
    ),
    Case(
        name="the first attempt with a wrong key is seen, though its series is born with it",
        alert="PixelmeterAccessRefused",
        series={_attempts("auth", "rejected"): "_x30 1x60"},
        at="35m",
        firing={"About 1 attempts through gw were refused in the last 15m: auth.": {**_GATEWAY, "error_type": "auth"}},
    ),
    Case(
        name="a key that was wrong half an hour ago is forgotten",
        alert="PixelmeterAccessRefused",
        series={_attempts("auth", "rejected"): "_x30 1x60"},
        at="60m",
    ),
    Case(
        name="moderation refuses a third",
        alert="PixelmeterModerationRefusals",
        series={_attempts(): "0+2x120", _attempts("moderation", "rejected"): "0+1x120"},
        at="60m",
        firing={
            "33.33% of the attempts of m through gw were refused by moderation.": {**_GATEWAY, "model": "m"},
        },
    ),
    Case(
        name="moderation refuses three of twenty",
        alert="PixelmeterModerationRefusals",
        series={_attempts(): "0+17x120", _attempts("moderation", "rejected"): "0+3x120"},
        at="60m",
    ),
    Case(
        name="requests that cannot be understood are not refused by moderation",
        alert="PixelmeterModerationRefusals",
        series={_attempts(): "0+2x120", _attempts("invalid_request", "rejected"): "0+1x120"},
        at="60m",
    ),
    Case(
        name="the first cut-off attempts of a ledger are seen, though their series is born with them",
        alert="PixelmeterInterruptedCalls",
        series={_LEDGER_UP: "1x180", _LEDGER_CUT: "_x90 3x90"},
        at="100m",
        firing={
            "About 3 attempts through gw were cut off by the end of their process; they may have been billed.": _CUT_OFF
        },
    ),
    Case(
        name="cut-off attempts of before a new exporter are old",
        alert="PixelmeterInterruptedCalls",
        series={_LEDGER_UP: "_x60 1x120", _LEDGER_CUT: "_x60 3x120"},
        at="70m",
    ),
    Case(
        name="the first cut-off attempts of a ledger are seen, though its exporter is new",
        alert="PixelmeterInterruptedCalls",
        series={_LEDGER_UP: "_x60 1x120", _LEDGER_CUT: "_x70 3x110"},
        at="71m",
        firing={
            "About 3 attempts through gw were cut off by the end of their process; they may have been billed.": _CUT_OFF
        },
    ),
    Case(
        name="cut-off attempts of before an exporter that was new and has ended are old",
        alert="PixelmeterInterruptedCalls",
        series={_LEDGER_UP: "_x60 1x10 stale", _LEDGER_CUT: "_x60 3x10 stale"},
        at="80m",
    ),
    Case(
        name="cut-off attempts of before an hour without a ledger are old",
        alert="PixelmeterInterruptedCalls",
        series={_LEDGER_UP: "1x30 0x120 1x30", _LEDGER_CUT: "3x30 _x120 3x30"},
        at="160m",
    ),
    Case(
        name="cut-off attempts of hours ago are old",
        alert="PixelmeterInterruptedCalls",
        series={_LEDGER_UP: "1x240", _LEDGER_CUT: "_x90 3x150"},
        at="220m",
    ),
    Case(
        name="no end is heard of a job for three hours",
        alert="PixelmeterJobsStuck",
        series={_OLDEST_JOB: "0+60x240"},
        at="180m",
        firing={
            "The oldest open job of gw was submitted 3h 0m 0s ago; what it cost is not known.": _CUT_OFF,
        },
    ),
    Case(
        name="a job takes an hour and a half, and the next ones end after a minute",
        alert="PixelmeterJobsStuck",
        series={_OLDEST_JOB: "0+60x90 0 60x180"},
        at="180m",
    ),
    Case(
        name="a job ended after three hours",
        alert="PixelmeterJobsStuck",
        series={_OLDEST_JOB: "0+60x180 0x60"},
        at="181m",
    ),
    Case(
        name="a budget is spent to nine tenths",
        alert="PixelmeterBudgetNearlyUsed",
        series={
            _budget("used_ratio"): "0.01+0.01x88 0.9x30",
            _budget("used_ratio", "day"): "0.79x120",
            _budget("used_ratio", "week"): "0.8x120",
        },
        at="95m",
        firing={
            "90% of the budget month is spent.": _OF_BUDGET,
            "80% of the budget week is spent.": {**_OF_BUDGET, "budget": "week"},
        },
    ),
    Case(
        name="a budget that is used up is no longer nearly so",
        alert="PixelmeterBudgetNearlyUsed",
        series={_budget("used_ratio"): "0.9x10 1.2x60"},
        at="40m",
    ),
    Case(
        name="a budget is spent beyond its limit",
        alert="PixelmeterBudgetUsedUp",
        series={_budget("used_ratio"): "0.9x10 1.2x60", _budget("used_ratio", "day"): "0.99x120"},
        at="11m",
        firing={"120% of the budget month is spent.": _OF_BUDGET},
    ),
    Case(
        name="a budget that was used up has begun anew",
        alert="PixelmeterBudgetUsedUp",
        series={_budget("used_ratio"): "1x60 0x60"},
        at="61m",
    ),
    Case(
        name="a budget of nothing is used up on purpose",
        alert="PixelmeterBudgetUsedUp",
        series={_budget("limit_usd"): "0x60", _budget("spent_usd"): "0x60", _budget("values_over"): "1x60"},
        at="30m",
    ),
    Case(
        name="a budget will not last at this pace",
        alert="PixelmeterBudgetForecast",
        series={
            _budget("limit_usd"): "50x120",
            _budget("forecast_usd"): "80x120",
            _budget("used_ratio"): "0.4x120",
            _budget("limit_usd", "day"): "5x120",
            _budget("forecast_usd", "day"): "5x120",
        },
        at="61m",
        firing={
            "At its pace so far, 80.00 USD will be spent of the budget month before it resets: more than its"
            " limit.": _OF_BUDGET,
        },
    ),
    Case(
        name="a budget that will not last has no room left already",
        alert="PixelmeterBudgetForecast",
        series={
            _budget("limit_usd"): "50x120",
            _budget("forecast_usd"): "80x120",
            _budget("used_ratio"): "1x120",
        },
        at="90m",
    ),
    Case(
        name="a budget refuses its first call",
        alert="PixelmeterCallsBlocked",
        series={_attempts(): "0+1x60", _attempts("blocked", "blocked"): "_x30 1x30"},
        at="31m",
        firing={
            "About 1 attempts through gw were refused by a budget in the last 15m; none of them was sent.": _GATEWAY,
        },
    ),
    Case(
        name="a budget refused calls an hour ago",
        alert="PixelmeterCallsBlocked",
        series={_attempts(): "0+1x120", _attempts("blocked", "blocked"): "_x30 1x90"},
        at="90m",
    ),
    Case(
        name="calls cost more than was reserved for them",
        alert="PixelmeterBudgetOverrun",
        series={_budget("overrun_usd"): "0.5x60 0.75x120"},
        at="90m",
        firing={
            "Calls cost 0.2500 USD more in the last 1h than the budget month had reserved for them.": _OF_BUDGET,
        },
    ),
    Case(
        name="what calls cost more was long ago, and a budget begins anew",
        alert="PixelmeterBudgetOverrun",
        series={_budget("overrun_usd"): "0.75x120", _budget("overrun_usd", "day"): "0.75x100 0x80"},
        at="110m",
    ),
    Case(
        name="a gateway throttles a fifth of what is sent, and a budget refuses ten times as much",
        alert="PixelmeterThrottled",
        series={
            _attempts(): "0+4x60",
            _attempts("throttled", "throttled"): "0+1x60",
            _attempts("blocked", "blocked"): "0+50x60",
        },
        at="40m",
        firing={"20% of the attempts through gw were throttled.": _GATEWAY},
    ),
    Case(
        name="a gateway charged for calls that nobody metered",
        alert="PixelmeterReconciliationCoverage",
        series={_reconciliation("coverage_ratio"): "0.9x60", _reconciliation("coverage_ratio", "csv"): "0.95x60"},
        at="10m",
        firing={
            "90% of what gw charged in the latest reconciled month, by recent, belongs to attempts of the"
            " ledger.": _OF_REPORT,
        },
    ),
    Case(
        name="the next reconciliation covers enough",
        alert="PixelmeterReconciliationCoverage",
        series={_reconciliation("coverage_ratio"): "0.9x10 0.99x60"},
        at="20m",
    ),
    Case(
        name="a report has two hundredths less than the ledger",
        alert="PixelmeterReconciliationDrift",
        series={
            _reconciliation("drift_usd"): "-4x60",
            _reconciliation("charged_usd"): "200x60",
            _reconciliation("drift_usd", "csv"): "0.9x60",
            _reconciliation("charged_usd", "csv"): "10x60",
        },
        at="10m",
        firing={
            "The ledger and the report recent of gw are 4.00 USD apart for what both have of the latest reconciled"
            " month.": _OF_REPORT,
        },
    ),
    Case(
        name="a report differs by a small part of a large month",
        alert="PixelmeterReconciliationDrift",
        series={_reconciliation("drift_usd"): "4x60", _reconciliation("charged_usd"): "500x60"},
        at="10m",
    ),
    Case(
        name="spend is ten times that of yesterday",
        alert="PixelmeterSpendSpike",
        series={_COST: "0+0.1x150 15+1x12"},
        step="10m",
        at="26h40m",
        firing={
            "6.00 USD an hour go through gw: more than 3 times the same hour of the day before, and 3 times the mean"
            " of a day.": _GATEWAY,
        },
    ),
    Case(
        name="jobs cost ten times what they did yesterday",
        alert="PixelmeterSpendSpike",
        series={_COST: "0x162", _JOB_COST: "0+0.1x150 15+1x12"},
        step="10m",
        at="26h40m",
        firing={
            "6.00 USD an hour go through gw: more than 3 times the same hour of the day before, and 3 times the mean"
            " of a day.": _GATEWAY,
        },
    ),
    Case(
        name="a statement corrects what a month cost",
        alert="PixelmeterSpendSpike",
        series={_COST: "0+0.1x162", _CORRECTED: "0x150 1000x12"},
        step="10m",
        at="26h40m",
    ),
    Case(
        name="a program spends at an hour at which it did not run yesterday",
        alert="PixelmeterSpendSpike",
        series={_COST: "0+0.1x6 _x60 1+0.1x75 10+1x20"},
        step="10m",
        at="25h40m",
        firing={
            "6.00 USD an hour go through gw: more than 3 times the same hour of the day before, and 3 times the mean"
            " of a day.": _GATEWAY,
        },
    ),
    Case(
        name="a program spends at an hour at which it did not run yesterday, no faster than it did later that day",
        alert="PixelmeterSpendSpike",
        series={_COST: "0x12 0+1x72 72x62 73+1x20"},
        step="10m",
        at="25h40m",
    ),
    Case(
        name="the same hour was as dear yesterday",
        alert="PixelmeterSpendSpike",
        series={_COST: "0+1x12 12+0.1x132 25.2+1x12"},
        step="10m",
        at="25h40m",
    ),
    Case(
        name="the first day of a gateway has nothing to compare with",
        alert="PixelmeterSpendSpike",
        series={_COST: "0+1x30"},
        step="10m",
        at="4h",
    ),
    Case(
        name="ten times next to nothing is little",
        alert="PixelmeterSpendSpike",
        series={_COST: "0+0.01x150 1.5+0.1x12"},
        step="10m",
        at="26h40m",
    ),
    Case(
        name="an image costs more than twice what it did yesterday",
        alert="PixelmeterImageCostJump",
        series=_images("0+0.4x150 60+1x12", "0+10x162"),
        step="10m",
        at="26h40m",
        firing={
            "An image of m through gw costs 0.1000 USD: more than 1.5 times what it was a day, or else a week,"
            " before.": {**_GATEWAY, "model": "m"},
        },
    ),
    Case(
        name="an image of a job costs more than twice what it did yesterday",
        alert="PixelmeterImageCostJump",
        series={
            _JOB_COST: "0+0.4x150 60+1x12",
            _counter("pixelmeter_images_total", ',size="",quality=""'): "0+10x162",
            _PENDING: "0+10x162",
        },
        step="10m",
        at="26h40m",
        firing={
            "An image of m through gw costs 0.1000 USD: more than 1.5 times what it was a day, or else a week,"
            " before.": {**_GATEWAY, "model": "m"},
        },
    ),
    Case(
        name="an image costs more than twice what it did a week ago, and there was none yesterday",
        alert="PixelmeterImageCostJump",
        series=_images("0+0.4x18 7.2x980 7.2+1x30", "0+10x18 180x980 180+10x30"),
        step="10m",
        at="169h",
        firing={
            "An image of m through gw costs 0.1000 USD: more than 1.5 times what it was a day, or else a week,"
            " before.": {**_GATEWAY, "model": "m"},
        },
    ),
    Case(
        name="each program of a deployment makes its first two images, for what they cost before",
        alert="PixelmeterImageCostJump",
        series=_deployment("{}x60"),
        at="25h",
    ),
    Case(
        name="each program of a deployment makes its first two images, and has ended soon after",
        alert="PixelmeterImageCostJump",
        series=_deployment("{}x5 stale"),
        at="25h",
    ),
    Case(
        name="sizes that were never asked for before cost what the others do",
        alert="PixelmeterImageCostJump",
        series={
            **_images("0+0.4x144 57.6x6 59.2x12", "0+10x144 1440x6 1450x12"),
            **{
                _counter("pixelmeter_images_total", f',size="{size}",quality=""'): "_x152 1x12" for size in range(1, 31)
            },
        },
        step="10m",
        at="25h50m",
    ),
    Case(
        name="yesterday at this hour there was one small image only",
        alert="PixelmeterImageCostJump",
        series=_images("0+0.4x130 52x13 52.01x134 52.01+0.4x20", "0+10x130 1300x13 1301x134 1301+10x20"),
        step="10m",
        at="48h40m",
    ),
    Case(
        name="a week ago at this hour there was one small image only, and yesterday none",
        alert="PixelmeterImageCostJump",
        series=_images("0 0.01x1004 0.01+1x20", "0 1x1004 1+10x20"),
        step="10m",
        at="168h40m",
    ),
    Case(
        name="half of the images had no price yesterday, and now have the same as the others",
        alert="PixelmeterImageCostJump",
        series={**_images("0+0.4x150 60+0.8x12", "0+20x162"), _UNKNOWN: "0+10x150 1500x12"},
        step="10m",
        at="26h40m",
    ),
    Case(
        name="an image costs more than it did yesterday, when some answers were lost",
        alert="PixelmeterImageCostJump",
        series={**_images("0+0.4x150 60+1x12", "0+10x162"), _LOST: "0+1x162"},
        step="10m",
        at="26h40m",
        firing={
            "An image of m through gw costs 0.1000 USD: more than 1.5 times what it was a day, or else a week,"
            " before.": {**_GATEWAY, "model": "m"},
        },
    ),
    Case(
        name="models that share a label may be others than yesterday",
        alert="PixelmeterImageCostJump",
        series=_images("0+0.4x150 60+1x12", "0+10x162", "other"),
        step="10m",
        at="26h40m",
    ),
    Case(
        name="the first image without a price is seen, though its series is born with it",
        alert="PixelmeterUnknownCost",
        series={_UNKNOWN: "_x90 1x90"},
        at="91m",
        firing={
            "About 1 attempts of m through gw in the last 1h are missing from the spend: no_price.": {
                **_GATEWAY,
                "model": "m",
                "reason": "no_price",
            },
        },
    ),
    Case(
        name="images without a price go on being made",
        alert="PixelmeterUnknownCost",
        series={_UNKNOWN: "0+1x180"},
        at="150m",
        firing={
            "About 60 attempts of m through gw in the last 1h are missing from the spend: no_price.": {
                **_GATEWAY,
                "model": "m",
                "reason": "no_price",
            },
        },
    ),
    Case(
        name="images without a price of two hours ago are forgotten",
        alert="PixelmeterUnknownCost",
        series={_UNKNOWN: "_x30 1x180"},
        at="150m",
    ),
    Case(
        name="no price book knows what a lost answer costs",
        alert="PixelmeterUnknownCost",
        series={_LOST: "0+1x180"},
        at="150m",
    ),
    Case(
        name="what a job costs is known when it ends",
        alert="PixelmeterUnknownCost",
        series={_PENDING: "0+1x180"},
        at="150m",
    ),
    Case(
        name="three dollars of an hour may have been billed",
        alert="PixelmeterAtRiskSpend",
        series={_AT_RISK: "0+0.05x120"},
        at="90m",
        firing={
            "Attempts through gw that gave no image may have cost 3.00 USD in the last 1h.": _GATEWAY,
        },
    ),
    Case(
        name="jobs of three dollars end, and two of them are still open",
        alert="PixelmeterAtRiskSpend",
        series={_AT_RISK: "0x30 0+0.05x150", _RISK_TAKEN: "_x70 0.05+0.05x20 1x90"},
        at="100m",
        firing={
            "Attempts through gw that gave no image may have cost 2.00 USD in the last 1h.": _GATEWAY,
        },
    ),
    Case(
        name="jobs of three dollars an hour end after some minutes",
        alert="PixelmeterAtRiskSpend",
        series={_AT_RISK: "0+0.05x180", _RISK_TAKEN: "0x10 0+0.05x170"},
        at="150m",
    ),
    Case(
        name="the last jobs of a batch have ended",
        alert="PixelmeterAtRiskSpend",
        series={_AT_RISK: "0x60 3x120", _RISK_TAKEN: "_x80 3x100"},
        at="100m",
    ),
    Case(
        name="a statement settles what was at risk last month, and three dollars of an hour may have been billed",
        alert="PixelmeterAtRiskSpend",
        series={_AT_RISK: "0+0.05x120", _SETTLED: "0x80 1000x40"},
        at="90m",
        firing={
            "Attempts through gw that gave no image may have cost 3.00 USD in the last 1h.": _GATEWAY,
        },
    ),
    Case(
        name="sixty cents of an hour may have been billed",
        alert="PixelmeterAtRiskSpend",
        series={_AT_RISK: "0+0.01x120"},
        at="90m",
    ),
    Case(
        name="the first lost records are seen, though their series is born with them",
        alert="PixelmeterRecordsDropped",
        series={_own("pixelmeter_dropped_records_total"): "_x90 5x90"},
        at="90m",
        firing={"a lost about 5 records in the last 1h; spend is under-reported.": _INSTANCE},
    ),
    Case(
        name="lost records are seen, though their program has ended soon after",
        alert="PixelmeterRecordsDropped",
        series={_own("pixelmeter_dropped_records_total"): "_x90 5x5 stale"},
        at="120m",
        firing={"a lost about 5 records in the last 1h; spend is under-reported.": _INSTANCE},
    ),
    Case(
        name="records lost two hours ago are history",
        alert="PixelmeterRecordsDropped",
        series={_own("pixelmeter_dropped_records_total"): "5x180"},
        at="150m",
    ),
    Case(
        name="a spool has filled up to three quarters",
        alert="PixelmeterSpoolFilling",
        series={_own("pixelmeter_spool_used_ratio"): "0.75x60"},
        at="30m",
        firing={"The spool of a holds 75% of what it may; at 100% records are lost.": _INSTANCE},
    ),
    Case(
        name="a spool holds a quarter of what it may",
        alert="PixelmeterSpoolFilling",
        series={_own("pixelmeter_spool_used_ratio"): "0.25x60"},
        at="30m",
    ),
    Case(
        name="no transaction gets through",
        alert="PixelmeterLedgerWritesFailing",
        series={_own("pixelmeter_ledger_write_errors_total", ',backend="postgresql"'): "0+1x60"},
        at="30m",
        firing={"a cannot write to the ledger; its records wait on disk and are tried again.": _INSTANCE},
    ),
    Case(
        name="one transaction fails",
        alert="PixelmeterLedgerWritesFailing",
        series={_own("pixelmeter_ledger_write_errors_total", ',backend="postgresql"'): "0x10 1x50"},
        at="14m",
    ),
    Case(
        name="a record waits for ten minutes",
        alert="PixelmeterLedgerLag",
        series={_own("pixelmeter_ledger_lag_seconds"): "600x60"},
        at="10m",
        firing={"The oldest record of a has been waiting for 10m 0s.": _INSTANCE},
    ),
    Case(
        name="records wait for a minute and a half",
        alert="PixelmeterLedgerLag",
        series={_own("pixelmeter_ledger_lag_seconds"): "90x60"},
        at="10m",
    ),
    Case(
        name="the exporter has lost its database",
        alert="PixelmeterLedgerDown",
        series={_own("pixelmeter_ledger_up"): "1x10 0x60"},
        at="20m",
        firing={"a answers, but cannot read the ledger: it has no numbers until it can.": _INSTANCE},
    ),
    Case(
        name="the exporter missed its database for a minute",
        alert="PixelmeterLedgerDown",
        series={_own("pixelmeter_ledger_up"): "1x10 0 1x50"},
        at="15m",
    ),
    Case(
        name="the first failure of our own is seen, though its series is born with it",
        alert="PixelmeterInternalErrors",
        series={_own("pixelmeter_internal_errors_total", ',place="ledger"'): "_x90 2x90"},
        at="95m",
        firing={
            "About 2 failures in ledger of a in the last 1h; calls went through, their records may lack something.": {
                **_INSTANCE,
                "place": "ledger",
            },
        },
    ),
    Case(
        name="nothing of ours fails",
        alert="PixelmeterInternalErrors",
        series={_own("pixelmeter_internal_errors_total", ',place="ledger"'): "0x180"},
        at="150m",
    ),
    Case(
        name="no month is made ahead",
        alert="PixelmeterMonthsMissing",
        series={_own("pixelmeter_ledger_months_ahead"): "1x60 0x120"},
        at="150m",
        firing=_MONTHS_MISSING,
    ),
    Case(
        name="an attempt has come without a month",
        alert="PixelmeterMonthsMissing",
        series={
            _own("pixelmeter_ledger_months_ahead"): "3x180",
            _own("pixelmeter_ledger_attempts_without_month"): "0x60 1x120",
        },
        at="150m",
        firing=_MONTHS_MISSING,
    ),
    Case(
        name="months are made ahead and every attempt has its own",
        alert="PixelmeterMonthsMissing",
        series={
            _own("pixelmeter_ledger_months_ahead"): "1x180",
            _own("pixelmeter_ledger_attempts_without_month"): "0x180",
        },
        at="150m",
    ),
    Case(
        name="prices were checked a hundred days before the clock began",
        alert="PixelmeterPricesStale",
        series={_own("pixelmeter_price_book_timestamp_seconds"): "-8640000x120"},
        at="2h",
        firing={"The prices in pixelmeter were last checked 100d 2h 0m 0s ago.": {"job": "pixelmeter"}},
    ),
    Case(
        name="one of two programs has prices that were checked a hundred days before the clock began",
        alert="PixelmeterPricesStale",
        series={
            _own("pixelmeter_price_book_timestamp_seconds"): "-8640000x120",
            _own("pixelmeter_price_book_timestamp_seconds").replace('"a"', '"b"'): "0x120",
        },
        at="2h",
        firing={"The prices in pixelmeter were last checked 100d 2h 0m 0s ago.": {"job": "pixelmeter"}},
    ),
    Case(
        name="prices were checked ten days before the clock began",
        alert="PixelmeterPricesStale",
        series={_own("pixelmeter_price_book_timestamp_seconds"): "-864000x120"},
        at="2h",
    ),
    Case(
        name="the only target of a job has gone, that of another is there",
        alert="PixelmeterMetricsAbsent",
        series={_BUILD: "1x20 _x60", _BUILD.replace('"pixelmeter"', '"other"'): "1x80"},
        at="40m",
        firing={
            "No target of the job pixelmeter has metrics of pixelmeter, so no other alert can fire.": {
                "job": "pixelmeter"
            }
        },
    ),
    Case(
        name="there never was a target",
        alert="PixelmeterMetricsAbsent",
        series={},
        at="40m",
        firing={"No target of any job has metrics of pixelmeter, so no other alert can fire.": {}},
    ),
    Case(
        name="one of two targets is there",
        alert="PixelmeterMetricsAbsent",
        series={_BUILD: "1x20 _x60", _BUILD.replace('"a"', '"b"'): "1x80"},
        at="40m",
    ),
]


def _since_an_hour(values: str) -> str:
    return f"_x60 {values}"


_OF_EXPORTER = 'job="pixelmeter-ledger",instance="b",gateway="gw",operation="generate",model="m"'

FIRST_MINUTES: Mapping[str, str] = {
    # Another program keeps Prometheus from saying that it gets no metrics at all.
    _BUILD.replace('instance="a"', 'instance="z"'): "1x120",
    # A program that has just been deployed: half of its calls fail while it warms up, and take too long.
    **{
        name: _since_an_hour(values)
        for name, values in {
            _BUILD: "1x60",
            _attempts(): "0+20x60",
            _attempts("server", "error"): "0+20x2 40x58",
            _attempts("throttled", "throttled"): "0+4x3 12x57",
            _attempts("moderation", "rejected"): "0+10x3 30x57",
            _attempts("auth", "rejected"): "0x60",
            _attempts("interrupted", "interrupted"): "0x60",
            _attempts("blocked", "blocked"): "0x60",
            **_durations("0+2x3 6+20x57", "0+20x60"),
            **_images("0+5x60", "0+20x60"),
            _AT_RISK: "0+0.05x3 0.15x57",
            _UNKNOWN: "0x60",
            _own("pixelmeter_dropped_records_total"): "0x60",
            _own("pixelmeter_internal_errors_total", ',place="ledger"'): "0x60",
            _own("pixelmeter_ledger_write_errors_total", ',backend="postgresql"'): "0 1x60",
            _own("pixelmeter_ledger_lag_seconds"): "5x60",
            _own("pixelmeter_spool_used_ratio"): "0.01x60",
            _own("pixelmeter_price_book_timestamp_seconds"): "0x60",
        }.items()
    },
    # An exporter that has just been started: its counters are those of years.
    **{
        name: _since_an_hour(values)
        for name, values in {
            f'pixelmeter_requests_total{{{_OF_EXPORTER},outcome="success",error_type=""}}': "900000+20x60",
            f'pixelmeter_requests_total{{{_OF_EXPORTER},outcome="error",error_type="server"}}': "90000+20x2 90040x58",
            f'pixelmeter_requests_total{{{_OF_EXPORTER},outcome="rejected",error_type="auth"}}': "70x60",
            f'pixelmeter_requests_total{{{_OF_EXPORTER},outcome="interrupted",error_type="interrupted"}}': "9x60",
            f'pixelmeter_requests_total{{{_OF_EXPORTER},outcome="blocked",error_type="blocked"}}': "80x60",
            f'pixelmeter_cost_usd_total{{{_OF_EXPORTER},cost_source="priced"}}': "50000+5x60",
            f"pixelmeter_at_risk_usd_total{{{_OF_EXPORTER}}}": "700x60",
            f'pixelmeter_unknown_cost_requests_total{{{_OF_EXPORTER},reason="no_price"}}': "1000x60",
            f'pixelmeter_images_total{{{_OF_EXPORTER},size="",quality=""}}': "900000+20x60",
            _LEDGER_UP.replace('"a"', '"b"'): "0 1x60",
            _OLDEST_JOB: "600x60",
            _budget("used_ratio"): "0.5x60",
            _budget("limit_usd"): "50x60",
            _budget("overrun_usd"): "3x60",
            _reconciliation("coverage_ratio"): "0.99x60",
            _own("pixelmeter_ledger_months_ahead"): "0 3x60",
        }.items()
    },
}
"""A program and an exporter that Prometheus scrapes since an hour after the clock began, a value a minute."""
