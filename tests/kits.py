"""All libraries that tests of every driver run on."""

from __future__ import annotations

import pytest

from tests.aiohttp_kit import AIOHTTP
from tests.clients import KITS, Kit
from tests.requests_kit import REQUESTS
from tests.urllib3_kit import URLLIB3

__all__ = ["ALL", "having", "on"]

ALL: list[Kit] = [*KITS, *AIOHTTP, *URLLIB3, *REQUESTS]
"""Every library, sync and async."""


def having(*properties: str, colour: str | None = None) -> list[Kit]:
    """Return the kits that have all these properties, of one colour if it is named."""
    return [kit for kit in ALL if kit.has.issuperset(properties) and colour in (None, kit.colour)]


def on(*properties: str, colour: str | None = None) -> pytest.MarkDecorator:
    """Have a test run on the kits that have all these properties, and on no other."""
    return pytest.mark.parametrize("kit", having(*properties, colour=colour), ids=str)
