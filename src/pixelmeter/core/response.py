"""What an answer says: images, tokens, resolved size and quality, errors. Total: bad input becomes a missing field."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal, cast

import msgspec

from pixelmeter.core.imagesize import size_of
from pixelmeter.core.text import ERROR_LIMIT, bounded, count
from pixelmeter.core.usage import Block, Doubt, NumberText, Usage, blocks_of, has_usage, usage_of, worse

__all__ = ["Answer", "Picture", "add_event", "answer_of", "facts_of"]


Picture = Literal["partial", "complete"]


_decode = msgspec.json.Decoder(float_hook=NumberText).decode


class Answer(msgspec.Struct, gc=False):
    """The fields of an answer that matter; None where it is silent."""

    readable: bool = False
    """Whether it was JSON at all."""
    decoded: bool = True
    """False where its Content-Encoding was left as it is, so nobody knows what it says."""
    images: int | None = None
    job: bool = False
    """It only promises: an asynchronous job was queued."""
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    output_format: str | None = None
    usage: Usage = Usage()
    blocks: tuple[Block, ...] = ()
    """Usages of other models that worked on it."""
    error_type: str | None = None
    error_code: str | None = None
    body: dict[str, Any] = {}
    """The decoded document, its long strings cut, for the profile's cost readers; the last field."""


def facts_of(answer: Answer) -> tuple[Hashable, ...]:
    """Return everything that an answer says, but for its document."""
    return msgspec.structs.astuple(answer)[:-1]


def answer_of(document: bytes | None, *, input_images: int) -> Answer:
    """Read a whole JSON body whose long strings were cut."""
    body = _object(document)
    if body is None:
        return Answer()
    answer = Answer(readable=True, body=body)
    data: list[Any] | None = body.get("data")
    if isinstance(data, list):
        answer.images = 0
        for item in data:
            if isinstance(item, dict):
                _add_image(answer, cast("Mapping[str, Any]", item))
    elif "data" not in body and isinstance(body.get("id"), str) and body.get("status") is not None:
        answer.job = True
    _common(answer, body, input_images)
    if isinstance(data, list) and any(map(has_usage, data)):
        _doubt(answer, "unpriced_usage")
    if "error" in body:
        _error(answer, body["error"])
    return answer


def _add_image(answer: Answer, item: Mapping[str, Any]) -> None:
    encoded = item.get("b64_json")
    if encoded or item.get("url"):
        answer.images = (answer.images or 0) + 1
    if encoded and answer.size is None:
        answer.size = _pixels(encoded)


def add_event(answer: Answer, document: bytes, *, input_images: int) -> Picture | None:
    """Add a streamed event to an answer; return what it had of an image."""
    body = _object(document)
    if body is None:
        return None
    answer.readable = True
    kind = body.get("type")
    if not isinstance(kind, str):
        return None
    if kind == "error" or "error" in body:
        _error(answer, body.get("error") or body)
        return None
    if kind.endswith(".partial_image"):
        return "partial"
    if not kind.endswith(".completed"):
        return None
    answer.body = body
    answer.images = answer.images or 0
    answer.size = None
    _add_image(answer, body)
    _common(answer, body, input_images)
    return "complete"


def _object(document: bytes | None) -> dict[str, Any] | None:
    if not document:
        return None
    try:
        body = _decode(document.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", body) if isinstance(body, dict) else None


def _common(answer: Answer, body: Mapping[str, Any], input_images: int) -> None:
    answer.model = bounded(body.get("model"))
    echoed = bounded(body.get("size"), 40)
    if echoed is not None and echoed != "auto":
        answer.size = echoed
    answer.quality = bounded(body.get("quality"), 40)
    answer.output_format = bounded(body.get("output_format"), 40)
    usage = body.get("usage")
    if isinstance(usage, dict):
        _usage(answer, usage_of(cast("Mapping[str, Any]", usage), input_images=input_images))
    elif usage is not None:
        _doubt(answer, "unparsed")
    blocks, doubt = blocks_of(body)
    answer.blocks += blocks
    if doubt is not None:
        _doubt(answer, doubt)


def _usage(answer: Answer, usage: Usage) -> None:
    known = answer.usage
    if not (known.is_empty or usage.is_empty):
        # Each image of a stream came with a usage, and nobody says whether it is of that image or of all.
        answer.usage = Usage(doubt="unparsed")
    elif known.is_empty and known.doubt is None:
        answer.usage = usage


def _doubt(answer: Answer, doubt: Doubt) -> None:
    answer.usage = msgspec.structs.replace(answer.usage, doubt=worse(answer.usage.doubt, doubt))


def _pixels(encoded: object) -> str | None:
    return size_of(encoded) if isinstance(encoded, str) else None


def _error(answer: Answer, error: object) -> None:
    if isinstance(error, dict):
        fields = cast("Mapping[str, Any]", error)
        answer.error_type = bounded(fields.get("type"), ERROR_LIMIT)
        code = fields.get("code")
        if code is None and isinstance(inner := fields.get("inner_error", fields.get("innererror")), dict):
            code = cast("Mapping[str, Any]", inner).get("code")
        answer.error_code = str(code) if count(code) is not None else bounded(code, ERROR_LIMIT)
