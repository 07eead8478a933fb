"""Every file that a monitoring system can take, as text."""

from __future__ import annotations

from pixelmeter.monitoring import Thresholds
from scripts.dashboards import grafana, prometheus_files

__all__ = ["files"]


def files(thresholds: Thresholds) -> dict[str, str]:
    """Return the text of each file by its path below the folder of dashboards, "/" between its parts."""
    return prometheus_files.files(thresholds) | grafana.files(thresholds)
