"""Each alert has a page, and what a page tells one to run can be run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from pixelmeter.cli import main
from pixelmeter.core.metrics import METRICS
from pixelmeter.core.settle import UNKNOWN
from pixelmeter.monitoring.groups import recording_groups
from pixelmeter.monitoring.recordings import FAILED
from pixelmeter.monitoring.rule import Alert
from pixelmeter.monitoring.thresholds import Thresholds
from tests.monitoring.cases import ALERTS
from tests.monitoring.promql import unknown_names

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
PAGES = sorted(FOLDER.glob("*.md"))
RECORDED = {rule.name: rule for group in recording_groups(Thresholds()) for rule in group.rules}
SECTIONS = ["What it means", "Look first", "What to do", "When to ignore it"]

page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """Return the lines of pixelmeter that a page gives, in its blocks and in its sentences, placeholders left out."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    found = [*lines, *re.findall(r"`(pixelmeter [^`]+)`", text)]
    return [line for line in found if line.startswith("pixelmeter ") and not re.search(r"\b[A-Z]{3,}\b", line)]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert sorted({alert.name for alert in ALERTS}) == [path.stem for path in PAGES]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.name}-{alert.severity}-{alert.wait}")
def test_the_address_of_a_runbook_leads_to_the_page_of_the_alert(alert: Alert) -> None:
    place = alert.runbook_url.removeprefix("https://github.com/pixelmeter/pixelmeter/blob/main/")
    assert (FOLDER.parents[1] / place).read_text().startswith(f"# {alert.name}\n")


@page
def test_a_page_says_what_it_means_what_to_look_at_what_to_do_and_when_not_to(page: Path) -> None:
    text = page.read_text()
    assert SECTIONS == re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert blocks(text, "promql")
    assert blocks(text, "sh")


@page
def test_the_expressions_of_a_page_name_what_exists(page: Path) -> None:
    scraped = {"up"}
    for expression in blocks(page.read_text(), "promql"):
        assert set() == unknown_names(expression, {*RECORDED, *scraped}), expression


@page
def test_the_metrics_that_a_page_names_exist(page: Path) -> None:
    parts = {f"{each.name}_{part}" for each in METRICS for part in ("bucket", "count", "sum")}
    families = {each.name for each in METRICS} | {name.split(":")[1] for name in RECORDED}
    named = set(re.findall(r"\bpixelmeter_[a-z_]+[a-z]\b", page.read_text()))
    assert set() == named - families - parts


@page
def test_the_commands_of_a_page_run(page: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMETER_DATABASE_URL", sqlite_url)
    runner = CliRunner()
    assert 0 == runner.invoke(main, ["db", "upgrade"]).exit_code
    for line in commands(page.read_text()):
        if line.startswith("pixelmeter serve"):
            continue
        result = runner.invoke(main, shlex.split(line)[1:])
        assert 0 == result.exit_code, f"{line}: {result.output}"


@page
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link


@page
def test_the_options_that_a_page_would_change_are_thresholds(page: Path) -> None:
    named = re.findall(r"`--([a-z-]+)`", page.read_text())
    assert [] == [name for name in named if name.replace("-", "_") not in Thresholds.__dataclass_fields__]


def test_every_reason_of_an_unknown_cost_is_explained() -> None:
    text = (FOLDER / "PixelmeterUnknownCost.md").read_text()
    explained = set(re.findall(r"`([a-z_]+)`", text))
    assert set() == set(UNKNOWN) - {"outcome_unknown", "pending_job"} - explained


def test_every_kind_of_failure_is_explained() -> None:
    text = (FOLDER / "PixelmeterErrorBudgetBurn.md").read_text()
    assert set() == set(FAILED.split('"')[1].split("|")) - set(re.findall(r"`([a-z_]+)`", text))
