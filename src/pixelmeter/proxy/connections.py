"""Connections of clients: aiohttp's, within limits, and calls that are told when their client has gone."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import weakref
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from pixelmeter.proxy.requests import Refused
from pixelmeter.serve.connections import Place, Places

__all__ = ["Connection", "Server"]

_FIELD_LIMIT = 16_384
_FIELDS_LIMIT = 100
_FEWEST_GREETED = 32
# What aiohttp would log has headers in it, and those have keys.
_silent = logging.getLogger("pixelmeter.proxy.silent")
_silent.setLevel(logging.CRITICAL + 1)


class Connection(web.RequestHandler):
    """A connection that has a place among the others."""

    def __init__(self, manager: Server, loop: asyncio.AbstractEventLoop, places: Places, stall: float) -> None:
        """`stall` is how many seconds a client may leave an answer unread."""
        super().__init__(
            manager,
            loop=loop,
            # Places have the time-outs; aiohttp's own comes later than any of them.
            keepalive_timeout=86_400,
            access_log=None,  # type: ignore[arg-type]
            logger=_silent,
            max_line_size=_FIELD_LIMIT,
            max_field_size=_FIELD_LIMIT,
            max_headers=_FIELDS_LIMIT,
            auto_decompress=False,
        )
        self._places = places
        self._stall = stall
        self._greeted = manager.greeted
        self._place: Place | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._gone: Callable[[], object] | None = None
        self.is_gone = False
        """Whether the client has closed the connection, or is no longer heard."""

    def begin(self, gone: Callable[[], object]) -> None:
        """A request's headers are here; `gone` is called when the client leaves before it has ended."""
        self._gone = gone
        if self._place is not None:
            self._place.enter("answering")

    def end(self) -> None:
        """The request has been answered."""
        self._gone = None
        if not self.is_gone and self._place is not None:
            self._place.enter("idle")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request; make room where there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._greeted(self)
        self._place = self._places.take(asyncio.get_running_loop(), transport.abort)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take what the client sends; the first byte of a request begins the time for its headers."""
        if self._place is not None and self._place.state == "idle":
            self._place.enter("asking")
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give back the place, and tell the call that is under way."""
        self.is_gone = True
        if self._place is not None:
            self._place.leave()
        self._let_stall_go()
        super().connection_lost(exc)
        if self._gone is not None:
            self._gone()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is written to: it may for a while."""
        super().pause_writing()
        transport = self.transport
        if transport is not None:
            self._stalled = asyncio.get_running_loop().call_later(self._stall, transport.abort)

    def resume_writing(self) -> None:
        """The client has read what was written."""
        self._let_stall_go()
        super().resume_writing()

    def _let_stall_go(self) -> None:
        """Nobody waits for the client to read any more."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request, without quoting it."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        refused = Refused(status, "this is not an HTTP/1.1 request that a proxy may pass on")
        if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
            refused = Refused(431, "a header is too long, or there are too many")
        answer = web.Response(
            status=refused.status,
            body=refused.body(),
            content_type="application/json",
            headers={"Server": "pixelmeter"},
        )
        answer.force_close()
        return answer


class Server(web.Server):
    """Makes the connections of a listener."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], places: Places, *, stall: float
    ) -> None:
        super().__init__(handler)
        self._places = places
        self._stall = stall
        # A connection has no place before TLS is agreed on, and takes a file descriptor. One that fails is collected.
        self._is_encrypted = False
        self._greeting: weakref.WeakKeyDictionary[Connection, float] = weakref.WeakKeyDictionary()

    async def listen(self, connecting: socket.socket, tls: ssl.SSLContext | None) -> asyncio.Server:
        """Take connections; with TLS, agreeing on it takes the time and the room of headers."""
        self._is_encrypted = tls is not None
        limits, made = self._places.limits, cast("Callable[[], asyncio.Protocol]", self)
        return await asyncio.get_running_loop().create_server(
            made,
            sock=connecting,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else limits.header_seconds,
            backlog=limits.burst,
        )

    def greeted(self, connection: Connection) -> None:
        """A connection is there, with TLS where that is used."""
        self._greeting.pop(connection, None)

    def __call__(self) -> Any:
        loop, limits = asyncio.get_running_loop(), self._places.limits
        begun = loop.time()
        if len(self._greeting) >= max(limits.connections // 2, _FEWEST_GREETED):
            late = [each for each, since in self._greeting.items() if begun - since > limits.header_seconds]
            for each in late:
                self.greeted(each)
            if not late:
                # asyncio closes the socket.
                raise ConnectionRefusedError("too many connections that do not agree on TLS")
        connection = Connection(self, loop, self._places, self._stall)
        if self._is_encrypted:
            self._greeting[connection] = begun
        return connection
