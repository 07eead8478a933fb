"""`make sdks` keeps what came of its run: tests/sdks/results.json, which docs/clients.md is made from."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Generator
from pathlib import Path

import pytest

RESULTS = Path(__file__).with_name("results.json")

_outcomes: dict[str, dict[str, bool]] = {}
"""By SDK and test: whether all passed."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    program = getattr(getattr(item, "callspec", None), "params", {}).get("program")
    if program is not None:
        column = next(iter([each for each in ("image_method", "without_a_line", "budget") if each in item.name]))
        known = _outcomes.setdefault(program.sdk, {})
        known[column] = known.get(column, True) and not report.failed
    return report


def pytest_sessionfinish() -> None:
    if os.environ.get("PIXELMETER_TEST_SDKS_KEEP") != "1":
        return
    kept = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "python": platform.python_version(),
        "sdks": {sdk: {"version": _version(sdk), **columns} for sdk, columns in sorted(_outcomes.items())},
    }
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n")


def _version(sdk: str) -> str:
    if sdk.startswith("npm "):
        lock = json.loads(Path(__file__).with_name("package-lock.json").read_text())
        return str(lock["packages"][f"node_modules/{sdk.removeprefix('npm ')}"]["version"])
    name = "pydantic-ai-slim" if sdk == "pydantic-ai" else sdk
    return importlib.metadata.version(name)
