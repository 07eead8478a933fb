"""What tests of the openai SDK share."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.clients import settled

__all__ = ["SAM", "opened", "told"]

SAM = "meta/sam-3-1-image"
"""A model that costs 0.01 USD an image."""


@asynccontextmanager
async def opened(client: Any) -> AsyncIterator[Any]:
    """Give a client of either kind, and close it."""
    try:
        yield client
    finally:
        await settled(client.close())


def told(*steps: dict[str, Any]) -> dict[str, str]:
    """Return the header that tells the gateway how to answer, attempt by attempt."""
    return {"x-test-behaviour": json.dumps(list(steps))}
