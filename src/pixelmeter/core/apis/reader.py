"""The common shapes of image requests and responses, and the functions that a reader of an API has."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from typing import Any, Literal, Protocol, cast, runtime_checkable

import msgspec

from pixelmeter.core import apis
from pixelmeter.core.apis.usage import Block, NumberText, Usage
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import RequestPlaces, ResponsePlaces

__all__ = [
    "MIXED",
    "Event",
    "ImageRequest",
    "ImageResponse",
    "Reader",
    "Reading",
    "facts_of",
    "json_of",
    "loose_json_of",
    "object_of",
    "one_of",
    "reader_of",
    "readers",
]

_NAME = re.compile(r"[a-z][a-z_0-9]{0,63}")

Event = Literal["partial", "complete", "end"]
"""What an event of a stream brought: a preview, an image, or the end of all that matters."""


MIXED = "mixed"
"""A size or another word where the images have several: no price by it holds for all of them."""


def one_of(words: Iterable[str]) -> str | None:
    """Return the one word that there is, MIXED where there are several; None where there is none."""
    found = set(words)
    return MIXED if len(found) > 1 else next(iter(found), None)


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
    unread: bool = False
    """Its body was not or cannot be read: what is silent here may be said there, so no default of a gateway holds."""


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
    """The decoded document, its long strings cut, for the profile's cost readers."""
    progress: Any = None
    """What a reader keeps from one event of a stream to the next; the last field."""


def facts_of(response: ImageResponse) -> tuple[Hashable, ...]:
    """Return all fields of a response except its JSON document and what a reader keeps for itself."""
    return msgspec.structs.astuple(response)[:-2]


_decode = msgspec.json.Decoder(float_hook=NumberText).decode


def json_of(document: bytes | None) -> Any:
    """Return what a JSON document says, its fractions as `NumberText`; None for what is none."""
    if not document:
        return None
    text = document.removeprefix(b"\xef\xbb\xbf")
    try:
        return _decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return loose_json_of(text, NumberText)


# Each of them stands in a document that is no JSON to the letter, and that writers and readers of it let pass: numbers
# that are none, and half of a surrogate pair, where a text was cut in the middle of an emoji.
_LOOSE = (b"NaN", b"Infinity", rb"\ud", rb"\uD")


def loose_json_of(text: bytes, fraction: Callable[[str], Any], kind: Any = Any) -> Any:
    """Return what Python's own reader makes of a document that has one of those, as a type; None for any other."""
    if not any(sign in text for sign in _LOOSE):
        return None
    try:
        found = json.loads(text, parse_float=fraction, parse_constant=NumberText)
        return msgspec.convert(found, kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def object_of(document: bytes | None) -> dict[str, Any] | None:
    """Return the object that a JSON document is, its fractions as `NumberText`; None for anything else."""
    body = json_of(document)
    return cast("dict[str, Any]", body) if isinstance(body, dict) else None


class Reading(Protocol):
    """What a reader is told of the route that an answer belongs to."""

    @property
    def response(self) -> ResponsePlaces:
        """Where the answer has what matters."""
        ...

    @property
    def job(self) -> Job | None:
        """How it says that work goes on; None where it never does."""
        ...


@runtime_checkable
class Reader(Protocol):
    """The functions of a module that reads one API. They never raise: bad input becomes a missing field."""

    @property
    def REQUEST(self) -> RequestPlaces:  # noqa: N802
        """Where its requests have what decides their price, where a profile does not say otherwise."""
        ...

    @property
    def RESPONSE(self) -> ResponsePlaces:  # noqa: N802
        """The same of its answers."""
        ...

    @property
    def JOB(self) -> Job | None:  # noqa: N802
        """How its answers say that work goes on."""
        ...

    def response_of(self, document: bytes | None, request: ImageRequest, route: Reading) -> ImageResponse:
        """Read a whole body whose long strings were cut; None where there is no JSON."""
        ...

    def add_event(
        self, response: ImageResponse, document: bytes, request: ImageRequest, route: Reading
    ) -> Event | None:
        """Add an event of a stream to a response; return what it brought."""
        ...


@cache
def reader_of(api: str) -> Reader | None:
    """Return the module beside this one that is named like an API and reads it; None where there is none."""
    name = f"{apis.__name__}.{api}"
    try:
        found = importlib.import_module(name) if _NAME.fullmatch(api) else None
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
    return found if isinstance(found, Reader) else None


def readers() -> dict[str, Reader]:
    """Return every reader by the name of its API."""
    names = sorted(module.name for module in pkgutil.iter_modules(apis.__path__))
    return {name: found for name in names if (found := reader_of(name)) is not None}
