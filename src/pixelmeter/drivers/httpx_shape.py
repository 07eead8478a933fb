"""What the drivers of httpx and httpx2 share, sync and async: both libraries have the same interfaces."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from pixelmeter.core.attempts.outcome import ErrorNames
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.core.wire.forms import TEXT_LIMIT, Fields
from pixelmeter.drivers.passage import AsyncTeeStream, Layer, Routes, TeeStream, send, send_async
from pixelmeter.drivers.refusal import raised_to, response_of
from pixelmeter.errors import CallRefused
from pixelmeter.meter import Meter
from pixelmeter.outgoing import COPIED_LIMIT, Outgoing, bytes_of
from pixelmeter.recorder.failures import Failures

__all__ = ["ERRORS", "AsyncDriver", "HttpxLayer", "SyncDriver", "bind", "body_of"]

ERRORS = ErrorNames(
    never_sent=frozenset(
        {
            *("ConnectTimeout", "PoolTimeout", "ConnectError", "ProxyError", "UnsupportedProtocol"),
            *("ClientConnectorError", "ClientHttpProxyError", "ConnectionTimeoutError", "InvalidURL"),
        }
    ),
    timeouts=frozenset({"TimeoutException"}),
)
"""The exceptions of httpx, httpx2 and httpcore have the same names; the second row are those of aiohttp, for transports
that send through it."""


class RequestLike(Protocol):
    """A request of either library."""

    method: str
    stream: Any
    extensions: Any

    @property
    def url(self) -> Any: ...
    @property
    def headers(self) -> Any: ...


class ResponseLike(Protocol):
    """A response of either library."""

    status_code: int
    is_closed: bool
    is_stream_consumed: bool
    stream: Any
    extensions: Any

    @property
    def headers(self) -> Any: ...
    @property
    def content(self) -> bytes: ...


Req = TypeVar("Req", bound=RequestLike, contravariant=True)
Res = TypeVar("Res", bound=ResponseLike, covariant=True)


class TransportLike(Protocol[Req, Res]):
    """A sync transport of either library."""

    def handle_request(self, request: Req) -> Res: ...
    def close(self) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...


class AsyncTransportLike(Protocol[Req, Res]):
    """An async transport of either library."""

    async def handle_async_request(self, request: Req) -> Res: ...
    async def aclose(self) -> None: ...
    async def __aenter__(self) -> Any: ...
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...


# By the class of its responses: the streams of a library, which its clients insist on.
_tees: dict[type, tuple[type[TeeStream], type[AsyncTeeStream]]] = {}


def bind(response: type, tee: type[TeeStream], async_tee: type[AsyncTeeStream]) -> None:
    """Know the streams of a library by the class of its responses."""
    _tees[response] = tee, async_tee


class HttpxLayer(Layer):
    """A client or a transport of either library, which is its owner."""

    def __init__(self, owner: object, sends_through: SendsThrough, meter: Meter | None = None) -> None:
        self.owner = owner
        self.meter = meter
        self._sends_through = sends_through

    def of(self, owner: object) -> Self:
        """Return an equal layer for another owner."""
        layer = copy.copy(self)
        layer.owner = owner
        return layer

    def is_below(self, other: Layer) -> bool:
        return isinstance(other, HttpxLayer) and any(each is self.owner for each in other._sends_through(other.owner))

    def context_of(self, request: Any) -> MutableMapping[str, Any]:
        extensions: MutableMapping[str, Any] = request.extensions
        return extensions

    def read(self, request: Any, routes: Routes) -> Outgoing | None:
        host, target = request.url.netloc, request.url.raw_path
        found = routes(request.method, host, target)
        if not found:
            return None
        content, fields = body_of(request)
        return Outgoing(
            found=found,
            host=host.decode("ascii"),
            target=target,
            headers={name.lower(): value for name, value in request.headers.raw},
            content=content,
            fields=fields,
            context=request.extensions,
            sent_headers=lambda: request.headers,
            errors=ERRORS,
            sender=(self.owner, request),
        )

    def reason(self, request: Any, error: BaseException) -> tuple[BaseException, bool | None]:
        # A transport over aiohttp raises a ConnectTimeout also where the server has hung up on what was sent.
        cause = error.__cause__
        if type(cause).__module__.startswith("aiohttp."):
            return cast("BaseException", cause), None
        return error, None

    def refuse(self, request: Any, refused: CallRefused) -> Any:
        if refused.refuse == "raise":
            raise raised_to(refused, request) from None
        return response_of(refused, request, _response_like(request))

    def put(self, response: Any, tee: Callable[[Any], Any]) -> None:
        """Put a tee over the response's stream."""
        response.stream = tee(response.stream)

    def watch(self, response: Any, exchange: Exchange, failures: Failures, *, is_async: bool) -> None:
        # Already read: a mock, a cache, a retrying layer that looked inside. Nobody will iterate it again.
        read = response.is_closed or response.is_stream_consumed
        cached = _from_cache(response.extensions)
        exchange.respond(response.status_code, response.headers.raw, decoded=read, cached=cached)
        if response.status_code == 101:
            exchange.finish()
        elif read:
            exchange.feed(response.content)
            exchange.finish()
        else:
            tee = next(_tees[kind] for kind in type(response).__mro__ if kind in _tees)[is_async]
            self.put(response, lambda stream: tee(stream, exchange, failures))


def _response_like(request: object) -> type:
    """Return the class of the responses of the library that a request is of."""
    roots = {kind.__module__.partition(".")[0] for kind in type(request).__mro__}
    return next(kind for kind in _tees if kind.__module__.partition(".")[0] in roots)


SendsThrough = Callable[[object], Iterable[object]]
"""Tells of a client or a transport which others it sends through."""


def _from_cache(extensions: Mapping[str, Any]) -> bool:
    """Return whether the transport below answered from a cache: how hishel says so, version 2, then version 1."""
    marks = extensions.get("caching")
    if marks is not None and isinstance(marks, Mapping):
        return bool(cast("Mapping[str, object]", marks).get("from_cache"))
    return bool(extensions.get("hishel_from_cache"))


def body_of(request: Any) -> tuple[bytes | None, Fields]:
    """Return what of a request's body is in memory: all its bytes, or the fields of a form; a stream stays unread.

    What is sent is the stream: a hook may have replaced that, and left what was read before.
    """
    stream = request.stream
    fields = getattr(stream, "fields", None)
    if isinstance(fields, list):
        return None, tuple(_fields(cast("Any", fields)))
    content = _in_memory(getattr(stream, "_stream", None))
    return getattr(request, "_content", None) if content is None else content, ()


def _in_memory(source: object) -> bytes | None:
    if type(source) in (list, tuple):
        chunks = cast("list[object]", source)
        if all(type(chunk) is bytes for chunk in chunks) and sum(map(len, cast("Any", chunks))) <= COPIED_LIMIT:
            return b"".join(cast("Any", chunks))
    return bytes_of(source)


def _fields(fields: list[Any]) -> Iterator[tuple[str, str | None]]:
    """Read the fields that both libraries keep of a form; a part with a file name, or of a picture, has no text."""
    for field in fields:
        value = getattr(field, "value", None)
        if value is None and not getattr(field, "filename", None) and not _is_picture(getattr(field, "headers", {})):
            value = getattr(field, "file", None)
            value = value.getvalue() if type(value) is io.BytesIO else value
        if isinstance(value, bytes):
            value = value[:TEXT_LIMIT].decode("utf-8", "replace")
        yield str(field.name), str(value)[:TEXT_LIMIT] if isinstance(value, str | int | float) else None


def _is_picture(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "content-type" and value.startswith("image/") for name, value in headers.items())


class _Driver:
    """What the sync and async drivers share."""

    inner: Any

    def __init__(self, meter: Meter, sends_through: SendsThrough) -> None:
        self._layer = HttpxLayer(self, sends_through, meter)

    @property
    def meter(self) -> Meter:
        """Where the calls are recorded."""
        meter = self._layer.meter
        assert meter is not None
        return meter

    def __getattr__(self, name: str) -> Any:
        # Whoever looks for something of the wrapped transport finds it.
        try:
            inner = self.__dict__["inner"]
        except KeyError:
            raise AttributeError(name) from None
        return getattr(inner, name)


class SyncDriver(_Driver, Generic[Req, Res]):
    """Meters the image calls that pass through a sync transport."""

    def __init__(self, meter: Meter, inner: TransportLike[Req, Res], sends_through: SendsThrough) -> None:
        super().__init__(meter, sends_through)
        self.inner: TransportLike[Req, Res] = inner

    def handle_request(self, request: Req) -> Res:
        """Send the request through the inner transport and return its response, the same object."""
        return cast("Res", send(self._layer, request, self.inner.handle_request))

    def close(self) -> None:
        """Close the inner transport."""
        self.inner.close()

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.inner.__exit__(exc_type, exc_value, traceback)


class AsyncDriver(_Driver, Generic[Req, Res]):
    """Meters the image calls that pass through an async transport."""

    def __init__(self, meter: Meter, inner: AsyncTransportLike[Req, Res], sends_through: SendsThrough) -> None:
        super().__init__(meter, sends_through)
        self.inner: AsyncTransportLike[Req, Res] = inner

    async def handle_async_request(self, request: Req) -> Res:
        """Send the request through the inner transport and return its response, the same object."""
        return cast("Res", await send_async(self._layer, request, self.inner.handle_async_request))

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self.inner.aclose()

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.inner.__aexit__(exc_type, exc_value, traceback)
