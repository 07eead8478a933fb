"""No step over what comes from outside is quadratic: sixteen times the input takes nowhere near 256 times as long."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable

import pytest
import zstandard

from pixelmeter.core.apis import chat_images, gemini, openai_responses, predict
from pixelmeter.core.apis.openai_images import response_of
from pixelmeter.core.apis.reader import ImageRequest, Reader
from pixelmeter.core.wire.decode import decoder
from pixelmeter.core.wire.forms import multipart_fields, urlencoded_fields
from pixelmeter.core.wire.headers import by_name
from pixelmeter.core.wire.skim import Skim
from pixelmeter.core.wire.sse import EventStream
from tests.core.apis.reading import Answers
from tests.factories import route_to

_FACTOR = 16
_MEASURABLE = 0.006
"""Seconds of CPU."""


def _events(body: bytes) -> None:
    EventStream(lambda document: None).feed(body)


def _skim(body: bytes) -> None:
    Skim().feed(body)


def _answer(body: bytes) -> None:
    skim = Skim()
    skim.feed(body)
    response_of(skim.document(), ImageRequest(), route_to("api.openai.com"))


def _read(reader: Reader) -> Callable[[bytes], None]:
    def read(body: bytes) -> None:
        Answers(reader).raw(body)

    return read


def _streamed(reader: Reader) -> Callable[[bytes], None]:
    def stream(body: bytes) -> None:
        Answers(reader).fed([body])

    return stream


def _parts(size: int, part: bytes) -> bytes:
    return b"[" + part * size + b"{}]"


def _stream_of(event: bytes) -> Callable[[int], bytes]:
    return lambda size: b"data: %s\n\n" % event * (size // 10)


def _inflate(body: bytes) -> None:
    decode = decoder("gzip", lambda piece: None)
    assert decode is not None
    decode(body)


def _frames(body: bytes) -> None:
    decode = decoder("zstd", lambda piece: None)
    assert decode is not None
    decode(body)


def _stored(size: int) -> bytes:
    codec = zlib.compressobj(level=0, wbits=zlib.MAX_WBITS | 16)
    return codec.compress(bytes(size)) + codec.flush()


def _headers(body: bytes) -> None:
    by_name([(b"x-cost-cents", b"1")] * len(body))


def _form(body: bytes) -> None:
    multipart_fields(b"--xyz\r\n" + body + b"\r\n--xyz--", b"multipart/form-data; boundary=xyz")


def _urlencoded(body: bytes) -> None:
    urlencoded_fields(body)


_INPUTS: dict[str, tuple[Callable[[bytes], None], Callable[[int], bytes]]] = {
    "lone carriage returns": (_events, lambda size: b"\r" * size),
    "lone line feeds": (_events, lambda size: b"\n" * size),
    "pairs of both": (_events, lambda size: b"\r\n" * size),
    "carriage returns, one line feed": (_events, lambda size: b"\r" * size + b"\n"),
    "line feeds, one carriage return": (_events, lambda size: b"\n" * size + b"\r"),
    "empty data lines": (_events, lambda size: b"data:\r" * size),
    "an endless name of a field": (_events, lambda size: b"x" * size),
    "escapes in a string without end": (_skim, lambda size: b'"' + b"\\n" * size),
    "backslashes": (_skim, lambda size: b'"' + b"\\" * size + b'"'),
    "escapes, then a far quote": (_skim, lambda size: b'"' + b"\\n" * 1000 + b"A" * size * 20 + b'"'),
    "quotes": (_skim, lambda size: b'"' * size),
    "brackets": (_answer, lambda size: b"[" * size),
    "images": (_answer, lambda size: b'{"data":[' + b'{"url":"u"},' * size + b"{}]}"),
    "digits": (_answer, lambda size: b'{"data":[' + b"1" * size + b"]}"),
    "keys": (_answer, lambda size: b'{"a":' * size),
    "images in a chat": (
        _read(chat_images),
        lambda size: b'{"choices":[{"message":{"images":' + _parts(size // 2, b'{"image_url":{"url":"u"}},') + b"}}]}",
    ),
    "choices": (
        _read(chat_images),
        lambda size: b'{"choices":' + _parts(size // 2, b'{"message":{"content":"x"}},') + b"}",
    ),
    "chunks with images": (
        _streamed(chat_images),
        _stream_of(b'{"choices":[{"delta":{"images":[{"image_url":{"url":"u"}}]}}],"usage":{"completion_tokens":9}}'),
    ),
    "chunks with blocks": (_streamed(chat_images), _stream_of(b'{"choices":[],"svg_usage":{"input_tokens":9}}')),
    "output items": (
        _read(openai_responses),
        lambda size: (
            b'{"output":'
            + _parts(size // 4, b'{"type":"image_generation_call","result":"x","svg_usage":{"input_tokens":9}},')
            + b"}"
        ),
    ),
    "output items that are done": (
        _streamed(openai_responses),
        _stream_of(b'{"type":"response.output_item.done","item":{"type":"image_generation_call","result":"x"}}'),
    ),
    "a list of parts": (_read(gemini), lambda size: _parts(size // 2, b'{"candidates":[],"usageMetadata":{}},')),
    "modalities": (
        _read(gemini),
        lambda size: (
            b'{"usageMetadata":{"promptTokensDetails":' + _parts(size, b'{"modality":"TEXT","tokenCount":1},') + b"}}"
        ),
    ),
    "parts with images": (
        _streamed(gemini),
        _stream_of(
            b'{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"x"}}]}}],'
            b'"usageMetadata":{"candidatesTokenCount":9}}'
        ),
    ),
    "predictions": (
        _read(predict),
        lambda size: b'{"predictions":' + _parts(size, b'{"raiFilteredReason":"x"},') + b"}",
    ),
    "stored blocks": (_inflate, lambda size: _stored(size * 50)),
    "frames": (_frames, lambda size: zstandard.compress(b"") * size),
    "dashes in a form": (_form, lambda size: b"--" * size),
    "line ends in a form": (_form, lambda size: b"\r\n" * size),
    "nearly a boundary": (_form, lambda size: b"\r\n--x" * size),
    "boundaries": (_form, lambda size: b"--xyz\r\n" * size),
    "heads without end": (_form, lambda size: b"--xyz\r\ncontent-disposition: form-data" + b';a="' * size),
    "ampersands": (_urlencoded, lambda size: b"&" * size),
    "equals signs": (_urlencoded, lambda size: b"=" * size),
    "percent signs": (_urlencoded, lambda size: b"a=" + b"%" * size),
    "headers of one name": (_headers, lambda size: b"x" * size),
}


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("name", _INPUTS)
def test_the_work_grows_with_the_input(name: str) -> None:
    step, made = _INPUTS[name]

    def seconds(size: int, enough: float = 0) -> float:
        """Return the least of three, or the first that is less than enough."""
        body = made(size)
        least = math.inf
        for _ in range(3):
            begun = time.thread_time()
            step(body)
            least = min(least, time.thread_time() - begun)
            if least < enough:
                break
        return least

    size = 2_000
    # Grown until there is something to measure: a ratio of two moments says nothing.
    while (small := seconds(size)) < _MEASURABLE and size < 100_000:
        size *= 2
    limit = _FACTOR * 3 * max(small, _MEASURABLE)
    assert limit > seconds(size * _FACTOR, enough=limit)
