"""The requests of vendors whose APIs are jobs (fal, Replicate, Black Forest Labs), and those that follow a job."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pixelmeter.testing.bodies import LARGEST_SIDE, is_list, is_object
from pixelmeter.testing.requests import BadRequest, Head, ImageRequest, Route, read_count, read_object

__all__ = ["Follow", "follow", "is_direct", "job_route", "read_job_request"]

_SUBMITS = (
    (re.compile(r"/v1/models/(?P<model>[^/]+/[^/]+)/predictions"), "replicate"),
    (re.compile(r"/v1/predictions(?P<model>)"), "replicate"),
    (re.compile(r"/v1/(?P<model>flux[\w.-]*)"), "black-forest-labs"),
    (re.compile(r"/(?P<model>(?!v1|api/|openai/|files/|chat/|images/|usage/)[\w.-]+/(?!requests/)[\w./-]+)"), "fal"),
)
_EDITS = re.compile(r"edit|kontext|fill|inpaint|upscal|redux|image-to-image")
_REPLICATE_MODEL = "black-forest-labs/flux-schnell"
_FAL_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_INPUTS = ("image_url", "image_urls", "image", "images", "input_image", "image_input", "image_prompt")
_MOST_IMAGES = 10


def job_route(method: str, path: str) -> Route | None:
    """Return which submit of a vendor a path is; None when it is none."""
    if method != "POST":
        return None
    for pattern, vendor in _SUBMITS:
        if found := pattern.fullmatch(path):
            if vendor == "fal" and "/requests/" in path:
                return None
            model = found["model"]
            return Route("edit" if _EDITS.search(model) else "generate", model or None, vendor)
    return None


def is_direct(vendor: str, head: Head) -> bool:
    """Return whether a request wants the images in its answer, and no job."""
    if vendor == "fal":
        return head.headers.get("host", "").startswith("localhost")
    return vendor == "replicate" and head.headers.get("prefer", "").startswith("wait")


def read_job_request(head: Head, target: Route, body: bytes) -> ImageRequest:
    """Return what a submit asks for; raise BadRequest with what is wrong with it."""
    whole = read_object(body)
    inner: Any = whole.get("input")
    given: dict[str, Any] = inner if target.family == "replicate" and is_object(inner) else whole
    model = target.named or str(whole.get("version") or "").partition(":")[0]
    if "/" not in model and target.family == "replicate":
        model = _REPLICATE_MODEL
    counted = {"fal": "num_images", "replicate": "num_outputs"}.get(target.family)
    width, height = _sides(given)
    events: Any = whole.get("webhook_events_filter")
    webhook = head.query.get("fal_webhook") or whole.get("webhook") or whole.get("webhook_url")
    secret = whole.get("webhook_secret")
    return ImageRequest(
        model=model,
        prompt=str(given.get("prompt") or ""),
        images=read_count(given, counted, 1, _MOST_IMAGES, default=1) if counted else 1,
        width=width,
        height=height,
        quality="auto",
        response_format="url",
        stream=False,
        partial_images=0,
        input_images=_inputs(given),
        byok=False,
        webhook=str(webhook) if webhook else None,
        webhook_secret=str(secret) if secret else None,
        webhook_events=tuple(str(event) for event in events) if is_list(events) else None,
    )


def _inputs(given: dict[str, Any]) -> int:
    count = 0
    for name in _INPUTS:
        value: Any = given.get(name)
        count += len(value) if is_list(value) else int(bool(value))
    return count


def _sides(given: dict[str, Any]) -> tuple[int, int]:
    size: Any = given.get("image_size")
    if isinstance(size, str) and size in _FAL_SIZES:
        return _FAL_SIZES[size]
    if isinstance(size, str):
        raise BadRequest(f"image_size must be one of {', '.join(_FAL_SIZES)}, or an object with width and height")
    fields = size if is_object(size) else given
    width = read_count(fields, "width", 1, LARGEST_SIDE, default=1024)
    height = read_count(fields, "height", 1, LARGEST_SIDE, default=768)
    return width, height


@dataclass(frozen=True, slots=True)
class Follow:
    """A request about a job that was submitted before."""

    vendor: str
    job: str
    what: Literal["status", "result", "cancel"]


_FAL = re.compile(r"/[\w.-]+/[\w.-]+/requests/([^/]+)(/status|/cancel)?")
_REPLICATE = re.compile(r"/v1/predictions/([^/]+)(/cancel)?")
_AIGATEWAY = re.compile(r"(?:/openai/v1|/api/v1|/v1)?/jobs/([^/]+)(/cancel)?")


def follow(head: Head) -> Follow | None:
    """Return which job a request is about; None when it is about none."""
    if found := _AIGATEWAY.fullmatch(head.path):
        return Follow("aigateway", found[1], "cancel" if found[2] or head.method == "DELETE" else "status")
    if found := _REPLICATE.fullmatch(head.path):
        return Follow("replicate", found[1], "cancel" if found[2] else "status")
    if head.path == "/v1/get_result":
        return Follow("black-forest-labs", head.query.get("id", ""), "status")
    if found := _FAL.fullmatch(head.path):
        what = (found[2] or "/result")[1:]
        return Follow("fal", found[1], "cancel" if what == "cancel" else "status" if what == "status" else "result")
    return None
