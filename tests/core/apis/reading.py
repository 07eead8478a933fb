"""What the tests of readers share: answers in, whole or as the events of a stream, and what may not happen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from pixelmeter.core.apis.reader import Event, ImageRequest, ImageResponse, Reader
from pixelmeter.core.apis.usage import Usage
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import ResponsePlaces
from pixelmeter.core.wire.skim import Skim
from pixelmeter.core.wire.sse import EventStream

PNG = "iVBORw0KGgoAAAANSUhEUgAABAAAAAYACAIAAAB" + "A" * 5000
"""The begin of a picture of 1024x1536, and a long rest."""


class Route(msgspec.Struct, frozen=True):
    """A route that leaves all places as its reader has them."""

    response: ResponsePlaces
    job: Job | None = None


class Answers:
    """Reads answers of one API as they come over the wire."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._route = Route(reader.RESPONSE, reader.JOB)

    def whole(self, body: object, *, input_images: int = 0) -> ImageResponse:
        """Read a JSON body, its long strings cut."""
        return self.raw(json.dumps(body).encode(), input_images=input_images)

    def raw(self, content: bytes, *, input_images: int = 0) -> ImageResponse:
        """Read the bytes of a body, its long strings cut."""
        skim = Skim()
        skim.feed(content)
        return self._reader.response_of(skim.document(), ImageRequest(input_images=input_images), self._route)

    def stream(self, *events: object, input_images: int = 0) -> tuple[ImageResponse, list[Event | None]]:
        """Read a stream; return what it had, and what each event brought. Text stands for itself."""
        lines = (event if isinstance(event, str) else json.dumps(event) for event in events)
        return self.fed([f"data: {line}\n\n".encode() for line in lines], input_images=input_images)

    def fed(self, chunks: Sequence[bytes], *, input_images: int = 0) -> tuple[ImageResponse, list[Event | None]]:
        """Read the chunks of a stream."""
        response, brought = ImageResponse(), list[Event | None]()
        request = ImageRequest(input_images=input_images)
        stream = EventStream(
            lambda document: brought.append(self._reader.add_event(response, document, request, self._route))
        )
        for chunk in chunks:
            stream.feed(chunk)
        return response, brought


def tokens(usage: Usage) -> dict[str, Any]:
    """Return what a usage says, by name."""
    return {name: value for name, value in msgspec.structs.asdict(usage).items() if value is not None}


_NUMBERS = st.sampled_from([0, 1, 7, 1290, -1, 10**9, 10**30, 1.5, True])


def documents(names: Sequence[str], words: Sequence[object]) -> st.SearchStrategy[Any]:
    """Return documents of the names and words of an API, put together at random, with hostile numbers among them."""
    leaves = st.one_of(st.none(), _NUMBERS, st.sampled_from([PNG[:64], "", "text", *words]), st.text(max_size=5))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(names), inner, max_size=5)
        ),
        max_leaves=25,
    )


HOSTILE = (
    b"",
    b"null",
    b"[]",
    b"{",
    b'"text"',
    b"\xff\xfe",
    b"[DONE]",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b'{"usage":{"completion_tokens":1e400},"usageMetadata":{"promptTokenCount":1e400},"tool_usage":{"image_gen":1e400}}',
    b'{"usage":' + b"9" * 5000 + b"}",
)
"""Bodies that say nothing."""


def is_bounded(response: ImageResponse) -> bool:
    """Return whether all texts and numbers that a record takes are as long and as high as one can have them."""
    texts = [response.model, response.size, response.quality, response.output_format, response.service_tier]
    texts += [response.error_type, response.error_code, response.job_id]
    usages = [response.usage, *(block.usage for block in response.blocks)]
    numbers = [value for usage in usages for value in tokens(usage).values() if not isinstance(value, str)]
    return (
        all(text is None or (len(text) <= 200 and text.isprintable()) for text in texts)
        and all(0 <= number <= 10**9 for number in numbers)
        and (response.images is None or 0 <= response.images <= 100_000)
    )
