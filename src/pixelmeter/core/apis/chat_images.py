"""The reader of chat completions whose messages have images."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from pixelmeter.core.apis.answers import Progress, add_error, add_image, add_progress, add_said, keep_usage
from pixelmeter.core.apis.reader import Event, ImageRequest, ImageResponse, Reading, object_of
from pixelmeter.core.apis.usage import chat_usage_of, has_usage
from pixelmeter.core.gateways.places import DocumentPath, RequestPlace, RequestPlaces, ResponsePlaces, values_at
from pixelmeter.core.text import count

__all__ = ["JOB", "REQUEST", "RESPONSE", "add_event", "response_of"]

REQUEST = RequestPlaces(
    model=(RequestPlace("body.model"),),
    images=(RequestPlace("body.n"),),
    size=(RequestPlace("body.image_config.image_size"),),
    service_tier=(RequestPlace("body.service_tier"),),
    input_images=(RequestPlace("body.messages[].content[].image_url"),),
)
RESPONSE = ResponsePlaces(
    image=tuple(map(DocumentPath, ("image_url.url", "image_url", "url", "b64_json", "image"))),
    model=(DocumentPath("model"),),
    service_tier=(DocumentPath("service_tier"),),
    usage=(DocumentPath("usage"),),
    error_type=tuple(map(DocumentPath, ("error.type", "error.metadata.error_type", "error.status"))),
    error_code=(DocumentPath("error.code"),),
)
"""Where the images are is the same everywhere: the messages of the choices, or what a stream adds to them."""
JOB = None

_IMAGE_PARTS = ("image_url", "image", "output_image")
_IN_MARKDOWN = re.compile(r"\]\(data:image/|!\[[^\[\]]*\]\(https?://")
_REASONING = ("reasoning", "reasoning_content", "reasoning_details")
_WORDS = ("refusal", "tool_calls", "audio")
_IMAGES_LIMIT = 10_000


class _Progress(Progress):
    images: set[tuple[int, int]] = msgspec.field(default_factory=set[tuple[int, int]])
    """The numbers of choices and of their images that were counted."""
    text: bool = False
    """Whether the answer has anything but images that is made of tokens."""
    reasoning: bool = False


def response_of(document: bytes | None, request: ImageRequest, route: Reading) -> ImageResponse:
    """Read a whole body; without an image and without an error it is an answer in words."""
    body = object_of(document)
    if body is None:
        return ImageResponse()
    response = ImageResponse(progress=_Progress())
    _add(response, body, request, route, streamed=False)
    response.whole = response.images is not None and not body.get("error")
    return response


def add_event(response: ImageResponse, document: bytes, request: ImageRequest, route: Reading) -> Event | None:
    """Add a chunk of a stream: each image once, the usage of the last chunk that has one, and `[DONE]`."""
    if document.strip() == b"[DONE]":
        response.whole = response.images is not None
        return "end"
    body = object_of(document)
    if body is None:
        return None
    if response.progress is None:
        response.progress = _Progress()
    before = response.images or 0
    _add(response, body, request, route, streamed=True)
    if body.get("error"):
        response.error_type = response.error_type or "error"
    return "complete" if (response.images or 0) > before else None


def _add(
    response: ImageResponse, body: dict[str, Any], request: ImageRequest, route: Reading, *, streamed: bool
) -> None:
    places, progress = route.response, cast("_Progress", response.progress)
    before, response.readable, response.body = response.body, True, body
    choices: list[Any] | None = body.get("choices")
    if isinstance(choices, list):
        response.images = response.images or 0
        for at, choice in enumerate(choices):
            if isinstance(choice, dict):
                _add_choice(response, cast("dict[str, Any]", choice), at, places, progress, streamed=streamed)
    add_said(response, body, places)
    if response.service_tier is not None:
        # OpenAI: "If set to 'default', then the request will be processed with the standard pricing".
        response.service_tier = "standard" if response.service_tier == "default" else response.service_tier
    _add_usage(response, body, request, places, progress)
    if not progress.behind:
        keep_usage(response, before, places)
    add_error(response, body, places)


def _add_choice(
    response: ImageResponse,
    choice: Mapping[str, Any],
    at: int,
    places: ResponsePlaces,
    progress: _Progress,
    *,
    streamed: bool,
) -> None:
    message = choice.get("delta") or choice.get("message")
    if isinstance(message, dict):
        fields = cast("dict[str, Any]", message)
        number = count(choice.get("index"))
        for item in _items(fields, progress):
            _add_item(response, item, at if number is None else number, places, progress, streamed=streamed)
        _add_words(response, fields, progress)
    reason = choice.get("finish_reason")
    if choice.get("error") or reason == "error":
        add_error(response, choice, places)
        response.error_type = response.error_type or "error"
    response.whole = response.whole or isinstance(reason, str)


def _items(message: Mapping[str, Any], progress: _Progress) -> Iterator[dict[str, Any]]:
    """Yield what is or may be an image of a message; where it has a list of them, its content repeats them at most."""
    images: list[Any] | None = message.get("images")
    content: list[Any] | str | None = message.get("content")
    found = images if isinstance(images, list) else []
    if not found and isinstance(content, list):
        found = content
    for item in found:
        if isinstance(item, dict):
            fields = cast("dict[str, Any]", item)
            if found is images or fields.get("type") in _IMAGE_PARTS:
                yield fields
            if has_usage(fields):
                progress.say("unpriced_usage")


def _add_item(
    response: ImageResponse,
    item: Mapping[str, Any],
    choice: int,
    places: ResponsePlaces,
    progress: _Progress,
    *,
    streamed: bool,
) -> None:
    """Count an image. A stream may repeat one, under the same index; a whole message has each once."""
    index = count(item.get("index")) if streamed else None
    if len(progress.images) >= _IMAGES_LIMIT or (index is not None and (choice, index) in progress.images):
        return
    if add_image(response, item, response.body, places):
        # Those without an index are told by their order.
        progress.images.add((choice, index) if index is not None else (-1, len(progress.images)))
        progress.behind = True


def _add_words(response: ImageResponse, message: Mapping[str, Any], progress: _Progress) -> None:
    content: list[Any] | str | None = message.get("content")
    texts: list[Any] = [content]
    if isinstance(content, list):
        texts = [cast("dict[str, Any]", part).get("text") for part in content if isinstance(part, dict)]
    for text in texts:
        if not isinstance(text, str) or not text:
            continue
        shown = len(_IN_MARKDOWN.findall(text))
        if shown and not message.get("images"):
            # Long texts come cut, so there may be more of them, and words besides.
            response.images = (response.images or 0) + shown
            progress.say("unparsed")
        progress.text = progress.behind = True
    if any(message.get(name) for name in _WORDS):
        progress.text = progress.behind = True
    if any(message.get(name) for name in _REASONING):
        progress.reasoning = progress.behind = True


def _add_usage(
    response: ImageResponse,
    body: Mapping[str, Any],
    request: ImageRequest,
    places: ResponsePlaces,
    progress: _Progress,
) -> None:
    """Take the usage of a chunk: it counts all that came so far, so the last one is that of the answer."""
    for usage in (value for path in places.usage for value in values_at(body, path)):
        if isinstance(usage, dict):
            fields = cast("dict[str, Any]", usage)
            # Reasoning that nobody counted is text among the tokens of the images.
            text = progress.text or (progress.reasoning and not _counts_reasoning(fields))
            response.usage = chat_usage_of(
                fields, input_images=request.input_images, images=bool(response.images), text=text
            )
            progress.behind = False
        else:
            progress.say("unparsed")
    add_progress(response, body, progress)


_REASONED = tuple(
    map(
        DocumentPath,
        (
            "completion_tokens_details.reasoning_tokens",
            "output_tokens_details.reasoning_tokens",
            "reasoning_tokens",
        ),
    )
)


def _counts_reasoning(usage: Mapping[str, Any]) -> bool:
    return any(value for path in _REASONED for value in values_at(usage, path))
