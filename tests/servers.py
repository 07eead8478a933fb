"""A server on loopback that answers by a script: the wire of libraries that take no transport of a test's own."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h11

from tests.clients import Body

__all__ = ["Scripted", "ScriptedServer", "Sent"]


@dataclass(frozen=True)
class Scripted:
    """An answer: what each item of the body's script becomes is one chunk, and an exception there cuts it off."""

    status: int
    headers: dict[str, str]
    body: Body


class Sent:
    """A request as it arrived."""

    def __init__(self, request: h11.Request, content: bytes) -> None:
        self.method = request.method.decode()
        self.target = request.target.decode()
        self.headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        self.content = content

    def json(self) -> Any:
        return json.loads(self.content)


class ScriptedServer:
    """Gives each request to `answer`, and sends what that returns; a `Scripted`, or None to hang up without a word."""

    def __init__(self, answer: Callable[[Sent], Scripted | None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections, and cut off those that there are."""
        for each in (self._listener, *self._open):
            _shut(each)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while self._exchange(connection):
                pass
        except (OSError, h11.ProtocolError):
            pass
        finally:
            self._open.discard(connection)
            connection.close()

    def _exchange(self, connection: socket.socket) -> bool:
        """Answer one request; return whether the connection may be used again."""
        request = _received(connection)
        if request is None:
            return False
        answer = self._answer(request)
        if answer is None:
            return False
        is_chunked = "content-length" not in answer.headers
        lines = [f"HTTP/1.1 {answer.status} scripted", *(f"{name}: {value}" for name, value in answer.headers.items())]
        if is_chunked:
            lines.append("transfer-encoding: chunked")
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        for item in answer.body.script:
            if isinstance(item, BaseException):
                return False
            # A chunk without a byte would be the last one.
            if item:
                connection.sendall(b"%x\r\n%b\r\n" % (len(item), item) if is_chunked else item)
        if is_chunked:
            connection.sendall(b"0\r\n\r\n")
        return True


def _received(connection: socket.socket) -> Sent | None:
    """Read one request; None where the client hangs up before it has sent one."""
    parser = h11.Connection(h11.SERVER)
    request: h11.Request | None = None
    content: list[bytes] = []
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            received = connection.recv(65_536)
            parser.receive_data(received)
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            content.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return Sent(request, b"".join(content))
        else:
            return None


def _shut(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
