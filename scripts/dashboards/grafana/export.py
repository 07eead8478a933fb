"""Every file that Grafana can take, as text."""

from __future__ import annotations

import json

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.alerting import alerting
from scripts.dashboards.grafana.compose import compose
from scripts.dashboards.grafana.cost import cost
from scripts.dashboards.grafana.overview import overview
from scripts.dashboards.grafana.pipeline import pipeline
from scripts.dashboards.grafana.provisioning import provisioning
from scripts.dashboards.grafana.query import Json
from scripts.dashboards.grafana.reliability import reliability

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
