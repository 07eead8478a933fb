"""The files of Prometheus and Alertmanager, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.groups import alert_groups, recording_groups
from scripts.dashboards.pace import UNHURRIED, Pace
from scripts.dashboards.rule import Alert, Group, Recording

__all__ = ["EXAMPLE", "MADE_BY", "files", "to_yaml"]

MADE_BY = "# Made by `pixelmeter dashboards export`: change the options of that command, not this file.\n"
EXAMPLE = "# Made by `pixelmeter dashboards export`, as an example: copy from it what your own file lacks.\n"

# One job: the ledger and the programs count the same calls, so with both every alert on calls would come twice.
_PROMETHEUS: dict[str, Any] = {
    "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
    "rule_files": ["rules.yml", "alerts.yml"],
    "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}]},
    "scrape_configs": [
        {"job_name": "pixelmeter-ledger", "static_configs": [{"targets": ["127.0.0.1:9469"]}]},
    ],
}
_ALERTMANAGER: dict[str, Any] = {
    "route": {
        "receiver": "team",
        "group_by": ["alertname", "gateway"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "4h",
        "routes": [
            {"matchers": ['severity="critical"'], "receiver": "on-call", "repeat_interval": "1h"},
            {"matchers": ['severity="info"'], "receiver": "team", "repeat_interval": "24h"},
        ],
    },
    "inhibit_rules": [
        {
            "source_matchers": ['severity="critical"'],
            "target_matchers": ['severity=~"warning|info"'],
            "equal": ["alertname", "job", "gateway"],
        },
    ],
    "receivers": [
        {"name": "team", "webhook_configs": [{"url": "http://127.0.0.1:9095/team", "send_resolved": True}]},
        {"name": "on-call", "webhook_configs": [{"url": "http://127.0.0.1:9095/on-call", "send_resolved": True}]},
    ],
}


class _Dumper(yaml.SafeDumper):
    pass


def _text(_: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(value: Mapping[str, Any], header: str = MADE_BY) -> str:
    """Return YAML that a person can read: keys in their order, text of several lines as a block."""
    return header + yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def files(thresholds: Thresholds, pace: Pace = UNHURRIED) -> dict[str, str]:
    """Return the text of each file by its path below the folder of dashboards."""
    return {
        "prometheus/rules.yml": _rules(recording_groups(thresholds, pace)),
        "prometheus/alerts.yml": _rules(alert_groups(thresholds, pace)),
        "prometheus/prometheus.yml": to_yaml(_PROMETHEUS, EXAMPLE),
        "alertmanager/alertmanager.yml": to_yaml(_ALERTMANAGER, EXAMPLE),
    }


def _rules(groups: Sequence[Group]) -> str:
    return to_yaml(
        {"groups": [{"name": group.name, "rules": [_rule(rule) for rule in group.rules]} for group in groups]}
    )


def _rule(rule: Recording | Alert) -> dict[str, Any]:
    if isinstance(rule, Recording):
        return {"record": rule.name, "expr": rule.expression}
    return {
        "alert": rule.name,
        "expr": rule.expression,
        **({"for": rule.wait} if rule.wait != "0s" else {}),
        "labels": {"severity": rule.severity, **rule.labels},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": rule.runbook_url,
        },
    }
