"""Every panel is asked for real: PromQL of a Prometheus that scrapes a busy program, SQL of the PostgreSQL it fills."""

from __future__ import annotations

import json
import math
import re
import time
from decimal import Decimal
from pathlib import Path

import pytest
from psycopg import Connection

from pixelmeter.monitoring.export import files
from pixelmeter.monitoring.thresholds import Thresholds
from pixelmeter.testing.demo.run import run
from tests.monitoring.asking import Row, answer, ledger, panels, rows, statement
from tests.monitoring.busy import busy
from tests.prometheus import Prometheus, eventually

_PATIENCE = 60.0
_OF_EXPORTER = "only the exporter has it"
OPTIONAL = {
    "Ledger readable": _OF_EXPORTER,
    "Age of the latest attempt": _OF_EXPORTER,
}
"""Panels that may be empty when a program is all that is scraped, and why."""


def known_cost(connection: Connection[Row]) -> int:
    cost: int = rows(connection, "SELECT sum(cost)::bigint AS cost FROM pixelmeter_attempts")[0]["cost"]
    return cost


@pytest.mark.slow
def test_every_query_of_every_dashboard_finds_something_in_prometheus(postgres_url: str, tmp_path: Path) -> None:
    rules = []
    for name in ("rules.yml", "alerts.yml"):
        (tmp_path / name).write_text(files(Thresholds())[f"prometheus/{name}"])
        rules.append(tmp_path / name)
    with (
        busy(postgres_url) as program,
        Prometheus(tmp_path / "prometheus", {"pixelmeter": [program.target]}, rules=rules) as prometheus,
    ):
        waiting = panels("prometheus")
        deadline = time.monotonic() + _PATIENCE

        def look() -> bool:
            nonlocal waiting
            waiting = [(panel, target) for panel, target in waiting if not answer(prometheus, target, "pixelmeter")]
            return {panel["title"] for panel, _ in waiting} <= set(OPTIONAL) or time.monotonic() > deadline

        eventually("asked in time", look, _PATIENCE * 2)
        assert set(OPTIONAL) == {panel["title"] for panel, _ in waiting}, [target["expr"] for _, target in waiting]
        program.finish()
        with ledger(postgres_url) as connection:
            cost = known_cost(connection) / 1e9
        eventually(
            f"the counters say {cost} too",
            lambda: [
                each
                for each in prometheus.query("sum(pixelmeter_cost_usd_total)")
                if math.isclose(float(each["value"][1]), cost, rel_tol=1e-9)
            ],
        )


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
    for title in ("Spend by day and model", "Spend by day and gateway"):
        assert cost == nano(sum(row["value"] for row in found[title])), title
    assert cost == nano(sum(row["Spend"] for row in found["Spend by tag"]))
    assert {"growth", "catalog", "design"} == {row["Tag"] for row in found["Spend by tag"]}
    assert found["Forecast for the month"][0]["forecast"] >= found["Spend this month"][0]["value"]
    dearest = [row["Cost"] for row in found["Dearest calls"]]
    assert sorted(dearest, reverse=True) == dearest
    assert "no_price" in {row["Reason"] for row in found["Unknown cost and at risk"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["acme/fox'; DROP TABLE pixelmeter_daily; --", "acme/$re$ || (SELECT 1) || $re$", r"acme/\.*"]
)
def test_a_model_with_a_hostile_name_can_be_chosen(postgres_url: str, name: str) -> None:
    run(postgres_url, calls=20)
    chosen = re.sub(r"([\^$\\.*+?()[\]{}|])", r"\\\1", name)
    with ledger(postgres_url) as connection:
        copy = "INSERT INTO pixelmeter_daily SELECT (jsonb_populate_record(d, %s)).* FROM pixelmeter_daily d LIMIT 1"
        connection.execute(copy, (json.dumps({"model": name, "cost": 1_500_000_000}),))
        for panel, target in panels("grafana-postgresql-datasource"):
            answered = rows(connection, statement(target, model=chosen))
            if panel["title"] == "Spend this month":
                assert [{"value": 1.5}] == [{"value": float(row["value"])} for row in answered]
