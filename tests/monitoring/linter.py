"""The rules of Grafana's dashboard-linter, for dashboards as JSON; the Go tool is no Python package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import promql_parser
from grafana_foundation_sdk.models import units

__all__ = ["EXCLUDED", "RULES", "expressions", "filled", "lint", "queries"]

Json = dict[str, Any]

_VALUES = {
    "__rate_interval": "5m",
    "__range": "1h",
    "job": "chosen_job",
    "gateway": "chosen_gateway",
    "model": "chosen_model",
}
_UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}

EXCLUDED: Mapping[str, str] = {
    "template-instance": "spend is summed over instances, and an instance of a program lives for hours",
    "target-instance": "as above",
    "uneditable-dashboard": "a team adds panels to a copy of its own, which starts from ours",
}
"""Rules that the dashboards break on purpose, and why."""


def filled(text: str, values: Mapping[str, str] = _VALUES) -> str:
    """Put values in the place of variables, in each of the ways in which Grafana lets one write them."""
    return re.sub(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))", lambda found: values.get(found[1] or found[2], found[0]), text)


def queries(dashboard: Json) -> Iterator[tuple[Json, Json]]:
    """Yield each panel with each of its queries."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel, target


def expressions(dashboard: Json) -> Iterator[tuple[Json, Any]]:
    """Yield each panel with each of its PromQL expressions, parsed."""
    for panel, target in queries(dashboard):
        if "expr" in target:
            yield panel, promql_parser.parse(filled(target["expr"]))


def lint(dashboard: Json) -> list[str]:
    """Return what breaks a rule, but for the rules that are excluded."""
    return [f"{name}: {problem}" for name, rule in RULES.items() if name not in EXCLUDED for problem in rule(dashboard)]


def _variables(dashboard: Json) -> dict[str, Json]:
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def _template_datasource(dashboard: Json) -> Iterator[str]:
    found = _variables(dashboard).get("datasource")
    if found is None or found["type"] != "datasource" or found["query"] != "prometheus":
        yield "no variable `datasource` that chooses a Prometheus"
    elif found["label"] != "Data source":
        yield f"`datasource` is labelled {found['label']}"


def _template(name: str) -> Callable[[Json], Iterator[str]]:
    def rule(dashboard: Json) -> Iterator[str]:
        found = _variables(dashboard).get(name)
        if found is None:
            yield f"no variable `{name}`"
            return
        wanted = {"type": "query", "label": name.capitalize(), "multi": True, "allValue": ".+"}
        for key, value in wanted.items():
            if found[key] != value:
                yield f"{key} of `{name}` is {found[key]}"
        if found["datasource"]["uid"] not in ("$datasource", "${datasource}"):
            yield f"`{name}` does not ask $datasource"

    return rule


def _template_label_promql(dashboard: Json) -> Iterator[str]:
    for name, variable in _variables(dashboard).items():
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((?:(.+), *)?(\w+)\)", variable["query"])
            if found is None:
                yield f"`{name}` asks no label_values"
            elif found[1]:
                promql_parser.parse(filled(found[1]))


def _template_reload(dashboard: Json) -> Iterator[str]:
    for name, variable in _variables(dashboard).items():
        if variable["type"] == "query" and variable["refresh"] != 2:
            yield f"`{name}` is not asked for again when the time range changes"


def _panel_datasource(dashboard: Json) -> Iterator[str]:
    # Wider than the tool, which knows no SQL: any variable that chooses a data source of the right kind will do.
    sources = {f"${name}": v["query"] for name, v in _variables(dashboard).items() if v["type"] == "datasource"}
    for panel in _drawn(dashboard):
        for source in [panel["datasource"], *(target["datasource"] for target in panel["targets"])]:
            if sources.get(source["uid"]) != source["type"]:
                yield f"{panel['title']} asks {source}"


def _panel_title_description(dashboard: Json) -> Iterator[str]:
    for panel in _drawn(dashboard):
        if not panel.get("title") or not panel.get("description"):
            yield f"panel {panel['id']} lacks a title or a description"


def _panel_units(dashboard: Json) -> Iterator[str]:
    for panel in _drawn(dashboard):
        if panel["type"] == "heatmap":
            continue
        asked = [panel["fieldConfig"]["defaults"].get("unit")]
        for override in panel["fieldConfig"]["overrides"]:
            asked += [each["value"] for each in override["properties"] if each["id"] == "unit"]
        for unit in asked:
            if unit not in _UNITS:
                yield f"{panel['title']} has the unit {unit}"


def _panel_no_targets(dashboard: Json) -> Iterator[str]:
    for panel in _drawn(dashboard):
        if not panel.get("targets"):
            yield f"{panel['title']} asks nothing"


def _target_promql(dashboard: Json) -> Iterator[str]:
    for panel, target in queries(dashboard):
        if target["datasource"]["type"] == "prometheus":
            try:
                promql_parser.parse(filled(target["expr"]))
            except ValueError as error:
                yield f"{panel['title']}: {error}"


def _target_logql(dashboard: Json) -> Iterator[str]:
    for panel, target in queries(dashboard):
        if target["datasource"]["type"] == "loki":
            yield f"{panel['title']} asks for logs, which have no checks here"


def _target_rate_interval(dashboard: Json) -> Iterator[str]:
    for panel, target in queries(dashboard):
        for function, window in re.findall(r"\b(i?rate)\(.*?\[([^\]]+)\]", target.get("expr", ""), re.DOTALL):
            if window != "$__rate_interval":
                yield f"{panel['title']}: {function} over {window}"


def _target_matches(label: str) -> Callable[[Json], Iterator[str]]:
    def rule(dashboard: Json) -> Iterator[str]:
        for panel, expression in expressions(dashboard):
            for selector, _ in _selected(expression):
                matchers = {(each.name, str(each.op), each.value) for each in selector.matchers.matchers}
                # Wider than the tool: alerts on what is not there have no labels of what is.
                chosen = (f"chosen_{label}", f"chosen_{label}|") if selector.name == "ALERTS" else (f"chosen_{label}",)
                if not matchers & {(label, str(promql_parser.MatchOp.Re), value) for value in chosen}:
                    yield f"{panel['title']}: {selector.name} is not held to ${label}"

    return rule


def _target_counter(dashboard: Json) -> Iterator[str]:
    # Wider than the tool: no rate sees what a series is born with.
    allowed = ("rate", "irate", "increase", "min_over_time", "last_over_time", "count_over_time")
    for panel, expression in expressions(dashboard):
        for selector, inside in _selected(expression):
            if (selector.name or "").endswith("_total") and inside not in allowed:
                yield f"{panel['title']}: {selector.name} inside {inside or 'nothing'}"


def _uneditable(dashboard: Json) -> Iterator[str]:
    if dashboard["editable"]:
        yield "can be edited, and the next update takes the edits away"


def _drawn(dashboard: Json) -> list[Json]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def _selected(expression: Any) -> list[tuple[promql_parser.VectorSelector, str | None]]:
    """Return what an expression selects, with the function that it goes into at once."""
    found: list[tuple[promql_parser.VectorSelector, str | None]] = []
    around: list[Any] = []

    def enter(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            outside = [each for each in around if not isinstance(each, promql_parser.MatrixSelector)]
            call = outside[-1] if outside and isinstance(outside[-1], promql_parser.Call) else None
            found.append((node, call and call.func.name))
        around.append(node)

    def leave(_: Any) -> None:
        around.pop()

    promql_parser.walk(expression, enter, leave)
    return found


RULES: Mapping[str, Callable[[Json], Iterator[str]]] = {
    "template-datasource": _template_datasource,
    "template-job": _template("job"),
    "template-instance": _template("instance"),
    "template-label-promql": _template_label_promql,
    "template-on-time-change-reload": _template_reload,
    "panel-datasource": _panel_datasource,
    "panel-title-description": _panel_title_description,
    "panel-units": _panel_units,
    "panel-no-targets": _panel_no_targets,
    "target-promql": _target_promql,
    "target-logql": _target_logql,
    "target-logql-auto": _target_logql,
    "target-rate-interval": _target_rate_interval,
    "target-job": _target_matches("job"),
    "target-instance": _target_matches("instance"),
    "target-counter-agg": _target_counter,
    "uneditable-dashboard": _uneditable,
}
