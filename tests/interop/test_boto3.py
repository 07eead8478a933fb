"""boto3: Bedrock's images, which botocore sends through urllib3."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import botocore.config
import botocore.exceptions
import pytest
from yarl import URL

import pixelmeter
from pixelmeter import Budget, Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drivers.aiohttp import patch as patch_aiohttp
from pixelmeter.drivers.urllib3 import is_client, meter_client, patch, refuse_another
from pixelmeter.errors import ConfigError
from tests.ledger.reading import stored

NOVA = "amazon.nova-canvas-v1:0"
ASK = {
    "taskType": "TEXT_IMAGE",
    "textToImageParams": {"text": "a fox"},
    "imageGenerationConfig": {"numberOfImages": 2, "width": 1024, "height": 1024, "quality": "standard"},
}
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
TWO = 80_000_000
"""Nano-dollars of two images by the price book."""


class Bedrock(BaseHTTPRequestHandler):
    """Answers as Bedrock does; `server.statuses` are those of the next answers, then it is 200."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        self.server.requests.append((self.path, self.headers.get("authorization"), status))
        if status == 200:
            number = asked["imageGenerationConfig"]["numberOfImages"]
            document: dict[str, Any] = {"images": [PICTURE] * number}
        else:
            document = {"message": "slow down", "__type": "ThrottlingException"}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("x-amzn-requestid", f"r{len(self.server.requests)}")
        if status != 200:
            self.send_header("x-amzn-errortype", "ThrottlingException")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def bedrock() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Bedrock) as server:
        server.statuses, server.requests = [], []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def meter(sqlite_url: str) -> Iterator[Meter]:
    with Meter(sqlite_url, gateways={"127.0.0.1:*": "bedrock"}) as meter:
        yield meter
        assert {} == meter.status()["failures"]


def client_of(bedrock: Any) -> Any:
    client: Any = boto3.client
    return client(
        "bedrock-runtime",
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        endpoint_url=f"http://127.0.0.1:{bedrock.server_port}",
        config=botocore.config.Config(retries={"mode": "standard", "max_attempts": 3}, proxies={}),
    )


@contextmanager
def metered(client: Any, meter: Meter, way: str) -> Generator[None]:
    undo = patch(lambda: meter) if way != "in place" else lambda: None
    if way != "patched":
        meter_client(client, meter, provisional=False)
    yield
    undo()


def invoke(client: Any) -> Any:
    return client.invoke_model(modelId=NOVA, body=json.dumps(ASK), contentType="application/json")


def kept(meter: Meter) -> list[Attempt]:
    assert meter.flush(60)
    return sorted(stored(meter.database_url).values(), key=lambda attempt: attempt.id)


WAYS = pytest.mark.parametrize("way", ["in place", "patched", "both"])


@WAYS
def test_images_of_bedrock_are_recorded_with_their_price(way: str, meter: Meter, bedrock: Any) -> None:
    client = client_of(bedrock)
    with metered(client, meter, way):
        body = invoke(client)["body"]
        assert 2 == len(json.loads(body.read())["images"])
    [attempt] = kept(meter)
    assert ("bedrock", NOVA, "success", 2, TWO, "r1") == (
        attempt.gateway,
        attempt.model,
        attempt.outcome,
        attempt.images,
        attempt.cost,
        attempt.request_id,
    )
    [(path, signature, _)] = bedrock.requests
    assert "/model/amazon.nova-canvas-v1%3A0/invoke" == path
    assert signature.startswith("AWS4-HMAC-SHA256")


@WAYS
def test_a_body_that_is_read_in_parts_or_closed_is_seen(way: str, meter: Meter, bedrock: Any) -> None:
    client = client_of(bedrock)
    with metered(client, meter, way):
        assert b"".join(invoke(client)["body"].iter_chunks(10))
        unread = invoke(client)["body"]
        unread.set_socket_timeout(5)
        unread.close()
    assert ["success", "cancelled"] == [attempt.outcome for attempt in kept(meter)]


@WAYS
def test_each_retry_of_botocore_is_an_attempt(
    way: str, meter: Meter, bedrock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", str)
    bedrock.statuses = [429, 503]
    client = client_of(bedrock)
    with metered(client, meter, way):
        invoke(client)["body"].read()
    found = kept(meter)
    assert ["throttled", "error", "success"] == [attempt.outcome for attempt in found]
    # Of a client that is instrumented they are one call.
    assert (3 if way == "patched" else 1) == len({attempt.call_id for attempt in found})


@WAYS
@pytest.mark.usefixtures("patient")
def test_a_refused_call_is_an_error_of_the_client_and_is_not_tried_again(
    way: str, sqlite_url: str, bedrock: Any
) -> None:
    budget = Budget("0.08", name="tiny", action="block")
    with Meter(sqlite_url, gateways={"127.0.0.1:*": "bedrock"}, budgets=[budget]) as meter:
        assert meter.flush(60)
        client = client_of(bedrock)
        with metered(client, meter, way):
            invoke(client)["body"].read()
            with pytest.raises(botocore.exceptions.ClientError) as caught:
                invoke(client)
        error: Any = caught.value
        assert 402 == error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert ["success", "blocked"] == [attempt.outcome for attempt in kept(meter)]
    assert 1 == len(bedrock.requests)


def test_a_client_of_boto3_is_one_and_keeps_its_meter(meter: Meter, bedrock: Any, tmp_path: Path) -> None:
    client = client_of(bedrock)
    assert is_client(client)
    meter_client(client, meter, provisional=False)
    refuse_another(client, meter)
    with Meter(f"sqlite:///{tmp_path}/other.db") as other, pytest.raises(ConfigError):
        refuse_another(client, other)


class OfAiohttp:
    """An HTTP session as that of aiobotocore, which makes one of aiohttp when it first sends."""

    __module__ = "aiobotocore.httpsession"

    def __init__(self) -> None:
        self._sessions: dict[None, aiohttp.ClientSession] = {}

    async def _get_session(self, _: str | None) -> aiohttp.ClientSession:
        if None not in self._sessions:
            self._sessions[None] = aiohttp.ClientSession()
        return self._sessions[None]


def ask_by_aiohttp(bedrock: Any, instrument: Any, headers: dict[str, str]) -> int:
    """Send as aiobotocore does; return the status of the answer."""

    async def scene() -> int:
        client = client_of(bedrock)
        client._endpoint.http_session = OfAiohttp()
        instrument(client)
        async with await client._endpoint.http_session._get_session(None) as session:
            url = f"http://127.0.0.1:{bedrock.server_port}/model/amazon.nova-canvas-v1%3A0/invoke"
            async with session.post(URL(url, encoded=True), json=ASK, headers=headers) as answer:
                await answer.read()
                status: int = answer.status
                return status

    return asyncio.run(scene())


def test_a_client_that_sends_with_aiohttp_is_metered_there(meter: Meter, bedrock: Any) -> None:
    assert 200 == ask_by_aiohttp(bedrock, lambda client: pixelmeter.instrument(client, meter), {})
    [attempt] = kept(meter)
    assert ("bedrock", NOVA, "success", TWO) == (attempt.gateway, attempt.model, attempt.outcome, attempt.cost)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("way", ["in place", "patched"])
def test_a_refused_call_of_aiobotocore_is_answered_for_it_would_try_an_error_again(
    way: str, sqlite_url: str, bedrock: Any
) -> None:
    budget = Budget("0.000001", name="tiny", action="block")
    with Meter(sqlite_url, gateways={"127.0.0.1:*": "bedrock"}, budgets=[budget]) as meter:
        assert meter.flush(60)
        agent = {"user-agent": "aiobotocore/3.10.0 md/Botocore#1.43.0"}
        undo = patch_aiohttp(lambda: meter) if way == "patched" else None
        if undo is None:
            assert 402 == ask_by_aiohttp(bedrock, lambda client: pixelmeter.instrument(client, meter), {})
        else:
            assert 402 == ask_by_aiohttp(bedrock, lambda client: client, agent)
            undo()
        assert ["blocked"] == [attempt.outcome for attempt in kept(meter)]
    assert [] == bedrock.requests


def test_a_client_that_sends_with_what_nobody_knows_is_refused(meter: Meter, bedrock: Any) -> None:
    client = client_of(bedrock)
    client._endpoint.http_session = object()
    with pytest.raises(ConfigError, match="cannot be instrumented"):
        pixelmeter.instrument(client, meter)
