"""Rules and cases as files, and promtool that judges them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pixelmeter.monitoring import Thresholds, files
from scripts.dashboards import prometheus_files
from scripts.dashboards.pace import UNHURRIED, Pace
from tests.conftest import unavailable

__all__ = ["check", "judge", "written"]


def check(*arguments: str) -> None:
    """Run promtool; fail with what it says where it is not content."""
    found = shutil.which("promtool")
    if found is None:
        unavailable("promtool is not installed", "apt-get install prometheus")
    done = subprocess.run([str(found), *arguments], capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr


def judge(folder: Path, step: str, tests: Sequence[Mapping[str, Any]]) -> None:
    """Hold the rules with their default thresholds to tests of promtool, evaluated once a `step`.

    Each test has the rules that what it asks for is made of: the others say nothing, and take most of the time.
    """
    groups = [
        group for path in written(folder, Thresholds()) for group in yaml.safe_load(Path(path).read_text())["groups"]
    ]
    by_questions: dict[frozenset[str], list[Mapping[str, Any]]] = defaultdict(list)
    for test in tests:
        by_questions[_asked(test)].append(test)
    files = []
    for number, (asked, of_them) in enumerate(by_questions.items()):
        needed = _needed(groups, asked)
        rules, content = folder / f"rules-{number}.yml", folder / f"tests-{number}.yml"
        rules.write_text(yaml.safe_dump({"groups": needed}))
        content.write_text(
            yaml.safe_dump(
                {
                    "rule_files": [str(rules)],
                    "evaluation_interval": step,
                    # Left alone, promtool takes groups in any order: an alert might look for what is not recorded yet.
                    "group_eval_order": [group["name"] for group in needed],
                    "tests": of_them,
                }
            )
        )
        files.append(str(content))
    check("test", "rules", *files)


def _asked(test: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the alerts that a test asks for, and its expressions."""
    alerts = {each["alertname"] for each in test.get("alert_rule_test", [])}
    return frozenset(alerts | {each["expr"] for each in test.get("promql_expr_test", [])})


def _needed(groups: Sequence[Mapping[str, Any]], asked: frozenset[str]) -> list[dict[str, Any]]:
    """Return the groups with the alerts that are asked for, and what these or expressions read that is recorded."""
    rules = [rule for group in groups for rule in group["rules"]]
    texts = [*asked, *(rule["expr"] for rule in rules if rule.get("alert") in asked)]
    names = set[str]()
    while texts:
        read = set(re.findall(r"\w+(?::\w+)+", texts.pop())) - names
        names |= read
        texts += [rule["expr"] for rule in rules if rule.get("record") in read]
    kept = [
        {
            **group,
            "rules": [rule for rule in group["rules"] if {rule.get("alert"), rule.get("record")} & (asked | names)],
        }
        for group in groups
    ]
    return [group for group in kept if group["rules"]]


def written(folder: Path, thresholds: Thresholds, pace: Pace = UNHURRIED) -> list[str]:
    """Write the rules into a folder, those that are exported unless they are to be hurried; return their paths."""
    texts = files(thresholds) if pace == UNHURRIED else prometheus_files.files(thresholds, pace)
    paths = []
    for name, text in texts.items():
        if name in ("prometheus/rules.yml", "prometheus/alerts.yml"):
            path = folder / Path(name).name
            path.write_text(text)
            paths.append(str(path))
    return paths
