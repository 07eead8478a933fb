"""Requests as they come in: HTTP/1.1 heads, and bodies of either framing."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["LARGEST_BODY", "BadRequest", "Head", "Incomplete", "read_body", "read_head"]

LARGEST_BODY = 25_000_000
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
    """Return the body; None when it is larger than LARGEST_BODY. Raises Incomplete or BadRequest."""
    try:
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return await _read_chunks(reader)
        text = headers.get("content-length", "0")
        if not text.isascii() or not text.isdigit() or len(text) > 15:
            raise BadRequest(f"the content-length is {text[:40]!r}")
        size = int(text)
        if size <= LARGEST_BODY:
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
        if total <= LARGEST_BODY:
            body += await reader.readexactly(size)
        else:
            await _drop(reader, size)
        await reader.readexactly(2)
    while (line := await reader.readline()) not in (b"\r\n", b"\n"):
        if not line.endswith(b"\n"):
            raise Incomplete
    return bytes(body) if total <= LARGEST_BODY else None


async def _drop(reader: asyncio.StreamReader, size: int) -> None:
    while size:
        data = await reader.read(min(size, _PIECE))
        if not data:
            raise Incomplete
        size -= len(data)
