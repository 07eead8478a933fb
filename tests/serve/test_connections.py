"""Clients that ask nothing, ask slowly or do not read what they asked for do not keep the exporter from others."""

from __future__ import annotations

import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

import pytest

from pixelmeter.ledger.writer import open_writer
from pixelmeter.serve.connections import Limits, suitable_limits
from tests.factories import make_attempt
from tests.hazards.process import environment
from tests.serve.server import Server

pytestmark = pytest.mark.slow

GENEROUS = 60
ASKING = b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n"


@contextmanager
def exporter(url: str, descriptors: int | None = None, *, has_page: bool = False, **limits: float) -> Iterator[Server]:
    """Run the exporter with limits of its own, and with the page if so wished."""
    with closing(open_writer(url)) as writer:
        writer.write([make_attempt()], {}, [])
    lowered = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, {descriptors}))\n" if descriptors else ""
    given = f"Limits(**{limits!r})" if limits else "None"
    code = (
        f"import resource\n{lowered}"
        "from pixelmeter.serve.connections import Limits\nfrom pixelmeter.serve.server import serve\n"
        f"serve({url!r}, '127.0.0.1', 0, None, lambda at: print(at, flush=True), {given}, has_page={has_page})\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            yield Server(process.stdout.readline().strip(), process)
        finally:
            if process.poll() is None:
                process.kill()


def connect(server: Server, **options: int) -> socket.socket:
    parts = urlsplit(server.root)
    client = socket.socket()
    for name, value in options.items():
        client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    client.settimeout(GENEROUS)
    client.connect((parts.hostname, parts.port))
    return client


def wait_for_the_end(clients: Sequence[socket.socket]) -> None:
    """Return when the server has closed all of them; they have been sent nothing that would not have been read."""
    deadline = time.monotonic() + GENEROUS
    left = set(clients)
    while left:
        ready, _, _ = select.select(left, [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"{len(left)} connections are open still"
        left -= {client for client in ready if is_over(client)}


def is_over(client: socket.socket) -> bool:
    try:
        return client.recv(65536) == b""
    except ConnectionError:
        return True


def healthy(client: socket.socket) -> bool:
    """Ask once, and return whether the answer came."""
    client.sendall(ASKING)
    answer = b""
    while not answer.endswith(b"healthy\n"):
        part = client.recv(65536)
        if not part:
            return False
        answer += part
    return answer.startswith(b"HTTP/1.1 200")


def drip(client: socket.socket, text: bytes) -> None:
    """Send the same bytes again and again until the server ends the connection."""
    deadline = time.monotonic() + GENEROUS
    while True:
        assert time.monotonic() < deadline, "the server listens for ever"
        try:
            client.sendall(text)
        except ConnectionError:
            return
        # A moment between the bytes, and an end that is seen at once.
        if select.select([client], [], [], 0.02)[0] and is_over(client):
            return


@pytest.mark.slow
def test_four_hundred_silent_connections_do_not_keep_others_from_an_answer(sqlite_url: str) -> None:
    with exporter(sqlite_url, descriptors=256) as server, ExitStack() as stack:
        silent = [stack.enter_context(connect(server)) for _ in range(400)]
        scrapes = [server.scrape() for _ in range(3)]
        wait_for_the_end(silent)
        status, errors = server.stop()

    assert [1, 1, 1] == [scrape.total("pixelmeter_requests_total") for scrape in scrapes]
    assert [1, 1, 1] == [scrape.total("pixelmeter_ledger_up") for scrape in scrapes]
    assert (0, "") == (status, errors)


@pytest.mark.parametrize("first", [b"", b"GET /metrics HTTP/1.1\r\n", ASKING])
def test_a_request_whose_headers_do_not_come_to_an_end_is_closed(sqlite_url: str, first: bytes) -> None:
    with exporter(sqlite_url, header_seconds=0.5) as server, connect(server) as client:
        if first == ASKING:
            assert healthy(client)
        else:
            client.sendall(first)
        drip(client, b"x")
        scrape = server.scrape()
        status, errors = server.stop()

    assert 1 == scrape.total("pixelmeter_requests_total")
    assert (0, "") == (status, errors)


def test_a_body_that_nobody_asked_for_and_that_does_not_end_is_cut_off(sqlite_url: str) -> None:
    with exporter(sqlite_url, answer_seconds=0.5) as server, connect(server) as client:
        client.sendall(b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 405")
        drip(client, b"x")
        assert 200 == server.get("/-/healthy").status_code
        assert (0, "") == server.stop()


def test_a_client_that_does_not_read_its_answers_is_cut_off(sqlite_url: str) -> None:
    with exporter(sqlite_url, answer_seconds=0.5) as server, connect(server, SO_RCVBUF=4096) as client:
        ask = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
        client.settimeout(0.2)
        try:
            # More than the buffers of both sides can hold.
            for _ in range(20_000):
                client.sendall(ask)
        except (TimeoutError, ConnectionError):
            pass
        poll = select.poll()
        poll.register(client, 0)
        assert poll.poll(GENEROUS * 1000), "the server waits for ever"
        assert 200 == server.get("/-/healthy").status_code
        assert (0, "") == server.stop()


def test_a_connection_serves_several_requests_and_is_closed_when_it_is_idle(sqlite_url: str) -> None:
    with exporter(sqlite_url, idle_seconds=1, header_seconds=30) as server, connect(server) as client:
        for _ in range(3):
            assert healthy(client)
        wait_for_the_end([client])
        assert (0, "") == server.stop()


def test_requests_sent_at_once_are_all_answered(sqlite_url: str) -> None:
    with exporter(sqlite_url, idle_seconds=1) as server, connect(server) as client:
        client.sendall(ASKING * 5)
        answers = b""
        while answers.count(b"healthy\n") < 5:
            answers += client.recv(65536)
        wait_for_the_end([client])
        assert (0, "") == server.stop()


def test_the_connection_that_has_waited_longest_makes_room(sqlite_url: str) -> None:
    with exporter(sqlite_url, connections=4, header_seconds=600, idle_seconds=600) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server)) for _ in range(4)]
        assert all(healthy(client) for client in (clients[0], *clients[2:]))
        stack.enter_context(connect(server))
        wait_for_the_end([clients[1]])
        assert all(healthy(client) for client in (clients[0], *clients[2:]))
        assert (0, "") == server.stop()


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux can lower the limit of another process")
def test_a_process_without_descriptors_says_so_in_a_line_and_goes_on_when_it_has_some(sqlite_url: str) -> None:
    with exporter(sqlite_url) as server, ExitStack() as stack:
        server.scrape()
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        stack.enter_context(connect(server))
        assert server.process.stderr is not None
        told = server.process.stderr.readline()
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
        scrape = server.scrape()
        status, errors = server.stop()

    assert 1 == scrape.total("pixelmeter_requests_total")
    assert "the server goes on after a failure: socket.accept() out of system resource: [Errno 24] Too many" in told
    assert (0, "") == (status, errors)


def test_limits_leave_room_for_everything_else() -> None:
    for descriptors in (64, 128, 256, 1024):
        code = (
            f"import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, {descriptors}))\n"
            "from pixelmeter.serve.connections import suitable_limits\nprint(suitable_limits().connections)"
        )
        ended = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
        connections = int(ended.stdout)
        assert 8 <= connections <= 100
        assert descriptors < 256 or connections + 3 * Limits(connections=connections).burst + 32 < descriptors
    assert suitable_limits().connections <= 100
