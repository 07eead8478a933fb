"""What a request asks for, read from the JSON or the form fields that are in memory anyway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

import msgspec

from pixelmeter.core.skim import Skim
from pixelmeter.core.text import bounded, count

__all__ = ["Ask", "ask_of_fields", "ask_of_json", "document_of"]

_PLAIN_LIMIT = 65_536
_REMEMBERED_LIMIT = 4096
_IMAGES_LIMIT = 10_000
_NUMBER_LIMIT = 40


class Ask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
    deployment: str | None = None
    """What the path names instead of a model, where the gateway's paths do."""
    byok: bool = False


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
    """Return what decodes a body that may have these fields besides, and the attributes that they become."""
    attributes = tuple(field if field in _Body.__struct_fields__ else f"field_{at}" for at, field in enumerate(fields))
    others = {attribute: field for attribute, field in zip(attributes, fields, strict=True) if attribute != field}
    kind = msgspec.defstruct(
        "_Asked", [(name, Any, None) for name in others], bases=(_Body,), rename=others, frozen=True, gc=False
    )
    decode: Any = msgspec.json.Decoder(kind).decode
    return decode, attributes


def document_of(content: bytes) -> bytes:
    """Return a JSON body as it is, or with its long strings cut when it is large: image data is never copied."""
    if len(content) <= _PLAIN_LIMIT:
        return content
    skim = Skim()
    skim.feed(content)
    return skim.document() or b"{}"


def ask_of_json(document: bytes, fields: tuple[str, ...] = ()) -> Ask:
    """Read a JSON body, and which of `fields` it has; whatever cannot be read is left out."""
    decode, _ = _decoder(fields)
    try:
        body = decode(document)
    except (msgspec.MsgspecError, ValueError, RecursionError):  # a UnicodeDecodeError is a ValueError
        return Ask()
    if len(document) > _REMEMBERED_LIMIT:
        return _ask(body, fields)
    try:
        return _remembered_ask(body, fields)
    except TypeError:  # a list or an object in it
        return _ask(body, fields)


def _ask(body: _Body, fields: tuple[str, ...]) -> Ask:
    attributes = zip(fields, _decoder(fields)[1], strict=True)
    return Ask(
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
_remembered_ask = lru_cache(maxsize=1024)(_ask)


def ask_of_fields(fields: Iterable[tuple[str, str | None]], asked: tuple[str, ...] = ()) -> Ask:
    """Read a form, and which of `asked` it has: pairs of a field's name and its text, None for a file, whose content
    is never touched."""
    text: dict[str, str] = {}
    files: list[str] = []
    for name, value in fields:
        if value is None:
            files.append(name)
        else:
            text.setdefault(name, value)
    return Ask(
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
    # A list of models is an ordered fallback (AIgateway): what ran is known from the answer only.
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
