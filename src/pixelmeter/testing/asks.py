"""What a request asks for, whatever the path and the encoding it came in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from pixelmeter.testing.forms import parse_form
from pixelmeter.testing.images import LARGEST_SIDE
from pixelmeter.testing.incoming import BadRequest, Head
from pixelmeter.testing.shapes import is_list, is_object

__all__ = ["Ask", "Route", "read_ask", "route"]

_ROUTE = re.compile(
    r"(?P<base>/openai/deployments/(?P<deployment>[^/]+)|/openai/v1|/api/v1|/v1)?"
    r"/(?P<what>images/generations|images/edits|images/variations|images|chat/completions)"
)
_OPERATIONS = {
    "images": "generate",
    "images/generations": "generate",
    "images/edits": "edit",
    "images/variations": "variation",
    "chat/completions": "chat_image",
}
_DEFAULT_SIDE = 1024
_MOST_IMAGES = 128


@dataclass(frozen=True, slots=True)
class Route:
    """An image request by its path."""

    operation: str
    deployment: str | None
    family: str
    """Whose path it is: azure, openrouter, or aigateway for the common one."""


@dataclass(frozen=True, slots=True)
class Ask:
    """An image request by its content."""

    model: str
    """"" when the request names none."""
    prompt: str
    images: int
    width: int
    height: int
    quality: str
    response_format: str
    stream: bool
    partial_images: int
    input_images: int
    byok: bool

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"


def route(method: str, path: str) -> Route | None:
    """Return which image operation a path is; None when it is none."""
    found = _ROUTE.fullmatch(path)
    if found is None or method != "POST":
        return None
    base, what = found["base"] or "", found["what"]
    if base.startswith("/openai"):
        family = "azure"
    else:
        family = "openrouter" if base == "/api/v1" or what in ("images", "chat/completions") else "aigateway"
    return Route(_OPERATIONS[what], found["deployment"], family)


def read_ask(head: Head, target: Route, body: bytes) -> Ask:
    """Return what a request asks for; raise BadRequest with what is wrong with it."""
    content_type = head.headers.get("content-type", "")
    if content_type.startswith("multipart/"):
        form = parse_form(body, content_type)
        given: dict[str, Any] = dict(form.fields)
        files = sum(name.partition("[")[0] == "image" for name in form.files)
    else:
        given = _object(body)
        files = _linked_images(given)
    model: Any = given.get("model") or target.deployment or ""
    if is_list(model) and model:
        model = model[0]
    width, height = _size(given.get("size"))
    return Ask(
        model=str(model),
        prompt=str(given.get("prompt") or ""),
        images=_count(given, "n", 1, _MOST_IMAGES, default=1),
        width=width,
        height=height,
        quality=str(given.get("quality") or "auto"),
        response_format=str(given.get("response_format") or ""),
        stream=given.get("stream") in (True, "true"),
        partial_images=_count(given, "partial_images", 0, 3, default=0),
        input_images=files,
        byok="provider_key_id" in given or any(name.startswith("x-byok-") for name in head.headers),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        given: Any = json.loads(body)
    except ValueError:
        raise BadRequest("the body is not JSON") from None
    if not is_object(given):
        raise BadRequest("the body must be a JSON object")
    return given


def _linked_images(given: dict[str, Any]) -> int:
    links: Any = given.get("image_url") or given.get("images") or given.get("image") or ()
    return len(links) if is_list(links) else int(bool(links))


def _count(given: dict[str, Any], name: str, least: int, most: int, *, default: int) -> int:
    value: Any = given.get(name)
    if value is None or value == "":
        return default
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not least <= int(text) <= most:
        raise BadRequest(f"{name} must be a whole number from {least} to {most}")
    return int(text)


def _size(value: Any) -> tuple[int, int]:
    if value is None or value in ("", "auto"):
        return _DEFAULT_SIDE, _DEFAULT_SIDE
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", str(value), re.ASCII)
    if found is None or not all(1 <= int(side) <= LARGEST_SIDE for side in found.groups()):
        raise BadRequest(f"size must be auto or WIDTHxHEIGHT, up to {LARGEST_SIDE}x{LARGEST_SIDE}")
    return int(found[1]), int(found[2])
