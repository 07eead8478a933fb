"""A request that is about to leave: the one shape that everything behind a driver knows."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any

import msgspec

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.apis.requests import Asked, job_id_of, may_ask, request_of
from pixelmeter.core.attempts.outcome import ErrorNames
from pixelmeter.core.gateways.routes import Followed, FollowRoute, Found, Route
from pixelmeter.core.wire.decode import BrokenBody, NotDecoded, decoder
from pixelmeter.core.wire.forms import Fields, multipart_fields, urlencoded_fields
from pixelmeter.core.wire.headers import Headers, media_type
from pixelmeter.core.wire.skim import document_of

__all__ = ["COPIED_LIMIT", "Outgoing", "bytes_of"]

COPIED_LIMIT = 8_388_608
"""Bytes of a body that are copied at most, to be read; longer ones stay unread, but for bytes, which need no copy."""
_RETRY = b"x-stainless-retry-count"
_TRACER = "opentelemetry.trace"
_TRACE_ID = re.compile(rb"(?!0{32})[0-9A-Fa-f]{32}")
_FORMS = (b"multipart/", b"application/x-www-form-urlencoded")
_BLANK_LIMIT = 64
_BLANK = b"\xef\xbb\xbf \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def bytes_of(source: object) -> bytes | None:
    """Return what a body holds in memory, from where it would be read on; None for a stream, which stays unread."""
    if isinstance(source, bytes):
        return source
    # Not of a subclass: that may do anything when it is asked.
    if type(source) is io.BytesIO:
        with source.getbuffer() as whole, whole[source.tell() :] as rest:
            return bytes(rest) if rest.nbytes <= COPIED_LIMIT else None
    if type(source) is bytearray or type(source) is memoryview:
        return bytes(source) if memoryview(source).nbytes <= COPIED_LIMIT else None
    return None


def _decoded(content: bytes, encoding: bytes) -> bytes | None:
    """Return a body without its Content-Encoding; None where it has more than is copied, or cannot be decoded."""
    pieces: list[bytes] = []
    length = 0

    def take(piece: bytes) -> None:
        nonlocal length
        length += len(piece)
        if length > COPIED_LIMIT:
            raise NotDecoded("length")
        pieces.append(piece)

    try:
        feed = decoder(encoding.decode("latin-1"), take)
        if feed is None:
            return content
        feed(content)
    except (NotDecoded, BrokenBody):
        return None
    return b"".join(pieces)


class Outgoing:
    """A request as a driver describes it.

    `content` is the body where all of it is in memory, `fields` the fields of a form as far as the library keeps them;
    neither for a stream, which stays unread. The body is let go as soon as it has been read.
    """

    __slots__ = (
        "_content",
        "_document",
        "_fields",
        "_followed",
        "_found",
        "_image_request",
        "context",
        "errors",
        "headers",
        "host",
        "sender",
        "sent_headers",
        "target",
        "unread",
    )

    def __init__(
        self,
        *,
        found: Sequence[Found | Followed],
        host: str,
        target: bytes,
        headers: Headers,
        content: bytes | None = None,
        fields: Fields = (),
        context: MutableMapping[str, Any],
        sent_headers: Callable[[], MutableMapping[str, str]],
        errors: ErrorNames,
        sender: tuple[Any, Any] | None = None,
    ) -> None:
        self._found = found
        self._followed: list[tuple[FollowRoute, str] | None] = []
        self._image_request: list[tuple[Route, ImageRequest] | None] = []
        self.host = host
        """With the port, where it is not the scheme's own."""
        self.target = target
        """Path and query, as sent."""
        self.headers = headers
        encoding = headers.get(b"content-encoding")
        self._content = content if encoding is None or content is None else _decoded(content, encoding)
        self._fields = fields
        self.unread = self._content is None and not fields
        """Whether nothing of the body can be known, as far as anybody has looked."""
        self._document: bytes | None = None
        self.context = context
        """What the library carries along with the request, and copies to the ones that follow from it."""
        self.errors = errors
        """What the library's exceptions mean."""
        self.sent_headers = sent_headers
        """Gives what is sent as headers, just now: whoever passes the request on may change or replace it."""
        self.sender = sender
        """The library's object that sends it, and the library's request, for tests: a mock may answer."""

    @property
    def fields(self) -> Fields:
        """The fields of a form."""
        self._read()
        return self._fields

    @property
    def document(self) -> bytes | None:
        """The JSON document, its long strings cut; None where the body is none, or is not in memory."""
        self._read()
        return self._document

    @property
    def same_as(self) -> int:
        """What is equal for two requests of the same content: how a retry is recognised. Never stored."""
        return hash(self.fields if self.document is None else self.document)

    def place_and_content(self) -> tuple[str, bytes, int]:
        """Return what is equal for two requests of the same content to the same place."""
        return self.host, self.target, self.same_as

    @property
    def retry(self) -> int | None:
        """The SDK's retry count; None where it sends none."""
        text = self.headers.get(_RETRY, b"")
        return int(text) if text.isdigit() and len(text) <= 4 else None

    @property
    def sent_trace_id(self) -> str | None:
        """The trace that a tracer below us has put into the request since, as its W3C traceparent."""
        if _TRACER not in sys.modules:
            return None
        traceparent = self.sent_headers().get("traceparent", "")
        return _trace_in(traceparent.encode()) if traceparent else None

    @property
    def trace_id(self) -> str | None:
        """The trace of the request: its W3C traceparent, else that of the current OpenTelemetry span."""
        traceparent = self.headers.get(b"traceparent")
        if traceparent and (trace_id := _trace_in(traceparent)) is not None:
            return trace_id
        # Looked up, not imported: where nobody loaded it, or another thread is about to, there is no current span.
        trace: Any = sys.modules.get(_TRACER)
        if not hasattr(trace, "get_current_span"):
            return None
        context = trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else None

    def image_request(self) -> tuple[Route, ImageRequest] | None:
        """Return the route that it takes and what it asks for; None where it asks for no image."""
        if not self._image_request:
            self._image_request.append(self._ask())
        return self._image_request[0]

    def _ask(self) -> tuple[Route, ImageRequest] | None:
        query = self.target.partition(b"?")[2]
        for found in self._found:
            if isinstance(found, Followed):
                continue
            route, parts = found
            # A large body is only read for a route that it may be of.
            content = self._content if route.asks else None
            if content is not None and not self._is_form and not may_ask(route, parts, content):
                continue
            profile = route.profile
            asked = Asked(parts, query, self.headers, self.document, self._fields)
            request = request_of(route, asked, profile.request_fields)
            if request is None:
                continue
            byok = profile.byok
            is_byok = byok is not None and (
                byok.request_field in request.named or _has_name_like(self.headers, byok.request_header_prefix)
            )
            is_unread = self.unread or request.unread
            if is_byok or is_unread:
                request = msgspec.structs.replace(request, byok=is_byok, unread=is_unread)
            return route, request
        return None

    @property
    def followed(self) -> tuple[FollowRoute, str] | None:
        """The route of a request about a job, and the job's id; None for an image call, which goes before."""
        # Routes about jobs stand behind those of image calls.
        if not isinstance(self._found[-1], Followed):
            return None
        if not self._followed:
            self._followed.append(self._follow())
        return self._followed[0]

    def _follow(self) -> tuple[FollowRoute, str] | None:
        routes = [each for each in self._found if isinstance(each, Followed)]
        if len(routes) < len(self._found) and self.image_request() is not None:
            return None
        query = self.target.partition(b"?")[2]
        for route, parts in routes:
            job_id = job_id_of(route, Asked(parts, query, self.headers, self.document, self._fields))
            if job_id is not None:
                return route, job_id
        return None

    @property
    def _is_form(self) -> bool:
        return media_type(self.headers).startswith(_FORMS)

    def _read(self) -> None:
        content, self._content = self._content, None
        if not content or self._fields:
            return
        kind = media_type(self.headers)
        if kind == b"multipart/form-data":
            self._fields = multipart_fields(content, self.headers[b"content-type"])
        elif kind == b"application/x-www-form-urlencoded":
            self._fields = urlencoded_fields(content)
        # Servers do not insist on the type, so what begins like an object or a list is read as one.
        elif _is_json(kind) or content[:_BLANK_LIMIT].lstrip(_BLANK).startswith((b"{", b"[")):
            self._document = document_of(content.removeprefix(_BYTE_ORDER_MARK))
        self.unread = self._document is None and not self._fields


def _trace_in(traceparent: bytes) -> str | None:
    parts = traceparent.split(b"-")
    return parts[1].decode("ascii").lower() if len(parts) >= 4 and _TRACE_ID.fullmatch(parts[1]) else None


def _is_json(kind: bytes) -> bool:
    return kind in (b"application/json", b"text/json") or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def _has_name_like(names: Iterable[bytes], prefix: bytes) -> bool:
    # One search in all of them: no name has a line break.
    return prefix != b"" and b"\n" + prefix in b"\n" + b"\n".join(names)
