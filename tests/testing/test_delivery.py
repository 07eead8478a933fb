"""What breaks off or is held: the client sees it, and the bill says what the gateway thinks of it."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from pixelmeter.testing import Gateway

SAM = "meta/sam-3-1-image"


def ask(gateway: Gateway, behaviour: dict[str, Any], **options: Any) -> httpx.Response:
    # Reading the certificates takes longer than everything else here.
    with httpx.Client(verify=False) as client:
        headers = {"x-test-behaviour": json.dumps(behaviour)}
        body = {"model": SAM, "prompt": "a fox"}
        return client.post(f"{gateway.url}/images/generations", json=body, headers=headers, **options)


@pytest.mark.parametrize(
    ("behaviour", "error", "nano"),
    [
        ({"cut": "before_read"}, httpx.TransportError, 0),
        ({"cut": "before_headers"}, httpx.RemoteProtocolError, 10_000_000),
        ({"cut": "before_headers", "charged": False}, httpx.RemoteProtocolError, 0),
        ({"cut": 10}, httpx.RemoteProtocolError, 10_000_000),
        ({"cut": 10, "reset": True}, httpx.ReadError, 10_000_000),
    ],
)
def test_a_cut_connection_is_an_error_for_the_client_and_a_line_on_the_bill(
    gateway: Gateway, behaviour: dict[str, Any], error: type[Exception], nano: int
) -> None:
    with pytest.raises(error):
        ask(gateway, behaviour)
    (line,) = gateway.billing()
    assert ("cut", nano) == (line["outcome"], line["charged_nano"])


@pytest.mark.parametrize("point", ["before_headers", "after_headers", 20])
def test_a_held_request_waits_for_its_release(gateway: Gateway, point: str | int) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask, gateway, {"hold": point}) for _ in range(2)]
        gateway.wait_held(2)
        assert [False, False] == [answer.done() for answer in answers]
        assert 20_000_000 == gateway.billed_nano()
        assert 2 == gateway.release()
        assert [200, 200] == [answer.result().status_code for answer in answers]


def test_a_held_request_whose_client_has_left_is_not_counted(gateway: Gateway) -> None:
    with pytest.raises(httpx.ReadTimeout):
        ask(gateway, {"hold": "before_headers"}, timeout=0.05)
    with pytest.raises(TimeoutError, match="0 of 1 held"):
        gateway.wait_held(1, seconds=0.01)
    assert 10_000_000 == gateway.billed_nano()


def test_a_client_that_times_out_has_been_billed(gateway: Gateway) -> None:
    with pytest.raises(httpx.ReadTimeout):
        ask(gateway, {"delay": 5}, timeout=0.05)
    gateway.wait_attempts(1)
    assert 10_000_000 == gateway.billed_nano()


def test_an_upload_that_breaks_off_is_on_the_bill_uncharged(gateway: Gateway) -> None:
    async def upload() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", int(gateway.root.rpartition(":")[2]))
        writer.write(b"POST /v1/images/edits HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    asyncio.run(upload())
    gateway.wait_attempts(1)
    (line,) = gateway.billing()
    assert ("incomplete", None, 0) == (line["outcome"], line["status"], line["charged_nano"])
