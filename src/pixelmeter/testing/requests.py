"""Requests as they come in: heads, bodies, multipart forms, and what an image request asks for."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pixelmeter.testing.bodies import LARGEST_SIDE, is_list, is_object

__all__ = [
    "BadRequest",
    "Head",
    "ImageRequest",
    "Incomplete",
    "Route",
    "read_body",
    "read_count",
    "read_head",
    "read_image_request",
    "read_object",
    "route",
]

_LARGEST_BODY = 25_000_000
"""Bytes: AIgateway's cap for edits; the rest of a larger body is read and dropped."""

_PIECE = 1 << 18


class BadRequest(Exception):
    """A request that cannot be understood; the text says why."""


class Incomplete(Exception):
    """The client went away before its request was complete."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body; header names are in lower case, repeated headers joined by a comma."""

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    received_at: int
    """Unix time in microseconds."""
    old: bool
    """HTTP/1.0."""

    @property
    def retry_count(self) -> int:
        """Which attempt of a call the client says this is; 0 when it says nothing."""
        text = self.headers.get("x-stainless-retry-count", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0

    @property
    def keep_alive(self) -> bool:
        return not self.old and self.headers.get("connection", "").lower() != "close"


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Return the next request's head; None when the client has no more. Raises BadRequest."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    except asyncio.LimitOverrunError:
        raise BadRequest("the headers are too large") from None
    start, *lines = raw[:-4].decode("latin-1").split("\r\n")
    words = start.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest("this is not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    method, target, version = words
    path, query = target, {}
    if "?" in target or "%" in target or not target.startswith("/"):
        parts = urlsplit(target)
        path, query = unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))
    return Head(method, target, path, query, headers, time.time_ns() // 1000, version == "HTTP/1.0")


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes | None:
    """Return the body; None when it is larger than _LARGEST_BODY. Raises Incomplete or BadRequest."""
    try:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return await _read_chunks(reader)
        text = headers.get("content-length", "0")
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise BadRequest(f"the content-length is {text[:40]!r}")
        size = int(text)
        if size <= _LARGEST_BODY:
            return await reader.readexactly(size) if size else b""
        await _drop(reader, size)
        return None
    except (asyncio.IncompleteReadError, ConnectionError):
        raise Incomplete from None


async def _read_chunks(reader: asyncio.StreamReader) -> bytes | None:
    body = bytearray()
    total = 0
    while True:
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise Incomplete
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            raise BadRequest("a chunk of the body does not start with its size") from None
        total += size
        if not size:
            break
        if total <= _LARGEST_BODY:
            body += await reader.readexactly(size)
        else:
            await _drop(reader, size)
        await reader.readexactly(2)
    while (line := await reader.readline()) not in (b"\r\n", b"\n"):
        if not line.endswith(b"\n"):
            raise Incomplete
    return bytes(body) if total <= _LARGEST_BODY else None


async def _drop(reader: asyncio.StreamReader, size: int) -> None:
    while size:
        data = await reader.read(min(size, _PIECE))
        if not data:
            raise Incomplete
        size -= len(data)


@dataclass(frozen=True, slots=True)
class _Form:
    """A multipart form: its text fields, and the field name of each file."""

    fields: dict[str, str]
    files: tuple[str, ...]


def _parse_form(body: bytes, content_type: str) -> _Form:
    """Return the form in a multipart body; raise BadRequest."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if found is None:
        raise BadRequest("the multipart body has no boundary in its content-type")
    mark = b"--" + found[1].encode("latin-1")
    start, *parts, end = body.split(mark)
    if start.strip() or not end.startswith(b"--"):
        raise BadRequest("the multipart body does not start and end with its boundary")
    fields: dict[str, str] = {}
    files: list[str] = []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        disposition = head.decode("utf-8", "replace")
        name = re.search(r'[; ]name="([^"]*)"', disposition)
        if name is None:
            raise BadRequest("a part of the multipart body has no name")
        if re.search(r"[; ]filename\*?=", disposition):
            files.append(name[1])
        else:
            fields[name[1]] = content[:-2].decode("utf-8", "replace")
    return _Form(fields, tuple(files))


_ROUTE = re.compile(
    r"(?P<base>/openai/deployments/(?P<deployment>[^/]+)|/openai/v1|/api/v1|/v1|"
    # A Cloudflare AI Gateway: account, gateway, and the vendor that it passes on to.
    r"/v1/[\w-]+/[\w-]+/openai)?"
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
    named: str | None
    """The deployment or the model that the path names."""
    family: str
    """Whose path it is: azure, openrouter, fal, replicate, black-forest-labs, or aigateway for the common one."""


@dataclass(frozen=True, slots=True)
class ImageRequest:
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
    webhook: str | None = None
    """Where the events of its job are to be posted."""
    webhook_secret: str | None = None
    webhook_events: tuple[str, ...] | None = None
    """Which of them, as Replicate calls them; None: its usual ones."""

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


def read_image_request(head: Head, target: Route, body: bytes) -> ImageRequest:
    """Return what a request asks for; raise BadRequest with what is wrong with it."""
    content_type = head.headers.get("content-type", "")
    if content_type.startswith("multipart/"):
        form = _parse_form(body, content_type)
        given: dict[str, Any] = dict(form.fields)
        files = sum(name.partition("[")[0] == "image" for name in form.files)
    else:
        given = read_object(body)
        files = _linked_images(given)
    model: Any = given.get("model") or target.named or ""
    if is_list(model) and model:
        model = model[0]
    width, height = _size(given.get("size"))
    return ImageRequest(
        model=str(model),
        prompt=str(given.get("prompt") or ""),
        images=read_count(given, "n", 1, _MOST_IMAGES, default=1),
        width=width,
        height=height,
        quality=str(given.get("quality") or "auto"),
        response_format=str(given.get("response_format") or ""),
        stream=given.get("stream") in (True, "true"),
        partial_images=read_count(given, "partial_images", 0, 3, default=0),
        input_images=files,
        byok="provider_key_id" in given or any(name.startswith("x-byok-") for name in head.headers),
    )


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; raise BadRequest."""
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


def read_count(given: dict[str, Any], name: str, least: int, most: int, *, default: int) -> int:
    """Return a whole number of a document; raise BadRequest where it is none, or out of bounds."""
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
