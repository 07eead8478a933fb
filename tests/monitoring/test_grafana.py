"""The dashboards are what Grafana reads, ask for what exists, and show all there is."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import promql_parser
import pytest
from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard as sdk

from pixelmeter.core.attempts.record import Outcome
from pixelmeter.core.labels import ERROR_TYPES
from pixelmeter.core.metrics import METRICS
from pixelmeter.monitoring import Thresholds, files
from scripts.dashboards.grafana.dashboard import MINIMUM_GRAFANA
from scripts.dashboards.grafana.panel import ENDINGS, GATEWAYS, SOURCES
from tests.monitoring.exported import dashboards
from tests.monitoring.linter import EXCLUDED, RULES, expressions, filled, lint, queries
from tests.monitoring.promql import unknown_names

DOCS = Path(__file__).parents[2] / "docs"
OTHERS = Thresholds(objective=0.9, latency_seconds=7.5, latency_objective=0.5, ledger_lag_seconds=7)
EACH = pytest.mark.parametrize("dashboard", dashboards(Thresholds()), ids=lambda dashboard: dashboard["uid"])
# Prometheus makes these itself.
OF_PROMETHEUS = {"ALERTS", "up", "scrape_samples_scraped"}
# What Grafana reads of an annotation by Prometheus, and the SDK does not know.
OF_ANNOTATIONS = {"tagKeys", "titleFormat", "textFormat", "step"}


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """Return the paths of what is given and is not kept as it is; what is added does not count."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [each for key in given for each in lost(given[key], kept.get(key), f"{path}.{key}")]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        pairs = zip(given, kept, strict=True)
        return [each for place, (one, other) in enumerate(pairs) for each in lost(one, other, f"{path}[{place}]")]
    return [] if given == kept else [path]


def labels_of(expression: Any) -> set[str]:
    """Return the labels that the series of an expression have, as far as it sums by labels."""
    if isinstance(expression, promql_parser.AggregateExpr):
        return set(expression.modifier.labels) if expression.modifier else set()
    if isinstance(expression, promql_parser.ParenExpr):
        return labels_of(expression.expr)
    if isinstance(expression, promql_parser.Call):
        inside = set().union(*(labels_of(argument) for argument in expression.args))
        return inside - {"le"} if expression.func.name == "histogram_quantile" else inside
    if isinstance(expression, promql_parser.BinaryExpr):
        return labels_of(expression.lhs) | labels_of(expression.rhs)
    return set()


@EACH
def test_a_dashboard_passes_the_linter_of_grafana(dashboard: dict[str, Any]) -> None:
    assert [] == lint(dashboard)


@pytest.mark.parametrize(
    ("rule", "right", "wrong"),
    [
        ("template-on-time-change-reload", '"refresh": 2', '"refresh": 1'),
        ("target-rate-interval", "$__rate_interval", "5m"),
        ("target-job", 'job=~\\"$job\\"', 'job=\\"a\\"'),
        ("target-counter-agg", "rate(", "delta("),
        ("target-promql", "[$__range]", "["),
        ("target-logql", '"type": "prometheus"', '"type": "loki"'),
        ("panel-units", '"currencyUSD"', '"dollars"'),
        ("panel-datasource", '"uid": "$datasource"', '"uid": "mine"'),
        ("panel-no-targets", '"targets": [', '"targets": [], "others": ['),
        ("panel-title-description", '"description": "Images delivered."', '"description": ""'),
        ("template-datasource", '"name": "datasource"', '"name": "source"'),
        ("template-job", '"multi": true', '"multi": false'),
        ("template-label-promql", "label_values", "values"),
    ],
)
def test_the_linter_finds_what_is_broken(rule: str, right: str, wrong: str) -> None:
    text = files(Thresholds())["grafana/pixelmeter-overview.json"]
    assert [] == list(RULES[rule](json.loads(text)))

    assert [] != list(RULES[rule](json.loads(text.replace(right, wrong))))


@pytest.mark.slow
def test_every_rule_that_is_excluded_exists_and_is_broken() -> None:
    for name in EXCLUDED:
        assert all(list(RULES[name](dashboard)) for dashboard in dashboards(Thresholds())), name


@EACH
def test_grafana_knows_every_key_and_keeps_every_value(dashboard: dict[str, Any]) -> None:
    plugins.register_default_plugins()
    kept = json.loads(encoder.JSONEncoder().encode(sdk.Dashboard.from_json(dashboard)))
    # What an import asks for is no part of the dashboard.
    given = {key: value for key, value in dashboard.items() if key != "__requires"}

    assert [] == [path for path in lost(given, kept) if path.rpartition(".")[2] not in OF_ANNOTATIONS]


@EACH
def test_panels_have_ids_of_their_own_and_places_of_their_own(dashboard: dict[str, Any]) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        covered = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells, panel["title"]
        cells |= covered
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert sorted(set(ids)) == ids


@EACH
def test_a_dashboard_leaves_no_gap_in_a_line(dashboard: dict[str, Any]) -> None:
    lines: dict[int, int] = {}
    for panel in dashboard["panels"]:
        lines[panel["gridPos"]["y"]] = lines.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]

    assert {24} == set(lines.values())


@EACH
def test_a_legend_names_labels_that_its_series_have(dashboard: dict[str, Any]) -> None:
    for panel, target in queries(dashboard):
        if "expr" in target:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            # A heatmap takes the bound of a bucket from `le`.
            assert named <= labels_of(promql_parser.parse(filled(target["expr"]))), panel["title"]


@EACH
def test_series_of_one_panel_are_told_apart_by_their_legends(dashboard: dict[str, Any]) -> None:
    for panel, target in queries(dashboard):
        if "expr" in target and target["format"] == "time_series":
            labels = labels_of(promql_parser.parse(filled(target["expr"])))
            assert labels == set(re.findall(r"{{(\w+)}}", target["legendFormat"])), panel["title"]


@EACH
def test_columns_that_a_table_renames_are_columns_that_it_gets(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        if "transformations" not in panel:
            continue
        parsed = [promql_parser.parse(filled(target["expr"])) for target in panel["targets"]]
        many = len(parsed) > 1
        values = {f"Value #{target['refId']}" if many else "Value" for target in panel["targets"]}
        renamed = panel["transformations"][1]["options"]["renameByName"]
        assert values.union(*map(labels_of, parsed)) == set(renamed), panel["title"]
        shown = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
        assert shown <= set(renamed.values()), panel["title"]


@pytest.mark.slow
@pytest.mark.parametrize("thresholds", [Thresholds(), OTHERS], ids=["default", "other"])
def test_every_metric_and_label_that_is_asked_for_is_in_the_catalogue(thresholds: Thresholds) -> None:
    for dashboard in dashboards(thresholds):
        for panel, target in queries(dashboard):
            if "expr" in target and panel["title"] != "Alerts":
                assert unknown_names(filled(target["expr"])) <= OF_PROMETHEUS, panel["title"]


def test_every_metric_of_the_catalogue_is_on_a_panel() -> None:
    asked = " ".join(target.get("expr", "") for each in dashboards(Thresholds()) for _, target in queries(each))

    assert [] == [metric.name for metric in METRICS if not re.search(rf"\b{metric.name}(_bucket)?\b", asked)]


def test_dashboards_follow_the_thresholds() -> None:
    usual, other = (json.dumps(dashboards(thresholds)) for thresholds in (Thresholds(), OTHERS))

    for here, there in (('le=\\"60.0\\"', 'le=\\"7.5\\"'), ("99 % of attempts succeed", "90 % of attempts succeed")):
        assert here in usual
        assert here not in other
        assert there in other


@EACH
def test_a_dashboard_leads_to_the_others_and_keeps_what_is_chosen(dashboard: dict[str, Any]) -> None:
    link, _ = dashboard["links"]

    assert (dashboard["tags"], True, True) == (link["tags"], link["includeVars"], link["keepTime"])


@EACH
def test_every_variable_that_is_used_exists(dashboard: dict[str, Any]) -> None:
    known = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w+)", json.dumps(dashboard))) - {"re"}

    assert set() == used - known


@EACH
def test_latency_leads_to_traces(dashboard: dict[str, Any]) -> None:
    for panel, target in queries(dashboard):
        if target.get("exemplar"):
            assert "pixelmeter_request_duration_seconds_bucket" in target["expr"], panel["title"]


@EACH
def test_a_dashboard_leads_to_the_page_at_its_time_range(dashboard: dict[str, Any]) -> None:
    _, link = dashboard["links"]

    assert "http://127.0.0.1:9469/?since=${__from:date:iso}&until=${__to:date:iso}" == link["url"]


@EACH
def test_models_gateways_and_calls_lead_to_their_attempts_on_the_page(dashboard: dict[str, Any]) -> None:
    text = json.dumps(dashboard)
    for panel, target in queries(dashboard):
        if panel["type"] == "timeseries" and target.get("legendFormat") in ("{{model}}", "{{gateway}}", "{{outcome}}"):
            label = target["legendFormat"].strip("{}")
            parameter = {"model": "exact-model"}.get(label, label)
            [link] = panel["fieldConfig"]["defaults"]["links"]
            assert link["url"].startswith("http://127.0.0.1:9469/calls?since=${__from:date:iso}&until="), panel["title"]
            assert link["url"].endswith(f"&{parameter}=${{__field.labels.{label}:percentencode}}"), panel["title"]
    if dashboard["uid"] == "pixelmeter-cost":
        assert "http://127.0.0.1:9469/calls/${__value.raw:percentencode}" in text
        assert "&tag=${tag:percentencode}%3D${__value.raw:percentencode}" in text


def test_links_lead_to_the_page_wherever_that_is() -> None:
    text = json.dumps(dashboards(Thresholds(page="https://meter.example")))

    assert "https://meter.example/calls/" in text
    assert "127.0.0.1" not in text


def test_the_oldest_grafana_that_is_named_is_the_one_whose_model_the_dashboards_are_held_to() -> None:
    assert {f"1769699379!{MINIMUM_GRAFANA}"} == {version("grafana-foundation-sdk")}
    for dashboard in dashboards(Thresholds()):
        assert {"type": "grafana", "id": "grafana", "name": "Grafana", "version": MINIMUM_GRAFANA} in dashboard[
            "__requires"
        ]
    for text in (files(Thresholds())["README.md"], (DOCS / "dashboards.md").read_text()):
        assert f"Grafana {MINIMUM_GRAFANA}" in text


@EACH
def test_a_dashboard_says_which_panels_and_sources_it_needs(dashboard: dict[str, Any]) -> None:
    needed = {(each["type"], each["id"]) for each in dashboard["__requires"]} - {("grafana", "grafana")}
    asked = {("datasource", target["datasource"]["type"]) for _, target in queries(dashboard)}
    drawn = {("panel", panel["type"]) for panel in dashboard["panels"] if panel["type"] != "row"}

    assert asked | drawn == needed


@EACH
def test_a_dashboard_can_be_edited(dashboard: dict[str, Any]) -> None:
    assert dashboard["editable"]


@EACH
def test_a_series_has_the_colour_of_its_name_and_a_legend_with_calculations(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        if panel["type"] == "timeseries":
            assert {"mode": "palette-classic-by-name"} == panel["fieldConfig"]["defaults"]["color"], panel["title"]
            legend = panel["options"]["legend"]
            assert "table" == legend["displayMode"]
            assert legend["calcs"], panel["title"]


def test_no_two_dashboards_share_a_name_or_an_address() -> None:
    drawn = dashboards(Thresholds())

    assert len(drawn) == len({each["uid"] for each in drawn}) == len({each["title"] for each in drawn})


def test_expressions_are_parsed_for_every_query_to_prometheus() -> None:
    for dashboard in dashboards(Thresholds()):
        asked = [target for _, target in queries(dashboard) if target["datasource"]["type"] == "prometheus"]
        assert len(asked) == len(list(expressions(dashboard))) > 0


@pytest.mark.parametrize(
    "names", [get_args(Outcome), [name for name in ERROR_TYPES if name]], ids=["outcome", "reason"]
)
def test_what_a_graph_tells_apart_has_a_colour_of_its_own(names: list[str]) -> None:
    assert len(names) == len({ENDINGS[name] for name in names})


def test_series_that_have_a_colour_of_their_own_get_it() -> None:
    own = {"{{outcome}}": ENDINGS, "{{error_type}}": ENDINGS, "{{cost_source}}": SOURCES, "{{gateway}}": GATEWAYS}
    for dashboard in dashboards(Thresholds()):
        for panel, target in queries(dashboard):
            if panel["type"] == "timeseries" and target.get("legendFormat") in own:
                assert own[target["legendFormat"]] == fixed_colours(panel), panel["title"]


def test_a_name_has_the_same_colour_in_every_panel_and_no_other_name_of_its_panel_has_it() -> None:
    found: dict[str, set[str]] = {}
    for dashboard in dashboards(Thresholds()):
        for panel in dashboard["panels"]:
            colours = fixed_colours(panel)
            assert (
                panel["type"] != "timeseries"
                or colours.keys() == ENDINGS.keys()
                or (len(colours) == len(set(colours.values())))
            ), panel["title"]
            for name, colour in colours.items():
                found.setdefault(name, set()).add(colour)

    assert {} == {name: colours for name, colours in found.items() if len(colours) > 1}


def fixed_colours(panel: dict[str, Any]) -> dict[str, str]:
    """Return the colours of the names that have one of their own in a panel."""
    return {
        override["matcher"]["options"]: each["value"]["fixedColor"]
        for override in panel.get("fieldConfig", {}).get("overrides", [])
        for each in override["properties"]
        if each["id"] == "color"
    }
