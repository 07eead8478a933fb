"""Where connections to gateways must not lead."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from pixelmeter.proxy.resolving import connector
from pixelmeter.testing import Gateway

METADATA = ("169.254.169.254", "::ffff:169.254.169.254", "fe80::1%lo")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name resolve to these addresses."""

    def found(_: Any, port: Any, *__: Any, **___: Any) -> list[Any]:
        families = [(socket.AF_INET6 if ":" in each else socket.AF_INET, each) for each in addresses]
        return [(family, socket.SOCK_STREAM, 6, "", (each, port)) for family, each in families]

    monkeypatch.setattr(socket, "getaddrinfo", found)


async def status_of(url: str) -> int:
    """Ask for a page and return its status."""
    async with aiohttp.ClientSession(connector=connector()) as session, session.get(url) as response:
        return response.status


@pytest.mark.parametrize("address", METADATA)
def test_a_name_that_leads_to_an_address_of_the_link_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolve_to(monkeypatch, address)
    with pytest.raises(aiohttp.ClientConnectorDNSError, match="has only link-local addresses"):
        asyncio.run(status_of("http://gateway.example/"))


@pytest.mark.parametrize("address", METADATA)
def test_the_other_addresses_of_a_name_are_used(
    monkeypatch: pytest.MonkeyPatch, gateway: Gateway, address: str
) -> None:
    resolve_to(monkeypatch, address, "127.0.0.1")
    assert asyncio.run(status_of(gateway.url.replace("127.0.0.1", "gateway.example")))
