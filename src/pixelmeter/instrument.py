"""Meter a client that already exists, keeping its own proxies, limits, TLS and retries."""

from __future__ import annotations

import importlib
import sys
from typing import Any, TypeVar

from pixelmeter.errors import ConfigError
from pixelmeter.meter import Meter

__all__ = ["instrument", "instrument_unless_metered"]

ClientT = TypeVar("ClientT")


def instrument(client: ClientT, meter: Meter) -> ClientT:
    """Meter every image call that `client` makes from now on, and return the same client.

    Takes OpenAI, AsyncOpenAI (and Azure's), AIgateway, AsyncAIgateway, and clients of httpx and httpx2. Wraps the
    transport and every mount in place, so proxies, limits, timeouts and event hooks stay as they are. Doing it twice
    changes nothing; doing it again with another meter raises ConfigError. So does an object of another kind.
    """
    http_clients = _http_clients(client)
    if not http_clients:
        raise ConfigError(
            f"{type(client).__module__}.{type(client).__name__} cannot be instrumented: "
            "give an OpenAI, AIgateway, httpx or httpx2 client, sync or async"
        )
    for http_client, transport_class in http_clients:
        _wrap(http_client, transport_class, meter)
    return client


def instrument_unless_metered(client: object, meter: Meter) -> None:
    """Meter a client that nobody has instrumented; `instrument` can still give it another meter."""
    for http_client, transport_class in _http_clients(client):
        _wrap(http_client, transport_class, meter, provisional=True)


def _http_clients(client: object) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for candidate in (client, getattr(client, "_client", None), getattr(client, "_media_client", None)):
        transport_class = _transport_class(candidate)
        if transport_class is not None:
            found.append((candidate, transport_class))
    return found


def _transport_class(http_client: object) -> Any:
    # Looked up, not imported: a client of a library proves that the library is loaded.
    for name in ("httpx", "httpx2"):
        library: Any = sys.modules.get(name)
        if library is None:
            continue
        binding = f"pixelmeter.{name}"
        if isinstance(http_client, library.Client):
            return importlib.import_module(binding).MeterTransport
        if isinstance(http_client, library.AsyncClient):
            return importlib.import_module(binding).AsyncMeterTransport
    return None


def _wrap(http_client: Any, transport_class: Any, meter: Meter, *, provisional: bool = False) -> None:
    def metered(transport: Any) -> Any:
        if transport is None:  # a mount that says: no proxy here
            return None
        if not isinstance(transport, transport_class):
            transport = transport_class(meter, transport)
            transport.provisional = provisional
        elif provisional:
            return transport
        elif transport.provisional:
            transport.meter, transport.provisional = meter, False
        elif transport.meter is not meter:
            raise ConfigError(
                "this client is instrumented with another meter already: go on with that one, or make a new client"
            )
        return transport

    transport = metered(http_client._transport)
    mounts = {pattern: metered(mount) for pattern, mount in http_client._mounts.items()}
    http_client._transport = transport
    http_client._mounts = mounts
