"""The names that users type."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

import pixelmeter


def test_the_package_exports_what_its_page_promises() -> None:
    functions = {"Meter", "__version__", "call", "instrument", "load_price_book", "tags"}
    of_arguments = {"Budget", "PriceBook", "Sink", "AdjustmentSink"}
    of_results = {"Adjustment", "Attempt", "Change", "Health", "Notice", "Spend", "SpendRow", "Status", "WebhookEvent"}
    errors = {
        "BudgetExceeded", "ConfigError", "LedgerError", "PixelmeterError", "PixelmeterWarning", "PriceBookError",
        "SchemaOutdated", "SchemaTooNew", "WebhookError",
    }  # fmt: skip
    assert functions | of_arguments | of_results | errors == set(pixelmeter.__all__)


def test_a_meter_has_what_its_page_promises_and_nothing_else(sqlite_url: str) -> None:
    promised = {"close", "database_url", "flush", "spend", "status", "webhook"}
    meter = pixelmeter.Meter(sqlite_url)
    assert promised == {name for name in dir(meter) if not name.startswith("_")}


def test_every_exported_name_is_there() -> None:
    assert [] == [name for name in pixelmeter.__all__ if not hasattr(pixelmeter, name)]


def test_a_name_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(AttributeError, match=r"^module 'pixelmeter' has no attribute 'nosuch'$"):
        _ = pixelmeter.nosuch  # type: ignore[attr-defined]


def test_every_exported_name_is_listed_and_can_be_starred() -> None:
    show = "import pixelmeter; print(*dir(pixelmeter)); from pixelmeter import *; print(Meter, call, instrument, tags)"
    done = subprocess.run([sys.executable, "-c", show], check=True, capture_output=True, text=True)

    listed, used = done.stdout.splitlines()
    assert set(pixelmeter.__all__) <= set(listed.split())
    assert "<class 'pixelmeter.meter.Meter'>" in used


def test_every_public_name_is_exported() -> None:
    names = {
        name
        for name, value in vars(pixelmeter).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }

    assert set() == names - set(pixelmeter.__all__)


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_each_library_has_transports_of_the_same_names(library: str) -> None:
    binding = importlib.import_module(f"pixelmeter.{library}")

    assert ["AsyncMeterTransport", "MeterTransport"] == binding.__all__
