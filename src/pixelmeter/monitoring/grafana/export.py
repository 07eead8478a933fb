"""Every file that Grafana can take, as text."""

from __future__ import annotations

import json

from pixelmeter.monitoring.grafana.alerting import alerting
from pixelmeter.monitoring.grafana.compose import compose
from pixelmeter.monitoring.grafana.cost import cost
from pixelmeter.monitoring.grafana.overview import overview
from pixelmeter.monitoring.grafana.pipeline import pipeline
from pixelmeter.monitoring.grafana.provisioning import provisioning
from pixelmeter.monitoring.grafana.query import Json
from pixelmeter.monitoring.grafana.reliability import reliability
from pixelmeter.monitoring.thresholds import Thresholds

__all__ = ["dashboards", "files"]


def dashboards(thresholds: Thresholds) -> tuple[Json, ...]:
    """Return the dashboards in the order in which they are read."""
    return overview(thresholds), cost(thresholds), reliability(thresholds), pipeline(thresholds)


def files(thresholds: Thresholds) -> dict[str, str]:
    """Return the text of each file by its path below the folder of dashboards."""
    drawn = {f"grafana/{each['uid']}.json": _text(each) for each in dashboards(thresholds)}
    return drawn | provisioning() | alerting(thresholds) | compose()


def _text(dashboard: Json) -> str:
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
