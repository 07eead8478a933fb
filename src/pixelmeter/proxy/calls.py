"""One request through the proxy: to the gateway and back, whatever happens on either side.

The gateway's answer is closed on every path. A client that leaves in the middle of an image call does not end it: the
gateway charges for it anyway, so the answer is read to its end, within limits, and recorded with what it cost.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from pixelmeter.drivers.refusal import STATUS, answer_of
from pixelmeter.errors import CallRefused
from pixelmeter.proxy.bodies import Body, Room
from pixelmeter.proxy.connections import Connection
from pixelmeter.proxy.metering import GONE, STOPPED, Metering, Watched
from pixelmeter.proxy.requests import Head, Refused, read_head, read_tags
from pixelmeter.proxy.resolving import told_when_lost
from pixelmeter.proxy.responses import Framing, local_head, upstream_head
from pixelmeter.proxy.upstreams import Upstream, Upstreams
from pixelmeter.serve.guard import Guard

__all__ = ["CallLimits", "Proxy"]

_JSON = ("Content-Type", "application/json")
# Closed with this, a connection is reset.
_NO_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """How much a call may take; times in seconds, sizes in bytes."""

    body: int = 256 * 1024 * 1024
    """Of a request's body."""
    idle_seconds: float = 300.0
    """For which a client or a gateway may be silent in the middle of a call, or a client may leave an answer unread."""
    connect_seconds: float = 10.0
    """To connect to a gateway."""
    gone_seconds: float = 120.0
    """For which an answer is read on when its client has gone."""
    gone_bytes: int = 256 * 1024 * 1024
    """How much of an answer is read on when its client has gone."""


class _Sent(web.StreamResponse):
    """An answer that has been written already."""

    def __init__(self, *, is_kept: bool) -> None:
        super().__init__()
        self._keep_alive = is_kept

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


_KEPT, _CLOSED = _Sent(is_kept=True), _Sent(is_kept=False)


class Proxy:
    """Passes requests on to gateways."""

    def __init__(
        self,
        upstreams: Upstreams,
        metering: Metering,
        session: aiohttp.ClientSession,
        *,
        guard: Guard | None = None,
        limits: CallLimits | None = None,
        room: Room | None = None,
    ) -> None:
        """`guard` knows the token that clients must send; None lets everybody in who can connect.

        `room` is for the bodies that are held, of all proxies that share it.
        """
        self.upstreams = upstreams
        self.metering = metering
        self.session = session
        self.guard = guard
        self.limits = limits or CallLimits()
        self.room = room or Room()
        self.running = 0
        """How many requests are under way."""
        self.is_stopping = False
        """Whether connections are to be closed after their answers."""

    async def answer(self, request: web.BaseRequest, tags: Mapping[str, str]) -> web.StreamResponse:
        """Pass a request on, and its answer back; `tags` are those of the listener."""
        self.running += 1
        try:
            return await _Call(self, request, tags).run()
        finally:
            self.running -= 1


class _Call:
    __slots__ = (
        "_answer",
        "_begun",
        "_body",
        "_connection",
        "_is_cut",
        "_is_open_ended",
        "_limits",
        "_proxy",
        "_request",
        "_tags",
        "_task",
        "_timer",
        "_unsent",
        "_watched",
        "_write",
    )

    def __init__(self, proxy: Proxy, request: web.BaseRequest, tags: Mapping[str, str]) -> None:
        self._proxy = proxy
        self._request = request
        self._tags = tags
        self._limits = proxy.limits
        self._connection = cast("Connection", request.protocol)
        self._task = asyncio.current_task()
        self._write = request.writer.write
        self._begun = False
        self._unsent = b""
        self._is_cut = False
        self._is_open_ended = False
        self._body: Body | None = None
        self._answer: aiohttp.ClientResponse | None = None
        self._watched: Watched | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> web.StreamResponse:
        """Go all the way; never raises but for a cancellation that is not its own."""
        if self._connection.is_gone:
            return _CLOSED
        self._connection.begin(self._gone)
        try:
            return await self._pass_on()
        except Refused as refused:
            return await self._say(refused)
        except CallRefused as ours:
            headers, body = answer_of(ours)
            return await self._say_all(STATUS, headers, body, is_kept=self._is_kept)
        except asyncio.CancelledError:
            if not self._is_cut:
                raise
            if self._task is not None:
                self._task.uncancel()
        except ConnectionError:
            # Of the client: it went while it was written to.
            pass
        except Exception as error:
            self._proxy.metering.note("proxy", error)
            return await self._say(Refused(502, "the proxy failed; its log says more"))
        finally:
            self._close()
        return _CLOSED

    def _close(self) -> None:
        if self._is_open_ended:
            self._reset()
        self._connection.end()
        if self._timer is not None:
            self._timer.cancel()
        if self._watched is not None:
            self._watched.abandon(GONE if self._connection.is_gone else STOPPED)
        if self._answer is not None and not self._answer.closed:
            self._answer.close()
        if self._body is not None:
            self._body.let_go()

    def _gone(self) -> None:
        """The client has left; what may be charged is read on, for a while."""
        watched = self._watched
        if watched is not None and watched.is_attempt and not watched.is_over:
            watched.leave()
            self._timer = asyncio.get_running_loop().call_later(self._limits.gone_seconds, self._cut)
        else:
            self._cut()

    def _cut(self) -> None:
        self._is_cut = True
        if self._task is not None:
            self._task.cancel()

    @property
    def _is_kept(self) -> bool:
        # A body that has not been read stands where the next request would.
        return self._request.keep_alive and not self._proxy.is_stopping and self._request.content.at_eof()

    async def _pass_on(self) -> web.StreamResponse:
        proxy, request = self._proxy, self._request
        if request.method == "CONNECT":
            raise Refused(400, "use this proxy as a base URL: it is not a tunnel (CONNECT)")
        head = read_head(request.raw_path.encode("utf-8", "surrogateescape"), request.raw_headers)
        if proxy.guard is not None and not proxy.guard.knows(head.token):
            raise Refused(401, "x-pixelmeter-token is missing or wrong")
        found = proxy.upstreams.find(head.target)
        if found is None:
            raise Refused(404, "no upstream has this path")
        upstream, target = found
        body = self._body = Body(
            request, head, limit=self._limits.body, idle=self._limits.idle_seconds, room=proxy.room
        )
        headers = _sent_headers(head)
        passage = None
        routes = proxy.metering.routes(request.method, upstream.host, target)
        if routes:
            await body.hold()
            passage = await proxy.metering.begin(
                routes, upstream.host, target, list(head.headers), headers, body, self._tagged(head)
            )
            self._watched = proxy.metering.watch(passage)
        try:
            answer = self._answer = await self._send(upstream, target, headers, head, body)
        finally:
            proxy.metering.leave(passage)
        body.let_go()
        if self._watched is not None:
            self._watched.respond(answer.status, answer.raw_headers)
        return await self._pass_back(answer)

    def _tagged(self, head: Head) -> Mapping[str, str]:
        if not head.tags:
            return self._tags
        tags, wrong = read_tags(head.tags)
        if wrong is not None:
            self._proxy.metering.wrong_tags(wrong)
        return {**self._tags, **tags}

    async def _send(
        self, upstream: Upstream, target: bytes, headers: CIMultiDict[str], head: Head, body: Body
    ) -> aiohttp.ClientResponse:
        """Send the request, once; Refused says what to answer where nothing comes back."""
        url = URL.build(
            scheme=upstream.scheme, host=upstream.name, port=upstream.port, path=target.decode("ascii"), encoded=True
        )
        data = await body.data()
        try:
            return await self._proxy.session.request(
                self._request.method,
                url,
                headers=headers,
                data=data,
                chunked=True if head.is_chunked and data is not None else None,
                allow_redirects=False,
            )
        except Exception as error:
            if body.broken is not None and self._connection.is_gone:
                raise ConnectionError("the client has gone") from None
            if self._watched is not None:
                self._watched.fail(error)
            if isinstance(body.broken, Refused):
                raise body.broken from None
            raise _refusal_for(error, upstream) from None

    async def _pass_back(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        watched = self._watched
        try:
            head, framing = upstream_head(
                answer.status,
                answer.reason,
                answer.raw_headers,
                method=self._request.method,
                is_newest=self._request.version >= aiohttp.HttpVersion11,
                is_kept=self._is_kept,
            )
        except ValueError as error:
            if watched is not None:
                watched.fail(error)
            raise Refused(502, f"the gateway's answer cannot be passed on: {error}") from None
        self._unsent = head
        self._is_open_ended = not (framing.is_chunked or framing.has_length or framing.is_empty)
        try:
            with told_when_lost(answer):
                is_whole = await self._read(answer.content, framing)
        except (aiohttp.ClientError, TimeoutError) as error:
            # The client sees that it has been cut: its connection is closed before the end.
            if watched is not None:
                watched.fail(error)
            with suppress(ConnectionError):
                await self._deliver(self._unsent)
            return _CLOSED
        if not is_whole:
            return _CLOSED
        # The outcome is kept before the client has the last of the body.
        if watched is not None:
            watched.finish()
        await self._deliver(self._unsent + framing.end)
        self._is_open_ended = False
        return _KEPT if framing.is_kept else _CLOSED

    async def _read(self, content: aiohttp.StreamReader, framing: Framing) -> bool:
        """Pass a body on as it comes, but for its last piece; return whether it came to its end, and was read to it."""
        connection, watched = self._connection, self._watched
        read = 0
        piece = content.read_nowait()
        while True:
            if piece:
                read += len(piece)
                if watched is not None:
                    watched.feed(piece)
                self._unsent += framing.frame(piece)
            if content.at_eof():
                return True
            if connection.is_gone:
                self._unsent = b""
                if read > self._limits.gone_bytes or watched is None or watched.is_over:
                    return False
            elif self._unsent:
                data, self._unsent = self._unsent, b""
                with suppress(ConnectionError):
                    await self._deliver(data)
            piece = await content.readany()

    def _reset(self) -> None:
        """Break the connection off: an end in order would look like the end of the body."""
        transport = self._request.transport
        if transport is None or self._connection.is_gone:
            return
        connected: socket.socket | None = transport.get_extra_info("socket")
        if connected is not None:
            with suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()

    async def _deliver(self, data: bytes) -> None:
        self._begun = True
        await self._write(data)

    async def _say(self, refused: Refused) -> web.StreamResponse:
        body = refused.body()
        headers = [_JSON, ("Content-Length", str(len(body)))]
        return await self._say_all(refused.status, headers, body, is_kept=self._is_kept)

    async def _say_all(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, is_kept: bool
    ) -> web.StreamResponse:
        """Answer in place of the gateway."""
        if self._begun or self._connection.is_gone:
            return _CLOSED
        is_newest = self._request.version >= aiohttp.HttpVersion11
        head = local_head(status, headers, is_newest=is_newest, is_kept=is_kept)
        with suppress(ConnectionError):
            await self._deliver(head if self._request.method == "HEAD" else head + body)
        return _KEPT if is_kept else _CLOSED


def _sent_headers(head: Head) -> CIMultiDict[str]:
    headers = CIMultiDict[str]()
    for name, value in head.headers:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")
        headers.add(name.decode("ascii"), text)
    return headers


def _refusal_for(error: Exception, upstream: Upstream) -> Refused:
    """Return what to answer where a gateway does not; the kind of the error is said, and nothing of the request."""
    status = 504 if isinstance(error, TimeoutError) else 502
    said = "did not answer in time" if status == 504 else "could not be reached, or closed the connection"
    return Refused(status, f"{upstream.host} {said} ({type(error).__name__})")
