"""A call of urllib3's `urlopen` on its way: the requests of it that leave are attempts of one call.

`HTTPConnectionPool.urlopen` is what a program calls, and what calls itself for a retry or a redirect.
`HTTPConnectionPool._make_request` sends one request by a connection. A layer of ours stands around each: the outer one
begins the attempt, so that one that gets no connection is known as well; the inner one goes on with it, and begins
those that follow.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import urllib3.response
from urllib3.exceptions import MaxRetryError
from urllib3.util.url import parse_url

from pixelmeter.core.attempts.outcome import ErrorNames
from pixelmeter.core.budgets.budget import Refusal
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.drivers.passage import Layer, Passage, Routes, tell
from pixelmeter.drivers.refusal import STATUS, answer_of, raised_to
from pixelmeter.drivers.urllib3_body import belong, raw_headers, watched
from pixelmeter.drivers.waiting import through
from pixelmeter.errors import BudgetExceeded
from pixelmeter.meter import Meter
from pixelmeter.outgoing import Outgoing
from pixelmeter.recorder.failures import Failures

__all__ = ["ERRORS", "Metering", "one_call", "send_one", "urlopen"]

ERRORS = ErrorNames(
    never_sent=frozenset(
        {
            "ConnectTimeoutError",
            "NewConnectionError",
            "EmptyPoolError",
            "ClosedPoolError",
            "ProxyError",
            "HostChangedError",
            "LocationValueError",
            # Of a handshake: while an answer is read it is that of `ssl`, which has the same name.
            "urllib3.exceptions.SSLError",
        }
    ),
    timeouts=frozenset({"ReadTimeoutError", "ConnectTimeoutError", "EmptyPoolError"}),
    no_timeouts=frozenset({"NewConnectionError"}),
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_JOINED_LIMIT = 8_388_608


class Metering:
    """By which meter an object is metered; `provisional` where nobody named it, which gives way to one that is."""

    def __init__(
        self, meter_of: Callable[[], Meter | None], *, provisional: bool = False, refusal: Refusal | None = None
    ) -> None:
        self.meter_of = meter_of
        self.provisional = provisional
        self.refusal: Refusal | None = refusal


class _Request:
    """A request as it is given to a method of a pool."""

    __slots__ = ("args", "at", "body", "headers", "kwargs", "method", "pool", "sent", "url")

    def __init__(self, pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any], at: int) -> None:
        self.pool = pool
        self.args = args
        self.kwargs = kwargs
        # How many arguments there are before the method.
        self.at = at
        self.method = self._argument(0, "method")
        self.url = self._argument(1, "url")
        self.body = self._argument(2, "body")
        headers = self._argument(3, "headers")
        self.headers: Any = pool.headers if headers is None else headers
        # What is sent in the end, where a layer below has told it.
        self.sent: Any = None

    def _argument(self, number: int, name: str) -> Any:
        number += self.at
        return self.args[number] if len(self.args) > number else self.kwargs.get(name)

    def put(self, headers: Any) -> None:
        """Have other headers sent."""
        self.headers = headers
        number = self.at + 3
        if len(self.args) > number:
            self.args = (*self.args[:number], headers, *self.args[number + 1 :])
        else:
            self.kwargs = {**self.kwargs, "headers": headers}


class _SentHeaders:
    """The headers of a request as they are sent; what is changed is a copy, which is put into the request."""

    def __init__(self, request: _Request) -> None:
        self._request = request
        self._is_own = False

    def get(self, name: str, default: str = "") -> str:
        request = self._request
        value = (request.headers if request.sent is None else request.sent).get(name, default)
        return value.decode("latin-1") if isinstance(value, bytes) else str(value)

    def __setitem__(self, name: str, value: str) -> None:
        self._own()[name] = value

    def pop(self, name: str, default: Any = None) -> Any:
        return self._own().pop(name, default)

    def _own(self) -> Any:
        request = self._request
        if not self._is_own:
            self._is_own = True
            request.put(request.headers.copy() if hasattr(request.headers, "copy") else dict(request.headers))
        return request.headers


class _Layer(Layer):
    """A method of a pool, while it is called."""

    passage: Passage | None = None
    refusal: Refusal | None
    exchange: Exchange | None = None
    """Of the attempt whose answer this layer is to see, and has not seen yet."""

    def __init__(self, call: _Call) -> None:
        self.call = call
        self.meter = call.meter
        self.refusal = call.refusal

    def context_of(self, request: _Request) -> MutableMapping[str, Any]:
        return self.call.context

    def is_below(self, other: Layer) -> bool:
        return False

    def read(self, request: _Request, routes: Routes) -> Outgoing | None:
        call = self.call
        host, target = _place(request)
        found = routes(request.method, host, target)
        if not found:
            return None
        sent = _SentHeaders(request)
        headers, content = raw_headers(request.headers), _content(request.body)
        if content is not None and not any(name.lower() == b"content-length" for name, _ in headers):
            headers.append((b"content-length", b"%d" % len(content)))
        return Outgoing(
            found=found,
            host=host.decode("ascii"),
            target=target,
            headers=headers,
            content=content,
            context=call.context,
            sent_headers=lambda: cast("MutableMapping[str, str]", sent),
            errors=ERRORS,
            sender=lambda: (request.pool, request),
        )

    def watch(self, response: Any, exchange: Exchange, failures: Failures, *, is_async: bool) -> Any:
        return watched(response, exchange, failures)

    def see(self, response: Any) -> Any:
        """Show the exchange a response; return what takes its place."""
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return response
        failures = self.call.meter.failures
        tell(failures, self.call.trace, exchange)
        try:
            return self.watch(response, exchange, failures, is_async=False)
        except Exception as error:
            failures.note("response", error)
            tell(failures, exchange.abandon, "unreadable")
            return response

    def refuse(self, request: _Request, exceeded: BudgetExceeded) -> Any:
        # Version 1 makes its response of that of `http.client`, which cannot be had without a connection.
        by_http_client = self is not self.call.outer and not hasattr(urllib3.response, "BaseHTTPResponse")
        if exceeded.refuse == "raise" or by_http_client:
            raise raised_to(exceeded, None) from None
        headers, body = answer_of(exceeded)
        options = {
            name: request.kwargs[name] for name in ("preload_content", "decode_content") if name in request.kwargs
        }
        return urllib3.response.HTTPResponse(
            body=io.BytesIO(body),
            headers=dict(headers),
            status=STATUS,
            version=11,
            reason="Payment Required",
            request_method=request.method,
            **options,
        )


class _Call:
    """A call of `urlopen`, with all that it sends."""

    outgoing: Outgoing | None = None
    """What is sent first, once it has been read."""
    is_sending = False
    is_over = False

    def __init__(self, pool: Any, meter: Meter, metering: Metering, request: _Request) -> None:
        self.pool = pool
        self.meter = meter
        refusal: Refusal | None = metering.refusal
        self.refusal: Refusal | None = refusal or _refusal_of(pool)
        context = _shared.get()
        self.context: MutableMapping[str, Any] = {} if context is None else context
        self.request = request
        self.outer = _Layer(self)

    def trace(self, exchange: Exchange) -> None:
        """Tell of the trace that a tracer below has put into the request: the record may be out with the body."""
        if self.outgoing is not None and not exchange.is_traced:
            trace_id = self.outgoing.sent_trace_id
            if trace_id is not None:
                exchange.trace(trace_id)

    def is_as_given(self, request: _Request) -> bool:
        """Return whether a request is the one that `urlopen` was called with."""
        return (request.url, request.method) == (self.request.url, self.request.method)


_calls: ContextVar[_Call | None] = ContextVar("pixelmeter_urlopen", default=None)
_shared: ContextVar[dict[str, Any] | None] = ContextVar("pixelmeter_urllib3", default=None)


@contextmanager
def one_call(*, new: bool = False) -> Generator[None]:
    """All that is sent in the block follows from one request: whoever opens it follows redirects by itself.

    With `new`, nothing around it is part of that request, such as a call that a hook makes.
    """
    around, call = _shared.get(), _calls.get()
    # What is called while a request is on its way is called by its body, and no part of it.
    is_inner = call is not None and call.is_sending
    if around is not None and not new and not is_inner:
        yield
        return
    _shared.set({})
    try:
        yield
    finally:
        _shared.set(around)


def urlopen(metering: Metering, pool: Any, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
    """Call a pool's `urlopen`, which is `inner`; what it sends is metered."""
    around = _calls.get()
    if around is not None and around.pool is pool and not around.is_over and not around.is_sending:
        return inner(*args, **kwargs)
    meter = metering.meter_of()
    if meter is None:
        return inner(*args, **kwargs)
    request = _Request(pool, args, kwargs, 0)
    call = _Call(pool, meter, metering, request)
    _calls.set(call)
    try:
        response = _send(call.outer, request, inner)
        belong(response)
        return response
    finally:
        call.is_over = True
        _calls.set(around)


def send_one(pool: Any, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a pool's `_make_request`, which is `inner`."""
    call = _calls.get()
    if call is None or call.pool is not pool or call.is_over or call.is_sending:
        return inner(*args, **kwargs)
    request = _Request(pool, args, kwargs, 1)
    call.request.sent = request.headers
    outer, layer = call.outer.passage, _Layer(call)
    as_given = call.is_as_given(request)
    if outer is None and as_given:
        return inner(*args, **kwargs)
    call.is_sending = True
    try:
        if outer is None or not as_given or not outer.hand_on(layer):
            return _send(layer, request, partial(_sent_by_connection, layer, inner))
        layer.exchange = exchange = outer.exchange
        try:
            return _sent_by_connection(layer, inner, *args, **kwargs)
        except BaseException as error:
            tell(call.meter.failures, exchange.fail, error)
            raise
    finally:
        call.is_sending = False


def _send(layer: _Layer, request: _Request, inner: Callable[..., Any]) -> Any:
    try:
        passage = through(layer.enter(request))
    except BudgetExceeded as exceeded:
        return layer.refuse(request, exceeded)
    if passage is None:
        return inner(*request.args, **request.kwargs)
    layer.passage, layer.call.outgoing, layer.exchange = passage, passage.outgoing, passage.exchange
    failures = passage.meter.failures
    try:
        response = inner(*request.args, **request.kwargs)
    except BaseException as error:
        tell(failures, passage.fail, _reason(error))
        raise
    finally:
        passage.is_over = True
        tell(failures, passage.leave)
    if passage.is_innermost:
        layer.see(response)
    return response


def _sent_by_connection(layer: _Layer, inner: Callable[..., Any], conn: Any, *args: Any, **kwargs: Any) -> Any:
    """Send a request, and see its response before anything of the body is read.

    A body that is asked for at once is read by the constructor of the response. It is read here instead, in the same
    place.
    """
    if layer.exchange is None:
        return inner(conn, *args, **kwargs)
    preload, decode = kwargs.get("preload_content", False), kwargs.get("decode_content")
    if preload:
        kwargs["preload_content"] = False
    own: dict[str, Any] = conn.__dict__
    getresponse, before = conn.getresponse, own.get("getresponse")

    def seen(*args: Any, **kwargs: Any) -> Any:
        response = layer.see(getresponse(*args, **kwargs))
        if preload and getattr(response, "_fp", None) is not None:
            response._body = response.read(decode_content=decode)
        return response

    own["getresponse"] = seen
    try:
        response = inner(conn, *args, **kwargs)
    finally:
        if before is None:
            own.pop("getresponse", None)
        else:
            own["getresponse"] = before
    return response


def _reason(error: BaseException) -> BaseException:
    """Return the error behind that of a call which gave up."""
    while isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    return error


def _place(request: _Request) -> tuple[bytes, bytes]:
    """Return host and target of a request; through a plain proxy the target that is sent has both."""
    pool, url = request.pool, request.url
    if url.startswith("/") and url.isascii():
        scheme, host, port, target = pool.scheme, pool.host, pool.port, url.partition("#")[0]
    else:
        parsed = parse_url(url)
        target = parsed.request_uri
        if parsed.host is None:
            scheme, host, port = pool.scheme, pool.host, pool.port
        else:
            scheme, host, port = parsed.scheme or "http", parsed.host, parsed.port
    host = host.lower()
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    return host.encode("ascii"), target.encode("ascii")


def _content(body: object) -> bytes | None:
    """Return what of a request's body is in memory; files, iterables and generators stay unread."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode("utf-8", "replace")
    if isinstance(body, bytearray):
        return bytes(body) if len(body) <= _JOINED_LIMIT else None
    # Not of a subclass: that may do anything when it is asked.
    if type(body) is io.BytesIO:
        rest = body.getvalue()[body.tell() :]
        return rest if len(rest) <= _JOINED_LIMIT else None
    return None


def _refusal_of(pool: object) -> Refusal | None:
    """Return how callers of a pool are told: botocore hides what is raised below it in an error of its own."""
    return "respond" if type(pool).__module__.partition(".")[0] == "botocore" else None
