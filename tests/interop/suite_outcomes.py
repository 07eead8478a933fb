"""What pytest plugins share that run inside the suites of HTTP libraries: they note every outcome.

It imports nothing of this project's tests, whose package has the same name as those of the suites.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

__all__ = ["Outcomes"]


class Outcomes:
    """The outcome of every test, by id; a failure in its setup or teardown is its failure."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self._seen[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        (self._folder / "outcomes.json").write_text(json.dumps(self._seen))
