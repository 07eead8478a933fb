"""`pixelmeter proxy` as a process of its own, and clients of plain sockets that talk to it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.hazards.process import environment
from tests.proxy.upstream import GENEROUS

__all__ = ["PATIENT", "Answer", "Sidecar", "accepts", "ask", "connect", "proxying", "read_answer"]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running proxy."""

    roots: Sequence[str]
    admin: str
    process: subprocess.Popen[str]

    @property
    def root(self) -> str:
        """The first address that clients connect to."""
        return self.roots[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """End it by a signal; return its status and what it wrote to stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=GENEROUS)
        return self.process.returncode, errors


PATIENT = (
    "-c",
    "from pixelmeter.budgets import admission; admission.WAIT_SECONDS = 60; from pixelmeter.cli import main; main()",
)
"""The command, whose calls wait for a lease of a budget however slow the ledger is, as on a busy machine."""


@contextmanager
def proxying(
    *upstreams: str,
    url: str,
    options: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    program: Sequence[str] = ("-m", "pixelmeter"),
) -> Iterator[Sidecar]:
    """Run the proxy on free ports of this machine."""
    command = [sys.executable, *program, "proxy", "--database-url", url]
    for each in upstreams:
        command += ["--upstream", each]
    if "--listen" not in options:
        command += ["--listen", "127.0.0.1:0"]
    if "--admin" not in options:
        command += ["--admin", "127.0.0.1:0"]
    process = subprocess.Popen(
        [*command, *options],
        env=environment() | {"PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway"} | dict(settings or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            roots: list[str] = []
            while (told := process.stdout.readline().strip()).startswith("proxy for "):
                roots.append(told.rpartition(" ")[2])
            assert told.startswith("health and metrics at "), (told, process.poll() is None or process.communicate())
            yield Sidecar(roots, told.rpartition(" ")[2], process)
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, to the byte."""

    head: bytes
    body: bytes
    """Without the frames of its chunks."""
    is_whole: bool
    """Whether it came to its end."""
    trailing: bytes = b""

    @property
    def status(self) -> int:
        return int(self.head.split(b" ")[1])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers in their order."""
        pairs = [line.partition(b": ") for line in self.head.split(b"\r\n")[1:]]
        return [(name, value) for name, _, value in pairs]


def connect(root: str) -> socket.socket:
    """Return a connection to the proxy."""
    parts = urlsplit(root)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 80), timeout=GENEROUS)


def accepts(root: str) -> bool:
    """Return whether the proxy takes connections."""
    try:
        connect(root).close()
    except OSError:
        return False
    return True


def ask(root: str, request: bytes) -> Answer:
    """Send bytes on a connection of their own, and return the answer."""
    with connect(root) as client:
        client.sendall(request)
        return read_answer(client, is_head=request.startswith(b"HEAD "))


def read_answer(client: socket.socket, *, is_head: bool = False) -> Answer:
    """Read one answer, past those that say to go on."""
    received = b""
    while True:
        head, blank, rest = received.partition(b"\r\n\r\n")
        if blank and head.startswith(b"HTTP/1.1 100"):
            received = rest
        elif blank:
            break
        else:
            data = _some(client)
            if not data:
                return Answer(received, b"", is_whole=False)
            received += data
    headers = {line.split(b":")[0].lower(): line.partition(b": ")[2] for line in head.split(b"\r\n")[1:]}
    if is_head or head.split(b" ")[1] in (b"204", b"304"):
        return Answer(head, b"", is_whole=True, trailing=rest)
    if b"transfer-encoding" in headers:
        return _chunked(client, head, rest)
    length = int(headers.get(b"content-length", -1))
    while length < 0 or len(rest) < length:
        data = _some(client)
        if not data:
            return Answer(head, rest, is_whole=length < 0)
        rest += data
    return Answer(head, rest[:length], is_whole=True, trailing=rest[length:])


def _chunked(client: socket.socket, head: bytes, rest: bytes) -> Answer:
    body = b""
    while True:
        size, line, behind = rest.partition(b"\r\n")
        if line and len(behind) >= int(size, 16) + 2:
            length = int(size, 16)
            rest = behind[length + 2 :]
            if not length:
                return Answer(head, body, is_whole=True, trailing=rest)
            body += behind[:length]
            continue
        data = _some(client)
        if not data:
            return Answer(head, body, is_whole=False)
        rest += data


def _some(client: socket.socket) -> bytes:
    try:
        return client.recv(65536)
    except ConnectionError:
        return b""
