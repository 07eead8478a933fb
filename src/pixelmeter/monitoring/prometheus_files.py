"""The files of Prometheus and Alertmanager, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pixelmeter.monitoring.groups import alert_groups, recording_groups
from pixelmeter.monitoring.pace import UNHURRIED, Pace
from pixelmeter.monitoring.rule import Alert, Group, Recording
from pixelmeter.monitoring.thresholds import Thresholds

__all__ = ["MADE_BY", "files", "to_yaml"]

MADE_BY = "# Made by `pixelmeter dashboards export`: change the options of that command, not this file.\n"


class _Dumper(yaml.SafeDumper):
    pass


def _text(_: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(value: Mapping[str, Any]) -> str:
    """Return YAML that a person can read: keys in their order, text of several lines as a block."""
    return MADE_BY + yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)


def files(thresholds: Thresholds, pace: Pace = UNHURRIED) -> dict[str, str]:
    """Return the text of each file by its path below the folder of dashboards."""
    return {
        "prometheus/rules.yml": _rules(recording_groups(thresholds, pace)),
        "prometheus/alerts.yml": _rules(alert_groups(thresholds, pace)),
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
