"""Clients of httpx and httpx2 metered in place: one method of the client, and what below it sends again, is replaced.

The replacement stands in the object's own dictionary. Class, transports, mounts and attributes stay what they are, and
whatever is put in the class's place of the method, now or later, is what the replacement calls.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from pixelmeter.core.budgets.budget import Refusal
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.drivers import ANOTHER
from pixelmeter.drivers.binding import bound, method_of
from pixelmeter.drivers.httpx_shape import ERRORS, AsyncDriver, HttpxLayer, SyncDriver, body_of
from pixelmeter.drivers.passage import AsyncTeeStream, Routes, TeeStream, send, send_async
from pixelmeter.drivers.refusal import STATUS, answer_of, raised_to, refusal_of
from pixelmeter.errors import CallRefused, ConfigError
from pixelmeter.meter import Meter, intake_of
from pixelmeter.outgoing import Outgoing
from pixelmeter.recorder.failures import Failures

__all__ = ["look_below", "meter_client", "patch_clients", "refuse_another", "sends_through"]

_BOUND = ("BoundSyncStream", "BoundAsyncStream")
_NOTHING: dict[str, Any] = {}
_SEND = "_send_single_request"
_HANDLE = ("handle_request", "handle_async_request")
_LIBRARIES = ("httpx", "httpx2")
_OBJECTS_LIMIT = 200

MeterOf = Callable[[], Meter | None]
"""Tells which meter there is now, for clients that nobody has named one for."""


class _Client(HttpxLayer):
    """A client; `provisional` where nobody named the meter, which gives way to one that somebody does.

    Such a meter may change, or go, while the client is there: `meter_of` tells it.
    """

    def __init__(
        self, client: object, stream: type, meter: Meter, *, provisional: bool, meter_of: MeterOf | None
    ) -> None:
        super().__init__(client, sends_through, meter)
        self.provisional = provisional
        self._stream = stream
        self._meter_now = meter_of

    def choose_meter(self) -> None:
        if self.provisional and self._meter_now is not None:
            self.meter = self._meter_now()

    def read(self, request: Any, routes: Routes) -> Outgoing | None:
        # The client refuses others, before it sends anything.
        return super().read(request, routes) if isinstance(request.stream, self._stream) else None

    def put(self, response: Any, tee: Callable[[Any], Any]) -> None:
        # The client's own stream, which measures `elapsed`, stays outermost.
        bound = response.stream
        if type(bound).__name__ in _BOUND:
            bound._stream = tee(bound._stream)
        else:
            response.stream = tee(bound)


class _Pool(HttpxLayer):
    """A connection pool of httpcore, below a transport of the user's that inherits the library's own."""

    def read(self, request: Any, routes: Routes) -> Outgoing | None:
        url = request.url
        host = b"[%b]" % url.host if b":" in url.host else url.host
        host = host if url.port is None else b"%b:%d" % (host, url.port)
        found = routes(request.method.decode("ascii"), host, url.target)
        if not found:
            return None
        content, fields = body_of(request)
        return Outgoing(
            found=found,
            host=host.decode("ascii"),
            target=url.target,
            headers={name.lower(): value for name, value in request.headers},
            content=content,
            fields=fields,
            context=request.extensions,
            sent_headers=dict,
            errors=ERRORS,
        )

    def refuse(self, request: Any, refused: CallRefused) -> Any:
        if refused.refuse == "raise":
            raise raised_to(refused, None) from None
        headers, body = answer_of(refused)
        kind = sys.modules[type(request).__module__.partition(".")[0]].Response
        return kind(STATUS, headers=headers, content=body)

    def watch(self, response: Any, exchange: Exchange, failures: Failures, *, is_async: bool) -> None:
        exchange.respond(response.status, response.headers)
        if response.status == 101:
            exchange.finish()
        else:
            response.stream = (AsyncTeeStream if is_async else TeeStream)(response.stream, exchange, failures)


class _Replacement:
    """Stands for a method of one object: sends its requests through a layer."""

    def __init__(self, owner: object, name: str, layer: HttpxLayer, before: Any = None) -> None:
        self.layer = layer
        self._owner = owner
        self._name = name
        # What somebody else has put in the method's place.
        self._before = before

    def _method(self) -> Any:
        """Return what would be called without it, as things are now."""
        if self._before is not None:
            return self._before
        return method_of(self._owner, self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method(), name)

    def __repr__(self) -> str:
        return repr(self._method())

    def __deepcopy__(self, memo: dict[int, Any]) -> _Replacement:
        # The object that it belongs to is being copied, and known already.
        owner = memo.get(id(self._owner), self._owner)
        return type(self)(owner, self._name, self.layer.of(owner), copy.deepcopy(self._before, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        # A meter cannot be sent elsewhere: what is unpickled has the method of its class.
        return (getattr, (self._owner, self._name)) if self._before is None else (_itself, (self._before,))


class _Sync(_Replacement):
    def __call__(self, request: Any) -> Any:
        return send(self.layer, request, self._method())


class _Async(_Replacement):
    async def __call__(self, request: Any) -> Any:
        return await send_async(self.layer, request, self._method())


def _itself(method: Any) -> Any:
    return method


def meter_client(
    client: Any,
    library: Any,
    meter: Meter,
    *,
    provisional: bool,
    refusal: Refusal | None = None,
    meter_of: MeterOf | None = None,
) -> None:
    """Meter what a client of the library sends from now on; `refusal` is what its callers can make sense of."""
    placed = _placed(client, _SEND)
    layer = placed.layer if isinstance(placed, _Replacement) else None
    if isinstance(layer, _Client):
        if layer.provisional and not provisional:
            layer.meter, layer.provisional, layer.refusal = meter, False, refusal
        return
    if provisional and any(isinstance(each, SyncDriver | AsyncDriver) for each in sends_through(client)):
        return  # somebody has put a meter where it is wanted
    if isinstance(client, library.AsyncClient):
        replacement: type[_Replacement] = _Async
        stream = library.AsyncByteStream
    else:
        replacement, stream = _Sync, library.SyncByteStream
    layer = _Client(client, stream, meter, provisional=provisional, meter_of=meter_of)
    layer.refusal = refusal
    vars(client)[_SEND] = replacement(client, _SEND, layer, placed)
    for transport in _transports(client):
        look_below(transport)


def patch_clients(library: Any, meter_of: MeterOf) -> Callable[[], None]:
    """Meter what clients of the library send from now on by the meter that there is then, and return what undoes it.

    Clients that exist are included; those that somebody has instrumented keep their meter.
    """
    placed: list[tuple[Any, Any, Any]] = []
    for name, wrap in (("Client", _sending), ("AsyncClient", _sending_async)):
        kind = _sender(library, name)
        original = _placed(kind, _SEND)
        sending = wrap(original, library, meter_of)
        setattr(kind, _SEND, sending)
        placed.append((kind, original, sending))

    def undo() -> None:
        for kind, original, sending in placed:
            # Where somebody has put something over ours, ours stays, and does nothing any more.
            if _placed(kind, _SEND) is sending:
                setattr(kind, _SEND, original)

    return undo


def _sender(library: Any, name: str) -> Any:
    """Return the library's own class, though a program may have put a class or a function of its own in its place."""
    kind = getattr(getattr(library, "_client", library), name)
    return next(each for each in kind.__mro__ if _SEND in vars(each))


def _sending(original: Any, library: Any, meter_of: MeterOf) -> Any:
    @functools.wraps(original)
    def sending(client: Any, request: Any) -> Any:
        layer, inner = _found(client, library, meter_of), bound(original, client)
        return inner(request) if layer is None else send(layer, request, inner)

    return sending


def _sending_async(original: Any, library: Any, meter_of: MeterOf) -> Any:
    @functools.wraps(original)
    async def sending(client: Any, request: Any) -> Any:
        layer, inner = _found(client, library, meter_of), bound(original, client)
        return await (inner(request) if layer is None else send_async(layer, request, inner))

    return sending


def _found(client: Any, library: Any, meter_of: MeterOf) -> _Client | None:
    """Return the layer of a client that sends for the first time; from then on that is in its place of the method."""
    if isinstance(_placed(client, _SEND), _Replacement):
        return None  # it has been through that
    meter = meter_of()
    if meter is None:
        return None
    try:
        meter_client(client, library, meter, provisional=True, refusal=refusal_of(client), meter_of=meter_of)
        placed = _placed(client, _SEND)
        return cast("_Client", placed.layer) if isinstance(placed, _Replacement) else None
    except Exception as error:
        intake_of(meter).failures.note("client", error)
        return None


def refuse_another(client: Any, meter: Meter) -> None:
    """Raise ConfigError for a client that another meter meters already, by itself or by a transport."""
    placed = _placed(client, _SEND)
    layer = placed.layer if isinstance(placed, _Replacement) else None
    others: list[Meter | None] = [
        each.meter for each in sends_through(client) if isinstance(each, SyncDriver | AsyncDriver)
    ]
    if isinstance(layer, _Client) and not layer.provisional:
        others.append(layer.meter)
    if any(other is not meter for other in others):
        raise ConfigError(ANOTHER)


def look_below(transport: object) -> None:
    """Look at what a transport of the user's sends, so that each of its retries is seen; others send by themselves."""
    for each in sends_through(transport):
        if isinstance(each, SyncDriver | AsyncDriver) or _is_client(each):
            continue
        layer = _Pool(each, sends_through) if _is_pool(each) else HttpxLayer(each, sends_through)
        for name, replacement in zip(_HANDLE, (_Sync, _Async), strict=True):
            placed = _placed(each, name)
            if hasattr(each, "__dict__") and hasattr(type(each), name) and not isinstance(placed, _Replacement):
                vars(each)[name] = replacement(each, name, layer, placed)


def _placed(owner: object, name: str) -> Any:
    """Return what stands in an object's own dictionary."""
    return getattr(owner, "__dict__", _NOTHING).get(name)


def sends_through(owner: object) -> Iterator[object]:
    """Yield the clients, transports and pools that a client or a transport holds, as far as its attributes tell."""
    waiting, seen = [owner], {id(owner)}
    while waiting and len(seen) < _OBJECTS_LIMIT:
        for each in _held(waiting.pop()):
            if id(each) not in seen:
                seen.add(id(each))
                waiting.append(each)
                yield each


def _held(owner: Any) -> Iterable[object]:
    if _is_client(owner):
        return _transports(owner)
    if isinstance(owner, SyncDriver | AsyncDriver):
        return (cast("Any", owner).inner,)
    return () if _is_pool(owner) else _attributes(owner)


def _transports(client: Any) -> Iterable[object]:
    return [each for each in (client._transport, *client._mounts.values()) if each is not None]


def _attributes(transport: object) -> Iterator[object]:
    """Yield what a transport that somebody has written holds; the library's own hold nothing that sends again."""
    kind = type(transport)
    own = [each for each in kind.__mro__ if _library_of(each) not in _LIBRARIES]
    if _library_of(kind) in _LIBRARIES:
        return
    slots = [name for each in own for name in _names(vars(each).get("__slots__", ()))]
    values = [getattr(transport, name, None) for name in slots] + list(
        getattr(transport, "__dict__", _NOTHING).values()
    )
    handles = any(name in vars(each) for each in own for name in _HANDLE)
    for value in values:
        for each in _several(value):
            # Of a transport that sends as the library's own does, the pool sends once.
            if _is_pool(each):
                if handles:
                    yield each
            elif _is_client(each) or _is_transport(each):
                yield each


def _several(value: Any) -> Iterable[Any]:
    if type(value) is dict:
        return list(cast("dict[str, Any]", value).values())
    return value if type(value) in (list, tuple) else (value,)


def _is_client(value: object) -> bool:
    return hasattr(type(value), _SEND)


def _is_transport(value: object) -> bool:
    return any(hasattr(type(value), name) for name in _HANDLE)


def _is_pool(value: object) -> bool:
    return any(_library_of(each) in ("httpcore", "httpcore2") for each in type(value).__mro__)


def _library_of(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots
