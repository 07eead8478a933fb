"""A call of urllib3's `urlopen` on its way: the requests of it that leave are attempts of one call.

`HTTPConnectionPool.urlopen` is what a program calls, and what calls itself for a retry or a redirect.
`HTTPConnectionPool._make_request` sends one request by a connection. A layer of ours stands around each: the outer one
begins the attempt, so that one that gets no connection is known as well; the inner one goes on with it, and begins
those that follow.
"""

from __future__ import annotations

import io
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from functools import partial
from typing import Any, cast

import urllib3.response
from urllib3.exceptions import MaxRetryError

from pixelmeter.core.attempts.outcome import ErrorNames
from pixelmeter.core.budgets.budget import Refusal
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.drivers.passage import Layer, Passage, Routes, tell
from pixelmeter.drivers.refusal import STATUS, answer_of, raised_to
from pixelmeter.drivers.urllib3_body import belong, raw_headers, watched
from pixelmeter.drivers.urllib3_requests import Request, SentHeaders, content_of, place_of
from pixelmeter.drivers.waiting import through
from pixelmeter.errors import CallRefused
from pixelmeter.meter import Meter, intake_of
from pixelmeter.outgoing import Outgoing
from pixelmeter.recorder.failures import Failures

__all__ = ["ERRORS", "Metering", "as_one_call", "send_one", "urlopen"]

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


class Metering:
    """By which meter an object is metered; `provisional` where nobody named it, which gives way to one that is.

    The meter may be given by a function instead, or be none at a time.
    """

    def __init__(
        self,
        meter: Meter | None = None,
        *,
        meter_of: Callable[[], Meter | None] | None = None,
        provisional: bool = False,
        refusal: Refusal | None = None,
    ) -> None:
        self.meter = meter
        self.meter_of = meter_of
        self.provisional = provisional
        self.refusal: Refusal | None = refusal


class _Layer(Layer):
    """A method of a pool, while it is called."""

    refusal: Refusal | None
    exchange: Exchange | None = None
    """Of the attempt whose answer this layer is to see, and has not seen yet."""

    def __init__(self, call: _Call, *, is_outer: bool = False) -> None:
        self.call = call
        self.is_outer = is_outer
        self.meter = call.meter
        self.refusal = call.refusal

    def context_of(self, request: Request) -> MutableMapping[str, Any]:
        return self.call.context

    def is_below(self, other: Layer) -> bool:
        return False

    def read(self, request: Request, routes: Routes) -> Outgoing | None:
        call = self.call
        host, target = place_of(request)
        found = routes(request.method, host, target)
        if not found:
            return None
        sent = SentHeaders(request)
        headers = {name.lower(): value for name, value in raw_headers(request.headers.items())}
        content = content_of(request.body)
        if content is not None:
            headers.setdefault(b"content-length", b"%d" % len(content))
        return Outgoing(
            found=found,
            host=host.decode("ascii"),
            target=target,
            headers=headers,
            content=content,
            context=call.context,
            sent_headers=lambda: cast("MutableMapping[str, str]", sent),
            errors=ERRORS,
            sender=(request.pool, request),
        )

    def watch(self, response: Any, exchange: Exchange, failures: Failures, *, is_async: bool) -> Any:
        return watched(response, exchange, failures)

    def see(self, response: Any, passage: Passage | None = None) -> Any:
        """Show the exchange a response, unless a layer below the passage does; return what takes its place."""
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return response
        failures = intake_of(self.call.meter).failures
        try:
            if passage is not None and not passage.is_innermost:
                return response
            tell(failures, self.call.trace, exchange)
            return self.watch(response, exchange, failures, is_async=False)
        except Exception as error:
            failures.note("response", error)
            tell(failures, exchange.abandon, "unreadable")
            return response

    def refuse(self, request: Request, refused: CallRefused) -> Any:
        # Version 1 makes its response of that of `http.client`, which cannot be had without a connection.
        by_http_client = not self.is_outer and not hasattr(urllib3.response, "BaseHTTPResponse")
        if refused.refuse == "raise" or by_http_client:
            raise raised_to(refused, None) from None
        headers, body = answer_of(refused)
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

    passage: Passage | None = None
    """Of the outer layer. The call does not know the layer itself: a call that ends is gone at once, without the
    collector of garbage."""
    outgoing: Outgoing | None = None
    """What is sent first, once it has been read."""
    is_sending = False
    is_over = False

    def __init__(self, pool: Any, meter: Meter, metering: Metering, args: tuple[Any, ...], kwargs: Any) -> None:
        self.pool = pool
        self.meter = meter
        refusal: Refusal | None = metering.refusal
        self.refusal: Refusal | None = refusal or _refusal_of(pool)
        context = _shared.get()
        self.context: MutableMapping[str, Any] = {} if context is None else context
        self.request = Request(pool, args, kwargs, 0)

    def go_on(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[_Layer, Request | None] | None:
        """Return the layer by which `_make_request` is to send, and the request where it is an attempt of its own.

        None where it is none.
        """
        request = Request(self.pool, args, kwargs, 1)
        self.request.sent = request.headers
        outer, layer = self.passage, _Layer(self)
        as_given = (request.url, request.method) == (self.request.url, self.request.method)
        if not as_given:
            return layer, request
        if outer is None:
            return None
        if not outer.hand_on(layer):
            return layer, request
        layer.exchange = outer.exchange
        return layer, None

    def trace(self, exchange: Exchange) -> None:
        """Tell of the trace that a tracer below has put into the request: the record may be out with the body."""
        if self.outgoing is not None and not exchange.is_traced:
            trace_id = self.outgoing.sent_trace_id
            if trace_id is not None:
                exchange.trace(trace_id)


_calls: ContextVar[_Call | None] = ContextVar("pixelmeter_urlopen", default=None)
_shared: ContextVar[dict[str, Any] | None] = ContextVar("pixelmeter_urllib3", default=None)


def as_one_call(inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, new: bool = False) -> Any:
    """Call a function that follows redirects by itself: all that it sends is one call.

    With `new`, nothing around it is part of that, such as a request whose hook calls it.
    """
    around, call = _shared.get(), _calls.get()
    # What is called while a request is on its way is called by its body, and no part of it.
    is_inner = call is not None and call.is_sending
    if around is not None and not new and not is_inner:
        return inner(*args, **kwargs)
    _shared.set({})
    try:
        return inner(*args, **kwargs)
    finally:
        _shared.set(around)


def urlopen(metering: Metering, pool: Any, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> Any:
    """Call a pool's `urlopen`, which is `inner`; what it sends is metered."""
    around = _calls.get()
    if around is not None and around.pool is pool and not around.is_over and not around.is_sending:
        return inner(*args, **kwargs)
    meter = metering.meter if metering.meter_of is None else metering.meter_of()
    if meter is None:
        return inner(*args, **kwargs)
    try:
        layer = _Layer(_Call(pool, meter, metering, args, kwargs), is_outer=True)
    except Exception as error:
        intake_of(meter).failures.note("request", error)
        layer = None
    if layer is None:
        # Not above: what it raises would have our error as its context.
        return inner(*args, **kwargs)
    call = layer.call
    _calls.set(call)
    try:
        response = _send(layer, call.request, inner)
        tell(intake_of(meter).failures, belong, response)
        return response
    finally:
        call.is_over = True
        _calls.set(around)


def send_one(pool: Any, inner: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a pool's `_make_request`, which is `inner`."""
    call = _calls.get()
    if call is None or call.pool is not pool or call.is_over or call.is_sending:
        return inner(*args, **kwargs)
    failures = intake_of(call.meter).failures
    try:
        going = call.go_on(args, kwargs)
    except Exception as error:
        failures.note("request", error)
        going = None
    if going is None:
        return inner(*args, **kwargs)
    layer, request = going
    exchange = layer.exchange
    call.is_sending = True
    try:
        if request is not None:
            return _send(layer, request, partial(_sent_by_connection, layer, inner))
        try:
            return _sent_by_connection(layer, inner, *args, **kwargs)
        except BaseException as error:
            if exchange is not None:
                tell(failures, exchange.fail, error)
            raise
    finally:
        call.is_sending = False


def _send(layer: _Layer, request: Request, inner: Callable[..., Any]) -> Any:
    try:
        passage = through(layer.enter(request))
    except CallRefused as refused:
        return layer.refuse(request, refused)
    if passage is None:
        return inner(*request.args, **request.kwargs)
    call, layer.exchange = layer.call, passage.exchange
    call.outgoing = passage.outgoing
    if layer.is_outer:
        call.passage = passage
    failures = intake_of(passage.meter).failures
    try:
        response = inner(*request.args, **request.kwargs)
    except BaseException as error:
        tell(failures, _fail, passage, error)
        raise
    finally:
        passage.is_over = True
        tell(failures, passage.leave)
    layer.see(response, passage)
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


def _fail(passage: Passage, error: BaseException) -> None:
    """A passage has come to an end by an error, which may stand behind that of a call which gave up."""
    while isinstance(error, MaxRetryError) and error.reason is not None:
        error = error.reason
    passage.fail(error)


def _refusal_of(pool: object) -> Refusal | None:
    """Return how callers of a pool are told: botocore hides what is raised below it in an error of its own."""
    return "respond" if type(pool).__module__.partition(".")[0] == "botocore" else None
