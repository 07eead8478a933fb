"""The reader of Gemini's `generateContent` and `streamGenerateContent`: one answer, a list of them, or a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pixelmeter.core.apis.answers import Progress, add_error, add_image, add_progress, add_said, keep_usage
from pixelmeter.core.apis.gemini_usage import gemini_usage_of
from pixelmeter.core.apis.reader import Event, ImageRequest, ImageResponse, Reading, json_of
from pixelmeter.core.gateways.places import DocumentPath, RequestPlace, RequestPlaces, ResponsePlaces, values_at
from pixelmeter.core.text import ERROR_LIMIT, bounded

__all__ = ["JOB", "REQUEST", "RESPONSE", "add_event", "response_of"]

REQUEST = RequestPlaces(
    model=(RequestPlace("path.model"),),
    images=(RequestPlace("body.generationConfig.candidateCount"),),
    size=(RequestPlace("body.generationConfig.imageConfig.imageSize"),),
    service_tier=(RequestPlace("body.serviceTier"),),
    input_images=tuple(
        RequestPlace(f"body.contents[].parts[].{name}")
        for name in ("inlineData", "inline_data", "fileData", "file_data")
    ),
)
RESPONSE = ResponsePlaces(
    image=(DocumentPath("inlineData.data"), DocumentPath("inline_data.data")),
    model=(DocumentPath("modelVersion"),),
    service_tier=(DocumentPath("usageMetadata.serviceTier"), DocumentPath("usageMetadata.trafficType")),
    usage=(DocumentPath("usageMetadata"),),
    error_type=tuple(map(DocumentPath, ("error.status", "error.type", "promptFeedback.blockReason"))),
    error_code=(DocumentPath("error.code"),),
)
"""Where the images are is the same everywhere: the parts of the candidates."""
JOB = None

_TIERS = {
    "on_demand": "standard",
    "unspecified": "standard",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
}
"""What `trafficType` and `serviceTier` call the tiers that have prices, in small letters."""

_NO_REFUSAL = frozenset({"STOP", "MAX_TOKENS", "CONTINUATION", "FINISH_REASON_UNSPECIFIED"})
"""Reasons to finish with which an answer without an image is still a good one: it has words, or ran out of tokens."""

_PARTS = DocumentPath("content.parts[]")
_SEARCHES = tuple(DocumentPath(f"groundingMetadata.{name}[]") for name in ("webSearchQueries", "imageSearchQueries"))


def response_of(document: bytes | None, request: ImageRequest, route: Reading) -> ImageResponse:
    """Read a whole body: one answer, or the list of parts of one that a stream without `alt=sse` is."""
    found: list[Any] | dict[str, Any] | None = json_of(document)
    response = ImageResponse()
    for part in found if isinstance(found, list) else [found]:
        if isinstance(part, dict):
            _add(response, cast("dict[str, Any]", part), request, route)
    response.whole = response.images is not None
    return response


def add_event(response: ImageResponse, document: bytes, request: ImageRequest, route: Reading) -> Event | None:
    """Add a part of a streamed answer. Its end is that of the stream: nothing in it says that no part follows."""
    found = json_of(document)
    if not isinstance(found, dict):
        return None
    before = response.images or 0
    _add(response, cast("dict[str, Any]", found), request, route)
    return "complete" if (response.images or 0) > before else None


def _add(response: ImageResponse, body: dict[str, Any], request: ImageRequest, route: Reading) -> None:
    places = route.response
    progress: Progress = response.progress or Progress()
    told = response.body
    response.readable, response.body, response.progress = True, body, progress
    before = response.images or 0
    candidates: list[Any] | None = body.get("candidates")
    refused: str | None = None
    if isinstance(candidates, list) or "promptFeedback" in body:
        response.images = before
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, dict):
            refused = _add_candidate(response, cast("dict[str, Any]", candidate), body, places, progress) or refused
    add_said(response, body, places)
    tier = (response.service_tier or "").lower()
    response.service_tier = None if tier in ("", "traffic_type_unspecified") else _TIERS.get(tier, tier)
    progress.behind = progress.behind or (response.images or 0) > before
    _add_usage(response, body, request, places, progress)
    if not progress.behind:
        keep_usage(response, told, places)
    add_error(response, body, places)
    if not response.images:
        response.error_type = response.error_type or refused


def _add_candidate(
    response: ImageResponse,
    candidate: Mapping[str, Any],
    body: Mapping[str, Any],
    places: ResponsePlaces,
    progress: Progress,
) -> str | None:
    """Count the images of a candidate; return why it was ended, where that is the answer's own word for a failure."""
    for part in values_at(candidate, _PARTS):
        if isinstance(part, dict) and _is_image(fields := cast("dict[str, Any]", part)):
            add_image(response, fields, body, places)
    if any(query for path in _SEARCHES for query in values_at(candidate, path)):
        # Searches are billed besides the tokens.
        progress.say("unpriced_usage")
    reason = bounded(candidate.get("finishReason"), ERROR_LIMIT)
    response.whole = response.whole or reason is not None
    return None if reason in _NO_REFUSAL else reason


def _is_image(part: Mapping[str, Any]) -> bool:
    """Return whether a part is an image; those among the thoughts are drafts, and not delivered."""
    data = part.get("inlineData") or part.get("inline_data")
    if part.get("thought") is True or not isinstance(data, dict):
        return False
    fields = cast("dict[str, Any]", data)
    kind = fields.get("mimeType") or fields.get("mime_type")
    return isinstance(kind, str) and kind.lower().startswith("image/")


def _add_usage(
    response: ImageResponse,
    body: Mapping[str, Any],
    request: ImageRequest,
    places: ResponsePlaces,
    progress: Progress,
) -> None:
    """Take the usage of a part: it counts all that came so far, so the last one is that of the answer."""
    for usage in (value for path in places.usage for value in values_at(body, path)):
        if isinstance(usage, dict):
            response.usage = gemini_usage_of(
                cast("dict[str, Any]", usage), input_images=request.input_images, images=bool(response.images)
            )
            progress.behind = False
        else:
            progress.say("unparsed")
    add_progress(response, {name: value for name, value in body.items() if name != "usageMetadata"}, progress)
