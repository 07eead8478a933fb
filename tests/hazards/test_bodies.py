"""Hazards of what is inside a body: compression, size, lengths that lie, and JSON that attacks."""

from __future__ import annotations

import gc
import gzip
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixelmeter.core.apis.openai_images import response_of
from tests.clients import Body, Client, each, seen, timeless
from tests.hazards.pair import KLEIN, MOCK, URLS, Pair, asked, json_headers
from tests.kits import on

BILLED = ("success", "billed", 40_000_000, None)
AT_RISK = ("error", "unknown", None, 40_000_000)


def answering(pair: Pair, *chunks: bytes, **headers: str) -> Any:
    def answer(_: Any) -> Any:
        return pair.kit.response(200, json_headers(**headers), Body(*chunks))

    return pair.kit.wire(answer)


async def posted(client: Client) -> object:
    return seen(await client.post(MOCK, **asked()))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_hazard_21_a_compressed_body_is_decoded_twice_once_for_each(pair: Pair, encoding: str) -> None:
    async def scene(client: Client) -> object:
        response = await client.post(pair.url, **asked(encoding=encoding, cost_header=False, n=2))
        return seen(response), pair.kit.downloaded(response)

    _, downloaded = await pair.both(scene)
    assert ("success", "billed", 80_000_000, None) == pair.settlement()
    assert downloaded in (None, pair.attempt.response_bytes)


async def test_hazard_21_the_raw_chunks_stay_compressed(pair: Pair) -> None:
    packed = zlib.compress(URLS)

    async def scene(client: Client) -> object:
        async with client.stream(MOCK, **asked()) as response:
            return [chunk async for chunk in each(pair.kit.raw(response))]

    def transport() -> Any:
        return answering(pair, packed[:9], packed[9:], **{"content-encoding": "deflate"})

    assert [packed[:9], packed[9:]] == await pair.both(scene, transport=transport, **pair.kit.undecoded)
    assert BILLED == pair.settlement()


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_request_that_was_sent_compressed_says_what_it_asks_for(
    pair: Pair, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    body = pack(json.dumps({"model": KLEIN, "prompt": "a fox", "n": 3, "size": "512x512"}).encode())

    async def scene(client: Client) -> object:
        return seen(await client.post(MOCK, content=body, headers=json_headers(**{"content-encoding": encoding})))

    await pair.both(scene, transport=lambda: answering(pair, URLS))
    sent = pair.attempt
    assert (KLEIN, 3, "512x512") == (sent.requested_model, sent.requested_images, sent.requested_size)
    assert len(body) == sent.request_bytes


@pytest.mark.parametrize("packed", [gzip.compress(b" " * 10_000_000), b"no gzip"], ids=["too large", "broken"])
async def test_what_a_compressed_request_asks_for_is_unknown_where_it_is_not_read(pair: Pair, packed: bytes) -> None:
    async def scene(client: Client) -> object:
        return seen(await client.post(MOCK, content=packed, headers=json_headers(**{"content-encoding": "gzip"})))

    await pair.both(scene, transport=lambda: answering(pair, URLS))
    assert pair.attempt.requested_model is None


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "unheard-of", "gzip, br"])
async def test_hazard_21_what_cannot_be_decoded_is_the_callers_to_see(pair: Pair, encoding: str) -> None:
    text = b"this is not compressed"

    def transport() -> Any:
        return answering(pair, text, **{"content-encoding": encoding, "content-length": str(len(text))})

    await pair.both(posted, transport=transport)
    assert AT_RISK == pair.settlement()


async def test_hazard_22_usage_behind_twenty_megabytes_of_image_is_found(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And hazard 23: what is parsed of all that is small."""
    parsed: list[int] = []

    def measured(document: bytes | None, *what: Any) -> Any:
        parsed.append(len(document or b""))
        return response_of(document, *what)

    monkeypatch.setattr("pixelmeter.core.apis.openai_images.response_of", measured)
    client = pair.metered()
    response = await client.post(
        pair.openai_url, **asked(model="gpt-image-2", gateway="openai", image_bytes=20_000_000, quality="low")
    )
    usage = pair.kit.json(response)["usage"]
    await client.close()
    [line] = pair.gateway.billing()
    attempt = pair.attempt
    assert (usage["input_tokens"], usage["output_tokens"]) == (attempt.input_text_tokens, attempt.output_image_tokens)
    assert (line["charged_nano"], "priced") == (attempt.cost, attempt.cost_source)
    assert attempt.response_bytes > 20_000_000
    assert max(parsed) < 10_000


@pytest.mark.slow
async def test_hazard_17_and_23_memory_stays_flat_over_many_large_bodies(pair: Pair) -> None:
    client = pair.metered()

    async def drain() -> int:
        async with client.stream(pair.url, **asked(model="gpt-image-2", image_bytes=4_000_000)) as response:
            return sum([len(chunk) async for chunk in each(pair.kit.raw(response))])

    assert await drain() > 4_000_000
    gc.collect()
    before = resident()
    for _ in range(15):
        await drain()
    gc.collect()
    await client.close()
    assert resident() - before < 8_000_000
    assert 16 == len(pair.attempts)


def resident() -> int:
    """Return this process's resident memory in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ({"length_error": 100}, "error"),
        ({"body": "truncated"}, "error"),
        ({"cut": 30}, "error"),
        ({"cut": 30, "transfer": "chunked"}, "error"),
        ({"body": "empty"}, "error"),
        ({"transfer": "close"}, "success"),
        ({"transfer": "chunked", "chunk": 5}, "success"),
    ],
    ids=str,
)
async def test_hazard_24_the_length_that_is_announced_is_not_believed(
    pair: Pair, behaviour: dict[str, Any], outcome: str
) -> None:
    async def scene(client: Client) -> object:
        response = await client.send(pair.url, **asked(cost_header=False, **behaviour))
        return seen(response), timeless(await pair.kit.read(response))

    await pair.both(scene)
    expected = BILLED if outcome == "success" else AT_RISK
    assert expected == pair.settlement()


@on("demand")
@pytest.mark.parametrize(("behaviour", "expected"), [({"length_error": -20}, AT_RISK), ({"garbage": "more"}, BILLED)])
async def test_hazard_24_what_comes_after_the_length_that_is_announced_counts_for_nothing(
    pair: Pair, behaviour: dict[str, Any], expected: object
) -> None:
    async def scene(client: Client) -> object:
        response = await client.send(pair.url, **asked(cost_header=False, **behaviour))
        return seen(response), timeless(await pair.kit.read(response))

    await pair.both(scene)
    assert expected == pair.settlement()


async def test_hazard_30_a_streamed_upload_is_not_read_and_arrives_whole(pair: Pair) -> None:
    body = json.dumps({"model": KLEIN, "prompt": "a fox"}).encode()
    pulled: list[bytes] = []

    def parts() -> Any:
        for start in range(0, len(body), 10):
            pulled.append(body[start : start + 10])
            yield pulled[-1]

    async def async_parts() -> Any:
        for part in parts():
            yield part

    async def scene(client: Client) -> object:
        pulled.clear()
        content = async_parts() if pair.kit.is_async else parts()
        response = await client.send(pair.url, content=content, headers={"content-type": "application/json"})
        await pair.kit.close(response)
        return pair.kit.status(response), b"".join(pulled) == body

    assert (200, True) == await pair.both(scene)
    assert [(KLEIN, 40_000_000)] * 2 == [(line["model"], line["charged_nano"]) for line in pair.gateway.billing()]
    assert (None, None, "billed", 40_000_000) == (
        pair.attempt.requested_model,
        pair.attempt.request_bytes,
        pair.attempt.billing,
        pair.attempt.cost,
    )


async def test_a_request_without_a_body_is_read_and_takes_the_defaults_of_the_gateway(pair: Pair) -> None:
    async def scene(client: Client) -> object:
        return seen(await client.post(MOCK.replace("generations", "edits")))

    await pair.both(scene, transport=lambda: answering(pair, URLS))
    assert ("bria/fibo-edit/edit", "no_price") == (pair.attempt.model, pair.attempt.cost_reason)


async def test_hazard_30_what_a_streamed_upload_names_is_no_default_of_the_gateway(pair: Pair) -> None:
    async def parts() -> Any:
        yield b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nhouse\r\n--x--\r\n'

    async def scene(client: Client) -> object:
        content = parts() if pair.kit.is_async else iter([b"".join([part async for part in parts()])])
        headers = {"content-type": "multipart/form-data; boundary=x"}
        return seen(await client.post(MOCK.replace("generations", "edits"), content=content, headers=headers))

    await pair.both(scene, transport=lambda: answering(pair, URLS))
    attempt = pair.attempt
    assert ("edit", "", None, None) == (attempt.operation, attempt.model, attempt.cost, attempt.at_risk)
    assert ("billed", "unread_request") == (attempt.billing, attempt.cost_reason)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (json.dumps({"model": KLEIN, "image": [137] * 205_000}).encode(), "application/json"),
        (json.dumps({"model": KLEIN}).encode("utf-16"), "application/json"),
        (b"\x81\xa5model\xa5house", "application/msgpack"),
        (b"--y\r\n", "multipart/form-data; boundary=x"),
    ],
    ids=["over a megabyte without its texts", "in UTF-16", "no JSON and no form", "a form without its boundary"],
)
async def test_hazard_30_what_a_body_names_that_cannot_be_read_is_no_default_of_the_gateway(
    pair: Pair, content: bytes, kind: str
) -> None:
    async def scene(client: Client) -> object:
        edit = MOCK.replace("generations", "edits")
        return seen(await client.post(edit, content=content, headers={"content-type": kind}))

    await pair.both(scene, transport=lambda: answering(pair, URLS))
    attempt = pair.attempt
    assert ("edit", "", None, None) == (attempt.operation, attempt.model, attempt.cost, attempt.at_risk)
    assert ("billed", "unread_request") == (attempt.billing, attempt.cost_reason)


@pytest.mark.parametrize("loose", [b'"a fox \\ud83d"', b"NaN", b"-Infinity"], ids=["half an emoji", "NaN", "infinite"])
async def test_hazard_35_json_that_only_loose_readers_take_is_read_both_ways(pair: Pair, loose: bytes) -> None:
    asks = b'{"model":"' + KLEIN.encode() + b'","n":2,"x":' + loose + b"}"
    answer = b'{"data":[{"url":"https://media.test/1.png"},{"url":"https://media.test/2.png"}],"x":' + loose + b"}"

    async def scene(client: Client) -> object:
        return seen(await client.post(MOCK, content=asks, headers=json_headers()))

    await pair.both(scene, transport=lambda: answering(pair, answer))
    assert (KLEIN, 2, 2) == (pair.attempt.requested_model, pair.attempt.requested_images, pair.attempt.images)
    assert ("success", "billed", 80_000_000, None) == pair.settlement()


async def test_hazard_30_a_file_of_a_form_is_read_once_by_its_client_alone(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG" + bytes(100_000))
    reads: list[int] = []

    class Watched(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            reads.append(-1 if size is None else size)
            return super().read(size)

    async def scene(client: Client) -> object:
        reads.clear()
        image = Watched(io.FileIO(tmp_path / "image.png"))
        files = {"image": ("image.png", image, "image/png")}
        url = pair.url.replace("generations", "edits")
        response = await client.post(url, data={"model": "bria/fibo-edit/edit", "prompt": "a fox"}, files=files)
        image.close()
        return pair.kit.status(response), list(reads)

    await pair.both(scene)
    assert {"edit"} == {line["operation"] for line in pair.gateway.billing()}
    assert ("edit", "bria/fibo-edit/edit", 1, "success") == (
        pair.attempt.operation,
        pair.attempt.requested_model,
        pair.attempt.input_images,
        pair.attempt.outcome,
    )


def with_usage(usage: str) -> bytes:
    return b'{"data":[{"url":"https://media.test/1.png"}],"usage":' + usage.encode() + b"}"


HOSTILE = {
    "deep lists": b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a huge exponent": with_usage('{"input_tokens":1e999999,"output_tokens":1e299999}'),
    "a huge integer": with_usage('{"input_tokens":' + "9" * 5000 + "}"),
    "not a number": with_usage('{"input_tokens":NaN}'),
    "infinite": with_usage('{"input_tokens":1e400}'),
    "keys twice": b'{"data":[],"data":[{"url":"https://media.test/1.png"}]}',
    "bad UTF-8": b'{"data":[{"url":"\xff\xfe"}]}',
    "a byte order mark": b"\xef\xbb\xbf" + URLS,
    "a list": b"[1,2,3]",
    "a number": b"7",
    "nothing": b"",
    "half a string": b'{"data":[{"url":"https',
    "escapes": b'{"data":[{"url":"' + b"\\u0041\\\\\\" + b'""}]}',
    "two megabytes of keys": b"{" + b",".join(b'"%d":1' % key for key in range(150_000)) + b"}",
    "html": b"<html><body>502</body></html>",
}


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("name", HOSTILE)
async def test_hazard_35_hostile_json_is_handed_on_and_never_a_wrong_cost(pair: Pair, name: str) -> None:
    body = HOSTILE[name]
    chunks = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]
    _ = await pair.both(posted, transport=lambda: answering(pair, *chunks))
    attempt = pair.attempt
    assert attempt.cost in (None, 40_000_000)
    assert (attempt.cost is None) == (attempt.cost_reason is not None)
    assert len(body) == attempt.response_bytes


@pytest.mark.parametrize("times", [1, 3], ids=["zeros", "zeros packed three times"])
async def test_hazard_35_a_decompression_bomb_fills_the_callers_memory_only(pair: Pair, times: int) -> None:
    bomb = bytes(30_000_000)
    for _ in range(times):
        bomb = zlib.compress(bomb)
    client = pair.metered(
        transport=answering(pair, bomb, **{"content-encoding": ", ".join(["deflate"] * times)}), **pair.kit.undecoded
    )
    async with client.stream(MOCK, **asked()) as response:
        assert bomb == b"".join([chunk async for chunk in each(pair.kit.raw(response))])
    await client.close()
    assert AT_RISK == pair.settlement()


@pytest.mark.parametrize("usage", ["[]", '"many"', "7", "true", '{"output_tokens":-1}', '{"input_tokens":true}'])
async def test_hazard_36_usage_of_the_wrong_type_prices_nothing_by_tokens(pair: Pair, usage: str) -> None:
    await pair.both(posted, transport=lambda: answering(pair, with_usage(usage)))
    assert ("success", "billed", None, None) == pair.settlement()
    assert "unparsed" == pair.attempt.cost_reason


async def test_hazard_43_a_clock_that_is_set_back_makes_no_negative_duration(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_000_000_000_000

    def falling() -> int:
        nonlocal now
        now -= 3_600_000_000_000
        return now

    monkeypatch.setattr("pixelmeter.system.time.time_ns", falling)
    client = pair.metered()
    await client.post(pair.url, **asked())
    await client.close()
    attempt = pair.attempt
    assert attempt.first_byte is not None
    assert 0 < attempt.first_byte <= attempt.duration < 60_000_000
