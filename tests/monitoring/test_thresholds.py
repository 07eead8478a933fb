"""Thresholds are checked before anything is made of them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.errors import ConfigError
from pixelmeter.monitoring import Thresholds
from scripts.dashboards.groups import alert_groups


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("objective", 1.0),
        ("objective", 0.0),
        ("objective", math.nan),
        ("objective", 0.9999999),
        ("latency_objective", 0.999999),
        ("latency_objective", 1.5),
        ("minimum_requests", 0.0),
        ("spend_spike_ratio", 1.0),
        ("spend_spike_ratio", 24.0),
        ("image_cost_ratio", 0.5),
        ("at_risk_usd", math.inf),
        ("ledger_lag_seconds", -1.0),
    ],
)
def test_a_threshold_out_of_its_bounds_is_refused_by_name(field: str, value: float) -> None:
    given: dict[str, Any] = {field: value}
    words = field.replace("_", " ")
    with pytest.raises(ConfigError, match=f"{words} is {value:.9g}: it must be (above|between)"):
        Thresholds(**given)


def test_five_nines_are_an_objective() -> None:
    assert 0.99999 == Thresholds(objective=0.99999).objective


@pytest.mark.parametrize("name", ["page", "runbooks"])
@pytest.mark.parametrize(
    "url",
    ["foo", "javascript:alert(1)", "https://wiki.example/\nexpr: 1", "http://\x1b[", 'http://"', "http://{{ $value }}"],
)
def test_an_address_that_is_no_url_is_refused(name: str, url: str) -> None:
    given: dict[str, Any] = {name: url}
    with pytest.raises(ConfigError, match=f"{name} is .* it must be a URL"):
        Thresholds(**given)


def test_a_page_has_an_address() -> None:
    with pytest.raises(ConfigError, match="page is '': it must be a URL"):
        Thresholds(page="")


def test_a_latency_between_two_buckets_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"latency seconds is 50: .* one of 0\.1, 0\.25, .* 45, 60, 90, 120$"):
        Thresholds(latency_seconds=50)


@pytest.mark.parametrize("bucket", DURATION_BUCKETS)
def test_every_bucket_is_a_latency(bucket: float) -> None:
    assert bucket == Thresholds(latency_seconds=bucket).latency_seconds


def test_alerts_link_to_the_runbooks_of_the_page_wherever_that_is() -> None:
    groups = alert_groups(Thresholds(page="https://meter.example/"))
    for alert in (alert for group in groups for alert in group.alerts):
        assert f"https://meter.example/runbooks/{alert.name}.md" == alert.runbook_url


def test_alerts_link_to_runbooks_where_the_team_keeps_them() -> None:
    groups = alert_groups(Thresholds(runbooks="https://wiki.example/images/"))
    for alert in (alert for group in groups for alert in group.alerts):
        assert f"https://wiki.example/images/{alert.name}.md" == alert.runbook_url
