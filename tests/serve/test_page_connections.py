"""Clients that flood the page with heads, ask slowly or do not read do not keep it from those who look at it."""

from __future__ import annotations

import re
import select
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.prometheus import eventually
from tests.serve.server import Server
from tests.serve.test_connections import GENEROUS, connect, drip, exporter, wait_for_the_end

pytestmark = pytest.mark.slow

MEGABYTE = 1 << 20
ASKING = b"GET / HTTP/1.1\r\nhost: localhost\r\n"


def memory(server: Server) -> int:
    """Return the most bytes that the server has had in memory so far."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) << 10


def flood(client: socket.socket, text: bytes, most: int) -> int:
    """Send the same bytes again and again until the server ends it; return how many it took, `most` at most."""
    client.settimeout(GENEROUS)
    sent = 0
    while sent < most:
        try:
            client.sendall(text)
        except ConnectionError:
            return sent
        sent += len(text)
        if select.select([client], [], [], 0)[0]:
            try:
                if client.recv(65536) == b"":
                    return sent
            except ConnectionError:
                return sent
    return sent


def test_the_page_is_there_with_its_files(sqlite_url: str) -> None:
    with exporter(sqlite_url, has_page=True) as server:
        assert "<h1>Spend</h1>" in server.get("/").text
        assert 200 == server.get("/static/page.js").status_code
        assert (0, "") == server.stop()


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (ASKING, b"x-a: " + b"b" * 8000 + b"\r\n"),
        (ASKING, b"a: b\r\n" * 1000),
        (ASKING + b"cookie: ", b"c" * 8000),
        (b"GET /calls?model=", b"%41" * 3000),
    ],
    ids=["long headers", "many headers", "one header", "an address"],
)
def test_a_flood_of_headers_is_cut_off_and_takes_no_memory(sqlite_url: str, first: bytes, more: bytes) -> None:
    with exporter(sqlite_url, has_page=True) as server:
        server.get("/")
        before = memory(server)
        for _ in range(5):
            with connect(server) as client:
                client.sendall(first)
                # What the buffers of both sides may hold after the server has closed.
                assert flood(client, more, 64 * MEGABYTE) < 16 * MEGABYTE
        assert memory(server) - before < 8 * MEGABYTE
        assert "<h1>Spend</h1>" in server.get("/").text
        status, errors = server.stop()

    assert (0, "") == (status, errors)


def test_a_request_for_the_page_that_does_not_come_to_an_end_is_closed(sqlite_url: str) -> None:
    with exporter(sqlite_url, has_page=True, header_seconds=0.5) as server, connect(server) as client:
        client.sendall(ASKING)
        drip(client, b"x")
        assert "<h1>Spend</h1>" in server.get("/").text
        status, errors = server.stop()

    assert (0, "") == (status, errors)


def established(server: Server) -> int:
    """Return how many connections the server has not closed."""
    port = f":{int(server.root.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(local.endswith(port) and state == "01" for _, local, _, state, *_ in lines)


@pytest.mark.parametrize(
    "path", [b"/static/vendor/uPlot.iife.min.js", pytest.param(b"/?read=all", marks=pytest.mark.slow)]
)
def test_clients_that_do_not_read_the_page_are_cut_off_and_others_read_it(sqlite_url: str, path: bytes) -> None:
    with exporter(sqlite_url, has_page=True, answer_seconds=1) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server, SO_RCVBUF=4096)) for _ in range(2)]
        assert 2 == established(server)
        ask = b"GET " + path + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"
        for client in clients:
            client.settimeout(0.2)
            # More than the buffers of both sides can hold.
            with suppress(TimeoutError, ConnectionError):
                for _ in range(5000):
                    client.sendall(ask)
        eventually("the server has closed them", lambda: established(server) == 0, GENEROUS)
        assert "<h1>Spend</h1>" in server.get("/").text
        assert 0 == server.stop()[0]


@pytest.mark.slow
def test_hundreds_of_silent_connections_do_not_keep_the_page_from_others(sqlite_url: str) -> None:
    with exporter(sqlite_url, descriptors=256, has_page=True) as server, ExitStack() as stack:
        silent = [stack.enter_context(connect(server)) for _ in range(400)]
        for _ in range(3):
            assert "<h1>Spend</h1>" in server.get("/").text
        wait_for_the_end(silent)
        assert (0, "") == server.stop()
