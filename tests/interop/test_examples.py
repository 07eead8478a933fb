"""The programs in examples/ run, and the report of each says what the gateway billed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pixelmeter.testing import Gateway

FOLDER = Path(__file__).parents[2] / "examples"

EXPECTED: dict[str, tuple[int, list[str], list[dict[str, str]]]] = {
    "openai_sync.py": (2, ["0.02"], [{"feature": "hero", "team": "growth"}]),
    "openai_async.py": (3, ["0.01"] * 3, [{"customer": name} for name in ("acme", "globex", "initech")]),
    "bare_httpx.py": (2, ["0.01", "0.04"], [{"program": "bare_httpx"}] * 2),
    "aigateway_tags.py": (1, ["0.04"], [{"aig_tag": "landing-page", "team": "growth"}]),
}
"""By program: the images it makes, and the dollars and tags of its attempts."""


SERVERS = ["fastapi_app.py"]
"""The programs that do not end by themselves: tests/interop/test_containers_page.py runs them."""


def test_every_example_is_run() -> None:
    assert sorted([*EXPECTED, *SERVERS]) == sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs_and_its_spend_is_reported(name: str, gateway: Gateway, tmp_path: Path) -> None:
    environment = os.environ | {
        "OPENAI_BASE_URL": gateway.url,
        "OPENAI_API_KEY": "sk-test",
        "AIGATEWAY_BASE_URL": gateway.root,
        "AIGATEWAY_API_KEY": "sk-aig-test",
        "PIXELMETER_DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db",
        "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway",
    }

    def run(*command: str) -> str:
        python = [sys.executable, "-W", "error", *command]
        done = subprocess.run(python, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (0, "") == (done.returncode, done.stderr)
        return done.stdout

    assert run(str(FOLDER / name))
    calls: list[dict[str, Any]] = json.loads(run("-m", "pixelmeter", "calls", "--format", "json"))
    total = json.loads(run("-m", "pixelmeter", "report", "--format", "json"))["total"]
    images, dollars, tags = EXPECTED[name]
    assert sorted(zip(dollars, map(str, tags), strict=True)) == sorted(
        (call["cost_usd"], str(call["tags"])) for call in calls
    )
    assert (images, Decimal(gateway.billed_nano()) / 10**9) == (total["images"], Decimal(total["cost_usd"]))
