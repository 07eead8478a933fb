"""The stand-in gateway as a process: `python -m pixelmeter.testing.gateway --log PATH`.

It prints {"url": "http://127.0.0.1:PORT", "pid": …} on a line when it is ready, and ends on SIGTERM, SIGINT, or when
the pipe that is its standard input closes, so that it does not outlive whoever started it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path

from pixelmeter.testing.server import Server
from pixelmeter.testing.state import State

__all__ = ["main"]

_STDIN = 0
_HEAD_LIMIT = 1 << 18


async def _run(port: int, log: Path, seed: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    kind = os.fstat(_STDIN).st_mode
    if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
        loop.add_reader(_STDIN, _watch, stopped)
    server = Server(State(log, seed))
    listener = await asyncio.start_server(
        server.connected, "127.0.0.1", port, limit=_HEAD_LIMIT, backlog=4096, start_serving=True
    )
    address = listener.sockets[0].getsockname()
    sys.stdout.write(json.dumps({"url": f"http://{address[0]}:{address[1]}", "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    await stopped.wait()
    listener.close()


def _watch(stopped: asyncio.Event) -> None:
    if not os.read(_STDIN, 4096):
        stopped.set()


def main() -> None:
    """Run a gateway until it is told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m pixelmeter.testing.gateway", description="A stand-in image gateway on loopback, for tests."
    )
    parser.add_argument("--port", type=int, default=0, help="the port to listen at; 0 takes a free one")
    parser.add_argument("--log", type=Path, required=True, help="the file to append the billing log to")
    parser.add_argument("--seed", type=int, default=0, help="decides the pictures and every chance")
    given = parser.parse_args()
    try:
        asyncio.run(_run(given.port, given.log, given.seed))
    except OSError as error:
        sys.exit(f"the stand-in gateway cannot start: {error}; choose another --port or --log")


if __name__ == "__main__":
    main()
