"""The driver of aiohttp: sessions metered in place, or all of them, by a client middleware that stands last.

What stands last is called for each request that leaves: each hop of a redirect, each retry of aiohttp itself, and each
time that a middleware sends again. It sees the request as it leaves, and the response before anybody reads it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import aiohttp

from pixelmeter.core.attempts.outcome import ErrorNames
from pixelmeter.core.budgets.budget import Refusal
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.drivers import ANOTHER
from pixelmeter.drivers.aiohttp_messages import ArrivingBody, body_of, refused_response
from pixelmeter.drivers.binding import bound, method_of
from pixelmeter.drivers.passage import Layer, Routes, send_async
from pixelmeter.drivers.refusal import answer_of, raised_to
from pixelmeter.errors import CallRefused, ConfigError
from pixelmeter.meter import Meter, intake_of
from pixelmeter.outgoing import Outgoing
from pixelmeter.recorder.failures import Failures

__all__ = ["ERRORS", "is_client", "meter_client", "patch", "refuse_another"]

_REQUEST = "_request"
_MIDDLEWARES = "middlewares"
ERRORS = ErrorNames(
    never_sent=frozenset(
        {
            "ClientConnectorError",
            "ClientHttpProxyError",
            "ConnectionTimeoutError",
            "InvalidURL",
            "ServerFingerprintMismatch",
        }
    ),
)

Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]


class _Call(Layer):
    """One call of a session: the middleware that its requests pass last."""

    def __init__(self, meter: Meter, refusal: Refusal | None, *, decodes: bool) -> None:
        self.meter = meter
        self.refusal = refusal
        self._decodes = decodes
        # aiohttp carries nothing of ours from one hop to the next: this does.
        self._context: dict[str, Any] = {}
        # The response that a request had before it is sent again.
        self._earlier: Any = None

    def __call__(self, request: aiohttp.ClientRequest, handler: Handler) -> Awaitable[Any]:
        return send_async(self, request, handler)

    def context_of(self, request: Any) -> MutableMapping[str, Any]:
        return self._context

    def is_below(self, other: Layer) -> bool:
        # No transport tells which session it sends through: what it sends, does.
        return False

    def read(self, request: Any, routes: Routes) -> Outgoing | None:
        url = request.url
        host, target = url.host_port_subcomponent, url.raw_path_qs.encode()
        found = routes(request.method, host.encode(), target)
        if not found:
            return None
        self._earlier = request.response
        content, fields = body_of(request)
        headers = {
            name.lower().encode(): value.encode("utf-8", "surrogateescape") for name, value in request.headers.items()
        }
        if request.compress:
            # aiohttp will do that as it writes: the body in memory is as it was given.
            headers.pop(b"content-encoding", None)
        return Outgoing(
            found=found,
            host=host,
            target=target,
            headers=headers,
            content=content,
            fields=fields,
            context=self._context,
            sent_headers=lambda: request.headers,
            errors=ERRORS,
        )

    def reason(self, request: Any, error: BaseException) -> tuple[BaseException, bool | None]:
        # The time limit of the whole call cancels what it interrupts, and is turned into its own error further out.
        if isinstance(error, asyncio.CancelledError) and getattr(request._timer, "_cancelled", False):
            error = TimeoutError()
        # A request gets its response once it has been written, which cannot fail in between.
        return error, request.response is not self._earlier

    def watch(self, response: Any, exchange: Exchange, failures: Failures, *, is_async: bool) -> None:
        ArrivingBody(response, exchange, failures, decodes=self._decodes).watch(response)

    def refuse(self, request: Any, refused: CallRefused) -> Any:
        """Return a response of the session's own class that says so, or raise that: also where there can be none."""
        if refused.refuse != "raise":
            with suppress(Exception):
                return refused_response(request, *answer_of(refused))
        raise raised_to(refused, None) from None


class _Placed:
    """What a session was given: its meter, and how callers are told of a refusal."""

    def __init__(self, meter: Meter, *, provisional: bool, refusal: Refusal | None) -> None:
        self.meter = meter
        # Nobody named it: it gives way to one that somebody does.
        self.provisional = provisional
        self.refusal: Refusal | None = refusal


class _Standing(_Placed):
    """The last of a session's own middlewares, where its class has a `_request` that takes none for a call."""

    async def __call__(self, request: aiohttp.ClientRequest, handler: Handler) -> Any:
        session: Any = request.session
        decodes = session._auto_decompress
        return await _Call(self.meter, self.refusal, decodes=decodes)(request, handler)


class _Replacement(_Placed):
    """Stands for `_request` of one session, in its own dictionary."""

    def __init__(self, session: Any, meter: Meter, *, provisional: bool, refusal: Refusal | None) -> None:
        super().__init__(meter, provisional=provisional, refusal=refusal)
        # Weakly: a session that is forgotten warns at once, and not when the collector comes by.
        self._session = weakref.ref(session)
        # What somebody else has put in the method's place.
        self._before = _own(session, _REQUEST)

    def method(self) -> Any:
        """Return what would be called without it, as things are now."""
        if self._before is not None:
            return self._before
        return method_of(self._session(), _REQUEST)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.method()(*args, **_with_ours(self._session(), options, self.meter, self.refusal))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.method(), name)

    def __repr__(self) -> str:
        return repr(self.method())


def _with_ours(session: Any, options: dict[str, Any], meter: Meter, refusal: Refusal | None) -> dict[str, Any]:
    """Return the options of a call with a middleware of ours as the last one, unless there is one already."""
    try:
        given = options.get(_MIDDLEWARES)
        others = session._middlewares if given is None else given
        if not any(isinstance(each, _Call | _Standing) for each in others):
            chosen = options.get("auto_decompress")
            decodes = session._auto_decompress if chosen is None else chosen
            return {**options, _MIDDLEWARES: (*others, _Call(meter, refusal, decodes=decodes))}
    except Exception as error:
        intake_of(meter).failures.note("client", error)
    return options


def is_client(value: object) -> bool:
    """Return whether it is a session of aiohttp."""
    # Not isinstance, which asks proxies and mocks what they are.
    return issubclass(type(value), aiohttp.ClientSession)


def meter_client(session: Any, meter: Meter, *, provisional: bool, refusal: Refusal | None = None) -> None:
    """Meter what a session sends from now on; `refusal` is what its callers can make sense of.

    A call that a budget refuses raises BudgetExceeded, or gets a response with status 402 where `refusal` or the budget
    says "respond". ConfigError where aiohttp is older than 3.12, which has no middlewares.
    """
    placed = _placed(session)
    if placed is not None:
        if placed.provisional and not provisional:
            placed.meter, placed.provisional, placed.refusal = meter, False, refusal
        return
    if not hasattr(session, "_middlewares"):
        raise ConfigError(f"aiohttp {aiohttp.__version__} is too old to be metered: install 3.12 or newer")
    replacement = _Replacement(session, meter, provisional=provisional, refusal=refusal)
    # Not by setattr, which warns of names that a session does not know.
    if _takes_middlewares(replacement.method()):
        vars(session)[_REQUEST] = replacement
    else:
        standing = _Standing(meter, provisional=provisional, refusal=refusal)
        vars(session)["_middlewares"] = (*session._middlewares, standing)


def refuse_another(session: Any, meter: Meter) -> None:
    """Raise ConfigError for a session that another meter meters already."""
    placed = _placed(session)
    if placed is not None and not placed.provisional and placed.meter is not meter:
        raise ConfigError(ANOTHER)


def patch(meter_of: Callable[[], Meter | None]) -> Callable[[], None]:
    """Meter what every session sends from now on; return what undoes that.

    `meter_of` gives the meter whenever something is sent, or None, and then nothing is done. A session that somebody
    has instrumented keeps its meter. With aiohttp older than 3.12 nothing is metered.
    """
    original: Any = vars(aiohttp.ClientSession)[_REQUEST]
    if not _takes_middlewares(original):
        return lambda: None
    asked = [meter_of]

    @functools.wraps(original)
    def metered(session: Any, *args: Any, **options: Any) -> Any:
        meter = asked[0]() if asked else None
        if meter is not None:
            options = _with_ours(session, options, meter, None)
        return bound(original, session)(*args, **options)

    # The original's coroutine is passed on as it is, so that no frame is added; mocks ask what kind of function it is.
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(metered)
    _put(metered)

    def undo() -> None:
        asked.clear()
        # Where somebody has put something over ours, ours stays, and does nothing any more.
        if vars(aiohttp.ClientSession)[_REQUEST] is metered:
            _put(original)

    return undo


def _put(method: Any) -> None:
    setattr(aiohttp.ClientSession, _REQUEST, method)


def _placed(session: Any) -> _Placed | None:
    placed = _own(session, _REQUEST)
    if isinstance(placed, _Replacement):
        return placed
    return next((each for each in getattr(session, "_middlewares", ()) if isinstance(each, _Standing)), None)


def _own(session: object, name: str) -> Any:
    """Return what stands in a session's own dictionary."""
    own: dict[str, Any] = vars(session)
    return own.get(name)


def _takes_middlewares(method: Any) -> bool:
    """Return whether a call may name middlewares of its own: a method of the user's may take none."""
    parameters = inspect.signature(method).parameters
    return _MIDDLEWARES in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
