"""A program that makes images, metered, and shows its metrics: `python -m tests.monitoring.program GATEWAY LEDGER`.

It prints where Prometheus finds it ("127.0.0.1:PORT"), and goes on until its standard input ends.
"""

from __future__ import annotations

import sys
import threading

import httpx
from prometheus_client import CollectorRegistry, start_http_server

import pixelmeter

_PAUSE = 0.1


def main(gateway: str, ledger: str) -> None:
    registry = CollectorRegistry()
    server, thread = start_http_server(0, "127.0.0.1", registry)
    over = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=[over]).start()
    with pixelmeter.Meter(ledger, registry=registry) as meter, httpx.Client(timeout=10) as client:
        pixelmeter.instrument(client, meter)
        sys.stdout.write(f"127.0.0.1:{server.server_port}\n")
        sys.stdout.flush()
        while not over.wait(_PAUSE):
            client.post(f"{gateway}/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "a fox"})
    server.shutdown()
    thread.join()
    server.server_close()


def _wait_for_the_end(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
