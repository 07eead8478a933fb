"""The common shapes of image requests and responses, and the functions that a reader of an API has."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Literal, Protocol, cast

import msgspec

from pixelmeter.core.apis.usage import Block, NumberText, Usage
from pixelmeter.core.attempts.record import Operation

__all__ = ["ImageRequest", "ImageResponse", "Picture", "Reader", "facts_of", "object_of"]

Picture = Literal["partial", "complete"]
"""What a streamed event has of an image."""


class ImageRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The fields of an image request that decide its price; None where it is silent."""

    model: str | None = None
    images: int = 1
    size: str | None = None
    quality: str | None = None
    output_format: str | None = None
    input_images: int = 0
    steps: int | None = None
    partial_images: int = 0
    named: tuple[str, ...] = ()
    """Those of the fields that were asked about that the request has, with a value."""
    service_tier: str | None = None
    deployment: str | None = None
    """What the path names instead of a model, where the gateway's paths do."""
    byok: bool = False


class ImageResponse(msgspec.Struct, gc=False):
    """The fields of a response that matter; None where it is silent."""

    readable: bool = False
    """Whether it was JSON at all."""
    decoded: bool = True
    """False where its Content-Encoding was left as it is, so nobody knows what it says."""
    images: int | None = None
    whole: bool = False
    """It has come to its end, and may rightly have no image: one of the APIs that also answer in words."""
    job: bool = False
    """It only promises: an asynchronous job was queued."""
    job_id: str | None = None
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    output_format: str | None = None
    service_tier: str | None = None
    usage: Usage = Usage()
    blocks: tuple[Block, ...] = ()
    """Usages of other models that worked on it."""
    error_type: str | None = None
    error_code: str | None = None
    body: dict[str, Any] = {}
    """The decoded document, its long strings cut, for the profile's cost readers; the last field."""


def facts_of(response: ImageResponse) -> tuple[Hashable, ...]:
    """Return all fields of a response except its JSON document."""
    return msgspec.structs.astuple(response)[:-1]


_decode = msgspec.json.Decoder(float_hook=NumberText).decode


def object_of(document: bytes | None) -> dict[str, Any] | None:
    """Return the object that a JSON document is, its fractions as `NumberText`; None for anything else."""
    if not document:
        return None
    try:
        body = _decode(document.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", body) if isinstance(body, dict) else None


class Reader(Protocol):
    """The functions of a module that reads one API. They never raise: bad input becomes a missing field."""

    @property
    def ROUTES(self) -> tuple[tuple[bytes, Operation], ...]:  # noqa: N802
        """The ends of the API's paths, and the operation of each."""
        ...

    def request_of_json(self, document: bytes, fields: tuple[str, ...] = ()) -> ImageRequest:
        """Read what a JSON body asks for, and which of `fields` it has."""
        ...

    def request_of_form(self, fields: Iterable[tuple[str, str | None]], asked: tuple[str, ...] = ()) -> ImageRequest:
        """Read what a form asks for, and which of `asked` it has; a file is a name without text."""
        ...

    def response_of(self, document: bytes | None, *, input_images: int) -> ImageResponse:
        """Read a whole body whose long strings were cut; None where there is no JSON."""
        ...

    def add_event(self, response: ImageResponse, document: bytes, *, input_images: int) -> Picture | None:
        """Add an event of a stream to a response; return what it had of an image."""
        ...
