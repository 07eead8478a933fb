"""The body of a response of urllib3 on its way through us: its raw bytes, however the response is read.

A response reads from what `http.client` gives, its `_fp`: by `read` and `read1`, or chunk by chunk, by lines of `fp`
and `_safe_read`. `Body` stands in that place.
"""

from __future__ import annotations

import http.client
import weakref
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from urllib3.exceptions import ProtocolError

from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.drivers.passage import TeeStream
from pixelmeter.recorder.failures import Failures

__all__ = ["Body", "belong", "raw_headers", "watched"]

_NO_BODY: Any = b""


class Body(TeeStream):
    """What a response reads from, with every byte shown to an exchange."""

    owner: weakref.ref[Any] | None = None
    """The response that reads, once it is known."""

    def __init__(self, inner: Any, exchange: Exchange, failures: Failures) -> None:
        super().__init__(inner, exchange, failures)
        self.isclosed = inner.isclosed
        line_by_line = getattr(inner, "fp", None) if getattr(inner, "chunked", False) else None
        self._lines = None if line_by_line is None else _Lines(line_by_line, self)
        # Of the chunk that is being read: 0 where its line break is still to come, None where the next one is.
        self._left: int | None = None
        # Not only here: where a reader of chunks ends, urllib3 closes what `http.client` gave by itself.
        with suppress(AttributeError):
            inner.close = _Close(self, inner)

    def __getattr__(self, name: str) -> Any:
        try:
            inner = self.__dict__["_inner"]
        except KeyError:
            raise AttributeError(name) from None
        return getattr(inner, name)

    @property
    def fp(self) -> Any:
        """What chunks are read from line by line; None once it is closed."""
        inner = self._inner.fp
        return inner if inner is None or self._lines is None else self._lines

    def read(self, amt: int | None = None) -> bytes:
        """Read so many bytes, or all."""
        return self._read(self._inner.read, () if amt is None else (amt,))

    def read1(self, amt: int = -1) -> bytes:
        """Read what is there, at most so many bytes."""
        return self._read(self._inner.read1, (amt,))

    def _read(self, inner: Any, amt: tuple[int, ...]) -> bytes:
        try:
            data: bytes = inner(*amt)
        except BaseException as error:
            self._tell(self._exchange.fail, error)
            raise
        if data:
            self._tell(self._exchange.feed, data)
        self._tell(self._took, data, amt != (0,))
        return data

    def _safe_read(self, amt: int) -> bytes:
        """Read so many bytes of a chunk, or the line break at its end."""
        try:
            data: bytes = self._inner._safe_read(amt)
        except BaseException as error:
            self._tell(self._exchange.fail, error)
            raise
        if self._left:
            self._left -= len(data)
            self._tell(self._exchange.feed, data)
        else:
            self._left = None
        return data

    def begin_chunk(self, line: bytes) -> None:
        """Take the line that says how long the next chunk is, or one of those behind the last chunk."""
        if self._left is None:
            self._tell(self._begin_chunk, line)

    def _begin_chunk(self, line: bytes) -> None:
        try:
            self._left = int(line.split(b";", 1)[0], 16)
        except ValueError:
            self._left = 0
            self._exchange.fail(ProtocolError("no length of a chunk") if line else http.client.IncompleteRead(b""))
        else:
            if not self._left:
                self._exchange.finish()

    def fail(self, error: BaseException) -> None:
        """Reading has come to an end by an error."""
        self._tell(self._exchange.fail, error)

    def close(self) -> None:
        """Close it: what is not read yet never will be."""
        self.closing()
        self._inner.__class__.close(self._inner)

    def closing(self) -> None:
        """Take note that it is being closed, unless because nobody has its response any more.

        Amid the collection of an object nothing is done: what watches this one does it a little later.
        """
        if self.owner is not None:
            owner = self.owner()
            if owner is None or "_finalizing" in owner.__dict__:
                return
        self._closed()

    def _took(self, data: bytes, wanted: bool) -> None:
        """Look whether a read was the last one; `wanted` where it asked for a byte at least."""
        if self.isclosed() or (wanted and not data):
            # Of a body that ends before its length, `http.client` says nothing where a part of it is asked for.
            rest = getattr(self._inner, "length", None)
            if rest:
                self._exchange.fail(http.client.IncompleteRead(b"", rest))
            else:
                self._exchange.finish()


class _Close:
    """Stands for the method `close` of what `http.client` gave; refers to nothing that refers to it."""

    def __init__(self, body: Body, inner: Any) -> None:
        self._body = weakref.ref(body)
        self._inner = weakref.ref(inner)
        self._fp: Any = getattr(inner, "fp", None)

    def __call__(self) -> None:
        body, inner = self._body(), self._inner()
        if body is not None:
            body.closing()
        if inner is not None:
            inner.__class__.close(inner)
        elif self._fp is not None:  # amid a collection of garbage
            self._fp.close()


class _Lines:
    """What chunks are read from."""

    def __init__(self, inner: Any, body: Body) -> None:
        self._inner = inner
        self._body = weakref.ref(body)

    def readline(self, limit: int = -1) -> bytes:
        body = self._body()
        try:
            line: bytes = self._inner.readline(limit)
        except BaseException as error:
            if body is not None:
                body.fail(error)
            raise
        if body is not None:
            body.begin_chunk(line)
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def watched(response: Any, exchange: Exchange, failures: Failures) -> Any:
    """Show the exchange a response and, as it is read, its body.

    Returns what takes the place of the response: itself, but a `Body` for what `http.client` gave.
    """
    headers = _headers_of(response)
    status: int = response.status if isinstance(response.status, int) else 0
    if isinstance(response, http.client.HTTPResponse):
        exchange.respond(status, headers)
        in_memory = getattr(response, "data", None)
        if in_memory is not None:
            # That of a cassette.
            exchange.feed(in_memory)
            exchange.finish()
            return response
        return Body(response, exchange, failures)
    inner = getattr(response, "_fp", None)
    if inner is None or not hasattr(inner, "isclosed") or inner.isclosed():
        # Read already: by a connection of HTTP/2, a mock, a pool of somebody's own.
        exchange.respond(status, headers, decoded=getattr(response, "_has_decoded_content", True))
        exchange.feed(getattr(response, "data", None) or _NO_BODY)
        exchange.finish()
    else:
        exchange.respond(status, headers)
        response._fp = body = Body(inner, exchange, failures)
        body.owner = weakref.ref(response)
        if status == 101:
            exchange.finish()
    return response


def _headers_of(response: Any) -> list[tuple[bytes, bytes]]:
    """Return a response's headers as they stand in the message: of what `http.client` has read, where there is that.

    Its list is a fifth of the work that urllib3's own headers are, which make each pair anew.
    """
    message = getattr(getattr(response, "_original_response", None), "msg", None)
    return raw_headers([*message.raw_items()] if type(message) is http.client.HTTPMessage else response.headers.items())


def belong(response: Any) -> None:
    """Let a body know its response, which version 1 makes of what we have given it."""
    body = getattr(response, "_fp", None)
    if isinstance(body, Body) and body.owner is None:
        body.owner = weakref.ref(response)


def raw_headers(headers: Collection[tuple[Any, Any]]) -> list[tuple[bytes, bytes]]:
    """Return headers as they stand in a message; names and values may be text, bytes or numbers."""
    try:
        return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    except (AttributeError, UnicodeEncodeError):
        return [(_raw(name), _raw(value)) for name, value in headers]


def _raw(text: object) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1", "replace")
