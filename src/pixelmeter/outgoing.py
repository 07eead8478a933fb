"""A request of httpx or httpx2, read without touching it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec

from pixelmeter.core.gateways import Profile
from pixelmeter.core.headers import Headers
from pixelmeter.core.request import Ask, ask_of_fields, ask_of_json, document_of
from pixelmeter.core.text import bounded

__all__ = ["Body", "RequestLike", "ask_of", "retry_of", "trace_id_of"]

_RETRY = b"x-stainless-retry-count"
_TRACEPARENT = b"traceparent"
_TRACE_ID = re.compile(rb"(?!0{32})[0-9A-Fa-f]{32}")


class RequestLike(Protocol):
    """What both libraries' requests have."""

    method: str
    stream: Any
    extensions: Any

    @property
    def url(self) -> Any: ...
    @property
    def headers(self) -> Any: ...
    @property
    def content(self) -> bytes: ...


class Body:
    """What of a request's body is in memory: a JSON document, or the fields of a form; a stream stays unread."""

    __slots__ = ("_document", "_fields")

    def __init__(self, request: RequestLike, headers: Headers) -> None:
        kind = headers.get(b"content-type", b"")
        self._document: bytes | None = None
        self._fields: tuple[tuple[str, str | None], ...] = ()
        # `content` raises for a stream that has not been read, and reading it would use it up.
        if kind.startswith(b"application/json") and hasattr(request, "_content"):
            self._document = document_of(request.content)
        elif kind.startswith(b"multipart/form-data"):
            self._fields = tuple(_form(request.stream))

    @property
    def unread(self) -> bool:
        """Whether nothing of it is in memory."""
        return self._document is None and not self._fields

    def ask(self, fields: tuple[str, ...] = ()) -> Ask:
        """Return what it asks for, and which of the fields it has."""
        if self._document is None:
            return ask_of_fields(self._fields, fields)
        return ask_of_json(self._document, fields)

    def same_as(self) -> int:
        """Return what is equal for two requests of the same content: how a retry is recognised. Never stored."""
        return hash(self._fields if self._document is None else self._document)


def ask_of(body: Body, profile: Profile, target: bytes, headers: Headers) -> Ask:
    """Return what the request asks for, its path and headers included."""
    ask = body.ask(profile.request_fields)
    if profile.identity.model_in_path is not None:
        named = _segment_after(target, profile.identity.model_in_path)
        ask = msgspec.structs.replace(ask, model=ask.model or named, deployment=named)
    byok = profile.byok
    if byok is not None and (
        byok.request_field in ask.named or _has_name_like(tuple(headers), byok.request_header_prefix)
    ):
        ask = msgspec.structs.replace(ask, byok=True)
    return ask


# A client sends the same few names with every request.
@lru_cache(maxsize=256)
def _has_name_like(names: tuple[bytes, ...], prefix: bytes) -> bool:
    return prefix != b"" and any(name.startswith(prefix) for name in names)


def retry_of(headers: Headers) -> int | None:
    """Return the SDK's retry count; None where it sends none."""
    text = headers.get(_RETRY, b"")
    return int(text) if text.isdigit() and len(text) <= 4 else None


def trace_id_of(headers: Headers) -> str | None:
    """Return the trace of the request: its W3C traceparent, else that of the current OpenTelemetry span."""
    parts = headers.get(_TRACEPARENT, b"").split(b"-")
    if len(parts) >= 4 and _TRACE_ID.fullmatch(parts[1]):
        return parts[1].decode("ascii").lower()
    # Looked up, not imported: where nobody loaded it, or another thread is about to, there is no current span.
    trace: Any = sys.modules.get("opentelemetry.trace")
    if not hasattr(trace, "get_current_span"):
        return None
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def _form(stream: Any) -> Iterator[tuple[str, str | None]]:
    # Both libraries keep the fields of a form in the stream's `fields`; where they do not, nothing is known of it.
    for field in getattr(stream, "fields", ()):
        value = getattr(field, "value", None)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        yield str(field.name), None if value is None else str(value)


def _segment_after(target: bytes, name: str) -> str | None:
    segments = target.partition(b"?")[0].decode("latin-1").split("/")
    at = segments.index(name) + 1 if name in segments else len(segments)
    return bounded(unquote(segments[at])) if at < len(segments) else None
