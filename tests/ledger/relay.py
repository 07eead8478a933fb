"""A TCP relay between a writer and its server, which can break off or hold up the message that commits."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

OnCommit = Callable[[bytes, socket.socket, socket.socket], None]


class Relay:
    """Passes bytes on, on a port of its own."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self._on_commit: OnCommit | None = None
        self.mute = False
        """Whether answers are swallowed."""
        self.has_acted = False
        """Whether the message has come."""
        threading.Thread(target=self._accept, daemon=True).start()

    def act(self, on_commit: OnCommit) -> None:
        """Call this with the next message that ends in COMMIT, its client and its server, instead of passing it on."""
        self._on_commit = on_commit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for one in [self._listener, *self._sockets]:
            cut(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets.append(server)
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answers, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 20):
                act = self._on_commit
                if act is None or not data.endswith(b"COMMIT\0"):
                    server.sendall(data)
                else:
                    self._on_commit, self.has_acted = None, True
                    act(data, client, server)
        cut(server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                if not self.mute:
                    client.sendall(data)
        cut(client)


def cut(connection: socket.socket) -> None:
    """Close a connection, also under a thread that reads from it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
