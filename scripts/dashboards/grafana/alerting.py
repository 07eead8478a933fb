"""The alerts of Prometheus as alerts that Grafana manages, for those who have no Alertmanager."""

from __future__ import annotations

import re

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.provisioning import PROMETHEUS_UID
from scripts.dashboards.grafana.query import Json
from scripts.dashboards.groups import alert_groups
from scripts.dashboards.prometheus_files import to_yaml
from scripts.dashboards.rule import Alert, Group

__all__ = ["alerting"]

_CONTACT = "pixelmeter"
_WINDOW_SECONDS = 600


def alerting(thresholds: Thresholds) -> dict[str, str]:
    """Return the text of each file by its path below the folder of dashboards.

    They lie beside `provisioning`, not in it, so that nobody hears of everything twice.
    """
    groups = [_group(group) for group in alert_groups(thresholds)]
    return {
        "grafana/alerting/rules.yml": to_yaml({"apiVersion": 1, "groups": groups}),
        "grafana/alerting/contact-points.yml": to_yaml({"apiVersion": 1, "contactPoints": [_contact_point()]}),
        "grafana/alerting/policies.yml": to_yaml({"apiVersion": 1, "policies": [_policy()]}),
    }


def _group(group: Group) -> Json:
    return {
        "orgId": 1,
        "name": group.name,
        "folder": "Pixelmeter",
        "interval": "1m",
        "rules": [_rule(alert) for alert in group.alerts],
    }


def _rule(alert: Alert) -> Json:
    # Alerts that share a name differ in their windows.
    windows = [alert.labels[label] for label in ("long", "short") if label in alert.labels]
    title = " ".join([alert.name, *windows])
    return {
        "uid": re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", title).lower()),
        "title": title,
        "condition": "found",
        "data": [
            _asked(alert.expression),
            _computed("any", {"type": "math", "expression": "is_number($asked) || is_nan($asked) || is_inf($asked)"}),
            _computed("found", {"type": "threshold", "expression": "any", "conditions": [_above_zero()]}),
        ],
        # The expressions of Prometheus return what is wrong, so nothing returned is nothing wrong.
        "noDataState": "OK",
        "execErrState": "Error",
        "for": alert.wait,
        "labels": {"severity": alert.severity, **alert.labels},
        "annotations": {
            "summary": alert.summary,
            "description": re.sub(r"\$value\b", "$values.asked.Value", alert.description),
            "runbook_url": alert.runbook_url,
        },
    }


def _above_zero() -> Json:
    return {"evaluator": {"type": "gt", "params": [0]}}


def _asked(expression: str) -> Json:
    return {
        "refId": "asked",
        "relativeTimeRange": {"from": _WINDOW_SECONDS, "to": 0},
        "datasourceUid": PROMETHEUS_UID,
        "model": {"refId": "asked", "editorMode": "code", "expr": expression, "instant": True, "range": False},
    }


def _computed(name: str, model: Json) -> Json:
    return {
        "refId": name,
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": "__expr__",
        "model": {"refId": name, "datasource": {"type": "__expr__", "uid": "__expr__"}} | model,
    }


def _contact_point() -> Json:
    # An example: Grafana does not fill in variables of the environment here.
    webhook = {
        "uid": "pixelmeter-webhook",
        "type": "webhook",
        "settings": {"url": "https://alerts.example.com/pixelmeter", "httpMethod": "POST"},
    }
    return {"orgId": 1, "name": _CONTACT, "receivers": [webhook]}


def _policy() -> Json:
    return {
        "orgId": 1,
        "receiver": _CONTACT,
        "group_by": ["grafana_folder", "alertname", "gateway"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "4h",
    }
