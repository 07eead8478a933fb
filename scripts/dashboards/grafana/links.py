"""Where dashboards lead: to the rows behind a number, on the page of `pixelmeter serve`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

from scripts.dashboards.grafana.query import Json

__all__ = ["link_to_page", "linked"]

# Grafana's times as the page takes them.
_RANGE = "since=${__from:date:iso}&until=${__to:date:iso}"
_LABEL = "${__field.labels.%s:percentencode}"
_CELL = "${__value.raw:percentencode}"
_TAG = "${tag:percentencode}" + quote("=")
# What each of them asks the page for: by the label that a series is named by, and by the column of a table.
_OF_SERIES = {
    "model": f"/calls?{_RANGE}&exact-model={_LABEL % 'model'}",
    "gateway": f"/calls?{_RANGE}&gateway={_LABEL % 'gateway'}",
    "outcome": f"/calls?{_RANGE}&outcome={_LABEL % 'outcome'}",
    "budget": "/budgets",
}
_OF_COLUMNS = {
    "Model": f"/calls?{_RANGE}&exact-model={_CELL}",
    "Gateway": f"/calls?{_RANGE}&gateway={_CELL}",
    "Tag": f"/calls?{_RANGE}&tag={_TAG}{_CELL}",
    "Call": f"/calls/{_CELL}",
    "Budget": "/budgets",
    "Report": "/reconciliation",
}


def link_to_page(page: str) -> Json:
    """Return the link at the top of a dashboard to the page, at the same time range."""
    return {
        "type": "link",
        "title": "Page",
        "icon": "external link",
        "tooltip": "The page of pixelmeter serve: every number leads to its attempts",
        "url": f"{page}/?{_RANGE}",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "targetBlank": True,
    }


def linked(panel: Json, page: str) -> Json:
    """Return a panel whose series or cells lead to what they count, where the page can show that."""
    if panel["type"] == "timeseries":
        legends = {target.get("legendFormat", "") for target in panel["targets"]}
        found = {label for legend in legends for label in _OF_SERIES if legend == f"{{{{{label}}}}}"}
        if len(legends) == len(found) == 1:
            panel["fieldConfig"]["defaults"]["links"] = [_link(f"{page}{_OF_SERIES[found.pop()]}")]
    elif panel["type"] == "table":
        for name in _columns(panel):
            if name in _OF_COLUMNS:
                properties = [{"id": "links", "value": [_link(f"{page}{_OF_COLUMNS[name]}")]}]
                panel["fieldConfig"]["overrides"].append(
                    {"matcher": {"id": "byName", "options": name}, "properties": properties}
                )
    return panel


def _columns(panel: Json) -> Iterable[str]:
    for transformation in panel.get("transformations", []):
        yield from transformation["options"].get("renameByName", {}).values()
    for target in panel["targets"]:
        yield from re.findall(r'AS "([^"]+)"', target.get("rawSql", ""))


def _link(url: str) -> Json:
    return {"title": "Show on the page", "url": url, "targetBlank": True}
