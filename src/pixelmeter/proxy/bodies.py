"""The body of a request: held in memory as far as it must be known before it leaves, and streamed beyond that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from pixelmeter.proxy.requests import Head, Refused

__all__ = ["ALWAYS_HELD", "HELD_LIMIT", "Body", "Room"]

HELD_LIMIT = 16 * 1024 * 1024
"""Bytes of a body that are read before it is sent on, where its request may be an image call."""
ALWAYS_HELD = 64 * 1024
"""Bytes that are read of each, whatever the others have: so much is in memory anyway as soon as it has come."""
_PLAIN = 1024 * 1024


class Room:
    """How much all bodies that are held may have together."""

    __slots__ = ("left",)

    def __init__(self, total: int = 256 * 1024 * 1024) -> None:
        self.left = total
        """Bytes."""


class Body:
    """A request's body on its way."""

    def __init__(self, request: web.BaseRequest, head: Head, *, limit: int, idle: float, room: Room) -> None:
        """`limit` is in bytes, `idle` in seconds, without a byte."""
        self._request = request
        self._content = request.content
        self._limit = limit
        self._idle = idle
        self._room = room
        self._taken = 0
        self._held: list[bytes] = []
        self._reserved = 0
        self._expects = head.expects
        self.broken: Exception | None = None
        """Why the rest of it did not come."""
        if head.length is not None and head.length > limit:
            raise self._too_large()

    @property
    def is_empty(self) -> bool:
        """Whether the request has none."""
        return not self._held and self._content.at_eof()

    @property
    def is_whole(self) -> bool:
        """Whether all of it is held."""
        return self._content.at_eof()

    @property
    def held(self) -> bytes:
        """What of it is held."""
        held = self._held
        return held[0] if len(held) == 1 else b"".join(held)

    async def hold(self) -> None:
        """Read it, up to the limit of what may be held, so that it can be known before it leaves."""
        await self._invite()
        kept = 0
        while not self._content.at_eof():
            if kept >= (HELD_LIMIT if self._room.left > 0 else ALWAYS_HELD):
                return
            piece = await self._next()
            kept += len(piece)
            self._room.left -= len(piece)
            self._reserved += len(piece)
            if piece:
                self._held.append(piece)

    async def data(self) -> bytes | AsyncIterator[bytes] | None:
        """Return what the HTTP client is to send."""
        await self._invite()
        if self.is_empty:
            return None
        if self.is_whole and len(self._held) <= 1 and self._taken <= _PLAIN:
            return self.held
        return self._pieces()

    def let_go(self) -> None:
        """Forget what is held: it has been sent."""
        self._held = []
        self._room.left += self._reserved
        self._reserved = 0

    async def _pieces(self) -> AsyncIterator[bytes]:
        held, self._held = self._held, []
        held.reverse()
        while held:
            yield held.pop()
        self.let_go()
        try:
            while not self._content.at_eof():
                piece = await self._next()
                if piece:
                    yield piece
        except Exception as error:
            self.broken = error
            raise

    async def _next(self) -> bytes:
        piece = self._content.read_nowait()
        if not piece:
            try:
                async with asyncio.timeout(self._idle):
                    piece = await self._content.readany()
            except TimeoutError:
                raise Refused(408, f"nothing of the body has come for {self._idle:g} seconds") from None
        self._taken += len(piece)
        if self._taken > self._limit:
            raise self._too_large()
        return piece

    async def _invite(self) -> None:
        """Tell a client that waits for it that it may send the body."""
        if self._expects:
            self._expects = False
            if self._request.content.total_bytes == 0:
                await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _too_large(self) -> Refused:
        return Refused(413, f"the body has more than {self._limit:,} bytes")
