"""Nothing private is kept: planted words of a call turn up nowhere."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import openai
import pytest
from click.testing import CliRunner

import pixelmeter
from pixelmeter.cli import main
from pixelmeter.testing import Gateway
from tests.clients import KITS, Kit

PROMPT = "PROMPT-canary a fox in the snow"
KEY = "sk-KEY-canary"
QUERY = "QUERY-canary"
HEADER = "HEADER-canary"
ECHO = "ECHO-canary"


def picture() -> bytes:
    """Return a PNG that says who it is of."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"tEXt", b"IMAGE-canary") + chunk(b"IEND", b"")


IMAGE = picture()
CANARIES = [word.encode() for word in (PROMPT, "PROMPT-canary", KEY, QUERY, HEADER, ECHO)]
CANARIES += [b"IMAGE-canary", IMAGE, base64.b64encode(IMAGE)[:60], b"media.aigateway.sh", b"snow"]


async def calls(kit: Kit, meter: pixelmeter.Meter, gateway: Gateway) -> None:
    """Make calls that succeed, fail with an echo of the prompt, break off, and upload."""
    client = kit.client(base_url=gateway.url, headers={"authorization": f"Bearer {KEY}", "x-secret": HEADER})
    pixelmeter.instrument(client.raw, meter)
    url = f"/images/generations?api-key={QUERY}"
    body = {"model": "meta/sam-3-1-image", "prompt": PROMPT, "n": 2}
    error = json.dumps({"error": {"message": f"{ECHO}: {PROMPT}", "type": "invalid_request_error", "code": 400}})
    for told in ({}, {"status": 400, "body_text": error}, {"cut": "after_headers"}, {"body": "truncated"}):
        with contextlib.suppress(kit.package.TransportError):
            await client.post(url, json=body, headers={"x-test-behaviour": json.dumps(told)})
    await client.post(url, json=body | {"response_format": "b64_json"})
    edit = {"data": {"model": "bria/fibo-edit/edit", "prompt": PROMPT}, "files": {"image": ("me.png", IMAGE)}}
    await client.post(f"/images/edits?api-key={QUERY}", **edit)
    inline = f"data:image/png;base64,{base64.b64encode(IMAGE).decode()}"
    await client.post("/images/edits", json={"image_url": inline, "prompt": PROMPT, "model": "bria/fibo-edit/edit"})
    await client.close()


@pytest.mark.parametrize("kit", KITS, ids=str)
def test_no_prompt_image_key_header_or_query_is_kept_logged_or_printed(
    kit: Kit,
    gateway: Gateway,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    kept: list[bytes] = []
    with caplog.at_level(logging.DEBUG, logger="pixelmeter"), pixelmeter.testing.capture_calls() as attempts:
        meter = pixelmeter.Meter(url, gateways={"127.0.0.1:*": "aigateway"})
        kit.run(calls(kit, meter, gateway))
        kept += [repr(attempts).encode(), pickle.dumps([repr(attempt) for attempt in attempts])]
    kit.run(calls(kit, meter, gateway))
    kept += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    spooled = [path for path in tmp_path.rglob("*.spool") if path.is_file()]
    assert spooled
    assert meter.flush(10)
    kept += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    kept += [repr(meter).encode(), json.dumps(meter.status(), default=repr).encode()]
    kept += [record.getMessage().encode() for record in caplog.records if record.name.startswith("pixelmeter")]
    for command in (["report"], ["report", "--format", "json"], ["calls", "--format", "json"], ["doctor"]):
        kept.append(CliRunner().invoke(main, [*command, "--database-url", url]).output.encode())
    assert meter.close(60)
    assert 7 == len(attempts)
    assert {"success", "rejected", "error"} == {attempt.outcome for attempt in attempts}
    found = [(canary, text[:80]) for text in kept for canary in CANARIES if canary in text]
    assert [] == found


def test_an_sdk_key_in_the_client_is_nowhere_in_what_is_said_of_it(gateway: Gateway, tmp_path: Path) -> None:
    with pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db", gateways={"127.0.0.1:*": "aigateway"}) as meter:
        client = pixelmeter.instrument(openai.OpenAI(base_url=gateway.url, api_key=KEY), meter)
        client.images.generate(model="meta/sam-3-1-image", prompt=PROMPT)
        transport: Any = client._client._transport
        said = [repr(transport), repr(meter), repr(meter.status()), str(vars(transport))]
    assert [] == [text for text in said if "canary" in text]
