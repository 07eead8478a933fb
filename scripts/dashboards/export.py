"""Every file that a monitoring system can take, and what to read first, as text."""

from __future__ import annotations

import json

from pixelmeter.monitoring import Thresholds
from scripts.dashboards import prometheus_files
from scripts.dashboards.grafana.alerting import alerting
from scripts.dashboards.grafana.compose import compose
from scripts.dashboards.grafana.cost import cost
from scripts.dashboards.grafana.overview import overview
from scripts.dashboards.grafana.pipeline import pipeline
from scripts.dashboards.grafana.provisioning import provisioning
from scripts.dashboards.grafana.reliability import reliability
from scripts.dashboards.readme import readme

__all__ = ["files"]


def files(thresholds: Thresholds) -> dict[str, str]:
    """Return the text of each file by its path below the folder of dashboards, "/" between its parts."""
    dashboards = (overview(thresholds), cost(thresholds), reliability(thresholds), pipeline(thresholds))
    drawn = {
        f"grafana/{each['uid']}.json": json.dumps(each, indent=2, ensure_ascii=False) + "\n" for each in dashboards
    }
    return (
        readme(thresholds)
        | prometheus_files.files(thresholds)
        | drawn
        | provisioning()
        | alerting(thresholds)
        | compose()
    )
