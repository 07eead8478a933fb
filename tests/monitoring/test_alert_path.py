"""A gateway fails, and somebody hears of it: through real metrics, Prometheus, Alertmanager and a webhook."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from pixelmeter.monitoring import Thresholds
from pixelmeter.testing import Gateway
from scripts.dashboards.groups import alert_groups, recording_groups
from scripts.dashboards.pace import Pace
from scripts.dashboards.prometheus_files import files
from tests.prometheus import Alertmanager, Prometheus, Receiver, eventually

CHECKOUT = Path(__file__).parents[2]
FILES = files(Thresholds(), Pace(60))
"""Minutes are seconds here, and hours are minutes."""
RULES = sum(len(group.rules) for group in (*recording_groups(Thresholds()), *alert_groups(Thresholds())))

pytestmark = pytest.mark.slow


@contextmanager
def program(gateway: str, ledger: str) -> Iterator[str]:
    """A program that makes images for as long as the block lasts; its target for Prometheus."""
    command = [sys.executable, "-m", "tests.monitoring.program", gateway, ledger]
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            code = process.wait(30)
    assert 0 == code


def rules(folder: Path) -> list[Path]:
    """Write the rules into a folder, and return where they are."""
    paths = [folder / Path(name).name for name in ("prometheus/rules.yml", "prometheus/alerts.yml")]
    for path in paths:
        path.write_text(FILES[f"prometheus/{path.name}"])
    return paths


def alerting(receiver: Receiver) -> dict[str, Any]:
    """Return the Alertmanager example, hurried, with the receiver where its placeholders are."""
    config: dict[str, Any] = yaml.safe_load(FILES["alertmanager/alertmanager.yml"])
    config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    for each in config["receivers"]:
        for webhook in each["webhook_configs"]:
            webhook["url"] = webhook["url"].replace("http://127.0.0.1:9095", receiver.url)
    return config


def firing(prometheus: Prometheus) -> set[str]:
    return {each["metric"]["alertname"] for each in prometheus.query('ALERTS{alertstate="firing"}')}


def health(prometheus: Prometheus) -> Counter[str]:
    """Return how many rules are "ok", "unknown" (not evaluated yet) or "err"."""
    groups = prometheus.get("/api/v1/rules")["data"]["groups"]
    return Counter(rule["health"] for group in groups for rule in group["rules"])


def burning(alert: Mapping[str, Any], status: str) -> bool:
    return ("PixelmeterErrorBudgetBurn", status) == (alert["labels"]["alertname"], alert["status"])


def test_a_gateway_that_fails_is_heard_of_and_so_is_its_recovery(
    tmp_path: Path, gateway: Gateway, sqlite_url: str
) -> None:
    with (
        Receiver() as receiver,
        Alertmanager(tmp_path / "alertmanager", alerting(receiver)) as alertmanager,
        program(gateway.url, sqlite_url) as target,
        Prometheus(
            tmp_path / "prometheus",
            {"pixelmeter": [target]},
            rules=rules(tmp_path),
            alertmanager=alertmanager.address,
        ) as prometheus,
    ):
        made = 'sum(increase(pixelmeter_requests_total{outcome="success"}[1m])) >= 20'
        eventually("images are made", lambda: prometheus.query(made))
        eventually("all rules are evaluated well", lambda: health(prometheus) == {"ok": RULES})
        assert set() == firing(prometheus)

        gateway.tell(status=500)
        fired = receiver.wait("the alert", lambda alert: burning(alert, "firing"))
        assert "/on-call" == fired["path"]
        assert {"severity": "critical", "job": "pixelmeter", "long": "60s", "short": "5s"}.items() <= (
            fired["labels"].items()
        )
        assert "Image calls fail more often than the objective allows." == fired["annotations"]["summary"]
        assert fired["annotations"]["runbook_url"].endswith("/runbooks/PixelmeterErrorBudgetBurn.md")
        assert "failed in the last 60s; the objective allows 1%." in fired["annotations"]["description"]

        gateway.reset()
        resolved = receiver.wait("that it is over", lambda alert: burning(alert, "resolved"))
        assert fired["fingerprint"] == resolved["fingerprint"]
        eventually("no alert is left", lambda: not firing(prometheus))


def test_a_warning_is_kept_back_while_the_same_is_critical(tmp_path: Path) -> None:
    burn = {"alertname": "PixelmeterErrorBudgetBurn", "job": "pixelmeter", "gateway": "gw"}
    alerts = [
        {"labels": {**burn, "severity": "critical", "long": "1h"}},
        {"labels": {**burn, "severity": "warning", "long": "1d"}},
        {"labels": {**burn, "severity": "warning", "long": "1d", "gateway": "another"}},
    ]
    expected = {
        ("PixelmeterErrorBudgetBurn", "critical", "gw", "active"),
        ("PixelmeterErrorBudgetBurn", "warning", "gw", "suppressed"),
        ("PixelmeterErrorBudgetBurn", "warning", "another", "active"),
    }
    with Receiver() as receiver, Alertmanager(tmp_path, alerting(receiver)) as alertmanager:
        now = datetime.now(UTC).isoformat()
        body = json.dumps([alert | {"startsAt": now} for alert in alerts]).encode()
        ask = urllib.request.Request(
            f"{alertmanager.url}/api/v2/alerts", body, {"content-type": "application/json"}, method="POST"
        )
        urllib.request.urlopen(ask, timeout=30).close()

        def states() -> set[tuple[str, str, str, str]]:
            return {
                (
                    alert["labels"]["alertname"],
                    alert["labels"]["severity"],
                    alert["labels"]["gateway"],
                    alert["status"]["state"],
                )
                for alert in alertmanager.get("/api/v2/alerts")
            }

        eventually("warnings are suppressed", lambda: states() == expected)
