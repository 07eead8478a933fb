"""What an answer says: images, tokens, resolved size and quality, errors. Total: bad input becomes a missing field."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal, cast

import msgspec

from pixelmeter.core.imagesize import size_of
from pixelmeter.core.text import ERROR_LIMIT, bounded, count

__all__ = ["Answer", "NumberText", "Picture", "add_event", "answer_of", "facts_of"]


Picture = Literal["partial", "complete"]


class NumberText(str):
    """A JSON number with a fraction or exponent, as its text: nothing becomes a float on the way."""

    __slots__ = ()


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
    input_text_tokens: int | None = None
    input_image_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_text_tokens: int | None = None
    output_image_tokens: int | None = None
    usage_error: bool = False
    """There is a usage, and it cannot be understood."""
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
        _usage(answer, cast("Mapping[str, Any]", usage), input_images)
    elif usage is not None:
        answer.usage_error = True


def _usage(answer: Answer, usage: Mapping[str, Any], input_images: int) -> None:
    total_input = _tokens(answer, usage, "input_tokens", "prompt_tokens")
    total_output = _tokens(answer, usage, "output_tokens", "completion_tokens")
    details = _details(usage, "input_tokens_details", "prompt_tokens_details")
    answer.input_text_tokens = _tokens(answer, details, "text_tokens")
    answer.input_image_tokens = _tokens(answer, details, "image_tokens")
    answer.cached_input_tokens = _tokens(answer, details, "cached_tokens")
    if answer.input_text_tokens is None and answer.input_image_tokens is None and not input_images:
        answer.input_text_tokens = total_input
    details = _details(usage, "output_tokens_details", "completion_tokens_details")
    answer.output_text_tokens = _tokens(answer, details, "text_tokens")
    answer.output_image_tokens = _tokens(answer, details, "image_tokens")
    if answer.output_text_tokens is None and answer.output_image_tokens is None:
        # The Images API sends no split, and what it puts out is images.
        answer.output_image_tokens = total_output


def _tokens(answer: Answer, usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        if (value := usage.get(name)) is not None:
            number = count(value)
            if number is None:
                answer.usage_error = True
            return number
    return None


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(details := usage.get(name), dict):
            return cast("Mapping[str, Any]", details)
    return {}


def _pixels(encoded: object) -> str | None:
    return size_of(encoded) if isinstance(encoded, str) else None


def _error(answer: Answer, error: object) -> None:
    if isinstance(error, dict):
        fields = cast("Mapping[str, Any]", error)
        answer.error_type = bounded(fields.get("type"), ERROR_LIMIT)
        code = fields.get("code")
        answer.error_code = str(code) if count(code) is not None else bounded(code, ERROR_LIMIT)
