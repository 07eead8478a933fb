"""The server: its socket, its app, its end, and the thread that takes in what dead processes left in the spool."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from pixelmeter.ledger.address import absolute_url
from pixelmeter.serve.access import HEALTHY, METRICS, Access
from pixelmeter.serve.collector import LedgerCollector
from pixelmeter.serve.connections import Limits, failure_logger, suitable_limits
from pixelmeter.serve.guard import Guard
from pixelmeter.serve.listening import listen, shown
from pixelmeter.serve.protocol import connection_class
from pixelmeter.settings import from_environment
from pixelmeter.system import SystemClock
from pixelmeter.upkeep import adopt

__all__ = ["make_app", "serve"]

# Longer than the five seconds for which a scrape waits for the database.
_STOP_SECONDS = 7
_ADOPT_EVERY_SECONDS = 60.0
_ADOPTION_STOP_SECONDS = 5.0
_log = logging.getLogger("pixelmeter")


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(failure_logger())
        await super().startup(sockets)


def serve(
    url: str,
    host: str,
    port: int,
    guard: Guard | None,
    ready: Callable[[str], None],
    limits: Limits | None = None,
    *,
    has_page: bool = False,
    tags: Sequence[str] = (),
) -> None:
    """Serve the metrics of a ledger, and with `has_page` its page, until SIGTERM or SIGINT.

    `ready` is told the address, once it can be reached; `tags` are those by which the metrics show spend too.

    What clients may take follows from the file descriptors of the process where no `limits` are given. ConfigError for
    an address that cannot be had and a database URL that cannot be used.
    """
    settings = from_environment()
    url = absolute_url(url)
    registry = CollectorRegistry()
    registry.register(LedgerCollector(url, clock=SystemClock(), tags=tags))
    app = make_app(registry, guard, _pages(url) if has_page else [])
    limits = limits or suitable_limits()
    with listen(host, port) as listening:
        config = uvicorn.Config(
            app,
            # Not uvicorn's choice, which goes by what is installed: the limits are made for these two.
            loop="asyncio",
            http=connection_class(limits),
            ws="none",
            lifespan="off",
            backlog=limits.burst,
            timeout_keep_alive=limits.idle_seconds,
            access_log=False,
            # Below that it has a line for each request that is none, and those need no secret.
            log_level="error",
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
        with _Adoption(lambda: adopt(url, settings)):
            ready(shown(listening))
            server.run(sockets=[listening])


def _pages(url: str) -> Sequence[BaseRoute]:
    # Imported late: whoever serves metrics alone needs no templates.
    from pixelmeter.serve.page.app import Page

    return Page(url, SystemClock()).routes()


def make_app(registry: CollectorRegistry, guard: Guard | None, pages: Sequence[BaseRoute]) -> Starlette:
    """Return the app that shows a registry and pages, to whom the guard lets in; `/-/healthy` is for everybody."""

    # Not async, so Starlette runs it in a thread: a ledger that takes its time does not hold up /-/healthy.
    def metrics(request: Request) -> Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
        except TypeError:
            # The header names a version that is no number.
            encode, content_type = choose_encoder("")
        return Response(encode(registry), headers={"content-type": content_type})

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    return Starlette(
        routes=[Route(METRICS, metrics), Route(HEALTHY, healthy), *pages],
        middleware=[
            Middleware(Access, guard, has_page=bool(pages)),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=4),
        ],
    )


class _Adoption:
    """Runs `adopt` at once and every minute, in a thread beside whatever is done within its `with`."""

    def __init__(self, adopt: Callable[[], object]) -> None:
        self._adopt = adopt
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pixelmeter-adoption", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(_ADOPTION_STOP_SECONDS)

    def _run(self) -> None:
        said = ""
        while True:
            told = ""
            try:
                self._adopt()
            except Exception as error:
                told = " ".join(str(error).split())
            if told and told != said:
                _log.warning("attempts of processes that died may be missing: %s", told)
            said = told
            if self._stopped.wait(_ADOPT_EVERY_SECONDS):
                return
