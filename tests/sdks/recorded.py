"""Recorded answers of vendors, served on loopback to their own SDKs."""

from __future__ import annotations

import base64
import http.server
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Recording", "recording", "served"]

_FOLDER = Path(__file__).parents[1] / "exchanges"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_HEAD = struct.pack(">IIBBBBB", 1024, 1024, 8, 0, 0, 0, 0)
_PIXELS = zlib.compress(bytes(1024 * 1025))
_CHUNKS = (_chunk(b"IHDR", _HEAD), _chunk(b"IDAT", _PIXELS), _chunk(b"IEND", b""))
_PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(_CHUNKS)).decode()
"""A picture that SDKs can open."""

_WORDS = {
    "type": "message",
    "id": "m",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "done", "annotations": []}],
}


@dataclass
class Recording:
    """One of the exchanges of tests/exchanges."""

    date: str
    request: dict[str, Any]
    response: dict[str, Any]
    expect: dict[str, Any]
    paths: list[str] = field(default_factory=list)
    """Where requests have gone."""


def recording(file: str, what: str) -> Recording:
    """Return the exchange of that name."""
    text = (_FOLDER / f"{file}.json").read_text().replace('"PNG"', f'"{_PNG}"')
    [found] = [each for each in json.loads(text) if each["what"] == what]
    if "output" in found["response"]["json"]:
        # Agents go on asking until somebody says something.
        found["response"]["json"]["output"].append(_WORDS)
    return Recording(found["date"], found["request"], found["response"], found["expect"])


@contextmanager
def served(exchange: Recording) -> Iterator[str]:
    """Answer each POST as the exchange does, and give the URL of the server."""
    body = json.dumps(exchange.response["json"]).encode()

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Without it each answer waits for an acknowledgement of its head.
        wbufsize = -1

        def do_POST(self) -> None:
            if self.headers.get("transfer-encoding") == "chunked":
                while (size := int(self.rfile.readline(), 16)) > 0:
                    self.rfile.read(size + 2)
                self.rfile.readline()
            self.rfile.read(int(self.headers.get("content-length", 0)))
            exchange.paths.append(self.path)
            self.send_response(exchange.response["status"])
            headers = {"content-type": "application/json", "content-length": str(len(body))}
            for name, value in (headers | exchange.response.get("headers", {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Write nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
