"""An answer of 64 MB costs the caller no memory beyond what its client takes for it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

import pixelmeter
from pixelmeter.testing import Gateway
from tests.clients import KITS, Client, Kit, each
from tests.ledger.reading import stored

pytestmark = pytest.mark.slow

_LENGTH = 64_000_000
_ALLOWED = 1_000_000
_BODY = {"model": "meta/sam-3-1-image", "prompt": "a fox", "response_format": "b64_json"}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """A gateway whose images are large where the request says so."""
    with Gateway() as gateway:
        gateway.tell(image_bytes=_LENGTH, match={"test_id": "large"})
        yield gateway


@pytest.mark.parametrize("way", ["streamed", pytest.param("parsed", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    # By day one of them.
    "kit",
    [pytest.param(kit, marks=[] if kit is KITS[0] else [pytest.mark.slow]) for kit in KITS],
    ids=str,
)
def test_metering_a_large_answer_adds_less_than_a_megabyte(
    kit: Kit, way: str, gateway: Gateway, tmp_path: Path
) -> None:
    url = f"{gateway.url}/images/generations"
    ledger = f"sqlite:///{tmp_path}/ledger.db"
    with pixelmeter.Meter(ledger, gateways={"127.0.0.1:*": "aigateway"}) as meter:

        async def peaks(client: Client) -> int:
            # The first call opens the connection, and loads the database libraries that live on from then.
            await client.post(url, json=_BODY)
            assert meter.flush(30)
            peak = min([await peak_of(client, url, way), await peak_of(client, url, way)])
            await client.close()
            return peak

        plain, metered = kit.client(timeout=60), kit.client(timeout=60)
        pixelmeter.instrument(metered.raw, meter)

        alone = kit.run(peaks(plain))
        added = kit.run(peaks(metered)) - alone
    attempts = list(stored(ledger).values())
    assert [1, 1, 1] == [attempt.images for attempt in attempts]
    assert 2 == sum(attempt.response_bytes > _LENGTH for attempt in attempts)
    assert added < _ALLOWED


async def peak_of(client: Client, url: str, way: str) -> int:
    """Return the largest number of bytes that were allocated at once while a large answer was read."""
    gc.collect()
    tracemalloc.start()
    try:
        if way == "parsed":
            response = await client.post(url, json=_BODY, headers={"x-test-id": "large"})
            length = len(response.json()["data"][0]["b64_json"])
        else:
            length = 0
            async with client.stream(url, json=_BODY, headers={"x-test-id": "large"}) as response:
                async for chunk in each(client.kit.decoded(response)):
                    length += len(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length >= _LENGTH
    return peak
