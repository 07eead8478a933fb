"""The vendor that docs/gateways.md brings in, with its files as the page has them and no code."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

import pixelmeter
from pixelmeter.gateways import check
from pixelmeter.testing import capture_calls

_PAGE = (Path(__file__).parents[2] / "docs" / "gateways.md").read_text()


def _file(name: str, folder: Path) -> Path:
    [text] = re.findall(rf"```toml\n(# {re.escape(name)}\n.*?)```", _PAGE, re.DOTALL)
    file = folder / name
    file.write_text(text)
    return file


def _metered(
    folder: Path, answer: dict[str, Any], patch: pytest.MonkeyPatch
) -> tuple[pixelmeter.Attempt, dict[str, Any]]:
    """Return what is recorded of the page's exchange, with something else in its answer, and what it expects."""
    [text] = re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL)
    exchange = json.loads(text)
    patch.setenv("PIXELMETER_PROFILES", str(_file("pictor.toml", folder)))
    meter = pixelmeter.Meter(f"sqlite:///{folder}/a.db", price_book=_file("pictor-prices.toml", folder))
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=exchange["response"]["json"] | answer))
    with (
        capture_calls() as calls,
        pixelmeter.instrument(httpx.Client(transport=transport), meter) as client,
    ):
        client.post(exchange["request"]["url"], json=exchange["request"]["json"])
    [attempt] = calls
    return attempt, exchange["expect"]


def test_its_profile_has_no_problems(tmp_path: Path) -> None:
    assert [] == check(str(_file("pictor.toml", tmp_path)))


def test_its_exchange_is_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, expected = _metered(tmp_path, {}, monkeypatch)
    cost = int(Decimal(expected.pop("cost_usd")).scaleb(9))
    assert (cost, "reported") == (attempt.cost, attempt.cost_source)
    assert expected == {name: getattr(attempt, name) for name in expected}


def test_its_prices_hold_where_the_answer_says_no_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt, _ = _metered(tmp_path, {"bill": None}, monkeypatch)
    assert (30_000_000, "priced") == (attempt.cost, attempt.cost_source)
