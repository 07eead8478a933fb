"""An upstream of plain sockets: keeps what it is sent to the byte, and answers with the bytes that a test gives."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["EMPTY", "GENEROUS", "Arrived", "Upstream", "upstream"]

GENEROUS = 60
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass
class Arrived:
    """A request as it arrived."""

    head: bytes
    connection: int
    """Which of the upstream's connections it came by."""
    body: bytes = b""
    has_begun: threading.Event = field(default_factory=threading.Event)
    """Set when the first byte of the body is here."""
    is_whole: threading.Event = field(default_factory=threading.Event)

    @property
    def line(self) -> bytes:
        """The request line."""
        return self.head.split(b"\r\n")[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers in their order."""
        pairs = [line.partition(b": ") for line in self.head.split(b"\r\n")[1:]]
        return [(name, value) for name, _, value in pairs]


Answer = Callable[[socket.socket, Arrived], object]


class Upstream:
    """Listens on a free port; each request is answered by `answer`."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.root = f"http://127.0.0.1:{self.port}"
        self.lock = threading.Condition()
        self.arrived: list[Arrived] = []
        self.connections = 0
        self.closed: set[int] = set()
        """The connections that the proxy has closed."""
        self.answer: Answer = say(EMPTY)
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Forget what has arrived."""
        with self.lock:
            self.arrived = []
        self.answer = say(EMPTY)

    def wait_for(self, number: int = 1) -> Arrived:
        """Return the request of that number, once its head is here."""
        with self.lock:
            assert self.lock.wait_for(lambda: len(self.arrived) >= number, GENEROUS), self.arrived
            return self.arrived[number - 1]

    def wait_closed(self, connection: int) -> None:
        """Return when the proxy has closed a connection."""
        with self.lock:
            assert self.lock.wait_for(lambda: connection in self.closed, GENEROUS)

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client, self.connections), daemon=True).start()

    def _serve(self, client: socket.socket, number: int) -> None:
        with client, suppress(OSError):
            client.settimeout(GENEROUS)
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    rest += _some(client)
                head, _, rest = rest.partition(b"\r\n\r\n")
                arrived = Arrived(head, number)
                with self.lock:
                    self.arrived.append(arrived)
                    self.lock.notify_all()
                rest = _body(client, arrived, rest)
                arrived.is_whole.set()
                self.answer(client, arrived)
        with self.lock:
            self.closed.add(number)
            self.lock.notify_all()


def _body(client: socket.socket, arrived: Arrived, rest: bytes) -> bytes:
    """Read the body, and return what comes behind it."""
    headers = {name.lower(): value for name, value in arrived.headers}
    if b"transfer-encoding" in headers:
        while not (arrived.body + rest).endswith(b"0\r\n\r\n"):
            arrived.body, rest = arrived.body + rest, b""
            if arrived.body:
                arrived.has_begun.set()
            rest = _some(client)
        arrived.body += rest
        return b""
    length = int(headers.get(b"content-length", b"0"))
    while True:
        arrived.body, rest = arrived.body + rest[: length - len(arrived.body)], rest[length - len(arrived.body) :]
        if arrived.body:
            arrived.has_begun.set()
        if len(arrived.body) == length:
            return rest
        rest = _some(client)


def _some(client: socket.socket) -> bytes:
    data = client.recv(65536)
    if not data:
        raise ConnectionResetError
    return data


def say(*pieces: bytes) -> Answer:
    """Return an answer of these bytes."""

    def answer(client: socket.socket, _: Arrived) -> None:
        for piece in pieces:
            client.sendall(piece)

    return answer


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run an upstream while the block lasts."""
    running = Upstream()
    try:
        yield running
    finally:
        running.close()
