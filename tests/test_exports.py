"""The names that users type."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

import pixelmeter


def test_the_package_exports_what_its_page_promises() -> None:
    assert {"Meter", "__version__", "call", "instrument", "tags"} <= set(pixelmeter.__all__)


def test_every_exported_name_is_there() -> None:
    assert [] == [name for name in pixelmeter.__all__ if not hasattr(pixelmeter, name)]


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
