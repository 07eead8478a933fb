"""The names that users type."""

from __future__ import annotations

import importlib

import pytest

import pixelmeter


def public(module: object) -> list[str]:
    return sorted(name for name in vars(module) if not name.startswith("_"))


def test_the_package_exports_what_its_page_promises() -> None:
    promised = {"Meter", "instrument", "tags", "__version__"}

    assert promised <= set(pixelmeter.__all__)


def test_every_exported_name_is_there() -> None:
    assert [] == [name for name in pixelmeter.__all__ if not hasattr(pixelmeter, name)]


def test_the_exported_names_are_sorted() -> None:
    assert sorted(pixelmeter.__all__) == list(pixelmeter.__all__)


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
def test_each_library_has_a_transport_of_the_same_name(library: str) -> None:
    binding = importlib.import_module(f"pixelmeter.{library}")

    assert {"AsyncMeterTransport", "MeterTransport"} <= set(binding.__all__)
