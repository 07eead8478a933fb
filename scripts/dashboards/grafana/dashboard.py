"""What all dashboards share: the choices at the top, the way to each other, alerts as marks, and places for panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pixelmeter.monitoring import Thresholds
from scripts.dashboards.grafana.links import link_to_page, linked
from scripts.dashboards.grafana.query import LEDGER, PROMETHEUS, Json

__all__ = ["LEDGER_CHOICE", "MINIMUM_GRAFANA", "TAG_CHOICE", "TRACES_CHOICE", "Line", "Section", "dashboard"]

MINIMUM_GRAFANA = "11.6.0"
"""The oldest Grafana whose model of a dashboard has every key that is used; tests hold them to that model."""

_WIDTH = 24
_TAG = "pixelmeter"


@dataclass(frozen=True)
class Line:
    """Panels side by side, equally wide, as high as `height` cells of the grid."""

    height: int
    panels: tuple[Json, ...]


@dataclass(frozen=True)
class Section:
    """Lines under a heading."""

    title: str
    lines: tuple[Line, ...]


def dashboard(
    thresholds: Thresholds,
    uid: str,
    title: str,
    description: str,
    sections: Sequence[Section],
    *,
    since: str = "now-24h",
    zone: str = "browser",
    choices: Sequence[Json] = (),
) -> Json:
    """Return a dashboard in Grafana's classic form; `choices` are variables beside those that all have."""
    panels = [linked(panel, thresholds.page_url) for panel in _placed(sections)]
    return {
        "__requires": _required(panels),
        "uid": uid,
        "title": f"Pixelmeter / {title}",
        "description": description,
        "tags": [_TAG],
        "schemaVersion": 41,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": since, "to": "now"},
        "timepicker": {},
        "timezone": zone,
        "fiscalYearStartMonth": 0,
        "links": [_LINK, link_to_page(thresholds.page_url)],
        "annotations": {"list": [_ALERTS]},
        "templating": {"list": [_DATASOURCE, *choices, _JOB, _GATEWAY, _MODEL]},
        "panels": panels,
    }


def _required(panels: Sequence[Json]) -> list[Json]:
    """Return what a Grafana must have, which it says when a dashboard is imported."""
    kinds = {panel["type"] for panel in panels} - {"row"}
    sources = {target["datasource"]["type"] for panel in panels for target in panel.get("targets", ())}
    return [
        {"type": "grafana", "id": "grafana", "name": "Grafana", "version": MINIMUM_GRAFANA},
        *({"type": "datasource", "id": kind, "name": kind, "version": "1.0.0"} for kind in sorted(sources)),
        *({"type": "panel", "id": kind, "name": kind, "version": ""} for kind in sorted(kinds)),
    ]


def _placed(sections: Sequence[Section]) -> list[Json]:
    panels: list[Json] = []
    y = 0

    def place(panel: Json, x: int, width: int, height: int) -> None:
        panels.append({"id": len(panels) + 1, "gridPos": {"x": x, "y": y, "w": width, "h": height}} | panel)

    for section in sections:
        place({"type": "row", "title": section.title, "collapsed": False, "panels": []}, 0, _WIDTH, 1)
        y += 1
        for line in section.lines:
            width = _WIDTH // len(line.panels)
            for number, panel in enumerate(line.panels):
                place(panel, number * width, width, line.height)
            y += line.height
    return panels


def _source(name: str, label: str, kind: str, description: str) -> Json:
    return {
        "type": "datasource",
        "name": name,
        "label": label,
        "description": description,
        "query": kind,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "refresh": 1,
        "skipUrlSync": False,
        "options": [],
    }


def _labels(name: str, query: str, description: str, *, all_value: str, with_all: bool) -> Json:
    every: Json = {"current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
    return {
        "type": "query",
        "name": name,
        "label": name.capitalize(),
        "description": description,
        "datasource": PROMETHEUS,
        "query": query,
        "regex": "",
        "multi": True,
        "includeAll": with_all,
        "allValue": all_value,
        "hide": 0,
        "refresh": 2,
        "sort": 1,
        "skipUrlSync": False,
        "options": [],
        **(every if with_all else {}),
    }


_DATASOURCE = _source("datasource", "Data source", "prometheus", "The Prometheus that scrapes pixelmeter.")
LEDGER_CHOICE = _source("ledger", "Ledger", LEDGER["type"], "The PostgreSQL that holds the ledger.")
TRACES_CHOICE = _source("traces", "Traces", "tempo", "Where the link of a call leads; may stay empty.")
TAG_CHOICE: Json = {
    "type": "textbox",
    "name": "tag",
    "label": "Tag",
    "description": "The tag that spend is told apart by.",
    "query": "team",
    "current": {"text": "team", "value": "team"},
    "hide": 0,
    "skipUrlSync": False,
    "options": [],
}

# All dashboards have the same ones, used or not, because a link takes along only what the page it is on knows.
# Without "All": programs and the exporter count the same attempts, and their sum would be twice the truth.
_JOB = _labels(
    "job",
    "label_values(pixelmeter_build_info, job)",
    "Either the jobs of the programs that make calls or that of the exporter, never both: they count the same calls.",
    all_value=".+",
    with_all=False,
)
_GATEWAY = _labels(
    "gateway",
    'label_values(pixelmeter_requests_total{job=~"$job"}, gateway)',
    "The services that are called.",
    all_value=".*",
    with_all=True,
)
# A model whose name nobody learned is "", which only `.*` matches.
_MODEL = _labels(
    "model",
    'label_values(pixelmeter_requests_total{job=~"$job", gateway=~"$gateway"}, model)',
    'The models that ran. "other" are those that have no series of their own; the ledger has each by its name, so its'
    ' panels show nothing for "other".',
    all_value=".*",
    with_all=True,
)

_LINK: Json = {
    "type": "dashboards",
    "title": "Pixelmeter",
    "icon": "external link",
    "tooltip": "",
    "url": "",
    "tags": [_TAG],
    "asDropdown": False,
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
}
_ALERTS: Json = {
    "name": "Alerts",
    "datasource": PROMETHEUS,
    "enable": True,
    "hide": False,
    "iconColor": "red",
    "expr": 'ALERTS{alertname=~"Pixelmeter.+", alertstate="firing"}',
    "titleFormat": "{{alertname}}",
    "textFormat": "{{severity}} {{gateway}} {{model}}",
    "tagKeys": "severity",
    "step": "60s",
}
