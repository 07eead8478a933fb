"""Many streams at once, many calls one after the other, large answers and slow readers: memory stays where it was."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pixelmeter.testing import Gateway
from tests.ledger.reading import stored
from tests.proxy.sidecar import connect, proxying
from tests.proxy.test_metering import BODY, PATH
from tests.proxy.upstream import GENEROUS, Arrived, Upstream

pytestmark = pytest.mark.slow

MB = 1024 * 1024


def memory(process: int) -> int:
    """Return the bytes that a process has in memory, without those of files that it shares with others."""
    fields = dict(
        line.split(":\t") for line in Path(f"/proc/{process}/status").read_text().splitlines() if ":\t" in line
    )
    return int(fields["RssAnon"].split()[0]) * 1024


def test_two_hundred_streams_at_once_go_on_together(sqlite_url: str) -> None:
    behind = Upstream()
    everybody, streams = threading.Barrier(200), 200

    def answer(client: socket.socket, _: Arrived) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        # None of them goes on before all of them have begun.
        everybody.wait(GENEROUS)
        for event in (b'{"type": "image_generation.partial_image"}', COMPLETED):
            data = b"data: " + event + b"\n\n"
            client.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        client.sendall(b"0\r\n\r\n")

    async def one(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        content = json.dumps(BODY | {"stream": True, "n": 1, "model": "openai/gpt-image-1"}).encode()
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
            f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        received = await reader.read()
        writer.close()
        return received

    async def together(port: int) -> list[bytes]:
        async with asyncio.timeout(GENEROUS):
            return await asyncio.gather(*(one(port) for _ in range(streams)))

    behind.answer = answer
    with proxying(behind.root, url=sqlite_url) as sidecar:
        received = asyncio.run(together(urlsplit(sidecar.root).port or 0))
        assert (0, "") == sidecar.stop()
    behind.close()
    rows = stored(sqlite_url).values()

    assert [True] * streams == [b"completed" in each and each.endswith(b"0\r\n\r\n") for each in received]
    assert [("success", 1)] * streams == [(row.outcome, row.images) for row in rows]


COMPLETED = json.dumps(
    {
        "type": "image_generation.completed",
        "b64_json": "x" * 5000,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 272,
            "total_tokens": 282,
            "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
        },
    }
).encode()


@pytest.mark.slow
def test_ten_thousand_calls_leave_no_memory_behind(gateway: Gateway, sqlite_url: str) -> None:
    with proxying(gateway.root, url=sqlite_url) as sidecar:
        call_again_and_again(sidecar.root, 1500)
        before = memory(sidecar.process.pid)
        call_again_and_again(sidecar.root, 10_000)
        after = memory(sidecar.process.pid)
        assert (0, "") == sidecar.stop()

    assert after - before <= 10 * MB, (before, after)
    assert 11_500 == len(stored(sqlite_url))


def call_again_and_again(root: str, calls: int) -> None:
    parts = urlsplit(root)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=GENEROUS)
    body = json.dumps(BODY)
    for _ in range(calls):
        connection.request("POST", PATH, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert 200 == answer.status
    connection.close()


def test_a_reader_that_takes_its_time_over_a_large_answer_costs_no_memory(sqlite_url: str) -> None:
    behind, size = Upstream(), 64 * MB
    piece, sent = b'"' + b"x" * (MB - 2) + b'"', threading.Semaphore(0)

    def answer(client: socket.socket, _: Arrived) -> None:
        client.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-cost-cents: 4\r\nContent-Length: %d\r\n\r\n" % size
        )
        for _piece in range(size // MB):
            client.sendall(piece)
            sent.release()

    behind.answer = answer
    with proxying(behind.root, url=sqlite_url) as sidecar:
        call(sidecar.root)
        while sent.acquire(blocking=False):
            pass
        before = memory(sidecar.process.pid)
        with connect(sidecar.root) as client:
            content = json.dumps(BODY).encode()
            client.sendall(
                f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
            )
            received = 0
            while received < MB:
                received += len(client.recv(65536))
            # The upstream is held up once the buffers of the system between are full.
            stood_still = 0
            while sent.acquire(timeout=2):
                stood_still += 1
            during = memory(sidecar.process.pid)
            while received < size:
                received += len(client.recv(MB))
        after = memory(sidecar.process.pid)
        assert (0, "") == sidecar.stop()
    behind.close()

    assert stood_still < 40, "the answer was not held up"
    assert max(during, after) - before <= 10 * MB, (before, during, after)
    assert [40_000_000] * 2 == [row.cost for row in stored(sqlite_url).values()]


def call(root: str) -> None:
    """Make a call and read its answer."""
    parts = urlsplit(root)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=GENEROUS)
    connection.request("POST", PATH, json.dumps(BODY), {"content-type": "application/json"})
    answer = connection.getresponse()
    while answer.read(MB):
        pass
    connection.close()
