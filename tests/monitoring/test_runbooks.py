"""Each alert has a page, and what a page tells one to run can be run."""

from __future__ import annotations

import posixpath
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pixelmeter.cli import main
from pixelmeter.core.attempts.billing import UNKNOWN
from pixelmeter.core.metrics import METRICS
from pixelmeter.errors import ConfigError
from pixelmeter.monitoring import Thresholds, runbooks
from pixelmeter.monitoring.runbooks import INDEX, alert_pages
from scripts.dashboards.groups import recording_groups
from scripts.dashboards.recordings import FAILED
from scripts.dashboards.rule import Alert
from tests.monitoring.cases import ALERTS, CASES
from tests.monitoring.promql import aggregations, keeps, unknown_names
from tests.monitoring.promtool import judge

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
PAGES = sorted(FOLDER.glob("*.md"))
RECORDED = {rule.name: rule for group in recording_groups(Thresholds()) for rule in group.rules}
SECTIONS = ["What it means", "Look first", "What to do", "When to ignore it"]

SINGLE_EVENTS = {
    alert.name: found[1]
    for alert in ALERTS
    if (found := re.match(r"sum by \([a-z_, ]+\) \(\n(  \(\n.*)\n\)", alert.expression, re.DOTALL))
}
"""What the alerts sum that count the event with which a series is born."""

page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def without_links(text: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)


def commands(text: str) -> list[str]:
    """Return the lines of pixelmeter that a page gives, in its blocks and in its sentences, placeholders left out."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    found = [*lines, *re.findall(r"`(pixelmeter [^`]+)`", text)]
    return [line for line in found if line.startswith("pixelmeter ") and not re.search(r"\b[A-Z]{3,}\b", line)]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert sorted({alert.name for alert in ALERTS}) == [path.stem for path in PAGES]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert.name}-{alert.severity}-{alert.wait}")
def test_the_address_of_a_runbook_leads_to_the_page_of_the_alert(alert: Alert) -> None:
    place = alert.runbook_url.removeprefix("http://127.0.0.1:9469/")
    assert alert_pages()[place].startswith(f"# {alert.name}\n")


def test_the_pages_that_are_shipped_are_those_of_the_docs_the_index_first() -> None:
    assert [INDEX, *(f"runbooks/{path.name}" for path in PAGES)] == list(alert_pages())
    for name, text in alert_pages().items():
        assert without_links((FOLDER.parent / name).read_text()) == without_links(text), name


def test_links_of_the_pages_that_are_shipped_lead_from_one_to_another() -> None:
    shipped = alert_pages()
    linked: set[str] = set()
    for name, text in shipped.items():
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            linked.add(posixpath.normpath(posixpath.join(posixpath.dirname(name), link)))

    assert linked == set(shipped) - {INDEX}


def test_a_link_to_a_page_that_is_not_shipped_is_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runbooks").mkdir()
    (tmp_path / INDEX).write_text("[a](runbooks/A.md#x) [b](b.md) [c](#c) [d](https://wiki.example/d)\n")
    (tmp_path / "runbooks" / "A.md").write_text("[up](../alerts.md) [other](../other.md#part) [`e`](E.md)\n")
    monkeypatch.setattr(runbooks, "asset_dir", lambda _: tmp_path)

    assert {
        INDEX: "[a](runbooks/A.md#x) b [c](#c) [d](https://wiki.example/d)\n",
        "runbooks/A.md": "[up](../alerts.md) other `e`\n",
    } == alert_pages()


def test_pages_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runbooks, "asset_dir", lambda _: tmp_path)

    with pytest.raises(ConfigError, match="is not as it came with pixelmeter: install pixelmeter again"):
        alert_pages()


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
def test_the_expressions_of_a_page_count_no_call_twice_where_both_sources_are_scraped(page: Path) -> None:
    for expression in blocks(page.read_text(), "promql"):
        assert all(keeps(each, "job") for each in aggregations(expression)), expression


def test_what_a_page_looks_at_first_counts_single_events_as_its_alert_does() -> None:
    assert SINGLE_EVENTS
    for name, counted in SINGLE_EVENTS.items():
        first = blocks((FOLDER / f"{name}.md").read_text(), "promql")[0]
        assert re.fullmatch(rf"sum by \([a-z_, ]+\) \(\n{re.escape(counted)}\n\)\n", first), name


@pytest.mark.slow
def test_what_a_page_looks_at_first_shows_the_single_event_of_its_alert(tmp_path: Path) -> None:
    tests: list[dict[str, Any]] = []
    for case in CASES:
        if case.firing and case.step == "1m" and case.alert in SINGLE_EVENTS:
            first = blocks((FOLDER / f"{case.alert}.md").read_text(), "promql")[0]
            shown = {"expr": f"count(({first}) > 0)", "eval_time": case.at}
            one = {"exp_samples": [{"labels": "{}", "value": 1}]}
            tests.append(case.as_test() | {"promql_expr_test": [shown | one]})

    judge(tmp_path, "1m", tests)


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


def test_every_status_that_refuses_access_is_listed() -> None:
    text = (FOLDER / "PixelmeterAccessRefused.md").read_text()
    meaning, looking = text.split("## Look first")
    assert re.findall(r"\b40\d\b", meaning)
    assert set(re.findall(r"\b40\d\b", meaning)) == set(re.findall(r"--status (\d+)", looking))


def test_every_reason_of_an_unknown_cost_is_explained() -> None:
    text = (FOLDER / "PixelmeterUnknownCost.md").read_text()
    explained = set(re.findall(r"`([a-z_]+)`", text))
    assert set() == set(UNKNOWN) - {"outcome_unknown", "pending_job"} - explained


def test_every_kind_of_failure_is_explained() -> None:
    text = (FOLDER / "PixelmeterErrorBudgetBurn.md").read_text()
    assert set() == set(FAILED.split('"')[1].split("|")) - set(re.findall(r"`([a-z_]+)`", text))
