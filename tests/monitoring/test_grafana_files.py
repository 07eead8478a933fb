"""What Grafana and Docker Compose read beside the dashboards fits together, and holds no secret."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Context

from pixelmeter.cli import main
from pixelmeter.monitoring import VARIABLES, Thresholds, files
from scripts.dashboards.grafana.provisioning import DASHBOARDS, PROMETHEUS_UID
from scripts.dashboards.groups import alert_groups
from scripts.dashboards.rule import Alert

FILES = files(Thresholds())
PAGE = Path(__file__).parents[2] / "docs" / "dashboards.md"
ALERTS = [alert for group in alert_groups(Thresholds()) for alert in group.alerts]
SERVICES: dict[str, Any] = yaml.safe_load(FILES["docker-compose.yml"])["services"]


def loaded(name: str) -> Any:
    return yaml.safe_load(FILES[name])


def rules() -> list[dict[str, Any]]:
    return [rule for group in loaded("grafana/alerting/rules.yml")["groups"] for rule in group["rules"]]


def asked(rule: dict[str, Any]) -> str:
    expression: str = rule["data"][0]["model"]["expr"]
    return expression


def ports(service: str) -> set[str]:
    """Return the ports that a service opens to this machine, and to this machine only."""
    published: list[str] = SERVICES[service]["ports"]
    assert all(port.startswith("127.0.0.1:") for port in published)
    return {port.rpartition(":")[2] for port in published}


def test_data_sources_are_those_that_dashboards_choose_from() -> None:
    kinds = {each["type"] for each in loaded("grafana/provisioning/datasources/pixelmeter.yml")["datasources"]}
    chosen = {
        variable["query"]
        for name, text in FILES.items()
        if name.startswith("grafana/pixelmeter-")
        for variable in json.loads(text)["templating"]["list"]
        if variable["type"] == "datasource"
    }

    # Traces come from wherever a team keeps them.
    assert chosen - {"tempo"} == kinds


def test_data_sources_take_addresses_and_secrets_from_the_environment() -> None:
    text = FILES["grafana/provisioning/datasources/pixelmeter.yml"]

    assert set(VARIABLES) == set(re.findall(r"\$(\w+)", text))
    for source in yaml.safe_load(text)["datasources"]:
        for value in [source["url"], *source.get("secureJsonData", {}).values()]:
            assert value.startswith("$")


def test_no_file_holds_a_secret() -> None:
    for name, text in FILES.items():
        for line in text.splitlines():
            found = re.search(r"password\"?(?:: +|=)\"?([^\s\"]+)", line, re.IGNORECASE)
            assert found is None or found[1].startswith("$"), f"{name}: {line}"


def test_grafana_manages_the_alerts_that_prometheus_has() -> None:
    assert [(alert.expression, alert.severity, alert.wait, alert.summary) for alert in ALERTS] == [
        (asked(rule), rule["labels"]["severity"], rule["for"], rule["annotations"]["summary"]) for rule in rules()
    ]


def test_a_rule_of_grafana_has_a_name_of_its_own_that_is_short_enough() -> None:
    made = rules()

    assert len(made) == len({rule["uid"] for rule in made}) == len({rule["title"] for rule in made})
    assert all(re.fullmatch("[a-z0-9-]{1,40}", rule["uid"]) for rule in made)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.name} {alert.labels.get('long', '')}")
def test_a_rule_of_grafana_asks_prometheus_and_then_looks_whether_anything_came(alert: Alert) -> None:
    [rule] = [rule for rule in rules() if asked(rule) == alert.expression]
    query, any_, found = rule["data"]

    assert (PROMETHEUS_UID, "__expr__", "__expr__") == tuple(each["datasourceUid"] for each in rule["data"])
    assert f"${query['refId']}" in any_["model"]["expression"]
    assert any_["refId"] == found["model"]["expression"]
    assert found["refId"] == rule["condition"]
    assert all(each["refId"] == each["model"]["refId"] for each in rule["data"])


def test_a_rule_of_grafana_words_its_text_as_grafana_fills_it_in() -> None:
    for rule in rules():
        text = rule["annotations"]["description"]
        assert "$value " not in text
        assert text.count("$values.") == text.count("$values.asked.Value")


def test_alerts_of_grafana_reach_a_contact_point_that_exists() -> None:
    [policy] = loaded("grafana/alerting/policies.yml")["policies"]

    assert [policy["receiver"]] == [
        each["name"] for each in loaded("grafana/alerting/contact-points.yml")["contactPoints"]
    ]


def test_nobody_gets_the_alerts_of_grafana_without_asking_for_them() -> None:
    assert not [name for name in FILES if name.startswith("grafana/provisioning/alerting")]
    assert not [volume for volume in SERVICES["grafana"]["volumes"] if "alerting" in volume]


def test_what_compose_mounts_is_exported() -> None:
    folders = {str(parent) for name in FILES for parent in Path(name).parents}
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, _, _ = volume.partition(":")
            if source.startswith("."):
                assert str(Path(source)) in folders | set(FILES), f"{name}: {volume}"
                assert volume.endswith(":ro")


def test_compose_mounts_the_dashboards_where_grafana_looks_for_them() -> None:
    [provider] = loaded("grafana/provisioning/dashboards/pixelmeter.yml")["providers"]

    assert DASHBOARDS == provider["options"]["path"]
    assert f"./grafana:{DASHBOARDS}:ro" in SERVICES["grafana"]["volumes"]


def test_compose_sets_every_variable_of_the_data_sources() -> None:
    assert set(VARIABLES) <= set(SERVICES["grafana"]["environment"])


def test_compose_and_the_page_ask_for_encryption_in_words_that_grafana_knows() -> None:
    known = {"disable", "require", "verify-ca", "verify-full"}
    [told] = re.findall(r"`PIXELMETER_LEDGER_SSLMODE`: ([^.]*?),\s+as", PAGE.read_text())

    assert SERVICES["grafana"]["environment"]["PIXELMETER_LEDGER_SSLMODE"] in known
    assert known == set(re.findall("`([^`]+)`", told))


def test_compose_takes_every_secret_from_outside_and_insists_on_it() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name:
                assert re.fullmatch(r"\$\{[A-Z_]+:\?\}", value), name


def test_addresses_in_compose_are_those_in_the_files() -> None:
    prometheus = loaded("prometheus/prometheus.yml")
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in prometheus["scrape_configs"]}
    command = SERVICES["exporter"]["command"]
    exporter = f"{command[command.index('--host') + 1]}:{command[command.index('--port') + 1]}"
    alertmanager = prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]

    assert [exporter] == jobs["pixelmeter-ledger"]
    assert ["127.0.0.1:9093"] == alertmanager
    # What Prometheus asks for on 127.0.0.1 is there because the three share one network.
    assert {"service:prometheus"} == {SERVICES[name]["network_mode"] for name in ("exporter", "alertmanager")}
    assert {"9090", "9093"} == ports("prometheus")
    assert "http://prometheus:9090" == SERVICES["grafana"]["environment"]["PIXELMETER_PROMETHEUS_URL"]
    assert {"5432"} == ports("postgres")
    assert {"3000"} == ports("grafana")
    assert ports("page") == {Thresholds().page.rpartition(":")[2]}


@pytest.mark.parametrize("service", ["exporter", "page"])
def test_compose_starts_pixelmeter_as_the_command_line_has_it(service: str) -> None:
    program, name, *arguments = SERVICES[service]["command"]
    command = main.get_command(Context(main), name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}

    assert "pixelmeter" == program
    assert {argument for argument in arguments if argument.startswith("--")} <= options


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_a_fixed_image(name: str) -> None:
    service = SERVICES[name]

    assert service["healthcheck"]["test"][0] == "CMD"
    image = service.get("image") or re.search(r"FROM (\S+)", service["build"]["dockerfile_inline"])[1]  # type: ignore[index]
    assert re.search(r":v?\d+", image)


def test_the_page_names_files_that_are_exported_and_every_dashboard() -> None:
    named = set(re.findall(r"`((?:grafana|prometheus|alertmanager|docker)[\w/-]*\.\w+)`", PAGE.read_text()))

    assert named <= set(FILES)
    assert {name for name in FILES if name.startswith("grafana/pixelmeter-")} <= named


def test_the_page_names_the_variables_that_the_data_sources_take() -> None:
    assert [] == [name for name in VARIABLES if f"`{name}`" not in PAGE.read_text()]


def test_the_page_shows_pictures_that_are_there_and_not_heavy() -> None:
    pictures = [PAGE.parent / name for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE.read_text())]

    assert 4 == len(pictures)
    assert [] == [picture for picture in pictures if picture.stat().st_size > 400_000]


def test_compose_gets_every_secret_that_the_page_makes() -> None:
    needed = set(re.findall(r"\$\{([A-Z_]+):\?\}", FILES["docker-compose.yml"]))
    needed |= {secret["environment"] for secret in loaded("docker-compose.yml")["secrets"].values()}

    assert needed == set(re.findall(r"^([A-Z_]+)=\$\(", PAGE.read_text(), re.MULTILINE))
