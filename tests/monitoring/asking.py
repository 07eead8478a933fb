"""What the panels of the dashboards ask, with variables and macros filled in as Grafana does."""

from __future__ import annotations

import math
import re
import time
import urllib.error
from typing import Any

from psycopg import Connection, connect
from psycopg.rows import dict_row

from pixelmeter.monitoring import Thresholds
from tests.monitoring.exported import dashboards
from tests.monitoring.linter import filled, queries
from tests.prometheus import Prometheus

__all__ = ["Panel", "Row", "answer", "ledger", "panels", "rows", "statement"]

Panel = dict[str, Any]
Row = dict[str, Any]

_WINDOWS = {"__rate_interval": "10s", "__range": "5m"}


def panels(kind: str) -> list[tuple[Panel, Panel]]:
    """Return every panel with each of its queries of one kind of data source."""
    return [
        (panel, target)
        for dashboard in dashboards(Thresholds())
        for panel, target in queries(dashboard)
        if target["datasource"]["type"] == kind
    ]


def answer(prometheus: Prometheus, target: Panel, job: str) -> list[dict[str, Any]]:
    """Return the series that a panel gets, those left out that have no number."""
    expression = filled(target["expr"], {**_WINDOWS, "job": job, "gateway": ".*", "model": ".*", "tag": "team"})
    now = time.time()
    try:
        if target["instant"]:
            series = prometheus.query(expression)
        else:
            window = {"start": str(now - 60), "end": str(now), "step": "1"}
            series = prometheus.get("/api/v1/query_range", query=expression, **window)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{expression}\n{error.read().decode()}") from error
    return [
        each for each in series if any(not math.isnan(float(v)) for _, v in each.get("values", [each.get("value")]))
    ]


def statement(target: Panel, days: int = 1, **values: str) -> str:
    """Return the SQL of a panel as Grafana sends it for a time range of some days until now."""
    here = {"gateway": ".*", "model": ".*", "tag": "'team'"} | values
    text = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN now() - interval '{days} days' AND now()", target["rawSql"])
    text = text.replace("$__timeFrom()", f"'{_utc(-days)}'").replace("$__timeTo()", f"'{_utc(0)}'")
    return filled(text, here)


def _utc(days: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * 86_400))


def rows(connection: Connection[Row], text: str) -> list[Row]:
    """Return what a statement gives."""
    return connection.execute(text.encode()).fetchall()


def ledger(url: str) -> Connection[Row]:
    """Connect to a ledger on PostgreSQL."""
    return connect(url, row_factory=dict_row)
