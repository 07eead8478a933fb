"""What travels wrongly: the client sees it, and the bill says what the gateway thinks of it."""

from __future__ import annotations

import asyncio
import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from pixelmeter.testing import Gateway

SAM = "meta/sam-3-1-image"


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    """Each of the two client libraries."""
    module: ModuleType = request.param
    return module


def ask(library: Any, gateway: Gateway, behaviour: dict[str, Any], **options: Any) -> Any:
    # Reading the certificates takes longer than everything else here.
    with library.Client(verify=False) as client:
        headers = {"x-test-behaviour": json.dumps(behaviour)}
        body = {"model": SAM, "prompt": "a fox"}
        return client.post(f"{gateway.url}/images/generations", json=body, headers=headers, **options)


@pytest.mark.parametrize(
    ("behaviour", "error", "nano"),
    [
        ({"cut": "before_read"}, "TransportError", 0),
        ({"cut": "before_headers"}, "RemoteProtocolError", 10_000_000),
        ({"cut": "before_headers", "charged": False}, "RemoteProtocolError", 0),
        ({"cut": "after_headers"}, "RemoteProtocolError", 10_000_000),
        ({"cut": 10}, "RemoteProtocolError", 10_000_000),
        ({"cut": 10, "transfer": "chunked"}, "RemoteProtocolError", 10_000_000),
        ({"reset": True}, "ReadError", 10_000_000),
        ({"cut": 10, "reset": True}, "ReadError", 10_000_000),
        ({"cut": "before_read", "reset": True}, "TransportError", 0),
    ],
)
def test_a_cut_connection_is_an_error_for_the_client_and_a_line_on_the_bill(
    library: Any, gateway: Gateway, behaviour: dict[str, Any], error: str, nano: int
) -> None:
    with pytest.raises(getattr(library, error)):
        ask(library, gateway, behaviour)
    (line,) = gateway.billing()
    assert ("cut", nano) == (line["outcome"], line["charged_nano"])


@pytest.mark.parametrize("point", [0, 1, 50, 103])
def test_a_body_is_cut_at_the_very_byte(gateway: Gateway, point: int) -> None:
    headers = {"x-test-behaviour": json.dumps({"cut": point, "body_text": "x" * 104, "chunk": 7})}
    received = 0
    with (
        httpx.stream("POST", f"{gateway.url}/images/generations", json={}, headers=headers) as answer,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        for data in answer.iter_raw():
            received += len(data)
    assert point == received


@pytest.mark.parametrize(
    "behaviour",
    [
        {"transfer": "chunked"},
        {"transfer": "chunked", "chunk": 1, "trailers": {"x-late": "1"}},
        {"transfer": "close"},
        {"chunk": 3},
        {"encoding": "gzip"},
        {"encoding": "gzip", "transfer": "length"},
        {"encoding": "deflate", "chunk": 5},
        {"encoding": "br"},
        {"informational": [103, 103]},
        {"pause": 0.001, "pause_at": 7},
        {"delay": 0.001},
        {"length_error": -5},
        {"garbage": "HTTP/9 what"},
    ],
)
def test_a_body_arrives_however_it_travels(library: Any, gateway: Gateway, behaviour: dict[str, Any]) -> None:
    text = json.dumps({"data": [{"url": "https://example.com/a.png"}], "padding": "x" * 300})
    answer = ask(library, gateway, behaviour | {"body_text": text})
    assert text[: behaviour.get("length_error")] == answer.text
    assert 10_000_000 == gateway.billed_nano()


def test_zstd_arrives_where_the_client_knows_it(gateway: Gateway) -> None:
    assert SAM in ask(httpx, gateway, {"encoding": "zstd", "body_text": SAM * 9}).text


def test_a_length_that_promises_too_much_is_an_error(library: Any, gateway: Gateway) -> None:
    with pytest.raises(library.RemoteProtocolError, match="received 4 bytes, expected 9"):
        ask(library, gateway, {"length_error": 5, "body_text": "1234"})


def test_a_redirect_leads_to_the_same_request_once(library: Any, gateway: Gateway) -> None:
    answer = ask(library, gateway, {"redirect": 307}, follow_redirects=True)
    assert [307] == [hop.status_code for hop in answer.history]
    assert [("redirected", 0), ("success", 10_000_000)] == [
        (line["outcome"], line["charged_nano"]) for line in gateway.billing()
    ]


def test_a_digest_challenge_is_met(library: Any, gateway: Gateway) -> None:
    answer = ask(library, gateway, {"challenge": "digest"}, auth=library.DigestAuth("user", "secret"))
    assert 200 == answer.status_code
    assert ["challenged", "success"] == [line["outcome"] for line in gateway.billing()]


def test_a_basic_challenge_takes_any_credentials(library: Any, gateway: Gateway) -> None:
    assert 401 == ask(library, gateway, {"challenge": "basic"}).status_code
    assert 200 == ask(library, gateway, {"challenge": "basic"}, auth=("user", "secret")).status_code


@pytest.mark.parametrize("point", ["before_headers", "after_headers", 20])
def test_a_held_request_waits_for_its_release(gateway: Gateway, point: str | int) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask, httpx, gateway, {"hold": point}) for _ in range(2)]
        gateway.wait_held(2)
        assert [False, False] == [answer.done() for answer in answers]
        assert 20_000_000 == gateway.billed_nano()
        assert 2 == gateway.release()
        assert [200, 200] == [answer.result().status_code for answer in answers]


def test_a_held_request_whose_client_has_left_is_not_counted(gateway: Gateway) -> None:
    with pytest.raises(httpx.ReadTimeout):
        ask(httpx, gateway, {"hold": "before_headers"}, timeout=0.05)
    with pytest.raises(TimeoutError, match="0 of 1 held"):
        gateway.wait_held(1, seconds=0.01)
    assert 10_000_000 == gateway.billed_nano()


def test_a_client_that_times_out_has_been_billed(gateway: Gateway) -> None:
    with pytest.raises(httpx.ReadTimeout):
        ask(httpx, gateway, {"delay": 5}, timeout=0.05)
    gateway.wait_attempts(1)
    assert 10_000_000 == gateway.billed_nano()


def test_the_connection_is_used_again(gateway: Gateway) -> None:
    with httpx.Client() as client:
        ports: set[Any] = set()
        for _ in range(3):
            with client.stream("POST", f"{gateway.url}/images/generations", json={}) as answer:
                ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
                answer.read()
    assert 1 == len(ports)


def test_a_chunked_upload_in_pieces_is_understood(gateway: Gateway) -> None:
    body = json.dumps({"model": SAM, "n": 2}).encode()

    async def upload() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.root.rpartition(":")[2]))
        head = b"POST /v1/images/generations HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        chunks = b"".join(b"1;a=b\r\n%c\r\n" % byte for byte in body) + b"0\r\nx-late: 1\r\n\r\n"
        for byte in head + chunks:
            writer.write(bytes([byte]))
            await writer.drain()
        received = await reader.read()
        writer.close()
        return received

    assert asyncio.run(upload()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert (2, 20_000_000) == (gateway.billing()[-1]["images"], gateway.billed_nano())


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


@pytest.mark.parametrize("request_text", [b"nonsense\r\n\r\n", b"GET / SPDY/3\r\n\r\n", b"G" * 300_000])
def test_what_is_not_http_gets_a_400(gateway: Gateway, request_text: bytes) -> None:
    async def send() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.root.rpartition(":")[2]))
        writer.write(request_text)
        received = await reader.readline()
        writer.close()
        return received

    assert b"HTTP/1.1 400 Bad Request\r\n" == asyncio.run(send())


def test_a_compressed_large_answer_is_compressed_as_it_goes(gateway: Gateway) -> None:
    behaviour = {"image_bytes": 8_000_000, "encoding": "gzip"}
    headers = {"x-test-behaviour": json.dumps(behaviour)}
    body = {"model": "gpt-image-2"}
    decoder, seen = zlib.decompressobj(31), 0
    with httpx.stream("POST", f"{gateway.url}/images/generations", json=body, headers=headers) as answer:
        for data in answer.iter_raw():
            seen += len(decoder.decompress(data))
        assert answer.num_bytes_downloaded < 200_000
    assert seen > 8_000_000
