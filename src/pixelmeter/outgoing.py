"""A request of httpx or httpx2, read without touching it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from pixelmeter.core.gateways import Profile
from pixelmeter.core.request import Ask, ask_of_fields, ask_of_json
from pixelmeter.core.text import bounded

__all__ = ["RequestLike", "ask_of", "length_of", "retry_of", "trace_id_of"]

_RETRY = b"x-stainless-retry-count"
_TRACEPARENT = b"traceparent"
_LENGTH = b"content-length"
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


def ask_of(request: RequestLike, profile: Profile, target: bytes, headers: Mapping[bytes, bytes]) -> Ask:
    """Return what the request asks for: from a body that is in memory, or from the fields of a form.

    An upload that is a stream stays unread; it asks for an unknown model then.
    """
    kind = headers.get(b"content-type", b"")
    if kind.startswith(b"multipart/form-data"):
        ask = ask_of_fields(_form(request.stream))
    elif kind.startswith(b"application/json"):
        ask = ask_of_json(_content(request))
    else:
        ask = Ask()
    model = ask.model
    if model is None and profile.identity.model_in_path is not None:
        model = _segment_after(target, profile.identity.model_in_path)
    byok = ask.byok
    if profile.byok is not None and profile.byok.request_header_prefix:
        prefix = profile.byok.request_header_prefix.encode()
        byok = byok or any(name.startswith(prefix) for name in headers)
    if model == ask.model and byok == ask.byok:
        return ask
    import msgspec

    return msgspec.structs.replace(ask, model=model, byok=byok)


def retry_of(headers: Mapping[bytes, bytes]) -> int:
    """Return the SDK's retry count, 0 where it sends none."""
    text = headers.get(_RETRY, b"")
    return int(text) if text.isdigit() and len(text) <= 4 else 0


def length_of(headers: Mapping[bytes, bytes]) -> int | None:
    """Return the Content-Length."""
    text = headers.get(_LENGTH, b"")
    return int(text) if text.isdigit() and len(text) <= 18 else None


def trace_id_of(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the trace of the request: its W3C traceparent, else that of the current OpenTelemetry span."""
    parts = headers.get(_TRACEPARENT, b"").split(b"-")
    if len(parts) >= 4 and _TRACE_ID.fullmatch(parts[1]):
        return parts[1].decode("ascii").lower()
    # Looked up, not imported: where nobody loaded it there is no current span.
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def _content(request: RequestLike) -> bytes:
    # `content` raises for a stream that has not been read, and reading it would use it up.
    return request.content if hasattr(request, "_content") else b"{}"


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
    return bounded(segments[at]) if at < len(segments) else None
