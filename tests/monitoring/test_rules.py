"""Rules are what promtool accepts, fire when they should and are silent when they should be."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from pixelmeter.core.labels import ERROR_TYPES
from pixelmeter.monitoring import Thresholds
from scripts.dashboards.groups import alert_groups, recording_groups
from scripts.dashboards.pace import UNHURRIED, Pace
from scripts.dashboards.recordings import COUNTED, FAILED
from tests.monitoring.cases import ALERTS, CASES, FIRST_MINUTES
from tests.monitoring.promql import unknown_names
from tests.monitoring.promtool import check, judge, written

OTHERS = Thresholds(
    objective=0.9,
    latency_seconds=7.5,
    latency_objective=0.5,
    minimum_requests=3,
    throttled_ratio=0.25,
    spend_spike_ratio=2,
    spend_spike_usd=0.05,
    at_risk_usd=0.01,
)
PACES = pytest.mark.parametrize("pace", [UNHURRIED, Pace(60)], ids=["unhurried", "hurried"])
THRESHOLDS = pytest.mark.parametrize("thresholds", [Thresholds(), OTHERS], ids=["default", "other"])


@PACES
@THRESHOLDS
def test_promtool_has_nothing_to_say_about_the_rules(tmp_path: Path, thresholds: Thresholds, pace: Pace) -> None:
    check("check", "rules", "--lint=all", "--lint-fatal", *written(tmp_path, thresholds, pace))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("step", sorted({case.step for case in CASES}))
def test_alerts_fire_and_are_silent_as_they_should(tmp_path: Path, step: str) -> None:
    judge(tmp_path, step, [case.as_test() for case in CASES if case.step == step])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_first_minutes_of_a_new_program_and_a_new_exporter_raise_no_alarm(tmp_path: Path) -> None:
    silent = [
        {"eval_time": f"{60 + minute}m", "alertname": name, "exp_alerts": []}
        for name in sorted({alert.name for alert in ALERTS})
        for minute in range(11)
    ]
    series = [{"series": name, "values": values} for name, values in FIRST_MINUTES.items()]

    judge(tmp_path, "1m", [{"interval": "1m", "input_series": series, "alert_rule_test": silent}])


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    seen: dict[str, set[bool]] = defaultdict(set)
    for case in CASES:
        seen[case.alert].add(bool(case.firing))

    assert {alert.name: {True, False} for alert in ALERTS} == seen


@PACES
@THRESHOLDS
def test_rules_name_only_metrics_and_labels_that_exist(thresholds: Thresholds, pace: Pace) -> None:
    recordings = [rule for group in recording_groups(thresholds, pace) for rule in group.rules]
    alerts = [rule for group in alert_groups(thresholds, pace) for rule in group.rules]
    recorded = {rule.name for rule in recordings}

    assert {} == {
        rule.name: unknown for rule in (*recordings, *alerts) if (unknown := unknown_names(rule.expression, recorded))
    }


def test_every_way_to_fail_is_a_failure_or_left_out_on_purpose() -> None:
    failed = FAILED.split('"')[1].split("|")
    left_out = {"blocked", "cancelled", "invalid_request", "moderation", "not_found", "throttled"}

    assert ["", *failed] == COUNTED.split('"')[1].split("|")
    assert set(ERROR_TYPES) == {"", *failed} | left_out
    assert not left_out.intersection(failed)


def test_a_low_objective_still_has_an_alert_that_can_fire() -> None:
    first = next(alert for alert in alert_groups(OTHERS)[0].alerts if alert.name == "PixelmeterErrorBudgetBurn")

    assert "ratio_rate1h > 0.9\n" in first.expression


def test_a_pace_divides_durations_and_never_makes_them_nothing() -> None:
    assert ["5m", "1d"] == [UNHURRIED("5m"), UNHURRIED("1d")]
    assert ["5s", "1440s", "1s"] == [Pace(60)(duration) for duration in ("5m", "1d", "30s")]
    with pytest.raises(ValueError, match="a number and a unit"):
        UNHURRIED("1h30m")
