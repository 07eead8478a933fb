"""The reader of Gemini's Interactions API: steps of an answer, whole or in a stream, and one usage of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pixelmeter.core.apis.answers import add_doubt, add_error, add_image, add_said
from pixelmeter.core.apis.gemini_usage import gemini_usage_of
from pixelmeter.core.apis.reader import Event, ImageRequest, ImageResponse, Reading, object_of
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import (
    DocumentPath,
    RequestPlace,
    RequestPlaces,
    ResponsePlaces,
    is_one_of,
    values_at,
)
from pixelmeter.core.text import ERROR_LIMIT, NAME_LIMIT, bounded, count

__all__ = ["JOB", "REQUEST", "RESPONSE", "add_event", "response_of"]

REQUEST = RequestPlaces(
    model=(RequestPlace("body.model"),),
    size=(RequestPlace("body.response_format.image_size"), RequestPlace("body.response_format[].image_size")),
    service_tier=(RequestPlace("body.service_tier"),),
    input_images=(RequestPlace("body.input[].data"), RequestPlace("body.input[].content[].data")),
)
RESPONSE = ResponsePlaces(
    image=(DocumentPath("data"), DocumentPath("uri")),
    model=(DocumentPath("model"),),
    service_tier=(DocumentPath("service_tier"),),
    usage=(DocumentPath("usage"),),
    error_type=tuple(map(DocumentPath, ("error.status", "error.type", "errors[].code"))),
    error_code=(DocumentPath("error.code"), DocumentPath("errors[].code")),
)
"""Where the images are is the same everywhere: the content of the steps, or the outputs that were before them."""
JOB = Job(id=(DocumentPath("id"),), status=(DocumentPath("status"),), pending=("in_progress",))

_CONTENT = (DocumentPath("steps[].content[]"), DocumentPath("outputs[]"))
_STEPS = (DocumentPath("steps[].type"), DocumentPath("outputs[].type"))
_STEP = DocumentPath("step.type")
_BILLED_STEPS = ("google_*_call", "code_execution_call", "mcp_server_tool_call", "file_search_call")
"""Tools that may cost money beside the tokens."""
_FAILED = ("failed", "cancelled", "incomplete")
_NAMES = {
    "total_input_tokens": "promptTokenCount",
    "input_tokens_by_modality": "promptTokensDetails",
    "total_tool_use_tokens": "toolUsePromptTokenCount",
    "tool_use_tokens_by_modality": "toolUsePromptTokensDetails",
    "total_cached_tokens": "cachedContentTokenCount",
    "cached_tokens_by_modality": "cacheTokensDetails",
    "total_output_tokens": "candidatesTokenCount",
    "output_tokens_by_modality": "candidatesTokensDetails",
    "total_thought_tokens": "thoughtsTokenCount",
    "total_tokens": "totalTokenCount",
}
"""What `usageMetadata` calls the counts of this usage."""


def response_of(document: bytes | None, request: ImageRequest, route: Reading) -> ImageResponse:
    """Read a whole body: an answer, an error, or the promise of an answer that is made in the background."""
    body = object_of(document)
    if body is None:
        return ImageResponse()
    response = ImageResponse(readable=True)
    _add_answer(response, body, request, route)
    return response


def add_event(response: ImageResponse, document: bytes, request: ImageRequest, route: Reading) -> Event | None:
    """Add an event of a stream: an image of a step, a tool that was called, or the answer's end with its usage."""
    if document.strip() == b"[DONE]":
        return "end"
    body = object_of(document)
    if body is None:
        return None
    response.readable = True
    kind, delta, inner = body.get("event_type"), body.get("delta"), body.get("interaction")
    if kind == "error" or body.get("error"):
        response.body = body
        add_error(response, body, route.response)
        response.error_type = response.error_type or response.error_code or "error"
        return "end"
    if isinstance(delta, dict):
        return "complete" if _add_part(response, cast("dict[str, Any]", delta), route) else None
    if kind == "step.start" and any(is_one_of(step, _BILLED_STEPS) for step in values_at(body, _STEP)):
        add_doubt(response, "unpriced_usage")
    if kind == "interaction.completed" and isinstance(inner, dict):
        response.images = response.images or 0
        _add_answer(response, cast("dict[str, Any]", inner), request, route)
        return "end"
    return None


def _add_answer(response: ImageResponse, body: dict[str, Any], request: ImageRequest, route: Reading) -> None:
    response.body = body
    streamed = response.images
    nothing: list[Any] = []
    parts = next((found for path in _CONTENT if (found := list(values_at(body, path)))), nothing)
    if streamed is not None or any(isinstance(body.get(name), list) for name in ("steps", "outputs")):
        response.images = 0
    for part in parts:
        if isinstance(part, dict):
            _add_part(response, cast("dict[str, Any]", part), route)
    if streamed:
        # The images that came before are among its own.
        response.images = max(response.images or 0, streamed)
    if any(is_one_of(step, _BILLED_STEPS) for path in _STEPS for step in values_at(body, path)):
        add_doubt(response, "unpriced_usage")
    add_said(response, body, route.response)
    _add_status(response, body, route)
    for usage in (value for path in route.response.usage for value in values_at(body, path)):
        if isinstance(usage, dict):
            _add_usage(response, cast("dict[str, Any]", usage), request)
        else:
            add_doubt(response, "unparsed")


def _add_part(response: ImageResponse, part: Mapping[str, Any], route: Reading) -> bool:
    return part.get("type") == "image" and add_image(response, part, response.body, route.response)


def _add_status(response: ImageResponse, body: Mapping[str, Any], route: Reading) -> None:
    add_error(response, body, route.response)
    status, job = bounded(body.get("status"), ERROR_LIMIT), route.job or JOB
    response.whole = status in ("completed", "requires_action")
    if status is not None and is_one_of(status, job.pending) and not response.images:
        response.job_id = bounded(body.get("id"), NAME_LIMIT)
        response.job = response.job_id is not None
    elif status in _FAILED and not response.images:
        response.error_type = response.error_type or status


def _add_usage(response: ImageResponse, usage: Mapping[str, Any], request: ImageRequest) -> None:
    doubt = response.usage.doubt
    fields = {_NAMES.get(name, name): _by_modality(value) for name, value in usage.items()}
    thoughts, made = count(fields.get("thoughtsTokenCount")), count(fields.get("candidatesTokenCount"))
    given = (count(fields.get("promptTokenCount")) or 0) + (count(fields.get("toolUsePromptTokenCount")) or 0)
    if thoughts and made and given + made == count(fields.get("totalTokenCount")):
        # The thoughts are among the output, and text like what the details leave out.
        del fields["thoughtsTokenCount"]
    response.usage = gemini_usage_of(fields, input_images=request.input_images, images=bool(response.images))
    if doubt is not None:
        add_doubt(response, doubt)


def _by_modality(value: object) -> object:
    """Return a list of counts by modality as `usageMetadata` has them; anything else as it is."""
    return list(map(_renamed, cast("list[object]", value))) if isinstance(value, list) else value


def _renamed(entry: object) -> object:
    fields = _fields_of(entry)
    if "modality" not in fields:
        return entry
    modality, tokens = str(fields.pop("modality")).upper(), fields.pop("tokens", None)
    return {"modality": modality, "tokenCount": tokens, **fields}


def _fields_of(entry: object) -> dict[str, Any]:
    return dict(cast("dict[str, Any]", entry)) if isinstance(entry, dict) else {}
