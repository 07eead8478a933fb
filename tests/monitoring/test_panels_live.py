"""Every panel is asked for real: PromQL of a Prometheus that scrapes a busy program, SQL of the PostgreSQL it fills."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection

from pixelmeter import Budget
from pixelmeter.ledger.statements import keep_reconciliation
from pixelmeter.ledger.writer import open_writer
from pixelmeter.monitoring import Thresholds, files
from pixelmeter.testing.demo.run import run
from tests.ledger.test_statements import came_to
from tests.monitoring.asking import Row, answer, ledger, panels, rows, statement
from tests.monitoring.busy import busy
from tests.monitoring.exporter import exporter
from tests.prometheus import Prometheus, eventually

_PATIENCE = 60.0
_OF_EXPORTER = {
    "Ledger readable", "Age of the latest attempt", "Open jobs", "Oldest open job", "Budgets", "Used of each budget",
    "Reconciliations", "Covered by the ledger", "Months of a PostgreSQL ledger", "Spend of the month, by tag",
    "Months by tag",
}  # fmt: skip
_OF_PROGRAMS = {
    "Time to the first byte, p95, by model", "Time to the first image, p95, by model", "In flight", "Requests left",
    "Lag", "Waiting", "Lost", "Internal errors", "Attempts written, per minute", "Time of a write",
    "Failed writes, per minute", "Internal errors, per minute", "Spool used",
}  # fmt: skip
EMPTY = {"pixelmeter": _OF_EXPORTER, "pixelmeter-ledger": _OF_PROGRAMS}
"""The panels that are empty, by the job that is chosen: what only the other one reports."""


SPENT = """sum by (job) (
  pixelmeter_cost_usd_total
  or pixelmeter_adjustments_usd_total{direction="up"}
  or -1 * pixelmeter_adjustments_usd_total{direction="down"}
)"""


def _may_be_absent(target: Mapping[str, Any]) -> bool:
    """Return whether a query may find nothing here: early in a month there is no forecast, and no call is refused."""
    return "budget_forecast" in target["expr"] or 'error_type="blocked"' in target["expr"]


def known_cost(connection: Connection[Row]) -> int:
    cost: int = rows(connection, "SELECT sum(cost)::bigint AS cost FROM pixelmeter_spend")[0]["cost"]
    return cost


@pytest.mark.slow
def test_every_query_of_every_dashboard_finds_something_in_prometheus(postgres_url: str, tmp_path: Path) -> None:
    rules = []
    for name in ("rules.yml", "alerts.yml"):
        (tmp_path / name).write_text(files(Thresholds())[f"prometheus/{name}"])
        rules.append(tmp_path / name)
    with closing(open_writer(postgres_url)) as writer:
        writer.register([Budget(1000, per="month").rule], time.time_ns() // 1000)
    keep_reconciliation(postgres_url, came_to())
    with (
        busy(postgres_url) as program,
        exporter(postgres_url, "--tag", "team") as ledger_target,
        Prometheus(
            tmp_path / "prometheus",
            {"pixelmeter": [program.target], "pixelmeter-ledger": [ledger_target]},
            rules=rules,
        ) as prometheus,
    ):
        waiting = {job: [pair for pair in panels("prometheus") if not _may_be_absent(pair[1])] for job in EMPTY}
        deadline = time.monotonic() + _PATIENCE

        def titles(job: str) -> set[str]:
            return {panel["title"] for panel, _ in waiting[job]}

        def look() -> bool:
            for job, asked in waiting.items():
                waiting[job] = [pair for pair in asked if not answer(prometheus, pair[1], job)]
            return all(titles(job) <= EMPTY[job] for job in EMPTY) or time.monotonic() > deadline

        eventually("asked in time", look, _PATIENCE * 2)
        for job, empty in EMPTY.items():
            assert empty == titles(job), [target["expr"] for _, target in waiting[job]]
        program.finish()
        with ledger(postgres_url) as connection:
            cost = known_cost(connection) / 1e9

        def agreeing() -> bool:
            said = prometheus.query(SPENT)
            return 2 == sum(math.isclose(float(each["value"][1]), cost, rel_tol=1e-9) for each in said)

        eventually(f"the counters of both jobs say {cost} too", agreeing)


@pytest.mark.parametrize("job", EMPTY)
def test_a_panel_that_may_be_empty_says_why(job: str) -> None:
    for panel, _ in panels("prometheus"):
        if panel["title"] in EMPTY[job]:
            assert "report this: choose" in panel["fieldConfig"]["defaults"]["noValue"].replace("reports", "report")


@pytest.mark.slow
def test_every_statement_of_every_dashboard_finds_rows_in_postgres(postgres_url: str) -> None:
    run(postgres_url, calls=60)
    found: dict[str, list[Row]] = {}
    with ledger(postgres_url) as connection:
        # As the role that the example makes; a role is of the whole server, so this one is never committed.
        script = files(Thresholds())["postgres/reader.sh"]
        for command in re.findall(r"^(?:CREATE|GRANT) .*;$", script, re.MULTILINE):
            connection.execute(command.replace(":'password'", "'secret'").encode())
        connection.execute("SET LOCAL ROLE pixelmeter_reader")
        for panel, target in panels("grafana-postgresql-datasource"):
            found[panel["title"]] = rows(connection, statement(target))
            assert found[panel["title"]], panel["title"]
            columns = set(found[panel["title"]][0])
            named = {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]}
            if panel["type"] == "table":
                assert named <= columns, panel["title"]
            if target["format"] == "time_series":
                assert {"time", "metric", "value"} == columns
        cost = known_cost(connection)
        connection.rollback()

    def nano(dollars: Decimal) -> int:
        return round(dollars * 10**9)

    assert cost == nano(found["Spend this month"][0]["value"]) == nano(found["Spend, by the ledger"][0]["spend"])
    for title in ("Spend by day and model", "Spend by day and gateway", "Spend by day and tag"):
        assert cost == sum(nano(row["value"]) for row in found[title] if row["value"] is not None), title
    assert cost == nano(sum(row["Spend"] for row in found["Spend by tag"]))
    assert {"growth", "catalog", "design"} == {row["Tag"] for row in found["Spend by tag"]}
    assert found["Forecast for the month"][0]["forecast"] >= found["Spend this month"][0]["value"]
    most_expensive = [row["Cost"] for row in found["Most expensive calls"]]
    assert sorted(most_expensive, reverse=True) == most_expensive
    assert "no_price" in {row["Reason"] for row in found["Unknown cost and at risk"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["acme/fox'; DROP TABLE pixelmeter_daily; --", "acme/$re$ || (SELECT 1) || $re$", r"acme/\.*"]
)
def test_a_model_with_a_hostile_name_can_be_chosen(postgres_url: str, name: str) -> None:
    run(postgres_url, calls=20)
    chosen = re.sub(r"([\^$\\.*+?()[\]{}|])", r"\\\1", name)
    with ledger(postgres_url) as connection:
        copy = """
INSERT INTO pixelmeter_daily_merged SELECT (jsonb_populate_record(d, %s)).* FROM pixelmeter_daily d LIMIT 1
"""
        connection.execute(copy, (json.dumps({"model": name, "cost": 1_500_000_000, "fee": 0, "at_risk": 0}),))
        for panel, target in panels("grafana-postgresql-datasource"):
            answered = rows(connection, statement(target, model=chosen))
            if panel["title"] == "Spend this month":
                assert [{"value": 1.5}] == [{"value": float(row["value"])} for row in answered]
