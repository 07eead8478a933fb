"""What aiohttp's requests say, and its responses as they arrive: the half of its driver that knows their insides."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from contextvars import copy_context
from functools import partial
from inspect import signature
from typing import Any, cast

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.helpers import TimerNoop
from aiohttp.payload import BytesPayload, Payload
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.core.wire.forms import TEXT_LIMIT, Fields, parameter
from pixelmeter.drivers.passage import tell
from pixelmeter.drivers.refusal import STATUS
from pixelmeter.lifecycle import Watch, watch
from pixelmeter.outgoing import bytes_of
from pixelmeter.recorder.failures import Failures
from pixelmeter.recorder.sink_dispatch import amid_other_code

__all__ = ["ArrivingBody", "body_of", "refused_response"]

_DECODED = ("gzip", "deflate", "br", "zstd")
_TAKES_WRITER = "stream_writer" in signature(aiohttp.ClientResponse.__init__).parameters


class ArrivingBody:
    """Shows an exchange the body of a response as it arrives, in whatever way it is read, or if it is not.

    aiohttp's parser gives each piece to the response's `StreamReader`, from which all ways of reading take. The reader
    stays the same object; what it keeps pieces in, and what it calls at the end, are lists that tell us as well.
    """

    def __init__(self, response: Any, exchange: Exchange, failures: Failures, *, decodes: bool) -> None:
        self._exchange = exchange
        self._failures = failures
        self._content: Any = response.content
        self._is_decoded = _is_decoded(response, decodes=decodes)
        # How much of what was on the wire pieces were told with, where it was decoded before they came here.
        self._taken = 0
        # None once the record is out.
        self._unclosed: Watch | None = None

    def watch(self, response: Any) -> None:
        """Take what has arrived, and have the rest shown."""
        content, exchange = self._content, self._exchange
        if content is EMPTY_PAYLOAD:
            exchange.respond(response.status, response.raw_headers)
            exchange.finish()
            return
        exchange.respond(response.status, response.raw_headers, decoded=self._is_decoded)
        if response.status == 101:
            exchange.finish()
            return
        for chunk in content._buffer:
            exchange.feed(chunk, self._size(content))
        if content.is_eof() or content.exception() is not None:
            self._end(content)
        elif not exchange.is_over:
            # The parser calls from the context in which the connection was made, which may be that of another call.
            self._run = copy_context().run
            content._buffer = _Pieces(content._buffer, self)
            content._eof_callbacks = _Callbacks(content._eof_callbacks, self)
            self._unclosed = watch(response, partial(tell, self._failures, exchange.abandon, "never_closed"))

    def ended(self) -> None:
        """Take note that no more will come, for whatever reason."""
        # Nothing of ours is to hold the reader any longer than it is held without us.
        content, self._content = self._content, None
        self._end(content)

    def arrived(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        self._exchange.feed(chunk, self._size(self._content))

    def _size(self, content: Any) -> int | None:
        """Return how many bytes a piece took on the wire, where that is not its length."""
        total: int | None = getattr(content, "total_compressed_bytes", None)
        if total is None:
            return None
        size, self._taken = total - self._taken, total
        return size

    def _end(self, content: Any) -> None:
        exchange = self._exchange
        error = content.exception()
        if self._is_decoded:
            exchange.feed(b"", self._size(content))
        if error is None:
            exchange.finish()
        elif type(error) is not aiohttp.ClientConnectionError:
            exchange.fail(error)
        elif getattr(content._timer, "_cancelled", False):
            # Its caller closed it, because the time limit of the whole call was over.
            exchange.fail(TimeoutError())
        else:
            self._closed()

    def _closed(self) -> None:
        """Its caller closed it before its end, perhaps because of a cancellation."""
        reason = sys.exc_info()[1]
        if isinstance(reason, asyncio.CancelledError):
            self._exchange.fail(reason)
            return
        with amid_other_code() if isinstance(reason, GeneratorExit) else nullcontext():
            self._exchange.abandon()

    def tell(self, step: Callable[..., object], *what: object) -> None:
        """Take a step inside aiohttp's parser; when it fails that is counted, and the parser goes on."""
        watching = self._unclosed
        if watching is None:
            return
        try:
            self._run(step, *what)
            if self._exchange.is_over:
                self._unclosed = None
                watching.let_go()
        except Exception as error:
            self._failures.note("exchange", error)


def _is_decoded(response: Any, *, decodes: bool) -> bool:
    """Return whether aiohttp has decoded the body before anybody can read it, given whether it was to do that."""
    try:
        return response.content.total_compressed_bytes is not None
    except AttributeError:
        # An older aiohttp does not count them.
        return decodes and response.headers.get("Content-Encoding", "").lower() in _DECODED


class _Pieces(deque[bytes]):
    """The pieces of a body that have arrived and were not read yet."""

    __slots__ = ("_body",)

    def __init__(self, pieces: deque[bytes], body: ArrivingBody) -> None:
        super().__init__(pieces)
        self._body = body

    def append(self, chunk: bytes, /) -> None:
        self._body.tell(self._body.arrived, chunk)
        super().append(chunk)


class _Callbacks(list[Any]):
    """What a reader calls at the end of the body; it clears them there, and when the body breaks off or is closed."""

    __slots__ = ("_body",)

    def __init__(self, callbacks: list[Any], body: ArrivingBody) -> None:
        super().__init__(callbacks)
        self._body = body

    def clear(self) -> None:
        super().clear()
        self._body.tell(self._body.ended)


def body_of(request: Any) -> tuple[bytes | None, Fields]:
    """Return what of a request's body is in memory: all its bytes, or the fields of a form; a stream stays unread."""
    body = request.body
    if BytesPayload in type(body).__mro__:
        # What nearly all are: bytes, text, JSON. Its classes are abstract ones, which isinstance takes long to tell.
        return bytes_of(body._value), ()
    if isinstance(body, aiohttp.MultipartWriter):
        return None, tuple(_fields(body))
    return _in_memory(body), ()


def _in_memory(body: object) -> bytes | None:
    return bytes_of(vars(body).get("_value") if isinstance(body, Payload) else body)


def _fields(form: aiohttp.MultipartWriter) -> Iterator[tuple[str, str | None]]:
    """Read the fields of a form; a part with a file name, or of a picture, has no text."""
    for part, *_ in form:
        disposition = part.headers.get("Content-Disposition", "").encode()
        name = parameter(disposition, b"name")
        if name is None:
            continue
        is_file = any(parameter(disposition, each) is not None for each in (b"filename", b"filename*"))
        content = None if is_file or (part.content_type or "").startswith("image/") else _in_memory(part)
        yield (
            name.decode("utf-8", "replace"),
            None if content is None else content[:TEXT_LIMIT].decode("utf-8", "replace"),
        )


class _NothingSent:
    """What a response asks how much of its request was sent."""

    output_size = 0


def refused_response(request: Any, headers: list[tuple[str, str]], body: bytes) -> aiohttp.ClientResponse:
    """Return a response to a request that was never sent, of the class that the session has for its responses."""
    loop = request.loop
    response = request.response_class(
        request.method,
        request.original_url,
        writer=None,
        continue100=None,
        timer=TimerNoop(),
        request_info=request.request_info,
        traces=request._traces,
        loop=loop,
        session=request.session,
        **({"stream_writer": _NothingSent()} if _TAKES_WRITER else {}),
    )
    content = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    content.feed_data(body)
    content.feed_eof()
    response.version, response.status, response.reason = aiohttp.HttpVersion11, STATUS, "Payment Required"
    response._headers = CIMultiDictProxy(CIMultiDict(headers))
    response._raw_headers = tuple((name.encode(), value.encode()) for name, value in headers)
    response.content = content
    return cast("aiohttp.ClientResponse", response)
