"""How an answer travels: framing, compression, pieces, and every way of not arriving."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus

from pixelmeter.testing.behaviour import DEFAULT, Behaviour
from pixelmeter.testing.bodies import Answer, encoder, plain

__all__ = ["deliver", "reset"]

_AT_ONCE = 1 << 17
_POINTS = {"before_headers": -1, "after_headers": 0}
_BODILESS = (204, 304)
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class _Cut(Exception):
    """The connection ends here."""


async def deliver(
    writer: asyncio.StreamWriter, answer: Answer, behaviour: Behaviour, hold: Callable[[], Awaitable[None]]
) -> bool:
    """Send an answer; return whether the connection can carry another request.

    Raises ConnectionError when the client has left.
    """
    if behaviour is DEFAULT and answer.body.length <= _AT_ONCE and answer.status not in _BODILESS:
        body = b"".join(answer.body.pieces())
        framing = (("content-length", str(len(body))),) if answer.headers else ()
        writer.write(_head(answer, framing) + body)
        await writer.drain()
        return True
    try:
        return await _Delivery(writer, answer, behaviour, hold).run()
    except _Cut:
        if behaviour.reset:
            reset(writer)
        return False


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by a TCP reset."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _head(answer: Answer, framing: tuple[tuple[str, str], ...], version: str = "1.1") -> bytes:
    lines = [f"HTTP/{version} {answer.status} {_REASONS.get(answer.status, '')}"]
    lines += [f"{name}: {value}" for name, value in (*answer.headers, *framing)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


class _Delivery:
    def __init__(
        self, writer: asyncio.StreamWriter, answer: Answer, behaviour: Behaviour, hold: Callable[[], Awaitable[None]]
    ) -> None:
        self._writer = writer
        self._answer = answer
        self._behaviour = behaviour
        self._hold = hold
        cut = behaviour.cut
        if cut is None and behaviour.reset:
            cut = "before_headers"
        self._cut = _POINTS.get(cut) if isinstance(cut, str) else cut
        self._held = _POINTS.get(behaviour.hold) if isinstance(behaviour.hold, str) else behaviour.hold

    async def run(self) -> bool:
        behaviour, writer = self._behaviour, self._writer
        answer, pieces, transfer = self._framed()
        for status in behaviour.informational:
            writer.write(f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n\r\n".encode())
        if behaviour.delay:
            await writer.drain()
            await asyncio.sleep(behaviour.delay)
        await self._reach(-1)
        framing: list[tuple[str, str]] = []
        if transfer == "chunked":
            framing = [("transfer-encoding", "chunked")]
        elif transfer == "length":
            framing = [("content-length", str(answer.body.length + behaviour.length_error))]
        elif transfer == "close":
            framing = [("connection", "close")]
        writer.write(_head(answer, tuple(framing), "1.0" if transfer == "close" else "1.1"))
        await self._reach(0)
        sent = 0
        for piece in self._portioned(pieces):
            sent += len(piece)
            await self._send(piece, transfer == "chunked")
            await self._reach(sent)
        if transfer == "chunked":
            trailers = "".join(f"{name}: {value}\r\n" for name, value in behaviour.trailers.items())
            await self._send_raw(f"0\r\n{trailers}\r\n".encode())
        if behaviour.garbage is not None:
            await self._send_raw(behaviour.garbage.encode())
        return transfer != "close" and not behaviour.length_error

    def _framed(self) -> tuple[Answer, Iterator[bytes], str | None]:
        answer, behaviour = self._answer, self._behaviour
        if answer.status in _BODILESS:
            return answer, iter(()), None
        pieces, transfer = answer.body.pieces(), behaviour.transfer
        if behaviour.encoding is not None:
            pieces = encoder(behaviour.encoding)(pieces)
            headers = (*answer.headers, ("content-encoding", behaviour.encoding))
            answer = Answer(answer.status, headers, answer.body)
            if transfer == "length":
                answer = Answer(answer.status, headers, plain(b"".join(pieces)))
                pieces = answer.body.pieces()
        stream = ("content-type", "text/event-stream; charset=utf-8") in answer.headers
        if transfer is None:
            transfer = "chunked" if stream or behaviour.encoding or behaviour.trailers else "length"
        return answer, pieces, transfer

    def _portioned(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Cut the pieces down to the chunk size, and at each byte where something happens."""
        stops = sorted({point for point in (self._cut, self._held) if point is not None and point > 0})
        sent = 0
        for piece in pieces:
            start = 0
            while start < len(piece):
                end = len(piece)
                if self._behaviour.chunk:
                    end = min(end, start + self._behaviour.chunk)
                end = min([end, *(stop - sent + start for stop in stops if stop > sent)])
                yield piece[start:end]
                sent += end - start
                start = end

    async def _reach(self, point: int) -> None:
        if point == self._held:
            await self._flush()
            await self._hold()
        if point == self._cut:
            await self._flush()
            raise _Cut

    async def _send(self, data: bytes, chunked: bool) -> None:
        await self._send_raw(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)

    async def _send_raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def _flush(self) -> None:
        self._writer.transport.set_write_buffer_limits(0)
        await self._writer.drain()
