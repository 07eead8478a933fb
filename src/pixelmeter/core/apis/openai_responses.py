"""The reader of OpenAI's Responses API with its image tool: two models, and two prices, in one answer.

The image model's tokens are in `tool_usage.image_gen`, those of the model that called it in `usage` (openai 3.57.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pixelmeter.core.apis.answers import add_doubt, add_error, add_image, add_said
from pixelmeter.core.apis.reader import Event, ImageRequest, ImageResponse, Reading, object_of
from pixelmeter.core.apis.usage import Block, Usage, blocks_of, usage_of
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import DocumentPath, RequestPlace, RequestPlaces, ResponsePlaces, values_at
from pixelmeter.core.text import ERROR_LIMIT, NAME_LIMIT, bounded

__all__ = ["JOB", "REQUEST", "RESPONSE", "add_event", "response_of"]

REQUEST = RequestPlaces(
    model=(RequestPlace("body.tools[].model"), RequestPlace("=gpt-image-1")),
    size=(RequestPlace("body.tools[].size"),),
    quality=(RequestPlace("body.tools[].quality"),),
    output_format=(RequestPlace("body.tools[].output_format"),),
    partial_images=(RequestPlace("body.tools[].partial_images"),),
    service_tier=(RequestPlace("body.service_tier"),),
    input_images=(RequestPlace("body.input[].content[].image_url"),),
)
"""No other tool has these fields; the model of the image tool is gpt-image-1 where the request names none."""
RESPONSE = ResponsePlaces(
    image=(DocumentPath("result"),),
    service_tier=(DocumentPath("service_tier"),),
    usage=(DocumentPath("tool_usage.image_gen"),),
    error_type=(DocumentPath("error.type"),),
    error_code=(DocumentPath("error.code"),),
)
"""Where the images are is the same everywhere: the output items of the type `image_generation_call`."""
JOB = Job(id=(DocumentPath("id"),), status=(DocumentPath("status"),), pending=("queued", "in_progress"), id_alone=False)

_IMAGE_CALL = "image_generation_call"
_BILLED_CALLS = ("web_search_call", "file_search_call", "code_interpreter_call")
"""Other tools that cost money beside the tokens."""
_OUTPUT = DocumentPath("output[]")
_TOOLS = DocumentPath("tools[]")
_OTHER_TOOLS = DocumentPath("tool_usage.web_search.num_requests")
_REASON = DocumentPath("incomplete_details.reason")
_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_FAILED = ("failed", "cancelled", "incomplete")


def response_of(document: bytes | None, request: ImageRequest, route: Reading) -> ImageResponse:
    """Read a whole body: an answer, an error, or the promise of an answer that is made in the background."""
    body = object_of(document)
    if body is None:
        return ImageResponse()
    response = ImageResponse(readable=True)
    _add_answer(response, body, request, route)
    return response


def add_event(response: ImageResponse, document: bytes, request: ImageRequest, route: Reading) -> Event | None:
    """Add an event of a stream: previews, images as they are done, and the whole answer at the end."""
    body = object_of(document)
    if body is None:
        return None
    response.readable = True
    kind, inner = body.get("type"), body.get("response")
    if kind == "response.image_generation_call.partial_image":
        return "partial"
    if kind == "response.output_item.done":
        return "complete" if _add_item(response, body.get("item"), route.response) else None
    if kind == "error" or body.get("error"):
        response.body = body
        add_error(response, body if body.get("error") else {"error": body | {"type": None}}, route.response)
        response.error_type = response.error_type or response.error_code or "error"
        return "end"
    if kind in _ENDS and isinstance(inner, dict):
        _add_answer(response, cast("dict[str, Any]", inner), request, route)
        return "end"
    return None


def _add_answer(response: ImageResponse, body: dict[str, Any], request: ImageRequest, route: Reading) -> None:
    """Add a whole answer; the images that came before it are among its own."""
    places = route.response
    response.body = body
    streamed, calls, refused = response.images or 0, 0, None
    is_answer = isinstance(body.get("output"), list)
    if is_answer:
        response.images = 0
    for item in values_at(body, _OUTPUT):
        _add_item(response, item, places)
        if isinstance(item, dict):
            fields = cast("dict[str, Any]", item)
            calls += fields.get("type") == _IMAGE_CALL
            refused = refused or _refusal(fields)
    if is_answer or streamed:
        response.images = max(response.images or 0, streamed)
    response.model = _image_model(body) or response.model
    add_said(response, body, places)
    if response.service_tier == "default":
        # "If set to 'default', then the request will be processed with the standard pricing".
        response.service_tier = "standard"
    _add_status(response, body, route, refused)
    if is_answer and not response.job:
        _add_usage(response, body, request, places, is_silent=not calls and not response.images)


def _add_item(response: ImageResponse, item: object, places: ResponsePlaces) -> bool:
    """Count an output item if it has an image, and take what it says of it; return whether it has."""
    if not isinstance(item, dict):
        return False
    fields = cast("dict[str, Any]", item)
    if fields.get("type") != _IMAGE_CALL or not add_image(response, fields, response.body, places):
        return False
    size = bounded(fields.get("size"), 40)
    response.size = response.size if size in (None, "auto") else size
    response.quality = bounded(fields.get("quality"), 40) or response.quality
    response.output_format = bounded(fields.get("output_format"), 40) or response.output_format
    return True


def _refusal(item: Mapping[str, Any]) -> tuple[str | None, str | None] | None:
    """Return type and code of the error of an image call that failed."""
    error = item.get("error")
    if item.get("type") != _IMAGE_CALL or not (isinstance(error, dict) or item.get("status") == "failed"):
        return None
    fields = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
    return bounded(fields.get("type"), ERROR_LIMIT) or "failed", bounded(fields.get("code"), ERROR_LIMIT)


def _image_model(body: Mapping[str, Any]) -> str | None:
    """Return the model of the image tool, which an answer repeats."""
    for tool in values_at(body, _TOOLS):
        if isinstance(tool, dict) and (fields := cast("dict[str, Any]", tool)).get("type") == "image_generation":
            return bounded(fields.get("model"), NAME_LIMIT)
    return None


def _add_status(
    response: ImageResponse, body: Mapping[str, Any], route: Reading, refused: tuple[str | None, str | None] | None
) -> None:
    add_error(response, body, route.response)
    status, job = body.get("status"), route.job or JOB
    reason = bounded(next(values_at(body, _REASON), None), ERROR_LIMIT)
    response.whole = status == "completed" or (status == "incomplete" and reason == "max_output_tokens")
    if isinstance(status, str) and status in job.pending:
        response.job_id = bounded(body.get("id"), NAME_LIMIT)
        response.job = response.job_id is not None
    elif status in _FAILED and not response.whole:
        response.error_type = response.error_type or reason or response.error_code or bounded(status, ERROR_LIMIT)
    if refused is not None and not response.images and response.error_type is None:
        response.error_type, response.error_code = refused[0], response.error_code or refused[1]


def _add_usage(
    response: ImageResponse,
    body: Mapping[str, Any],
    request: ImageRequest,
    places: ResponsePlaces,
    *,
    is_silent: bool,
) -> None:
    """Take the tokens of both models. Where the image tool was not called (`is_silent`), it cost nothing."""
    found = [value for path in places.usage for value in values_at(body, path)]
    if found and isinstance(found[0], dict):
        response.usage = usage_of(cast("dict[str, Any]", found[0]), input_images=request.input_images)
    elif found:
        add_doubt(response, "unparsed")
    elif is_silent:
        response.usage = Usage(input_text=0, output_image=0)
    else:
        # Without the image model's tokens the others are a part of the bill.
        add_doubt(response, "unpriced_tokens")
    text = body.get("usage")
    # A language model has one price for all of its input, so what went in as an image need not be told apart.
    usage = usage_of(cast("dict[str, Any]", text), input_images=0, makes="text") if isinstance(text, dict) else Usage()
    response.blocks = (Block(bounded(body.get("model"), NAME_LIMIT), usage),)
    found_blocks, doubt = blocks_of({name: value for name, value in body.items() if name != "tool_usage"})
    others = list(found_blocks)
    for item in values_at(body, _OUTPUT):
        if isinstance(item, dict):
            fields = cast("dict[str, Any]", item)
            svgs, unknown = blocks_of(fields)
            others += svgs
            doubt = doubt or unknown
            if fields.get("type") in _BILLED_CALLS:
                doubt = "unpriced_usage"
    if doubt is not None or any(values_at(body, _OTHER_TOOLS)):
        add_doubt(response, "unpriced_usage")
    response.blocks += tuple(others)
