"""A server that speaks HTTP/2 without TLS, and ends a request in the way it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions

__all__ = ["End", "Http2Server", "Stream"]


class Stream:
    """A request that has come whole, to be answered."""

    def __init__(self, connection: h2.connection.H2Connection, number: int) -> None:
        self.connection = connection
        self.number = number

    def headers(self, status: int = 200, **more: str) -> None:
        """Send the head of a JSON answer."""
        head = [(":status", str(status)), ("content-type", "application/json"), *more.items()]
        self.connection.send_headers(self.number, head)

    def data(self, body: bytes, *, last: bool = True) -> None:
        """Send bytes of the body."""
        self.connection.send_data(self.number, body, end_stream=last)


End = Callable[[Stream], None]
"""What answers a request."""


class Http2Server:
    """Listens on loopback at `url` until its block is left."""

    def __init__(self, end: End) -> None:
        self._end = end
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1/images/generations"
        self._threads = [threading.Thread(target=self._listen)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Closing alone would not wake the thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(peer,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, peer: socket.socket) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        with peer, suppress(OSError, h2.exceptions.ProtocolError):
            peer.sendall(connection.data_to_send())
            while received := peer.recv(65_536):
                for event in connection.receive_data(received):
                    if isinstance(event, h2.events.StreamEnded):
                        self._end(Stream(connection, event.stream_id))
                peer.sendall(connection.data_to_send())
