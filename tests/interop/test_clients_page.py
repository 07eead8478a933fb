"""The programs of docs/clients.md run as they stand, and every call in them is in the ledger."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import openai
import pytest

from pixelmeter.testing import Gateway
from tests.interop.conftest import Metered

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_programs_of_the_page_run_one_after_the_other(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.setenv("PIXELMETER_GATEWAYS", "127.0.0.1:*=aigateway")
    for name in ("base_url", "http_client"):
        monkeypatch.setattr(openai, name, None)
    blocks = BLOCK.findall(PAGE.read_text())
    program = tmp_path / "page.py"
    program.write_text("\n".join(blocks).replace("https://api.aigateway.sh", gateway.root))
    names: dict[str, Any] = runpy.run_path(str(program))

    attempts = Metered(names["meter"]).attempts()
    assert len(BLOCK.findall(PAGE.read_text())) == 9
    assert ["aigateway"] * 13 == [attempt.gateway for attempt in attempts]
    assert gateway.billed_nano() == sum(attempt.cost or 0 for attempt in attempts)
    assert 3 == sum('"feature":"banner"' in attempt.tags for attempt in attempts)

    names["meter"].close()
    for client in ("client", "gateway", "http", "patient", "cached"):
        names[client].close()
    names["openai"].http_client.close()
    openai._reset_client()
