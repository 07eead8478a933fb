"""Rules and cases as files, and promtool that judges them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pixelmeter.monitoring import Thresholds, files
from scripts.dashboards import prometheus_files
from scripts.dashboards.groups import alert_groups, recording_groups
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
    """Hold the rules with their default thresholds to tests of promtool, evaluated once a `step`."""
    thresholds = Thresholds()
    content = {
        "rule_files": written(folder, thresholds),
        "evaluation_interval": step,
        # Left alone, promtool takes groups in any order, so an alert might look for what is not recorded yet.
        "group_eval_order": [group.name for group in (*recording_groups(thresholds), *alert_groups(thresholds))],
        "tests": list(tests),
    }
    (folder / "tests.yml").write_text(yaml.safe_dump(content))
    check("test", "rules", str(folder / "tests.yml"))


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
