"""Connections to gateways: how long they are kept, and where they must not lead."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import DefaultResolver

__all__ = ["connector"]

# Servers close what is idle after 5 seconds (Node, uvicorn) or more; a request on a connection that is being closed
# just then fails, and one that may cost money is not sent again.
_KEPT_SECONDS = 4.0


class _Resolver(AbstractResolver):
    """Names as the system resolves them, but for addresses of the link: those of cloud machines give out secrets."""

    def __init__(self) -> None:
        self._inner = DefaultResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[Any]:
        found: list[Any] = [
            each
            for each in await self._inner.resolve(host, port, family)
            if not ipaddress.ip_address(each["host"].partition("%")[0]).is_link_local
        ]
        if not found:
            raise OSError(None, f"{host} has no address but of the link")
        return found

    async def close(self) -> None:
        await self._inner.close()


def connector() -> aiohttp.TCPConnector:
    """Return the pool of connections to gateways; as many as there are calls."""
    return aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS, resolver=_Resolver())
