"""What of a request is in memory is read, in whatever form; what is not stays unread."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.testing import Gateway
from tests.clients import KITS, Client, Kit, settled
from tests.drivers.wires import EDIT, URL, Wire

MODEL = "bria/fibo-edit/edit"
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8
FORM: dict[str, Any] = {"data": {"model": MODEL, "n": "2"}, "files": {"image": ("a.png", PICTURE)}}
JSON = json.dumps({"model": MODEL, "n": 2}).encode()
KNOWN = (MODEL, 2, 1)
"""Model, images and input images of the form."""


async def recorded(kit: Kit, meter: Meter, attempts: list[Attempt], url: str = EDIT, **options: Any) -> Attempt:
    """Post, and return the attempt."""
    return await of(kit, meter, attempts, lambda client: client.raw.post(url, **options))


async def of(kit: Kit, meter: Meter, attempts: list[Attempt], send: Callable[[Client], Any], **options: Any) -> Attempt:
    """Send with a metered client and return the attempt; what left must have named the model."""
    wire = Wire(kit)
    sent: list[bytes] = []

    async def answer_async(request: Any) -> Any:
        sent.append(b"".join([chunk async for chunk in request.stream]))
        return wire.answer(request)

    def answer(request: Any) -> Any:
        sent.append(b"".join(request.stream))
        return wire.answer(request)

    client = kit.client(transport=kit.wire(answer_async if kit.is_async else answer), **options)
    pixelmeter.instrument(client.raw, meter)
    await settled(send(client))
    await client.close()
    assert MODEL in sent[-1].decode("latin-1").replace("%2F", "/")
    return attempts[-1]


def known(attempt: Attempt) -> tuple[Any, ...]:
    return attempt.requested_model, attempt.requested_images, attempt.input_images


def test_a_form_is_read(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    assert KNOWN == known(kit.run(recorded(kit, meter, attempts, **FORM)))


@pytest.mark.parametrize("behind", ["/", "/?api-version=1"])
def test_a_slash_at_the_end_of_the_path_makes_it_no_other_call(
    behind: str, kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    attempt = kit.run(recorded(kit, meter, attempts, EDIT + behind, **FORM))
    assert ("edit", KNOWN) == (attempt.operation, known(attempt))


def test_a_form_that_an_event_hook_has_read_is_read(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    async def read_async(request: Any) -> None:
        await request.aread()

    hook = read_async if kit.is_async else lambda request: request.read()
    scene = of(kit, meter, attempts, lambda client: client.raw.post(EDIT, **FORM), event_hooks={"request": [hook]})
    assert KNOWN == known(kit.run(scene))


def test_a_form_that_an_auth_flow_has_read_is_read(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    class Signature(kit.package.Auth):  # type: ignore[misc, name-defined]
        requires_request_body = True

        def auth_flow(self, request: Any) -> Iterator[Any]:
            request.headers["x-signature"] = str(len(request.content))
            yield request

    scene = of(kit, meter, attempts, lambda client: client.raw.post(EDIT, auth=Signature(), **FORM))
    assert KNOWN == known(kit.run(scene))


def test_texts_that_are_given_as_files_without_a_name_are_texts(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    files: Any = {"model": (None, MODEL), "n": (None, b"2"), "image": ("a.png", PICTURE)}
    assert KNOWN == known(kit.run(recorded(kit, meter, attempts, files=files)))
    files = {"image": ("a.png", PICTURE), "model": (None, io.BytesIO(MODEL.encode())), "n": (None, io.BytesIO(b"2"))}
    assert KNOWN == known(kit.run(recorded(kit, meter, attempts, files=files)))


def test_files_are_counted_by_the_names_they_have(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    files = [
        ("image[]", ("a.png", PICTURE)),
        ("image[]", PICTURE),
        ("image", (None, PICTURE, "image/png")),
        ("mask", PICTURE),
    ]
    attempt = kit.run(recorded(kit, meter, attempts, data={"model": MODEL}, files=files))
    assert (MODEL, 1, 3) == known(attempt)


def read_form(kit: Kit, **form: Any) -> tuple[bytes, str]:
    """Return the bytes of a form and its Content-Type."""
    request = kit.package.Request("POST", EDIT, **(form or FORM))
    request.read()
    return request.content, request.headers["content-type"]


@pytest.mark.parametrize("quoted", [False, True])
def test_a_form_that_comes_as_bytes_is_read(quoted: bool, kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    """What a proxy has."""
    content, content_type = read_form(kit)
    kind, _, boundary = content_type.partition("; boundary=")
    headers = {"Content-Type": f'{kind.upper()}; Boundary="{boundary}"' if quoted else content_type}
    assert KNOWN == known(kit.run(recorded(kit, meter, attempts, content=content, headers=headers)))


@pytest.mark.parametrize("kit", [kit for kit in KITS if not kit.is_async], ids=str)
@pytest.mark.parametrize("source", [list, tuple, "file"], ids=["list", "tuple", "file"])
def test_chunks_that_are_in_memory_are_read_and_arrive_whole(
    source: Any, kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    content, content_type = read_form(kit)
    whole = io.BytesIO(b"passed" + content)
    whole.seek(6)
    chunks: Any = whole if source == "file" else source([content[:100], content[100:]])

    attempt = kit.run(recorded(kit, meter, attempts, content=chunks, headers={"content-type": content_type}))
    assert KNOWN == known(attempt)


def test_chunks_that_have_been_read_are_read(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    content, content_type = read_form(kit)

    async def chunks_async() -> Any:
        yield content

    async def scene(client: Client) -> None:
        chunks = chunks_async() if kit.is_async else iter([content])
        request = client.raw.build_request("POST", EDIT, content=chunks, headers={"content-type": content_type})
        await settled(request.aread() if kit.is_async else request.read())
        await settled(client.raw.send(request))

    assert KNOWN == known(kit.run(of(kit, meter, attempts, scene)))


def test_a_stream_that_nobody_has_read_stays_unread(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    async def chunks_async() -> Any:
        yield JSON

    headers = {"content-type": "application/json"}
    chunks = chunks_async() if kit.is_async else iter([JSON])
    attempt = kit.run(recorded(kit, meter, attempts, content=chunks, headers=headers))
    assert (None, 1, 0) == known(attempt)


def test_what_a_hook_has_put_in_the_bodys_place_is_what_is_read(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    def replace(request: Any) -> None:
        request.stream = kit.package.ByteStream(JSON)
        request.headers["content-length"] = str(len(JSON))

    async def replace_async(request: Any) -> None:
        replace(request)

    hooks = {"request": [replace_async if kit.is_async else replace]}
    scene = of(kit, meter, attempts, lambda client: client.raw.post(URL, json={"model": "x"}), event_hooks=hooks)
    assert (MODEL, 2, 0) == known(kit.run(scene))


def test_a_request_that_is_made_of_anothers_stream_is_read(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    async def scene(client: Client) -> None:
        first = client.raw.build_request("POST", URL, content=JSON, headers={"content-type": "application/json"})
        again = kit.package.Request("POST", first.url, headers=first.headers, stream=first.stream)
        await settled(client.raw.send(again))

    assert (MODEL, 2, 0) == known(kit.run(of(kit, meter, attempts, scene)))


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; Charset=utf-8",
        "text/json",
        "application/vnd.example.v1+json",
        "application/problem+JSON;x=1",
        "text/plain",
        None,
    ],
)
def test_json_of_any_content_type_is_read(
    content_type: str | None, kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    for content in (JSON, b" \r\n" + JSON, b"\xef\xbb\xbf" + JSON):
        attempt = kit.run(recorded(kit, meter, attempts, url=URL, content=content, headers=headers))
        assert (MODEL, 2, 0) == known(attempt)


def test_an_urlencoded_form_is_read(kit: Kit, meter: Meter, attempts: list[Attempt]) -> None:
    attempt = kit.run(recorded(kit, meter, attempts, url=URL, data={"model": MODEL, "n": 2}))
    assert (MODEL, 2, 0) == known(attempt)


@pytest.mark.parametrize("hooked", [False, True], ids=["unread", "read by a hook"])
def test_an_edit_of_the_openai_sdk_is_known_and_priced(
    hooked: bool, meter: Meter, attempts: list[Attempt], gateway: Gateway
) -> None:
    hooks = {"request": [lambda request: request.read()]} if hooked else {}
    http_client = openai.DefaultHttpxClient(event_hooks=hooks)
    with openai.OpenAI(base_url=gateway.url, api_key="k", http_client=http_client) as client:
        pixelmeter.instrument(client, meter)
        client.images.edit(model=MODEL, prompt="a hat", n=2, image=[PICTURE, PICTURE])
    [attempt] = attempts
    assert (MODEL, 2, 2) == known(attempt)


def test_retries_of_a_form_that_was_read_are_one_call(meter: Meter, attempts: list[Attempt], gateway: Gateway) -> None:
    """Each has a boundary of its own."""
    gateway.tell(status=503, headers={"retry-after-ms": "1"}, times=1)
    http_client = openai.DefaultHttpxClient(event_hooks={"request": [lambda request: request.read()]})
    with openai.OpenAI(base_url=gateway.url, api_key="k", http_client=http_client) as client:
        pixelmeter.instrument(client, meter)
        client.images.edit(model=MODEL, prompt="a hat", image=PICTURE)
    assert [0, 1] == [attempt.attempt for attempt in attempts]
    assert 1 == len({attempt.call_id for attempt in attempts})
