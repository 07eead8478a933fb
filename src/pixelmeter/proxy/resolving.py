"""Connections to gateways: how long they are kept, where they must not lead, and what is done when they are lost."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import DefaultResolver

__all__ = ["connector", "told_when_lost"]

# Servers close what is idle after 5 seconds (Node, uvicorn) or more; a request on a connection that is being closed
# just then fails, and one that may cost money is not sent again.
_KEPT_SECONDS = 4.0


class _Resolver(AbstractResolver):
    """Names as the system resolves them, but for addresses of the link: those of cloud machines give out secrets."""

    def __init__(self) -> None:
        self._inner = DefaultResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[Any]:
        found: list[Any] = [
            each for each in await self._inner.resolve(host, port, family) if not _is_of_link(each["host"])
        ]
        if not found:
            raise OSError(None, f"{host} has only link-local addresses, which are not connected to")
        return found

    async def close(self) -> None:
        await self._inner.close()


def _is_of_link(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    inside = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (inside or address).is_link_local


def connector() -> aiohttp.TCPConnector:
    """Return the pool of connections to gateways; as many as there are calls."""
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS, resolver=_Resolver())


@contextmanager
def told_when_lost(answer: aiohttp.ClientResponse) -> Generator[None]:
    """Have whoever reads an answer in the block be told when its connection is lost.

    aiohttp does so itself, but not where it has closed the connection because of a chunk that is none.
    """
    connection, content = answer.connection, answer.content
    protocol = None if connection is None else connection.protocol
    closed = None if protocol is None else protocol.closed
    if closed is None:
        # All of the answer is here already.
        yield
        return

    def tell(_: asyncio.Future[None]) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection was lost in the middle of the answer"))

    # The connection serves other requests afterwards: of all of them one stays.
    closed.remove_done_callback(_take_note)
    closed.add_done_callback(_take_note)
    closed.add_done_callback(tell)
    try:
        yield
    finally:
        closed.remove_done_callback(tell)


def _take_note(closed: asyncio.Future[None]) -> None:
    """Have asyncio not log that nobody has asked why a connection was lost."""
    if not closed.cancelled():
        closed.exception()
