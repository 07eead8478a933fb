"""The kinds of panel that the dashboards are made of, each as Grafana's JSON without id and place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.dashboards.grafana.query import Json

__all__ = [
    "ENDINGS", "GATEWAYS", "MONTHS", "NOW", "PERCENTILES", "SOURCES", "WINDOWS", "WITHOUT_TAG", "Steps", "column",
    "heatmap", "stat", "state_timeline", "table", "timeseries",
]  # fmt: skip

Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour holds; the first has no value."""

ENDINGS: Mapping[str, str] = {
    "success": "green",
    "error": "red",
    "timeout": "orange",
    "throttled": "yellow",
    "rejected": "purple",
    "cancelled": "#8e8e8e",
    "interrupted": "dark-orange",
    "blocked": "dark-purple",
    "pending": "blue",
    "server": "red",
    "connection": "dark-red",
    "bad_answer": "light-red",
    "auth": "purple",
    "moderation": "light-purple",
    "insufficient_funds": "dark-yellow",
    "invalid_request": "blue",
    "not_found": "light-blue",
}
"""The colours of outcomes, and of the reasons for them."""
SOURCES: Mapping[str, str] = {"reported": "green", "priced": "blue"}
"""The colours of where a cost comes from."""
GATEWAYS: Mapping[str, str] = {
    "aigateway": "blue",
    "azure": "dark-blue",
    "bfl": "dark-purple",
    "cloudflare": "dark-orange",
    "fal": "purple",
    "google": "yellow",
    "openai": "green",
    "openrouter": "orange",
    "replicate": "red",
    "together": "light-blue",
    "vercel": "#8e8e8e",
    "vertex": "light-yellow",
}
"""The colours of gateways that many use, of which the names alone would give some the same."""
PERCENTILES: Mapping[str, str] = {"p50": "green", "p95": "orange", "p99": "red"}
WINDOWS: Mapping[str, str] = {"over 1h": "red", "over 6h": "orange", "over 1d": "yellow", "over 3d": "blue"}
MONTHS: Mapping[str, str] = {"this month": "blue", "the month before": "#8e8e8e"}
WITHOUT_TAG: Mapping[str, str] = {"(none)": "#8e8e8e"}

NOW = ("lastNotNull", "max")
"""What a legend shows of something whose latest value matters most."""

_EMPTY = "No data"


def stat(
    title: str,
    description: str,
    *targets: Json,
    unit: str,
    decimals: int | None = None,
    steps: Steps = (),
    empty: str = _EMPTY,
) -> Json:
    """Return one large number a series."""
    defaults = _defaults(unit, decimals, steps, empty) | {"color": {"mode": "thresholds"}}
    return _panel("stat", title, description, targets, defaults) | {
        "options": {
            "colorMode": "value" if steps else "none",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "showPercentChange": False,
            "text": {"valueSize": 28},
            "textMode": "auto",
            "wideLayout": True,
            "percentChangeColorMode": "standard",
        }
    }


def timeseries(
    title: str,
    description: str,
    *targets: Json,
    unit: str,
    decimals: int | None = None,
    stacked: bool = False,
    bars: bool = False,
    colours: Mapping[str, str] | None = None,
    steps: Steps = (),
    at_least: float | None = None,
    sums: Sequence[str] | None = None,
    limits: str = "",
    since: str = "",
    empty: str = _EMPTY,
) -> Json:
    """Return lines, areas on top of each other, or bars.

    A series has the colour that `colours` has for its name, or else one that Grafana has for it; both are the same in
    every panel. `steps` are drawn as lines across, and the axis reaches up to `at_least`. The legend shows `sums` of
    each series, which are the mean and the maximum for what changes, and the total for bars. Series whose name begins
    with `limits` are dashed lines. `since` is a time range of the panel's own.
    """
    custom: Json = {
        "drawStyle": "bars" if bars else "line",
        # On top of others, the line of a series that is 0 would hide that of the one below.
        "lineWidth": 0 if stacked else 1,
        "fillOpacity": 80 if stacked else 0,
        "showPoints": "auto",
        "pointSize": 4,
        # Calls may come minutes apart: what is between two of them is not unknown. What is counted is 0 there.
        "spanNulls": not stacked,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if steps else "off"},
    }
    if at_least is not None:
        custom["axisSoftMax"] = at_least
    drawn: Json = {"color": {"mode": "palette-classic-by-name"}, "min": 0, "custom": custom}
    defaults = _defaults(unit, decimals, steps, empty) | drawn
    overrides = [_coloured(name, colour) for name, colour in (colours or {}).items()]
    if limits:
        overrides.append(_dashed(limits))
    calculations = sums or (("sum",) if bars else ("mean", "max"))
    return (
        _panel("timeseries", title, description, targets, defaults, overrides)
        | {
            "options": {
                "legend": {
                    "displayMode": "table",
                    "placement": "bottom",
                    "showLegend": True,
                    "calcs": list(calculations),
                },
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        }
        | ({"timeFrom": since} if since else {})
    )


def heatmap(title: str, description: str, target: Json, *, unit: str) -> Json:
    """Return the buckets of a histogram over time."""
    defaults: Json = {"custom": {"scaleDistribution": {"type": "linear"}}}
    return _panel("heatmap", title, description, (target,), defaults) | {
        "options": {
            "calculate": False,
            "cellGap": 1,
            "cellValues": {"unit": "short", "decimals": 1},
            "color": {
                "mode": "scheme",
                "scheme": "Oranges",
                "fill": "dark-orange",
                "scale": "exponential",
                "exponent": 0.5,
                "steps": 64,
                "reverse": False,
            },
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-09},
            "legend": {"show": True},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
            "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
        }
    }


def table(
    title: str,
    description: str,
    *targets: Json,
    columns: Sequence[Json] = (),
    names: Mapping[str, str] | None = None,
    sort: str | None = None,
    unit: str = "locale",
    empty: str = _EMPTY,
) -> Json:
    """Return a table; `names` renames what PromQL calls its columns, and joins several queries by their labels."""
    panel = _panel("table", title, description, targets, _defaults(unit, None, (), empty), list(columns))
    panel["options"] = {
        "cellHeight": "sm",
        "showHeader": True,
        "footer": {"show": False, "reducer": ["sum"], "countRows": False, "fields": ""},
        "sortBy": [{"displayName": sort, "desc": True}] if sort else [],
    }
    if names is not None:
        order = {name: place for place, name in enumerate(names)}
        organize = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": dict(names)}
        panel["transformations"] = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    return panel


def column(name: str, *, unit: str | None = None, decimals: int | None = None, link: Json | None = None) -> Json:
    """Return how one column of a table is shown."""
    properties: list[Json] = []
    if unit is not None:
        properties.append({"id": "unit", "value": unit})
    if decimals is not None:
        properties.append({"id": "decimals", "value": decimals})
    if link is not None:
        properties.append({"id": "links", "value": [link]})
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def state_timeline(
    title: str, description: str, target: Json, *, states: Mapping[str, tuple[str, str]], empty: str = _EMPTY
) -> Json:
    """Return how states follow each other; `states` maps a value to its word and colour."""
    mapping = {value: {"text": text, "color": colour} for value, (text, colour) in states.items()}
    defaults = _defaults("short", None, (), empty) | {
        "color": {"mode": "thresholds"},
        "mappings": [{"type": "value", "options": mapping}],
        "custom": {"fillOpacity": 70, "lineWidth": 0},
    }
    return _panel("state-timeline", title, description, (target,), defaults) | {
        "options": {
            "alignValue": "left",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "mergeValues": True,
            "rowHeight": 0.8,
            "showValue": "never",
            "tooltip": {"mode": "single", "sort": "none"},
        }
    }


def _panel(
    kind: str, title: str, description: str, targets: Sequence[Json], defaults: Json, overrides: Sequence[Json] = ()
) -> Json:
    lettered = [target | {"refId": chr(ord("A") + place)} for place, target in enumerate(targets)]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": targets[0]["datasource"],
        "targets": lettered,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
    }


def _defaults(unit: str, decimals: int | None, steps: Steps, empty: str) -> Json:
    defaults: Json = {"unit": unit, "noValue": empty}
    if decimals is not None:
        defaults["decimals"] = decimals
    coloured = [{"value": value, "color": colour} for value, colour in steps or ((None, "text"),)]
    return defaults | {"thresholds": {"mode": "absolute", "steps": coloured}}


def _coloured(name: str, colour: str) -> Json:
    fixed = {"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}
    return {"matcher": {"id": "byName", "options": name}, "properties": [fixed]}


def _dashed(prefix: str) -> Json:
    properties = [
        {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
        {"id": "custom.fillOpacity", "value": 0},
        {"id": "custom.drawStyle", "value": "line"},
        {"id": "custom.lineWidth", "value": 2},
        {"id": "custom.stacking", "value": {"mode": "none", "group": "limits"}},
    ]
    return {"matcher": {"id": "byRegexp", "options": f"/^{prefix}/"}, "properties": properties}
