"""The reader of OpenAI's images API, which many gateways speak."""

from __future__ import annotations

from typing import Any

from pixelmeter.core.apis.answers import (
    Progress,
    add_doubt,
    add_error,
    add_image,
    add_said,
    add_usage,
    answer_of,
    keep_usage,
    usage_in,
)
from pixelmeter.core.apis.reader import Event, ImageRequest, ImageResponse, Reading, object_of
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import DocumentPath, RequestPlace, RequestPlaces, ResponsePlaces

__all__ = ["JOB", "REQUEST", "RESPONSE", "add_event", "response_of"]


REQUEST = RequestPlaces(
    model=(RequestPlace("body.model"),),
    images=(RequestPlace("body.n"),),
    size=(RequestPlace("body.size"),),
    width=(RequestPlace("body.width"),),
    height=(RequestPlace("body.height"),),
    quality=(RequestPlace("body.quality"),),
    output_format=(RequestPlace("body.output_format"),),
    steps=(RequestPlace("body.steps"), RequestPlace("body.num_inference_steps")),
    partial_images=(RequestPlace("body.partial_images"),),
    input_images=(RequestPlace("body.image"), RequestPlace("body.images"), RequestPlace("body.image_url")),
)
RESPONSE = ResponsePlaces(
    items=(DocumentPath("data[]"), DocumentPath("images[]")),
    image=(DocumentPath("b64_json"), DocumentPath("url")),
    model=(DocumentPath("model"),),
    size=(DocumentPath("size"),),
    quality=(DocumentPath("quality"),),
    output_format=(DocumentPath("output_format"),),
    service_tier=(DocumentPath("service_tier"),),
    usage=(DocumentPath("usage"),),
    error_type=(DocumentPath("error.type"), DocumentPath("error.status")),
    error_code=tuple(map(DocumentPath, ("error.code", "error.inner_error.code", "error.innererror.code"))),
)
JOB = Job(
    id=tuple(map(DocumentPath, ("id", "task_id", "data[].task_id", "data.task_id", "data.id"))),
    status=tuple(map(DocumentPath, ("status", "task_status", "data[].status", "data.status", "data.task_status"))),
    failed=("fail*", "error*", "cancel*", "reject*", "expired"),
    id_alone=False,
)


def response_of(document: bytes | None, request: ImageRequest, route: Reading) -> ImageResponse:
    """Read a whole body; what is no object among its images is none."""
    return answer_of(document, request, route, texts=False)


def add_event(response: ImageResponse, document: bytes, request: ImageRequest, route: Reading) -> Event | None:
    """Add an event of a stream; the usage comes with the last image, or in an event of its own after the images."""
    body = object_of(document)
    if body is None:
        return None
    response.readable = True
    kind = body.get("type")
    if not isinstance(kind, str):
        return None
    places = route.response
    if kind == "error" or "error" in body:
        add_error(response, body if "error" in body else {"error": body}, places)
        return None
    if kind.endswith(".partial_image"):
        return "partial"
    if not kind.endswith((".completed", ".partial_succeeded")):
        return None
    before, response.body = response.body, body
    response.images = response.images or 0
    size, response.size = response.size, None
    is_image = add_image(response, body, body, places)
    if not is_image:
        response.size = size
    add_said(response, body, places)
    add_usage(response, body, request, places)
    _add_progress(response, before, route)
    if kind.endswith(".partial_succeeded"):
        return "complete" if is_image else None
    # Where an image has come with each event, the last event may have none.
    return "end" if response.images >= request.images or not is_image else "complete"


def _add_progress(response: ImageResponse, before: dict[str, Any], route: Reading) -> None:
    """Keep the event with the usage, which is of all images; of several, nobody says what each is of."""
    progress: Progress = response.progress or Progress()
    response.progress = progress
    if usage_in(before, route.response) and usage_in(response.body, route.response):
        progress.say("unparsed")
    keep_usage(response, before, route.response)
    if progress.doubt is not None:
        # The same holds for a cost beside it.
        add_doubt(response, progress.doubt)
        response.body = {}
