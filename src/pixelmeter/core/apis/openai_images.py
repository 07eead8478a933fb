"""The reader of OpenAI's images API: what a request asks for, and what a response gave.

Both are total: bad input becomes a missing field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

import msgspec

from pixelmeter.core.apis.image_size import size_of
from pixelmeter.core.apis.reader import ImageRequest, ImageResponse, Picture, object_of
from pixelmeter.core.apis.usage import Doubt, Usage, blocks_of, has_usage, usage_of, worse
from pixelmeter.core.attempts.record import Operation
from pixelmeter.core.text import ERROR_LIMIT, bounded, count

__all__ = ["ROUTES", "add_event", "request_of_form", "request_of_json", "response_of"]

ROUTES: tuple[tuple[bytes, Operation], ...] = (
    (b"/images/generations", "generate"),
    (b"/images/edits", "edit"),
    (b"/images/variations", "variation"),
)
"""Ends of paths; in front of them gateways have /v1, /openai/v1, /openai/deployments/{name} and others."""

_REMEMBERED_LIMIT = 4096
_IMAGES_LIMIT = 10_000
_NUMBER_LIMIT = 40


class _Body(msgspec.Struct, frozen=True, gc=False):
    model: Any = None
    n: Any = None
    size: Any = None
    quality: Any = None
    output_format: Any = None
    steps: Any = None
    num_inference_steps: Any = None
    partial_images: Any = None
    image: Any = None
    image_url: Any = None
    images: Any = None


@lru_cache(maxsize=64)
def _decoder(fields: tuple[str, ...]) -> tuple[Callable[[bytes], _Body], tuple[str, ...]]:
    """Return a decoder of bodies that also keeps these fields, and the names under which it keeps them."""
    attributes = tuple(field if field in _Body.__struct_fields__ else f"field_{at}" for at, field in enumerate(fields))
    others = {attribute: field for attribute, field in zip(attributes, fields, strict=True) if attribute != field}
    kind = msgspec.defstruct(
        "_Asked", [(name, Any, None) for name in others], bases=(_Body,), rename=others, frozen=True, gc=False
    )
    decode: Any = msgspec.json.Decoder(kind).decode
    return decode, attributes


def request_of_json(document: bytes, fields: tuple[str, ...] = ()) -> ImageRequest:
    """Read a JSON body, and which of `fields` it has; whatever cannot be read is left out."""
    decode, _ = _decoder(fields)
    try:
        body = decode(document)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        return ImageRequest()
    if len(document) > _REMEMBERED_LIMIT:
        return _request(body, fields)
    try:
        return _remembered_request(body, fields)
    except TypeError:  # a list or an object in it
        return _request(body, fields)


def _request(body: _Body, fields: tuple[str, ...]) -> ImageRequest:
    attributes = zip(fields, _decoder(fields)[1], strict=True)
    return ImageRequest(
        model=_model(body.model),
        images=_images(body.n),
        size=bounded(body.size, 40),
        quality=bounded(body.quality, 40),
        output_format=bounded(body.output_format, 40),
        input_images=_input_images(body),
        steps=_whole(body.steps) or _whole(body.num_inference_steps),
        partial_images=_whole(body.partial_images) or 0,
        named=_named(fields, {field: getattr(body, attribute) for field, attribute in attributes}),
    )


# Programs ask for few kinds of images, again and again.
_remembered_request = lru_cache(maxsize=1024)(_request)


def request_of_form(fields: Iterable[tuple[str, str | None]], asked: tuple[str, ...] = ()) -> ImageRequest:
    """Read a form, and which of `asked` it has: pairs of a field's name and its text, None for a file, whose content
    is never touched."""
    text: dict[str, str] = {}
    files: list[str] = []
    for name, value in fields:
        if value is None:
            files.append(name)
        else:
            text.setdefault(name, value)
    return ImageRequest(
        model=_model(text.get("model")),
        images=_images(_number(text.get("n"))),
        size=bounded(text.get("size"), 40),
        quality=bounded(text.get("quality"), 40),
        output_format=bounded(text.get("output_format"), 40),
        input_images=sum(name.partition("[")[0] == "image" for name in files),
        steps=_number(text.get("steps")) or _number(text.get("num_inference_steps")),
        partial_images=_number(text.get("partial_images")) or 0,
        named=_named(asked, text),
    )


def _named(fields: tuple[str, ...], values: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(field for field in fields if values.get(field) not in (None, "", False, "false"))


def _number(text: str | None) -> int | None:
    if text is None or len(text) > _NUMBER_LIMIT or not (text.isascii() and text.isdigit()):
        return None
    return count(int(text))


def _whole(value: object) -> int | None:
    # 2, 2.0 and (as 1) true are equal to Python, so they must mean the same to whatever remembers them by equality.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return int(value) if isinstance(value, bool) else count(value)


def _model(value: object) -> str | None:
    # A list of models is an ordered fallback (AIgateway): what ran is known from the response only.
    if isinstance(value, list):
        models = cast("list[object]", value)[:8]
        return bounded(",".join(model for model in models if isinstance(model, str)))
    return bounded(value)


def _images(value: object) -> int:
    number = _whole(value)
    return number if number and number <= _IMAGES_LIMIT else 1


def _input_images(body: _Body) -> int:
    for value in (body.image, body.images, body.image_url):
        if isinstance(value, list):
            return len(cast("list[object]", value))
        if value:
            return 1
    return 0


def response_of(document: bytes | None, *, input_images: int) -> ImageResponse:
    """Read a whole JSON body whose long strings were cut."""
    body = object_of(document)
    if body is None:
        return ImageResponse()
    response = ImageResponse(readable=True, body=body)
    data: list[Any] | None = body.get("data")
    if isinstance(data, list):
        response.images = 0
        for item in data:
            if isinstance(item, dict):
                _add_image(response, cast("Mapping[str, Any]", item))
    elif "data" not in body and isinstance(body.get("id"), str) and body.get("status") is not None:
        response.job = True
    _common(response, body, input_images)
    if isinstance(data, list) and any(map(has_usage, data)):
        _doubt(response, "unpriced_usage")
    if "error" in body:
        _error(response, body["error"])
    return response


def _add_image(response: ImageResponse, item: Mapping[str, Any]) -> None:
    encoded = item.get("b64_json")
    if encoded or item.get("url"):
        response.images = (response.images or 0) + 1
    if encoded and response.size is None:
        response.size = _pixels(encoded)


def add_event(response: ImageResponse, document: bytes, *, input_images: int) -> Picture | None:
    """Add a streamed event to a response; return what it had of an image."""
    body = object_of(document)
    if body is None:
        return None
    response.readable = True
    kind = body.get("type")
    if not isinstance(kind, str):
        return None
    if kind == "error" or "error" in body:
        _error(response, body.get("error") or body)
        return None
    if kind.endswith(".partial_image"):
        return "partial"
    if not kind.endswith(".completed"):
        return None
    response.body = body
    response.images = response.images or 0
    response.size = None
    _add_image(response, body)
    _common(response, body, input_images)
    return "complete"


def _common(response: ImageResponse, body: Mapping[str, Any], input_images: int) -> None:
    response.model = bounded(body.get("model"))
    echoed = bounded(body.get("size"), 40)
    if echoed is not None and echoed != "auto":
        response.size = echoed
    response.quality = bounded(body.get("quality"), 40)
    response.output_format = bounded(body.get("output_format"), 40)
    usage = body.get("usage")
    if isinstance(usage, dict):
        _usage(response, usage_of(cast("Mapping[str, Any]", usage), input_images=input_images))
    elif usage is not None:
        _doubt(response, "unparsed")
    blocks, doubt = blocks_of(body)
    response.blocks += blocks
    if doubt is not None:
        _doubt(response, doubt)


def _usage(response: ImageResponse, usage: Usage) -> None:
    known = response.usage
    if not (known.is_empty or usage.is_empty):
        # Each image of a stream came with a usage, and nobody says whether it is of that image or of all.
        response.usage = Usage(doubt="unparsed")
    elif known.is_empty and known.doubt is None:
        response.usage = usage


def _doubt(response: ImageResponse, doubt: Doubt) -> None:
    response.usage = msgspec.structs.replace(response.usage, doubt=worse(response.usage.doubt, doubt))


def _pixels(encoded: object) -> str | None:
    return size_of(encoded) if isinstance(encoded, str) else None


def _error(response: ImageResponse, error: object) -> None:
    if isinstance(error, dict):
        fields = cast("Mapping[str, Any]", error)
        response.error_type = bounded(fields.get("type"), ERROR_LIMIT)
        code = fields.get("code")
        if code is None and isinstance(inner := fields.get("inner_error", fields.get("innererror")), dict):
            code = cast("Mapping[str, Any]", inner).get("code")
        response.error_code = str(code) if count(code) is not None else bounded(code, ERROR_LIMIT)
