"""The process of the proxy: a meter, listeners, the port for operators, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractCookieJar

from pixelmeter.errors import ConfigError
from pixelmeter.meter import Meter, intake_of
from pixelmeter.proxy.admin import Admin
from pixelmeter.proxy.calls import CallLimits, Proxy
from pixelmeter.proxy.connections import Server
from pixelmeter.proxy.metering import Metering
from pixelmeter.proxy.resolving import connector
from pixelmeter.proxy.upstreams import Upstream, Upstreams
from pixelmeter.serve.connections import Limits, Places, failure_logger, room_for
from pixelmeter.serve.guard import Guard

__all__ = ["Listener", "Settings", "Stop", "run_worker"]

_MOST_CONNECTIONS = 1000
# That of a client, that to the gateway, and some for files.
_DESCRIPTORS = 3
_ANSWER_HEAD_LIMIT = 65_536
_CLOSE_SECONDS = 10.0
_OPEN_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A socket that listens, and what the calls that come through it are spent for."""

    socket: socket.socket
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    needs_token: bool = False
    """Whether it can be reached from elsewhere, so that its clients send a token over TLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every process of the proxy is told."""

    database_url: str
    upstreams: Sequence[Upstream]
    guard: Guard | None = None
    certificate: tuple[Path, Path] | None = None
    """The files of the chain and of its key, both PEM."""
    calls: CallLimits = field(default_factory=CallLimits)
    connections: int | None = None
    """How many a process takes; None for what its file descriptors allow, up to 1,000."""
    stop_seconds: float = 120.0
    """How long running calls have when the process is told to end."""

    def clients(self) -> Limits:
        """Return what clients may take."""
        most = room_for(_MOST_CONNECTIONS, descriptors=_DESCRIPTORS)
        return Limits(connections=self.connections or most, header_seconds=15.0, answer_seconds=None, idle_seconds=75)

    def tls(self) -> ssl.SSLContext | None:
        """Return how to encrypt; ConfigError for files that cannot be used."""
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(*self.certificate)
        except (OSError, ValueError) as error:
            raise ConfigError(f"the certificate cannot be used: {error}") from None
        return context


class _NoCookies(aiohttp.DummyCookieJar):
    """Cookies are the clients' own."""


class Stop:
    """Set when the process is to end; safe to set from a signal."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self, *_: object) -> None:
        """End the process, once what is under way is done."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return when it is set."""
        await self._event.wait()

    def on_signals(self) -> None:
        """Set it at SIGTERM and Ctrl-C."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self.set)


async def run_worker(
    settings: Settings,
    meter: Meter,
    listeners: Sequence[Listener],
    *,
    stop: Stop,
    admin: Admin | None = None,
    ready: Callable[[], object] = lambda: None,
) -> None:
    """Serve until `stop` is set, then finish what is under way, and close the meter; `ready` is called in between."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(failure_logger())
    # Before the first call: budgets are at hand then, and what a process before this one has left is taken in.
    await asyncio.to_thread(intake_of(meter).recorder.open, _OPEN_SECONDS)
    limits, tls = settings.clients(), settings.tls()
    places = Places(limits)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, meter.close, _CLOSE_SECONDS)
        session = await stack.enter_async_context(_session(settings.calls))
        proxy = Proxy(Upstreams(settings.upstreams), Metering(meter), session, limits=settings.calls)
        guarded = Proxy(
            Upstreams(settings.upstreams),
            proxy.metering,
            session,
            guard=settings.guard,
            limits=settings.calls,
            room=proxy.room,
        )
        servers: list[tuple[Server, asyncio.Server]] = []
        for listener in listeners:
            to = guarded if listener.needs_token else proxy
            server = Server(partial(_answer, to, listener.tags), places, stall=settings.calls.idle_seconds)
            listening = await server.listen(listener.socket, tls)
            servers.append((server, listening))
        if admin is not None:
            await admin.open(stack, tls)
            admin.is_ready = True
        ready()
        await stop.wait()
        if admin is not None:
            admin.is_ready = False
        proxy.is_stopping = guarded.is_stopping = True
        for _, listening in servers:
            listening.close()
        await _finish([proxy, guarded], places, settings.stop_seconds)
        for server, _ in servers:
            await server.shutdown(1.0)


async def _answer(proxy: Proxy, tags: Mapping[str, str], request: Any) -> Any:
    return await proxy.answer(request, tags)


async def _finish(proxies: Sequence[Proxy], places: Places, seconds: float) -> None:
    """Return when nothing is under way any more, or the time is up."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        # Those that have just been answered, and asked nothing since, are among them.
        places.close_idle()
        if not any(proxy.running for proxy in proxies) or loop.time() >= end:
            return
        await asyncio.sleep(0.02)


def _session(limits: CallLimits) -> aiohttp.ClientSession:
    cookies: AbstractCookieJar = _NoCookies()
    return aiohttp.ClientSession(
        connector=connector(),
        cookie_jar=cookies,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=None, sock_connect=limits.connect_seconds, sock_read=limits.idle_seconds
        ),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=_ANSWER_HEAD_LIMIT,
        max_field_size=_ANSWER_HEAD_LIMIT,
        trust_env=False,
    )
