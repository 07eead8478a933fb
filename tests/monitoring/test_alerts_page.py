"""docs/alerts.md says what the alerts, the thresholds and the exported files say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from pixelmeter.core.metrics import METRICS
from pixelmeter.monitoring import Thresholds, files
from scripts.dashboards.groups import alert_groups
from scripts.dashboards.recordings import FAILED
from tests.monitoring.cases import ALERTS
from tests.monitoring.promql import selectors
from tests.monitoring.promtool import check

PAGE = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()
FILES = {name: text for name, text in files(Thresholds()).items() if name.startswith(("prometheus/", "alertmanager/"))}

PIPELINE = next(group for group in alert_groups(Thresholds()) if group.name == "pixelmeter-pipeline")


def table(head: str) -> list[list[str]]:
    """Return the cells of the table whose head begins like that."""
    found = re.search(rf"^\| {re.escape(head)}.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]


def examples() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, text in re.findall(r"^```yaml\n# (\S+\.yml)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        yield name, yaml.safe_load(text)


def test_the_table_of_alerts_is_that_of_the_package() -> None:
    severities: dict[str, dict[str, None]] = {}
    for alert in ALERTS:
        severities.setdefault(alert.name, {})[alert.severity] = None
    summaries = {alert.name: alert.summary for alert in ALERTS}

    assert [
        [f"[{name}](runbooks/{name}.md)", ", ".join(found), summaries[name]] for name, found in severities.items()
    ] == table("alert")


def test_the_table_of_thresholds_is_that_of_the_package() -> None:
    expected = []
    for each in fields(Thresholds):
        default = f"`{each.default:g}`" if isinstance(each.default, float) else each.default and f"`{each.default}`"
        option = each.name.replace("_", "-")
        expected.append([f"`--{option}`", each.metadata["unit"], default, each.metadata["help"]])

    assert expected == table("option")


def test_the_windows_are_those_of_the_error_budget() -> None:
    burns = [alert for alert in ALERTS if alert.name == "PixelmeterErrorBudgetBurn"]
    limits = [re.findall(r"ratio_rate\w+ > ([0-9.]+)", alert.expression)[0] for alert in burns]

    assert [
        [alert.severity, alert.labels["long"], alert.labels["short"], f"{100 * float(limit):g}%", alert.wait]
        for alert, limit in zip(burns, limits, strict=True)
    ] == table("severity | long")


def test_the_kinds_of_failure_are_those_of_the_rules() -> None:
    found = re.search(r"counts as failed when its `error_type` is (.*?)\. ", PAGE, re.DOTALL)
    assert found is not None
    assert FAILED == f'error_type=~"{"|".join(re.findall("`([a-z_]+)`", found[1]))}"'


def test_what_the_page_shows_of_the_files_is_in_them() -> None:
    shown = dict(examples())
    assert {"prometheus.yml", "alertmanager.yml"} == shown.keys()
    for name, example in shown.items():
        whole = yaml.safe_load(FILES[f"{name.removesuffix('.yml')}/{name}"])
        assert example == {key: whole[key] for key in example}


def test_an_incident_is_told_once_as_one_job_is_scraped() -> None:
    example = yaml.safe_load(FILES["prometheus/prometheus.yml"])

    assert ["pixelmeter-ledger"] == [job["job_name"] for job in example["scrape_configs"]]


def programs_job() -> dict[str, Any]:
    """Return the job that the page has for the metrics of programs beside those of the exporter."""
    [text] = re.findall(r"^```yaml\n# beside the job of the exporter\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    [job] = yaml.safe_load(text)
    found: dict[str, Any] = job
    return found


def test_prometheus_takes_the_example_with_and_without_the_job_of_programs(tmp_path: Path) -> None:
    alone = yaml.safe_load(FILES["prometheus/prometheus.yml"])
    both = alone | {"scrape_configs": [*alone["scrape_configs"], programs_job()]}
    for config in (alone, both):
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        check("check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))


def test_what_is_scraped_of_programs_beside_the_exporter_counts_no_calls_and_serves_the_other_alerts() -> None:
    [relabelling] = programs_job()["metric_relabel_configs"]
    kept = {each for each in METRICS if re.fullmatch(relabelling["regex"], each.name)}
    programs_only = {name for alert in PIPELINE.alerts for name, _ in selectors(alert.expression)} & {
        each.name for each in METRICS if "process" in each.origins
    }

    assert {"keep"} == {relabelling["action"]}
    assert programs_only - {"pixelmeter_price_book_timestamp_seconds"} <= {each.name for each in kept}
    assert not [each.name for each in kept if {"gateway", "budget"} & set(each.labels)]


def test_the_files_that_the_page_names_are_exported() -> None:
    named = re.findall(r"`((?:prometheus|alertmanager)/[\w.]+)`", PAGE)
    assert set(FILES) == set(named)
