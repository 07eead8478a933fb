"""The driver of urllib3, on which requests and botocore ride: its connection pools, all of them or those of one object.

In place, methods of the object are replaced in its own dictionary; what it makes later, such as the pool of a host that
it has not met before, is metered as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial, wraps
from types import MethodType
from typing import Any

from urllib3.connectionpool import HTTPConnectionPool
from urllib3.poolmanager import PoolManager

from pixelmeter.core.budgets.budget import Refusal
from pixelmeter.drivers import ANOTHER
from pixelmeter.drivers.binding import bound, method_of
from pixelmeter.drivers.urllib3_calls import Metering, as_one_call, send_one, urlopen
from pixelmeter.errors import ConfigError
from pixelmeter.meter import Meter, intake_of

__all__ = ["is_client", "meter_client", "patch", "refuse_another"]

_METERING = "_pixelmeter"


def is_client(value: object) -> bool:
    """Return whether an object can be metered in place: a PoolManager (a ProxyManager is one), an HTTPConnectionPool,
    a Session or an HTTPAdapter of requests, a client or an HTTP session of botocore.

    A client of botocore that sends with an HTTP session of another kind is none: aiobotocore's has aiohttp or httpx.
    """
    kind = _kind_of(value)
    return any(is_client(part) for part in _parts(value)) if kind in _BY_THEIR_PARTS else kind is not None


def meter_client(client: Any, meter: Meter, *, provisional: bool, refusal: Refusal | None = None) -> None:
    """Meter what a client sends from now on; `refusal` is what its callers can make sense of."""
    for owner in _owners(client):
        known = _metering_of(owner)
        if known is not None and known.provisional and not provisional:
            known.meter, known.provisional, known.refusal = meter, False, refusal
    _place(client, Metering(meter, provisional=provisional, refusal=refusal))


def refuse_another(client: Any, meter: Meter) -> None:
    """Raise ConfigError for a client that another meter meters already."""
    for owner in _owners(client):
        known = _metering_of(owner)
        if known is not None and not known.provisional and known.meter is not meter:
            raise ConfigError(ANOTHER)


def patch(meter_of: Callable[[], Meter | None]) -> Callable[[], None]:
    """Meter what every pool sends, by the meter that `meter_of` gives then; None for none. Returns what undoes it.

    A client that is metered in place keeps its own meter.
    """
    metering = Metering(meter_of=meter_of)

    def of_call(original: Any) -> Any:
        @wraps(original)
        def wrapped(pool: Any, *args: Any, **kwargs: Any) -> Any:
            inner = bound(original, pool)
            if _METERING in pool.__dict__:
                return inner(*args, **kwargs)
            return urlopen(metering, pool, inner, args, kwargs)

        return wrapped

    def of_send(original: Any) -> Any:
        @wraps(original)
        def wrapped(pool: Any, *args: Any, **kwargs: Any) -> Any:
            return send_one(pool, bound(original, pool), args, kwargs)

        return wrapped

    def of_redirects(original: Any) -> Any:
        @wraps(original)
        def wrapped(manager: Any, *args: Any, **kwargs: Any) -> Any:
            return as_one_call(bound(original, manager), args, kwargs)

        return wrapped

    replaced = [
        (HTTPConnectionPool, "urlopen", of_call),
        (HTTPConnectionPool, "_make_request", of_send),
        (PoolManager, "urlopen", of_redirects),
    ]
    undone: list[tuple[type, str, Any, Any]] = []
    for kind, name, wrapper in replaced:
        original = vars(kind)[name]
        undone.append((kind, name, original, wrapper(original)))
        setattr(kind, name, undone[-1][3])

    def undo() -> None:
        # Where somebody has put something over ours, ours stays, and does nothing any more.
        metering.meter_of = _none
        for kind, name, original, ours in undone:
            if vars(kind).get(name) is ours:
                setattr(kind, name, original)

    return undo


def _none() -> None:
    return None


def _metering_of(owner: Any) -> Metering | None:
    metering: Metering | None = owner.__dict__.get(_METERING)
    return metering


# What an object is, by the modules that are loaded: who has not loaded a library has no object of it.
_KINDS = (
    ("urllib3.connectionpool", "HTTPConnectionPool", "pool"),
    ("urllib3.poolmanager", "PoolManager", "manager"),
    ("requests.adapters", "HTTPAdapter", "adapter"),
    ("requests.sessions", "Session", "session"),
    ("botocore.httpsession", "URLLib3Session", "http_session"),
    ("botocore.endpoint", "Endpoint", "endpoint"),
    ("botocore.client", "BaseClient", "boto"),
)


_BY_THEIR_PARTS = ("endpoint", "boto")
"""Kinds that send with whatever they were given."""


def _kind_of(value: object) -> str | None:
    for module, name, kind in _KINDS:
        found = getattr(sys.modules.get(module), name, None)
        # Not isinstance, which asks proxies and mocks what they are.
        if isinstance(found, type) and issubclass(_class_of(value), found):
            return kind
    return None


def _class_of(value: object) -> Any:
    return type(value)


def _parts(owner: Any) -> list[Any]:
    """Return what an object sends through, as far as it has been made."""
    kind = _kind_of(owner)
    if kind == "manager":
        if hasattr(owner.pools, "_registry"):  # urllib3-future, which takes urllib3's place
            return list(owner.pools._registry.values())
        keys = owner.pools.keys()  # it cannot be iterated over itself
        return [pool for key in keys if (pool := owner.pools.get(key)) is not None]
    if kind == "adapter":
        return [owner.poolmanager, *list(owner.proxy_manager.values())]
    if kind == "session":
        return [adapter for adapter in list(owner.adapters.values()) if _kind_of(adapter) == "adapter"]
    if kind == "http_session":
        return [owner._manager, *list(owner._proxy_managers.values())]
    if kind == "endpoint":
        return [owner.http_session]
    return [owner._endpoint] if kind == "boto" else []


def _owners(client: Any) -> Iterator[Any]:
    """Yield an object and all that it sends through."""
    yield client
    for part in _parts(client):
        yield from _owners(part)


def _place(owner: Any, metering: Metering) -> None:
    """Meter an object, what it has made, and what it will make; one that is metered already stays as it is."""
    kind = _kind_of(owner)
    if kind is None:
        return
    own: dict[str, Any] = owner.__dict__
    if _METERING not in own:
        own[_METERING] = metering
        for name, replacement in _REPLACEMENTS[kind].items():
            own[name] = MethodType(partial(_replaced, replacement, name, own.get(name)), owner)
    for part in _parts(owner):
        _place(part, metering)


def _replaced(replacement: Any, name: str, before: Any, owner: Any, *args: Any, **kwargs: Any) -> Any:
    """Call what stands for a method of an object, with what it stands for: that of its class, as things are now."""
    inner = before if before is not None else method_of(owner, name)
    return replacement(owner, inner, args, kwargs)


def _urlopen(pool: Any, inner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return urlopen(pool.__dict__[_METERING], pool, inner, args, kwargs)


def _within_one_call(_: Any, inner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return as_one_call(inner, args, kwargs)


def _as_new_call(_: Any, inner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return as_one_call(inner, args, kwargs, new=True)


def _making(owner: Any, inner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Meter what a method makes or finds."""
    made = inner(*args, **kwargs)
    metering: Metering = owner.__dict__[_METERING]
    try:
        if _METERING not in getattr(made, "__dict__", ()):
            _place(made, metering)
    except Exception as error:
        if metering.meter is not None:
            intake_of(metering.meter).failures.note("client", error)
    return made


_REPLACEMENTS: dict[str, dict[str, Any]] = {
    "pool": {"urlopen": _urlopen, "_make_request": send_one},
    "manager": {"urlopen": _within_one_call, "_new_pool": _making},
    "adapter": {"proxy_manager_for": _making},
    "session": {"request": _as_new_call, "send": _within_one_call, "get_adapter": _making},
    "http_session": {"_get_proxy_manager": _making},
    "endpoint": {"make_request": _within_one_call},
    "boto": {},
}
