"""The server process: its socket, its threads, its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import uvicorn
from prometheus_client import CollectorRegistry

from pixelmeter.errors import ConfigError
from pixelmeter.ledger.address import absolute_url
from pixelmeter.meter import adopt
from pixelmeter.serve.adoption import Adoption
from pixelmeter.serve.app import make_app
from pixelmeter.serve.collector import LedgerCollector
from pixelmeter.serve.connections import Limits, connection_class, quiet, suitable_limits
from pixelmeter.serve.guard import Guard
from pixelmeter.settings import from_environment
from pixelmeter.system import SystemClock

__all__ = ["serve_metrics"]

# A scrape waits for the database for five.
_STOP_SECONDS = 7


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(quiet())
        await super().startup(sockets)


def serve_metrics(
    url: str,
    host: str,
    port: int,
    guard: Guard | None,
    ready: Callable[[str], None],
    limits: Limits | None = None,
) -> None:
    """Serve the metrics of a ledger until SIGTERM or SIGINT; `ready` is told the address, once it can be reached.

    What clients may take follows from the file descriptors of the process where no `limits` are given. ConfigError for
    an address that cannot be had and a database URL that cannot be used.
    """
    settings = from_environment()
    url = absolute_url(url)
    registry = CollectorRegistry()
    registry.register(LedgerCollector(url, clock=SystemClock()))
    app = make_app(registry, guard)
    limits = limits or suitable_limits()
    with _listen(host, port) as listening:
        config = uvicorn.Config(
            app,
            # The ones that the limits are made for, whatever else is installed.
            loop="asyncio",
            http=connection_class(limits),
            ws="none",
            lifespan="off",
            backlog=limits.burst,
            timeout_keep_alive=limits.idle_seconds,
            access_log=False,
            log_level="warning",
            server_header=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        server = _Server(config)

        # uvicorn takes the signals over when it has begun to run, and raises them once more when it has stopped: before
        # that they must not get lost, and after it not end us with an error.
        def stop(*_: object) -> None:
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        with Adoption(lambda: adopt(url, settings)):
            ready(_shown(listening))
            server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
