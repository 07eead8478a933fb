"""The port for operators: /healthz, /readyz and /metrics, away from what clients ask."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from pixelmeter.proxy.connections import Server
from pixelmeter.serve.connections import Limits, Places
from pixelmeter.serve.guard import Guard

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Admin", "AdminPort"]

_STALL_SECONDS = 30.0


class AdminPort(NamedTuple):
    """Where operators ask."""

    socket: socket.socket
    guard: Guard | None
    """Lets in who may see the metrics; None for everybody who can connect."""
    is_elsewhere: bool
    """Whether it can be reached from elsewhere: it is encrypted then, where the proxy has a certificate."""


class Admin:
    """What operators ask of the proxy."""

    def __init__(self, port: AdminPort, registry: CollectorRegistry) -> None:
        self._listening, self._guard, self._is_elsewhere = port
        self._registry = registry
        self.is_ready = False
        """Whether calls are taken."""

    async def open(self, stack: AsyncExitStack, tls: ssl.SSLContext | None) -> None:
        """Answer until the stack is closed."""
        server = Server(self._answer, Places(Limits()), stall=_STALL_SECONDS)
        listening = await server.listen(self._listening, tls if self._is_elsewhere else None)
        stack.push_async_callback(server.shutdown, 1.0)
        stack.callback(listening.close)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        connection: Any = request.protocol
        connection.begin(_nothing)
        try:
            answer = await self._answer_to(request)
        finally:
            connection.end()
        answer.headers["Server"] = "pixelmeter"
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def _answer_to(self, request: web.BaseRequest) -> web.Response:
        match request.path:
            case "/healthz":
                return web.Response(text="healthy\n")
            case "/readyz":
                return web.Response(text="ready\n") if self.is_ready else web.Response(text="not ready\n", status=503)
            case "/metrics":
                return await self._metrics(request)
            case _:
                return web.Response(text="not found\n", status=404)

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        guard = self._guard
        if guard is not None and not guard.lets_in(request.headers.get("Authorization", "")):
            return web.Response(text="unauthorized\n", status=401, headers={"WWW-Authenticate": guard.challenge})
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except TypeError:
            # The header names a version that is no number.
            encode, content_type = choose_encoder("")
        page = await asyncio.to_thread(encode, self._registry)
        return web.Response(body=page, headers={"Content-Type": content_type})


def _nothing() -> None:
    return None
