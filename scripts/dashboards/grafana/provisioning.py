"""Files by which a Grafana sets itself up: where its data comes from, and which dashboards it shows."""

from __future__ import annotations

from scripts.dashboards.grafana.query import LEDGER, Json
from scripts.dashboards.prometheus_files import to_yaml

__all__ = ["DASHBOARDS", "PROMETHEUS_UID", "provisioning"]

DASHBOARDS = "/etc/pixelmeter/grafana"
"""Where Grafana finds the dashboards, in its container."""
PROMETHEUS_UID = "pixelmeter-prometheus"
"""The data source that alerts of Grafana ask."""


def provisioning() -> dict[str, str]:
    """Return the text of each file by its path below the folder of dashboards."""
    folder = "grafana/provisioning"
    return {
        f"{folder}/datasources/pixelmeter.yml": to_yaml({"apiVersion": 1, "datasources": [_prometheus(), _ledger()]}),
        f"{folder}/dashboards/pixelmeter.yml": to_yaml({"apiVersion": 1, "providers": [_dashboards()]}),
    }


def _prometheus() -> Json:
    return {
        "name": "Prometheus",
        "uid": PROMETHEUS_UID,
        "type": "prometheus",
        "access": "proxy",
        "url": "$PIXELMETER_PROMETHEUS_URL",
        "isDefault": True,
        "jsonData": {
            "httpMethod": "POST",
            "timeInterval": "15s",
            "exemplarTraceIdDestinations": [{"name": "trace_id", "datasourceUid": "tempo"}],
        },
    }


def _ledger() -> Json:
    return {
        "name": "Pixelmeter ledger",
        "uid": "pixelmeter-ledger",
        "type": LEDGER["type"],
        "access": "proxy",
        "url": "$PIXELMETER_LEDGER_ADDRESS",
        "user": "$PIXELMETER_LEDGER_READER",
        "jsonData": {
            "database": "$PIXELMETER_LEDGER_DATABASE",
            "sslmode": "$PIXELMETER_LEDGER_SSLMODE",
            "postgresVersion": 1500,
        },
        "secureJsonData": {"password": "$PIXELMETER_LEDGER_READER_PASSWORD"},
    }


def _dashboards() -> Json:
    return {
        "name": "pixelmeter",
        "folder": "Pixelmeter",
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": DASHBOARDS, "foldersFromFilesStructure": False},
    }
