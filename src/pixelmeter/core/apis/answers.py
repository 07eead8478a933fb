"""Reads an answer where its route says that things stand: images, model, size, usage, job and error.

Total: what is not there, or is not what it should be, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from pixelmeter.core.apis.image_size import size_of
from pixelmeter.core.apis.reader import MIXED, ImageRequest, ImageResponse, Reading, object_of
from pixelmeter.core.apis.requests import size_word
from pixelmeter.core.apis.usage import Doubt, Usage, blocks_of, has_count, has_usage, usage_of, worse
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import DocumentPath, ResponsePlaces, is_one_of, values_at
from pixelmeter.core.text import ERROR_LIMIT, NAME_LIMIT, bounded, count

__all__ = [
    "Progress",
    "add_doubt",
    "add_error",
    "add_image",
    "add_progress",
    "add_said",
    "add_usage",
    "answer_of",
    "keep_usage",
    "usage_in",
]

_WORD_LIMIT = 40
_KIND_WORDS = 3
_SIZE = frozenset({"size", "width", "height"})
_SAID = _SIZE | {"model", "quality", "output_format", "service_tier"}
_ERROR = frozenset({"error_type", "error_code"})


def answer_of(document: bytes | None, request: ImageRequest, route: Reading, *, texts: bool = True) -> ImageResponse:
    """Read a whole JSON object; `texts` says whether a text where an image stands is one."""
    body = object_of(document)
    if body is None:
        return ImageResponse()
    response = ImageResponse(readable=True, body=body)
    places = route.response
    there = places.there(body)
    items = _items(body, places) if "items" in there else None
    if items is not None:
        response.images = 0
        for item in items:
            if texts or not isinstance(item, str):
                add_image(response, item, body, places)
    # Most answers have nothing to say beside their images: what would look for that in vain is not called.
    if not _SAID.isdisjoint(there):
        add_said(response, body, places)
    if "usage" in there or has_usage(body):
        add_usage(response, body, request, places)
    if items is not None and any(map(has_usage, items)):
        add_doubt(response, "unpriced_usage")
    if not _ERROR.isdisjoint(there):
        add_error(response, body, places)
    if route.job is not None:
        _add_job(response, body, route.job)
    return response


def _items(body: Mapping[str, Any], places: ResponsePlaces) -> Sequence[Any] | None:
    """Return what stands where images stand; None where there is no such place."""
    empty = False
    for path in places.items:
        items = list(values_at(body, path))
        if len(items) == 1 and path.steps[-1] is not None and isinstance(items[0], list):
            items = cast("list[object]", items[0])
        if items:
            return items
        empty = empty or _is_there(body, path)
    return () if empty else None


def _is_there(body: Mapping[str, Any], path: DocumentPath) -> bool:
    """Return whether the list is there whose elements a path is about, or the value at its end."""
    steps = path.steps[: path.steps.index(None)] if None in path.steps else path.steps
    value: Any = body
    for step in steps:
        if isinstance(step, str) and isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(step)
        elif isinstance(step, int) and isinstance(value, list) and step < len(cast("list[object]", value)):
            value = cast("list[object]", value)[step]
        else:
            return False
    return isinstance(value, list | str)


def add_image(response: ImageResponse, item: object, body: Mapping[str, Any], places: ResponsePlaces) -> bool:
    """Count an item if it is an image, and take its size from its first bytes; return whether it is one."""
    fields: Mapping[str, Any] = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    found = item if isinstance(item, str) else _text_of(fields, places.image)
    if not found:
        return False
    if places.required and not all(_is_as_required(fields, body, *each) for each in places.required.items()):
        return False
    response.images = (response.images or 0) + 1
    if not found.startswith("http"):
        size = size_of(found.rpartition(",")[2] if found.startswith("data:") else found)
        response.size = _one_of_both(response.size, size)
    return True


def _text_of(item: Mapping[str, Any], paths: Sequence[DocumentPath]) -> str | None:
    for path in paths:
        for value in values_at(item, path) if path.steps[0] in item else ():
            if isinstance(value, str) and value:
                return value
    return None


def _one_of_both(size: str | None, other: str | None) -> str | None:
    """Return the size of two images, of which one may be unknown; `MIXED` where they differ."""
    return size if other is None else other if size in (None, other) else MIXED


def _is_as_required(
    item: Mapping[str, Any], body: Mapping[str, Any], key: str, wanted: Sequence[str | bool | int]
) -> bool:
    value = item.get(key)
    if value is None:
        value = body.get(key)
    return value is None or is_one_of(value, wanted)


def add_said(response: ImageResponse, body: Mapping[str, Any], places: ResponsePlaces) -> None:
    """Take what an answer or an event says of model, size, quality and format."""
    there = places.there(body)
    if "model" in there:
        response.model = _word(body, places.model, NAME_LIMIT) or response.model
    if not _SIZE.isdisjoint(there):
        response.size = _echoed_size(body, places) or response.size
    if "quality" in there:
        response.quality = _word(body, places.quality) or response.quality
    if "output_format" in there:
        response.output_format = _word(body, places.output_format) or response.output_format
    if "service_tier" in there:
        response.service_tier = _word(body, places.service_tier) or response.service_tier


def _echoed_size(body: Mapping[str, Any], places: ResponsePlaces) -> str | None:
    for path in places.size:
        words = {word for value in _found(body, (path,)) if (word := bounded(value, _WORD_LIMIT))} - {"auto"}
        if words:
            return MIXED if len(words) > 1 else size_word(words.pop())
    widths, heights = _sides(body, places.width), _sides(body, places.height)
    if len(widths) > 1 or len(heights) > 1:
        return MIXED
    return f"{widths.pop()}x{heights.pop()}" if widths and heights else None


def _found(body: Mapping[str, Any], paths: Sequence[DocumentPath]) -> list[Any]:
    # Most places are empty in most answers: those cost one look.
    return [value for path in paths if path.steps[0] in body for value in values_at(body, path)]


def _word(body: Mapping[str, Any], paths: Sequence[DocumentPath], limit: int = _WORD_LIMIT) -> str | None:
    for path in paths:
        for value in values_at(body, path) if path.steps[0] in body else ():
            if word := bounded(value, limit):
                return word
    return None


def _sides(body: Mapping[str, Any], paths: Sequence[DocumentPath]) -> set[int]:
    """Return the sides that the first place with any has."""
    for path in paths:
        sides = {side for value in _found(body, (path,)) if (side := count(value))}
        if sides:
            return sides
    return set()


def add_usage(response: ImageResponse, body: Mapping[str, Any], request: ImageRequest, places: ResponsePlaces) -> None:
    """Take the tokens of the answer, and those of other models that worked on it."""
    for usage in _found(body, places.usage) if "usage" in places.there(body) else ():
        if isinstance(usage, dict):
            found = usage_of(cast("Mapping[str, Any]", usage), input_images=request.input_images)
            _join(response, found)
        else:
            add_doubt(response, "unparsed")
    blocks, doubt = blocks_of(body)
    response.blocks += blocks
    if doubt is not None:
        add_doubt(response, doubt)


class Progress(msgspec.Struct):
    """What is kept from one part of an answer to the next, where each usage counts all that came before it."""

    doubt: Doubt | None = None
    """Of the whole answer, whatever its last usage says."""
    behind: bool = False
    """Whether something that is billed came after the last usage."""

    def say(self, doubt: Doubt) -> None:
        """Note a doubt."""
        self.doubt = worse(self.doubt, doubt)


def add_progress(response: ImageResponse, rest: Mapping[str, Any], progress: Progress) -> None:
    """Note what keeps the latest usage from being the whole bill; `rest` is what stands beside that usage."""
    blocks, doubt = blocks_of(rest)
    if blocks or doubt:
        progress.say("unpriced_usage")
    if progress.behind and not response.usage.is_empty:
        add_doubt(response, "unparsed")
    if progress.doubt is not None:
        add_doubt(response, progress.doubt)


def _join(response: ImageResponse, usage: Usage) -> None:
    known = response.usage
    if not (known.is_empty or usage.is_empty):
        # Each image of a stream came with a usage, and nobody says whether it is of that image or of all.
        response.usage = Usage(doubt="unparsed")
    elif known.is_empty and known.doubt is None:
        response.usage = usage


def add_doubt(response: ImageResponse, doubt: Doubt) -> None:
    """Note what keeps the bill from being read whole."""
    response.usage = msgspec.structs.replace(response.usage, doubt=worse(response.usage.doubt, doubt))


def keep_usage(response: ImageResponse, before: dict[str, Any], places: ResponsePlaces) -> None:
    """Keep the part of a stream that had a usage, where the one after it has none: a cost stands beside it."""
    if not usage_in(response.body, places) and usage_in(before, places):
        response.body = before


def usage_in(body: Mapping[str, Any], places: ResponsePlaces) -> bool:
    """Return whether an answer or an event has a usage with a count in it."""
    return any(has_count(cast("object", usage)) for usage in _found(body, places.usage) if isinstance(usage, dict))


def add_error(response: ImageResponse, body: Mapping[str, Any], places: ResponsePlaces) -> None:
    """Take the type and the code of an error, never its message."""
    there = places.there(body)
    if "error_type" in there:
        response.error_type = response.error_type or _kind(body, places.error_type)
    if "error_code" in there:
        response.error_code = response.error_code or _kind(body, places.error_code, numbers=True)


def _kind(body: Mapping[str, Any], paths: Sequence[DocumentPath], *, numbers: bool = False) -> str | None:
    """Return the first name of an error: several words are a message, which may quote the prompt."""
    for value in _found(body, paths):
        if numbers and count(value) is not None:
            return str(value)
        word = bounded(value, ERROR_LIMIT)
        if word is not None and len(word.split()) <= _KIND_WORDS:
            return word
    return None


def _add_job(response: ImageResponse, body: Mapping[str, Any], job: Job) -> None:
    """Tell a job that goes on from one that has ended; what has a status and all its images is one as well."""
    status = _word(body, job.status, ERROR_LIMIT)
    if response.images and status is None:
        return
    response.job_id = _word(body, job.id, NAME_LIMIT)
    if response.images:
        return
    if status is not None and (is_one_of(status, job.failed) or is_one_of(status, job.cancelled)):
        response.error_type = response.error_type or status
    elif response.job_id is not None and response.error_type is None:
        if status is None:
            response.job = job.id_alone and response.images is None
        else:
            response.job = not job.pending or is_one_of(status, job.pending)
