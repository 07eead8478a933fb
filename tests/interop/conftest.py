"""One stand-in gateway for all tests of a worker, as new for each, and a meter that takes it for AIgateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.testing import Gateway
from tests.interop.sdk import opened
from tests.ledger.reading import stored


@dataclass(frozen=True)
class Metered:
    """A meter with a SQLite ledger of its own."""

    meter: Meter

    def attempts(self) -> list[Attempt]:
        """Return what is in the ledger once all that has ended is there, in the order of starting."""
        assert self.meter.flush(60)
        assert {} == self.meter.status()["failures"]
        return sorted(stored(self.meter.database_url).values(), key=lambda attempt: attempt.id)

    def attempt(self) -> Attempt:
        """Return the only one."""
        [attempt] = self.attempts()
        return attempt


@pytest.fixture
def metered(sqlite_url: str, tmp_path: Path) -> Iterator[Metered]:
    """A meter that takes 127.0.0.1 for AIgateway and localhost for OpenAI."""
    gateways = {"127.0.0.1:*": "aigateway", "localhost:*": "openai"}
    with Meter(sqlite_url, gateways=gateways, spool_dir=str(tmp_path / "spool")) as meter:
        yield Metered(meter)


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture(params=[openai.OpenAI, openai.AsyncOpenAI], ids=["sync", "async"])
def sdk_kind(request: pytest.FixtureRequest) -> Any:
    """Each class of client of the openai SDK."""
    return request.param


@pytest.fixture
async def bare_sdk(sdk_kind: Any, gateway: Gateway) -> AsyncIterator[Any]:
    """A client of the SDK that is not metered."""
    async with opened(sdk_kind(base_url=gateway.url, api_key="sk-test")) as client:
        yield client


@pytest.fixture
async def sdk(sdk_kind: Any, gateway: Gateway, metered: Metered) -> AsyncIterator[Any]:
    """A metered client of the SDK."""
    async with opened(sdk_kind(base_url=gateway.url, api_key="sk-test")) as client:
        yield pixelmeter.instrument(client, metered.meter)
