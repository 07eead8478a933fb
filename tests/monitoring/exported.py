"""The dashboards as `pixelmeter dashboards export` writes them."""

from __future__ import annotations

import json
from typing import Any

from pixelmeter.monitoring import Thresholds, files

__all__ = ["dashboards"]


def dashboards(thresholds: Thresholds) -> tuple[dict[str, Any], ...]:
    """Return the dashboards in the order in which they are read."""
    written = files(thresholds).items()
    return tuple(json.loads(text) for name, text in written if name.startswith("grafana/pixelmeter-"))
