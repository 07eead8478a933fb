"""What an object sends with: the HTTP clients inside it, and the places where it makes them later.

Looks only at what objects keep in their own attributes: no property is read and nothing is called, with the exception
of `READ`, and of the standard library only containers and what binds a method are looked into.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from types import MemberDescriptorType, MethodType, ModuleType, SimpleNamespace, UnionType
from typing import Any, NamedTuple, cast

from pixelmeter.drivers.patching import LIBRARIES

__all__ = ["Inside", "Place", "inside"]

DEPTH = 7
"""Attributes below the object: an agent of pydantic-ai has its HTTP client at the fifth, a wrapped one at the sixth."""
OBJECTS_LIMIT = 3_000
ITEMS_LIMIT = 64
"""Items of a list or a dict: those of objects that send are short, and those that are long hold data."""

READ = ("_client", "_async_client", "_media_client")
"""Properties under which SDKs make their HTTP clients when they are first read; read of the object itself alone."""

_MAKERS = {
    "agents": ("_get_client",),
    "aiobotocore": ("_get_session",),
    "google": ("_get_aiohttp_session", "_client_for_running_loop"),
    "huggingface_hub": ("_get_async_client",),
    "pydantic_ai": ("_http_client_factory",),
}
"""By package: methods that give a client, or something that has one."""

_PREPARING = {"haystack": ("client", ("warm_up", "warm_up_async"))}
"""By package: methods after which an object has its client, and in which attribute."""


class _Shared(NamedTuple):
    """A client that all objects of a package share."""

    module: str
    clients: tuple[str, ...]
    """Attributes of the module: the clients."""
    makers: tuple[str, ...]
    """Attributes of the module: functions that make such clients."""
    of_class: dict[str, tuple[str, ...]]
    """By class: those of them whose clients its objects send with."""


_SHARED = {
    "huggingface_hub": _Shared(
        "huggingface_hub.utils._http",
        ("_GLOBAL_CLIENT",),
        ("_GLOBAL_CLIENT_FACTORY", "_GLOBAL_ASYNC_CLIENT_FACTORY"),
        {"InferenceClient": ("_GLOBAL_CLIENT_FACTORY",)},
    )
}

_SENDING = (*LIBRARIES, "botocore", "requests")
"""Packages whose own clients send by themselves; those of other classes may have another client that they send with."""

_UNREACHABLE = {"grpc": ("Channel", "gRPC"), "websockets": ("Connection", "WebSocket")}
"""By package: what the classes of its connections are called, and what goes over them."""


class Place(NamedTuple):
    """Where an object makes or gets clients later: the name of a method, or of an attribute that is awaited."""

    owner: Any
    name: str
    path: tuple[Any, ...]


class Inside:
    """What was found, each with the objects that lead to it, from the outermost on."""

    def __init__(self) -> None:
        self.clients: list[tuple[Any, tuple[Any, ...]]] = []
        self.makers: list[Place] = []
        """Functions and methods whose result is, or has, a client; where that is None, the object has it then."""
        self.awaited: list[Place] = []
        """Attributes that give a client when they are awaited."""
        self.unreachable: set[str] = set()
        """What it sends with beside HTTP, by name."""


def inside(start: object, is_client: Callable[[Any], bool]) -> Inside:
    """Return what an object sends with. Quick: it looks at a few hundred objects at most of the SDKs that are known."""
    found = Inside()
    waiting: list[tuple[Any, tuple[Any, ...]]] = [(start, ())]
    seen = {id(start)}
    for value, path in waiting:
        package = package_of(value)
        below = (*path, value)
        is_found = is_client(value)
        if not is_found and package in _UNREACHABLE:
            connection, way = _UNREACHABLE[package]
            if connection in _class_of(value).__name__:
                found.unreachable.add(way)
            continue
        if is_found:
            found.clients.append((value, path))
        # Of clients too: google-genai has one that sends with others, one for each event loop.
        _look_for_places(found, value, package, below)
        if len(path) >= DEPTH or (is_found and package in _SENDING):
            continue
        for each in (*_shared(found, value, package, below), *_held(value), *(() if path else _read(value))):
            if id(each) not in seen and len(seen) < OBJECTS_LIMIT and _may_send(each):
                seen.add(id(each))
                waiting.append((each, below))
    return found


def package_of(value: object) -> str:
    """Return the top-level package of an object's class, or of a module."""
    name: object = vars(value).get("__name__") if _is(value, ModuleType) else _class_of(value).__module__
    return name.partition(".")[0] if isinstance(name, str) else ""


def _class_of(value: object) -> Any:
    return type(value)


def _is(value: object, kind: type | UnionType) -> bool:
    """Return whether a value is of a kind, by its real class: `isinstance` asks proxies, which may do anything then."""
    return issubclass(_class_of(value), kind)


def _look_for_places(found: Inside, value: Any, package: str, path: tuple[Any, ...]) -> None:
    own = _attributes(value)
    if own is None or _is(value, ModuleType):
        return
    names: list[str] = [*_MAKERS.get(package, ())]
    attribute, preparing = _PREPARING.get(package, ("", ()))
    if attribute in own:
        names += preparing
    for name in names:
        if callable(own.get(name)) or callable(getattr(_class_of(value), name, None)):
            found.makers.append(Place(value, name, path))
    for name in READ:
        if _is_awaited(inspect.getattr_static(_class_of(value), name, None)) and not _has_value(own.get(name)):
            found.awaited.append(Place(value, name, path))


def _shared(found: Inside, value: Any, package: str, path: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the client that objects of a package share, where this one sends with it."""
    shared = _SHARED.get(package)
    if shared is None:
        return
    makers = shared.makers
    if not (_is(value, ModuleType) and len(path) == 1):
        names = [kind.__name__ for kind in _class_of(value).__mro__]
        makers = next((shared.of_class[name] for name in names if name in shared.of_class), ())
    module = sys.modules.get(shared.module)
    for name in makers:
        if callable(getattr(module, name, None)):
            found.makers.append(Place(module, name, path))
    if makers:
        yield from (getattr(module, name, None) for name in shared.clients)


def _read(value: Any) -> Iterator[Any]:
    for name in READ:
        static = inspect.getattr_static(_class_of(value), name, None)
        if _is(static, property | functools.cached_property):
            yield getattr(value, name, None)


def _is_awaited(static: object) -> bool:
    """Return whether it is a property that gives an awaitable and keeps it in the object's dictionary (asyncstdlib)."""
    kind = _class_of(static)
    return (
        hasattr(kind, "__get__")
        and not hasattr(kind, "__set__")
        and inspect.iscoroutinefunction(getattr(static, "func", None))
    )


def _has_value(kept: object) -> bool:
    return hasattr(type(kept), "value")


def _held(value: Any) -> list[Any]:
    """Return what an object keeps in its attributes, or a container in its items."""
    if _is(value, type | ModuleType):
        return []
    kind = _class_of(value)
    if kind is MethodType:
        return [value.__self__]
    if kind is functools.partial:
        return [value.func, *value.args, *value.keywords.values()]
    held = [*_items(value), *(_attributes(value) or {}).values()]
    for each in kind.__mro__:
        for static in cast("dict[str, Any]", vars(each)).values():
            # A slot, which is empty where it has never been set.
            if _is(static, MemberDescriptorType):
                try:
                    held.append(static.__get__(value))
                except AttributeError:
                    continue
    return held


def _items(value: Any) -> list[Any]:
    """Return what a container keeps; of a class of somebody else's, whatever its methods would say."""
    for kind in _ITEMS:
        if _is(value, kind):
            if kind.__len__(value) > ITEMS_LIMIT:
                return []
            return list(getattr(kind, "values" if kind is dict else "__iter__")(value))
    return []


def _attributes(value: Any) -> dict[str, Any] | None:
    """Return an object's own dictionary, whatever its class says that its attributes are."""
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return cast("dict[str, Any]", own) if type(own) is dict else None


_ITEMS: tuple[Any, ...] = (dict, list, tuple, set, frozenset, deque)
_OF_STDLIB = (*_ITEMS, OrderedDict, defaultdict, SimpleNamespace, MethodType, functools.partial)
"""What of the standard library is looked into."""


def _may_send(value: Any) -> bool:
    kind = _class_of(value)
    if kind in _OF_STDLIB:
        return True
    if _is(value, type | ModuleType):
        return False
    package = package_of(value)
    return package not in sys.stdlib_module_names and package != "pixelmeter"
