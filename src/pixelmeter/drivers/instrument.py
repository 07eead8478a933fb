"""Meter a client that already exists, keeping its own proxies, limits, TLS and retries."""

from __future__ import annotations

import importlib
import sys
from typing import Any, TypeVar

from pixelmeter.drivers.httpx_clients import meter_client, refuse_another
from pixelmeter.drivers.refusal import refusal_of
from pixelmeter.errors import ConfigError
from pixelmeter.meter import Meter

__all__ = ["instrument", "instrument_unless_metered"]

ClientT = TypeVar("ClientT")


def instrument(client: ClientT, meter: Meter) -> ClientT:
    """Meter every image call that `client` makes from now on, and return the same client.

    Takes OpenAI, AsyncOpenAI (and Azure's), AIgateway, AsyncAIgateway, and clients of httpx and httpx2. Transports,
    mounts, proxies, limits, timeouts and event hooks stay as they are. Doing it twice changes nothing; doing it again
    with another meter raises ConfigError. So does an object of another kind.
    """
    http_clients = _http_clients(client)
    if not http_clients:
        raise ConfigError(
            f"{type(client).__module__}.{type(client).__name__} cannot be instrumented: "
            "give an OpenAI, AIgateway, httpx or httpx2 client, sync or async"
        )
    for http_client, _ in http_clients:
        refuse_another(http_client, meter)
    for http_client, library in http_clients:
        meter_client(http_client, library, meter, provisional=False, refusal=refusal_of(client))
    return client


def instrument_unless_metered(client: object, meter: Meter) -> None:
    """Meter a client that nobody has instrumented; `instrument` can still give it another meter."""
    for http_client, library in _http_clients(client):
        meter_client(http_client, library, meter, provisional=True, refusal=refusal_of(client))


def _http_clients(client: object) -> list[tuple[Any, Any]]:
    """Return the clients of httpx and httpx2 that it is or has, each with its library."""
    libraries = list(_libraries())
    found: list[tuple[Any, Any]] = []
    for candidate in (client, getattr(client, "_client", None), getattr(client, "_media_client", None)):
        for library in libraries:
            if isinstance(candidate, library.Client | library.AsyncClient):
                found.append((candidate, library))
                break
    return found


def _libraries() -> list[Any]:
    # Looked up, not imported: a client of a library proves that the library is loaded.
    names = [name for name in ("httpx", "httpx2") if sys.modules.get(name) is not None]
    for name in names:
        importlib.import_module(f"pixelmeter.drivers.{name}")
    return [sys.modules[name] for name in names]
