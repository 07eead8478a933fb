"""Which requests do not leave: what a mock, a cassette or an app in the same process answers, as far as that shows.

What is not known here is taken for a request that leaves, so that nothing is paid that was to be kept back.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from pixelmeter.drivers.httpx_clients import sends_through
from pixelmeter.outgoing import Outgoing

__all__ = ["is_replayed", "is_this_machine"]

_IN_MEMORY = frozenset({"MockTransport", "ASGITransport", "WSGITransport"})
_ON_THE_WIRE = frozenset({"HTTPTransport", "AsyncHTTPTransport"})
_PORTS = {"http": 80, "https": 443}
_HANDLE = ("handle_request", "handle_async_request")


def is_this_machine(host: str) -> bool:
    """Return whether a host, as it stands in a URL, is this machine by its name or number; nothing is resolved."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        address: Any = ipaddress.ip_address(name)
    except ValueError:
        name = name.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
    address = getattr(address, "ipv4_mapped", None) or address
    return bool(address.is_loopback or address.is_unspecified)


def is_replayed(outgoing: Outgoing) -> bool:
    """Return whether a mock or a cassette will answer, or refuse, a request that is about to be sent."""
    if outgoing.sender is None:
        return False
    try:
        return _stays(*outgoing.sender)
    except Exception:
        # Whatever these libraries have become: the request is taken for one that leaves.
        return False


def _stays(owner: Any, request: Any) -> bool:
    if hasattr(owner, "ConnectionCls"):
        return _is_of_a_cassette(owner, request)
    choose = getattr(owner, "_transport_for_url", None)
    transport = owner if choose is None else choose(request.url)
    if type(transport).__module__.partition(".")[0] == "respx":
        return _by_respx(request) is True
    ends = [each for each in (transport, *sends_through(transport)) if _is_one_of(each, _IN_MEMORY | _ON_THE_WIRE)]
    return bool(ends) and all(_is_one_of(end, _IN_MEMORY) or _is_patched(end, request) for end in ends)


def _is_one_of(transport: object, names: frozenset[str]) -> bool:
    return any(
        kind.__name__ in names and kind.__module__.partition(".")[0] in ("httpx", "httpx2")
        for kind in type(transport).__mro__
    )


def _is_patched(transport: object, request: Any) -> bool:
    """Return whether something that stands in the place of a transport's own method answers the request."""
    for function in _functions(transport):
        held = _held(function)
        if "cassette" in held:
            content = getattr(request, "_content", b"")
            return _by_vcrpy(held["cassette"], request.method, str(request.url), content, request.headers)
        if function.__module__ == "pytest_httpx":
            return bool(held["options"].should_mock(request))
    return _by_respx(request) is True


def _functions(transport: object) -> Iterator[Any]:
    for kind in type(transport).__mro__:
        for name in _HANDLE:
            function = vars(kind).get(name)
            if hasattr(function, "__code__"):
                yield function


def _held(function: Any) -> dict[str, Any]:
    """Return what a function has of the one around it."""
    held = dict[str, Any]()
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # empty
            held[name] = cell.cell_contents
    return held


def _is_of_a_cassette(pool: Any, request: Any) -> bool:
    """Return whether a cassette stands in the place of the connections of a pool of urllib3."""
    cassette = getattr(pool.ConnectionCls, "cassette", None)
    if cassette is None:
        return False
    port = "" if pool.port in (None, _PORTS.get(pool.scheme)) else f":{pool.port}"
    url = request.url if "://" in request.url else f"{pool.scheme}://{pool.host}{port}{request.url}"
    return _by_vcrpy(cassette, request.method, url, request.body, request.headers)


def _by_vcrpy(cassette: Any, method: str, url: str, body: Any, headers: Any) -> bool:
    """Return whether a cassette has the answer, or takes no request that it does not have."""
    copy = sys.modules["vcr.request"].Request(method, url, body, dict(headers or {}))
    return bool(cassette.can_play_response_for(copy) or (cassette.write_protected and cassette.filter_request(copy)))


def _by_respx(request: Any) -> bool | None:
    """Return whether respx answers a request of httpx; None where it is not at work."""
    mocks = sys.modules.get("respx.mocks")
    if mocks is None or type(request).__module__.partition(".")[0] != "httpx":
        return None
    routers = [router for mocker in mocks.Mocker.registry.values() for router in mocker.routers]
    for router in routers:
        for route in router.routes:
            if route.pattern is None or route.pattern.match(request):
                return not route.is_pass_through
    # Without a route it is refused, or answered with nothing.
    return True if routers else None
