"""Meter a client that already exists, keeping its own proxies, limits, TLS and retries."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
import warnings
import weakref
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from types import ModuleType
from typing import Any, TypeVar, cast

from pixelmeter.core.budgets.budget import Refusal
from pixelmeter.drivers import ANOTHER, httpx_clients
from pixelmeter.drivers.binding import method_of
from pixelmeter.drivers.inside import Inside, Place, inside
from pixelmeter.drivers.patching import LIBRARIES
from pixelmeter.drivers.refusal import refusal_of
from pixelmeter.errors import ConfigError, PixelmeterWarning
from pixelmeter.meter import Meter, intake_of

__all__ = ["instrument"]

ClientT = TypeVar("ClientT")

_NO_DRIVER = "its HTTP library is none of these; send through `pixelmeter proxy` instead"
_FOR_EACH_CALL = "it makes its clients for each call; use `pixelmeter run`"
_ADVICE = {
    "google.cloud.aiplatform": "it talks gRPC; use google-genai's Client(vertexai=True) instead",
    "vertexai": "it talks gRPC; use google-genai's Client(vertexai=True) instead",
    "xai_sdk": "it talks gRPC; use OpenAI(base_url='https://api.x.ai/v1') instead",
    "runware": "it talks over a WebSocket; post to https://api.runware.ai/v1 with an HTTP client instead",
    "litellm": "it makes its clients for each call; give the call one with client=, or use `pixelmeter run`",
    "dashscope": "it makes its clients for each call; give the call one with session=, or use `pixelmeter run`",
    "llm": _FOR_EACH_CALL,
    "azure.ai.inference": "it makes its client with its first call; use `pixelmeter run`",
    "langgraph": "give the model that it calls, before the graph is made",
    "boto3.session": "give what its client() returns",
    "aiobotocore": "give what `async with` gives for it",
    "fal_client": "give a SyncClient or AsyncClient; for calls on the module, fal_client.sync_client or async_client",
    "replicate": "give a Client; for calls on the module, replicate.default_client",
    "httpx": "give a client of it; for calls on the module, use `pixelmeter run`",
    "httpx2": "give a client of it; for calls on the module, use `pixelmeter run`",
    "requests": "give a Session; for calls on the module, use `pixelmeter run`",
    "stability_sdk": "it talks gRPC; post to https://api.stability.ai/v2beta with an HTTP client instead",
    "curl_cffi": _NO_DRIVER,
    "niquests": "only its Session can be metered, not its AsyncSession; send with another library instead",
    "pycurl": _NO_DRIVER,
    "tls_client": _NO_DRIVER,
    "treq": _NO_DRIVER,
    "openai": "give an OpenAI or AsyncOpenAI client; for calls on the module, put one into openai.http_client",
}


def instrument(client: ClientT, meter: Meter) -> ClientT:
    """Meter every image call that `client` makes from now on, and return the same client.

    `client` is a client of httpx, httpx2, aiohttp, requests or urllib3, or any object that has such clients inside, as
    those of SDKs have. All of them are found; those that it makes later are metered when it makes them. Transports,
    mounts, proxies, limits, timeouts and event hooks stay as they are. A second time changes nothing.

    Raises ConfigError for an object without such a client, and for one that another meter has already. Warns with
    PixelmeterWarning where an object also sends in a way that cannot be metered, such as gRPC.
    """
    drivers = _drivers()
    found = inside(client, partial(_is_client, drivers))
    if not (found.clients or found.makers or found.awaited):
        raise ConfigError(_nothing_in(client))
    for http_client, _ in found.clients:
        _driver_of(drivers, http_client).refuse_another(http_client, meter)
    for place in (*found.makers, *found.awaited):
        placed = _own(place.owner).get(place.name)
        if isinstance(placed, _Later) and placed.meter is not meter:
            raise ConfigError(ANOTHER)
    _meter(found, meter, drivers)
    if found.unreachable:
        ways = " and ".join(sorted(found.unreachable))
        warnings.warn(
            f"of {_name(client)} only what it sends over HTTP is metered, not what it sends over {ways}: "
            f"{_advice(client) or 'use the REST API of that service for images instead'}",
            PixelmeterWarning,
            stacklevel=2,
        )
    return client


class _Httpx:
    """Does with clients of httpx or httpx2 what drivers of other libraries have functions for."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._kinds = (library.Client, library.AsyncClient)

    def is_client(self, value: object) -> bool:
        # Not isinstance, which asks proxies and mocks what they are.
        return issubclass(type(value), self._kinds)

    def refuse_another(self, client: Any, meter: Meter) -> None:
        httpx_clients.refuse_another(client, meter)

    def meter_client(self, client: Any, meter: Meter, *, provisional: bool, refusal: Refusal | None) -> None:
        httpx_clients.meter_client(client, self._library, meter, provisional=provisional, refusal=refusal)


def _drivers() -> list[Any]:
    # Looked up, not imported: a client of a library proves that the library is loaded.
    found: list[Any] = []
    for name in LIBRARIES:
        library = sys.modules.get(name)
        if library is not None:
            driver = importlib.import_module(f"pixelmeter.drivers.{name}")
            found.append(_Httpx(library) if name.startswith("httpx") else driver)
    return found


def _driver_of(drivers: list[Any], client: object) -> Any:
    return next((driver for driver in drivers if driver.is_client(client)), None)


def _is_client(drivers: list[Any], value: object) -> bool:
    return any(driver.is_client(value) for driver in drivers)


def _meter(found: Inside, meter: Meter, drivers: list[Any], refusal: Refusal | None = None) -> None:
    for http_client, path in found.clients:
        how = _refusal_of((*path, http_client)) or refusal
        _driver_of(drivers, http_client).meter_client(http_client, meter, provisional=False, refusal=how)
    for place in found.makers:
        is_async = inspect.iscoroutinefunction(getattr(place.owner, place.name))
        _place(_AsyncMaker if is_async else _Maker, place, meter, refusal)
    for place in found.awaited:
        _place(_Awaited, place, meter, refusal)


def _place(kind: type[_Later], place: Place, meter: Meter, refusal: Refusal | None) -> None:
    own = _own(place.owner)
    placed = own.get(place.name)
    if not isinstance(placed, _Later):
        own[place.name] = kind(place.owner, place.name, meter, placed, _refusal_of(place.path) or refusal)


def _refusal_of(path: tuple[Any, ...]) -> Refusal | None:
    """Return what the callers of the innermost object that knows can make sense of."""
    for each in reversed(path):
        refusal = refusal_of(each)
        if refusal is not None:
            return refusal
    return None


class _Later:
    """Stands in an object's own dictionary for what makes clients, and meters those that come."""

    def __init__(self, owner: Any, name: str, meter: Meter, before: Any, refusal: Refusal | None) -> None:
        self.meter = meter
        # Weakly: an SDK whose client is forgotten closes it at once, and not when the collector comes by.
        self._owner: Callable[[], Any] = weakref.ref(owner)
        self._name = name
        # What stood in its place.
        self._before = before
        self._refusal: Refusal | None = refusal
        self._latest: Callable[[], object] = lambda: None

    def _took(self, result: Any) -> None:
        """Meter what has come, or what the object has got; raises nothing."""
        try:
            came = self._owner() if result is None else result
            if came is self._latest():
                return
            drivers = _drivers()
            _meter(inside(came, partial(_is_client, drivers)), self.meter, drivers, self._refusal)
            if result is not None and hasattr(result, "__weakref__"):
                self._latest = weakref.ref(result)
        except Exception as error:
            intake_of(self.meter).failures.note("client", error)


class _Maker(_Later):
    """A function or a method."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._method()(*args, **kwargs)
        self._took(result)
        return result

    def _method(self) -> Any:
        """Return what would be called without it, as things are now."""
        if self._before is not None:
            return self._before
        return method_of(self._owner(), self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._method(), name)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Maker:
        owner = memo.get(id(self._owner()), self._owner())
        return type(self)(owner, self._name, self.meter, copy.deepcopy(self._before, memo), self._refusal)

    def __reduce__(self) -> tuple[Any, ...]:
        # A meter cannot be sent elsewhere: what is unpickled has the method of its class.
        return (getattr, (self._owner(), self._name)) if self._before is None else (_itself, (self._before,))


class _AsyncMaker(_Maker):
    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = await self._method()(*args, **kwargs)
        self._took(result)
        return result


class _Awaited(_Later):
    """An attribute that gives a client when it is awaited, and keeps it from then on."""

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._get().__await__()

    async def _get(self) -> Any:
        owner = self._owner()
        own = _own(owner)
        if own.get(self._name) is self:
            del own[self._name]
        waiting: Awaitable[Any] = getattr(owner, self._name)
        try:
            client = await waiting
        except BaseException:
            # It will be made again.
            own[self._name] = self
            raise
        self._took(client)
        return client


def _own(owner: object) -> dict[str, Any]:
    """Return an object's own dictionary."""
    return vars(owner)


def _itself(method: Any) -> Any:
    return method


def _nothing_in(client: object) -> str:
    advice = _advice(client) or (
        "give a client of an SDK, or the HTTP client that it sends with; "
        "clients that are made for each call are metered by `pixelmeter run`"
    )
    return (
        f"{_name(client)} cannot be instrumented, because no client of httpx, httpx2, aiohttp, requests or urllib3 "
        f"was found in it: {advice}"
    )


def _advice(client: object) -> str | None:
    named: Any = client if _is(client, type) else type(client)
    module: str = cast("Any", client).__name__ if _is(client, ModuleType) else named.__module__
    return next((text for name, text in _ADVICE.items() if f"{module}.".startswith(f"{name}.")), None)


def _is(value: object, kind: type) -> bool:
    # Not isinstance, which asks proxies and mocks what they are.
    return issubclass(type(value), kind)


def _name(client: Any) -> str:
    if _is(client, ModuleType):
        return f"the module {client.__name__}"
    if _is(client, type):
        return f"the class {client.__module__}.{client.__name__}"
    return f"{type(client).__module__}.{type(client).__name__}"
