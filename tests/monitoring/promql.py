"""What an expression of PromQL names, held to the catalogue of metrics."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import promql_parser

from pixelmeter.core.metrics import METRICS

_PROMETHEUS = {"job", "instance", "le"}
_LABELS = {
    name: {*each.labels, *_PROMETHEUS}
    for each in METRICS
    for name in (
        (each.name,) if each.kind != "histogram" else (f"{each.name}_{part}" for part in ("bucket", "sum", "count"))
    )
}


def selectors(expression: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the metrics that an expression selects, with the labels of their matchers."""
    found: list[tuple[str, list[str]]] = []

    def visit(node: object) -> bool:
        # A range is over a selector that the walk does not enter.
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            found.append((str(selector.name), [matcher.name for matcher in selector.matchers.matchers]))
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    yield from found


def aggregations(expression: str) -> Iterator[promql_parser.AggregateExpr]:
    """Yield the aggregations of an expression, those inside of others too."""
    found: list[promql_parser.AggregateExpr] = []

    def visit(node: object) -> bool:
        if isinstance(node, promql_parser.AggregateExpr):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    yield from found


def keeps(aggregation: promql_parser.AggregateExpr, label: str) -> bool:
    """Return whether what an aggregation gives still has a label."""
    modifier = aggregation.modifier
    if modifier is None:
        return False
    named: bool = label in modifier.labels
    by: bool = modifier.type == promql_parser.AggModifierType.By
    return named == by


def unknown_names(expression: str, recorded: Collection[str] = ()) -> set[str]:
    """Return the metrics, and the labels of theirs, that neither the catalogue nor a recording rule has."""
    unknown: set[str] = set()
    for name, labels in selectors(expression):
        if name in recorded:
            known = set(name.partition(":")[0].split("_")) | _PROMETHEUS
        elif name in _LABELS:
            known = _LABELS[name]
        else:
            unknown.add(name)
            continue
        unknown |= {f"{name}{{{label}}}" for label in labels if label not in known}
    everywhere = _PROMETHEUS.union(*_LABELS.values())
    for grouping in re.findall(r"\b(?:by|on|ignoring|without) \(([^)]*)\)", expression):
        unknown |= {label for label in re.split(r",\s*", grouping) if label not in everywhere}
    return unknown
