"""However a response of urllib3 is read, all of its body is seen, and the record is out before the caller has it."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import requests
import urllib3
from urllib3.exceptions import HTTPError

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drivers.urllib3 import meter_client, patch
from pixelmeter.testing import Gateway

BODY = {"model": "meta/sam-3-1-image", "prompt": "a fox", "response_format": "b64_json"}
PRICE = 10_000_000
IMAGE_BYTES = 200_000

Read = Callable[[Any], bytes]


@pytest.fixture(params=["in place", "patched"])
def manager(request: pytest.FixtureRequest, meter: Meter) -> Iterator[urllib3.PoolManager]:
    """A manager that is metered, by itself or with its class."""
    manager = urllib3.PoolManager()
    undo = patch(lambda: meter) if request.param == "patched" else lambda: None
    if request.param == "in place":
        meter_client(manager, meter, provisional=False)
    yield manager
    undo()
    manager.clear()


def by_read1(response: Any) -> bytes:
    read = b""
    while chunk := response.read1(1000):
        read += chunk
    return read


def by_readinto(response: Any) -> bytes:
    read, buffer = b"", bytearray(1000)
    while number := response.readinto(buffer):
        read += buffer[:number]
    return read


def by_parts(response: Any) -> bytes:
    return b"".join(iter(lambda: bytes(response.read(1000)), b""))


READS: dict[str, Read] = {
    "read": lambda response: bytes(response.read()),
    "read so many bytes": by_parts,
    "read1": by_read1,
    "readinto": by_readinto,
    "stream": lambda response: b"".join(response.stream(1000, decode_content=True)),
    "stream in chunks as they come": lambda response: b"".join(response.stream(None, decode_content=True)),
    "lines": b"".join,
    "data": lambda response: bytes(response.data),
    "a reader around it": lambda response: io.BufferedReader(response).read(),
}
TRANSFERS = ["length", "chunked", "close"]


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("encoding", [None, "gzip"])
@pytest.mark.parametrize("name", READS)
def test_every_way_to_read_a_body_is_seen(
    name: str,
    encoding: str | None,
    transfer: str,
    manager: urllib3.PoolManager,
    attempts: list[Attempt],
    gateway: Gateway,
) -> None:
    gateway.tell(transfer=transfer, encoding=encoding, image_bytes=IMAGE_BYTES, chunk=7000)
    response = manager.request("POST", f"{gateway.url}/images/generations", json=BODY, preload_content=False)
    assert [] == attempts
    body = READS[name](response)
    assert body.startswith(b"{")
    assert len(body) > IMAGE_BYTES
    [attempt] = attempts
    assert ("success", PRICE, 1) == (attempt.outcome, attempt.cost, attempt.images)
    if encoding is None:
        assert len(body) == attempt.response_bytes


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_body_that_urllib3_reads_itself_is_seen(
    encoding: str | None, transfer: str, manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(transfer=transfer, encoding=encoding, image_bytes=IMAGE_BYTES)
    response = manager.request("POST", f"{gateway.url}/images/generations", json=BODY)
    assert len(response.data) > IMAGE_BYTES
    assert [("success", PRICE)] == [(attempt.outcome, attempt.cost) for attempt in attempts]


def test_raw_bytes_that_nobody_decodes_are_read_all_the_same(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(encoding="gzip", transfer="length")
    response = manager.request(
        "POST", f"{gateway.url}/images/generations", json=BODY, preload_content=False, decode_content=False
    )
    raw = response.read()
    assert raw.startswith(b"\x1f\x8b")
    assert [("success", len(raw))] == [(attempt.outcome, attempt.response_bytes) for attempt in attempts]


def test_the_record_is_out_before_the_bytes_that_complete_a_body_of_known_length(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(transfer="length")
    response = manager.request("POST", f"{gateway.url}/images/generations", json=BODY, preload_content=False)
    length = int(response.headers["content-length"])
    assert length - 1 == len(response.read(length - 1))
    assert [] == attempts
    assert b"}" == response.read(1)
    assert ["success"] == [attempt.outcome for attempt in attempts]


def test_the_events_of_a_stream_are_seen_as_they_come(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    response = manager.request(
        "POST",
        f"{gateway.url}/images/generations",
        json={"model": "openai/gpt-image-1", "prompt": "a fox", "stream": True, "partial_images": 1},
        preload_content=False,
    )
    seen = b""
    for chunk in response.stream(None):
        seen += chunk
        if b"image_generation.completed" in seen and seen.endswith(b"\n\n"):
            assert ["success"] == [attempt.outcome for attempt in attempts]
    assert b"image_generation.completed" in seen
    [attempt] = attempts
    assert attempt.first_image is not None


def test_a_drained_body_is_seen(manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway) -> None:
    response = manager.request("POST", f"{gateway.url}/images/generations", json=BODY, preload_content=False)
    response.drain_conn()
    assert ["success"] == [attempt.outcome for attempt in attempts]


def close(response: Any) -> None:
    response.close()


def leave_the_block(response: Any) -> None:
    with response:
        response.read(10)


def stop_amid_chunks(response: Any) -> None:
    chunks = response.stream(10)
    next(chunks)
    chunks.close()


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("end", [close, leave_the_block])
def test_a_response_that_is_closed_before_its_end_is_recorded_then(
    end: Callable[[Any], None],
    transfer: str,
    manager: urllib3.PoolManager,
    attempts: list[Attempt],
    gateway: Gateway,
) -> None:
    gateway.tell(transfer=transfer, image_bytes=IMAGE_BYTES)
    response = manager.request("POST", f"{gateway.url}/images/generations", json=BODY, preload_content=False)
    assert [] == attempts
    end(response)
    assert [("cancelled", None)] == [(attempt.outcome, attempt.error_type) for attempt in attempts]


def test_a_chunked_response_whose_reading_stops_is_recorded_then(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(transfer="chunked", image_bytes=IMAGE_BYTES)
    response = manager.request("POST", f"{gateway.url}/images/generations", json=BODY, preload_content=False)
    stop_amid_chunks(response)
    assert [("cancelled", None)] == [(attempt.outcome, attempt.error_type) for attempt in attempts]


@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_a_response_that_nobody_reads_gives_its_connection_back_and_is_recorded_later(
    in_a_cycle: bool, manager: urllib3.PoolManager, meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    response = manager.request("POST", f"{gateway.url}/images/generations", json=BODY, preload_content=False)
    raw: Any = vars(response)["_original_response"]
    if in_a_cycle:
        response.itself = response  # type: ignore[attr-defined]
    gc.collect()
    del response
    if in_a_cycle:
        gc.collect()
    assert raw.isclosed()
    assert [] == attempts
    del raw
    gc.collect()
    assert meter.flush(60)
    assert [("cancelled", "never_closed")] == [(attempt.outcome, attempt.error_type) for attempt in attempts]


def broken(read: Callable[[], Any]) -> str:
    with pytest.raises((HTTPError, requests.RequestException)) as caught:
        read()
    return type(caught.value).__name__


@pytest.mark.parametrize(
    ("behaviour", "error_type"),
    [
        ({"transfer": "length", "cut": 100}, "IncompleteRead"),
        ({"transfer": "chunked", "cut": 100}, "IncompleteRead"),
        ({"transfer": "length", "cut": 100, "reset": True}, "ConnectionResetError"),
        ({"transfer": "length", "length_error": 10}, "IncompleteRead"),
    ],
)
@pytest.mark.parametrize("name", ["read", "read so many bytes", "stream"])
def test_a_body_that_breaks_off_is_an_error_and_may_be_billed(
    name: str,
    behaviour: dict[str, Any],
    error_type: str,
    manager: urllib3.PoolManager,
    attempts: list[Attempt],
    gateway: Gateway,
) -> None:
    gateway.tell(image_bytes=IMAGE_BYTES, cost_header=False, **behaviour)
    response = manager.request("POST", f"{gateway.url}/images/generations", json=BODY, preload_content=False)
    assert broken(lambda: READS[name](response)) == "ProtocolError"
    [attempt] = attempts
    assert ("error", "unknown", error_type) == (attempt.outcome, attempt.billing, attempt.error_type)


class _OverUrllib3(httpx.BaseTransport):
    """Sends what a client of httpx asks for through urllib3."""

    def __init__(self, manager: urllib3.PoolManager) -> None:
        self.manager = manager

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sent = self.manager.request(
            request.method, str(request.url), body=request.read(), preload_content=False, timeout=0.3, retries=False
        )
        return httpx.Response(sent.status, content=sent.read())


def test_an_answer_that_does_not_come_in_time_times_out_below_a_client_of_another_library(
    manager: urllib3.PoolManager, meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(hold="before_headers")
    with httpx.Client(transport=_OverUrllib3(manager)) as client:
        pixelmeter.instrument(client, meter)
        assert "ReadTimeoutError" == broken(lambda: client.post(f"{gateway.url}/images/generations", json=BODY))
    assert [("timeout", "ReadTimeoutError")] == [(attempt.outcome, attempt.error_type) for attempt in attempts]


def test_a_body_that_does_not_come_in_time_times_out(
    manager: urllib3.PoolManager, attempts: list[Attempt], gateway: Gateway
) -> None:
    gateway.tell(transfer="length", image_bytes=IMAGE_BYTES, cost_header=False, hold=100)
    response = manager.request(
        "POST", f"{gateway.url}/images/generations", json=BODY, preload_content=False, timeout=0.3
    )
    assert "ReadTimeoutError" == broken(response.read)
    assert [("timeout", "unknown")] == [(attempt.outcome, attempt.billing) for attempt in attempts]


def seen(response: Any) -> dict[str, Any]:
    return {
        "class": type(response),
        "attributes": sorted(response.__dict__),
        "data": len(response.data),
        "body": type(response._body),
        "remaining": response.length_remaining,
        "tell": response.tell(),
        "connection": response._connection,
        "closed": (response.closed, response.isclosed()),
        "original": type(response._original_response),
        "url": response.url,
    }


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize("transfer", TRANSFERS)
def test_what_a_caller_sees_of_a_response_is_the_same_metered_or_not(
    transfer: str, preload: bool, meter: Meter, gateway: Gateway
) -> None:
    def post(manager: urllib3.PoolManager) -> Any:
        gateway.tell(created=1, transfer=transfer)
        return manager.request("POST", f"{gateway.url}/images/generations", json=BODY, preload_content=preload)

    with urllib3.PoolManager() as plain, urllib3.PoolManager() as metered:
        expected = seen(post(plain))
        meter_client(metered, meter, provisional=False)
        assert expected == seen(post(metered))
        undo = patch(lambda: meter)
        assert expected == seen(post(plain))
        undo()
        assert expected == seen(post(plain))
