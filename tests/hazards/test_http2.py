"""Hazards of HTTP/2: ends that HTTP/1.1 does not have."""

from __future__ import annotations

from typing import Any

import h2.errors
import pytest

from tests.clients import Client, seen
from tests.hazards.http2 import End, Http2Server, Stream
from tests.hazards.pair import URLS, Pair, asked
from tests.kits import on

pytestmark = on("transports")

AT_RISK = ("error", "unknown", None, 40_000_000)
BILLED = ("success", "billed", 40_000_000, None)


async def met(pair: Pair, end: End) -> Any:
    """Let both clients ask a server that answers so, and return what they see."""

    def transport() -> Any:
        kind = pair.kit.package.AsyncHTTPTransport if pair.kit.is_async else pair.kit.package.HTTPTransport
        return kind(http1=False, http2=True)

    with Http2Server(end) as server:

        async def scene(client: Client) -> object:
            return seen(await client.post(server.url, **asked()))

        return await pair.both(scene, transport=transport)


async def test_hazard_01_an_answer_of_http_2_keeps_its_stream_id(pair: Pair) -> None:
    def end(stream: Stream) -> None:
        stream.headers()
        stream.data(URLS)

    view = await met(pair, end)
    assert ("HTTP/2", True) == (view["version"], "stream_id" in view["extensions"])
    assert BILLED == pair.settlement()


async def test_hazard_33_trailers_are_no_cost_and_no_second_record(pair: Pair) -> None:
    def end(stream: Stream) -> None:
        stream.headers()
        stream.data(URLS, last=False)
        stream.connection.send_headers(stream.number, [("x-cost-cents", "9")], end_stream=True)

    await met(pair, end)
    assert BILLED == pair.settlement()
    assert "priced" == pair.attempt.cost_source


@pytest.mark.parametrize("after", ["nothing", "headers", "data"])
async def test_hazard_34_a_stream_that_is_reset_is_at_risk(pair: Pair, after: str) -> None:
    def end(stream: Stream) -> None:
        if after != "nothing":
            stream.headers()
        if after == "data":
            stream.data(URLS[:20], last=False)
        stream.connection.reset_stream(stream.number, h2.errors.ErrorCodes.INTERNAL_ERROR)

    [(kind, *_), *_] = await met(pair, end)
    assert pair.kit.package.RemoteProtocolError is kind
    assert AT_RISK == pair.settlement()


async def test_hazard_34_a_connection_that_goes_away_is_at_risk(pair: Pair) -> None:
    def end(stream: Stream) -> None:
        stream.connection.close_connection(h2.errors.ErrorCodes.INTERNAL_ERROR)

    [(kind, *_), *_] = await met(pair, end)
    assert pair.kit.package.RemoteProtocolError is kind
    assert AT_RISK == pair.settlement()
