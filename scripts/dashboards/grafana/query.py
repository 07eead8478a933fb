"""What panels ask: PromQL over the catalogue of metrics, and SQL over the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pixelmeter.core.metrics import METRICS, metric

__all__ = [
    "AT_RISK", "LEDGER", "PROMETHEUS", "SCOPE", "SPEND", "Json", "Money", "gained", "increase", "instant", "known",
    "moving", "moving_with_jobs", "net", "net_of_jobs", "ranged", "series", "share", "sql",
]  # fmt: skip

Json = dict[str, Any]

PROMETHEUS: Json = {"type": "prometheus", "uid": "$datasource"}
LEDGER: Json = {"type": "grafana-postgresql-datasource", "uid": "$ledger"}

Money = tuple[str, str]
"""A counter of money, and that of what later facts added to it and took from it."""
SPEND: Money = ("pixelmeter_cost_usd_total", "pixelmeter_adjustments_usd_total")
AT_RISK: Money = ("pixelmeter_at_risk_usd_total", "pixelmeter_at_risk_adjustments_usd_total")

_OF_JOBS = 'kind="job"'
_UP, _DOWN = 'direction="up"', 'direction="down"'
_CHOSEN = {"job": 'job=~"$job"', "gateway": 'gateway=~"$gateway"', "model": 'model=~"$model"'}
_LABELS = {
    name: metric.labels
    for metric in METRICS
    for name in (
        [metric.name]
        if metric.kind != "histogram"
        else [f"{metric.name}_bucket", f"{metric.name}_count", f"{metric.name}_sum"]
    )
}

_BEFORE = "1d"

# A model's name comes from outside and may hold a quote. Between dollars it cannot end the text, because the format
# `regex` puts a backslash before every dollar of a value.
SCOPE = "gateway ~ ('^(' || $re$${gateway:regex}$re$ || ')$') AND model ~ ('^(' || $re$${model:regex}$re$ || ')$')"
"""The condition of SQL that holds a query to the chosen gateways and models."""


def series(name: str, *matchers: str) -> str:
    """Return a selector of what is chosen at the top of the dashboard; KeyError for a metric that does not exist."""
    chosen = [_CHOSEN[label] for label in ("job", *_LABELS[name]) if label in _CHOSEN]
    return f"{name}{{{', '.join([*chosen, *matchers])}}}"


def increase(name: str, *matchers: str, window: str = "$__range", by: str = "") -> str:
    """Return the sum of what a counter gained in a window, by labels given as "one, two"."""
    return f"{_sum(by)}(increase({series(name, *matchers)}[{window}]))"


def gained(name: str, *matchers: str, window: str = "$__range", by: str = "") -> str:
    """Return what `increase` does, and what series were born with in the window on top.

    `increase` sees only what changes between two samples, and many a counter is born with its first event. A series
    that was not there in the day before the window was born in it. What an exporter shows since it is new, or since its
    ledger was away for that day, is no gain: its counters are sums of the whole ledger.
    """
    return _added([_gained(name, *matchers, window=window)], by)


def net(money: Money, *matchers: str, window: str = "$__range", by: str = "") -> str:
    """Return what `gained` does of money, with what later facts added to it in the window and took from it."""
    amount, adjustments = money
    up, down = (_gained(adjustments, *matchers, direction, window=window) for direction in (_UP, _DOWN))
    return _added([_gained(amount, window=window), up, f"-1 * (\n  {down}\n  )"], by)


def net_of_jobs(money: Money, *, window: str, by: str = "") -> str:
    """Return what `net` does, with ends of jobs alone: a correction is of money that went long before the window."""
    return net(money, _OF_JOBS, window=window, by=by)


def moving_with_jobs(money: Money, *, by: str = "") -> str:
    """Return what `moving` does of money, with what ends of jobs added to it and took."""
    amount, adjustments = money
    rates = [
        f"rate({selected}[$__rate_interval])"
        for selected in (series(amount), *(series(adjustments, _OF_JOBS, each) for each in (_UP, _DOWN)))
    ]
    return _added([*rates[:2], f"-1 * {rates[2]}"], by)


def _gained(name: str, *matchers: str, window: str) -> str:
    chosen = series(name, *matchers)
    # The least value is the first, but where a program began again at the same address: there it is less.
    born = f"min_over_time({chosen}[{window}])\n    unless last_over_time({chosen}[{_BEFORE}] offset {window})"
    if "ledger" in metric(name).origins:
        up = series("pixelmeter_ledger_up")
        born += (
            f"\n    unless (\n      count_over_time({chosen}[{window}])"
            f" >= on (job, instance) group_left () sum_over_time({up}[{window}])"
            f"\n      unless on (job, instance) max_over_time({up}[{_BEFORE}] offset {window}) > 0\n    )"
        )
    # With a label of its own a first value stands beside the increase of its series, not in its place.
    first = f'label_replace(\n    {born},\n    "part", "first", "", ""\n  )'
    return f"increase({chosen}[{window}])\n  or\n  {first}"


def _added(parts: Sequence[str], by: str) -> str:
    """Return the sum of parts, of which no two have series of the same labels."""
    return f"{_sum(by)}(\n  " + "\n  or\n  ".join(parts) + "\n)"


def moving(name: str, *matchers: str, by: str = "") -> str:
    """Return the sum of what a counter gains in a second, at each point of a graph."""
    return f"{_sum(by)}(rate({series(name, *matchers)}[$__rate_interval]))"


def share(part: str, whole: str) -> str:
    """Return one expression over another, where the other is above zero."""
    return f"{part}\n/\n({whole} > 0)"


def known(amount: str, unknown: str) -> str:
    """Return an amount, and nothing where it is 0 while attempts of unknown cost are not in it."""
    return f"{amount} > 0\nor\n({amount}\nunless\n({unknown} > 0))"


def instant(expression: str, legend: str = "", *, table: bool = False) -> Json:
    """Return a query for the values at the end of the dashboard's time range."""
    return _prometheus(expression, legend, "table" if table else "time_series") | {"instant": True, "range": False}


def ranged(expression: str, legend: str = "", *, exemplars: bool = False, heatmap: bool = False) -> Json:
    """Return a query for values over the dashboard's time range."""
    shape = "heatmap" if heatmap else "time_series"
    return _prometheus(expression, legend, shape) | {"instant": False, "range": True, "exemplar": exemplars}


def sql(statement: str, *, over_time: bool = False) -> Json:
    """Return a query of the ledger: a table, or series of the columns `time`, `metric` and `value`."""
    return {
        "refId": "A",
        "datasource": LEDGER,
        "editorMode": "code",
        "format": "time_series" if over_time else "table",
        "rawQuery": True,
        "rawSql": statement.strip(),
    }


def _sum(by: str) -> str:
    return f"sum by ({by}) " if by else "sum"


def _prometheus(expression: str, legend: str, shape: str) -> Json:
    return {
        "refId": "A",
        "datasource": PROMETHEUS,
        "editorMode": "code",
        "expr": expression,
        "format": shape,
        "legendFormat": legend or "__auto",
    }
