"""Starts the proxy: one process, or several that share their sockets, with one port for operators."""

from __future__ import annotations

import asyncio
import importlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from multiprocessing.context import SpawnProcess
from typing import Any

from prometheus_client import CollectorRegistry

from pixelmeter.errors import ConfigError, LedgerError
from pixelmeter.meter import Meter
from pixelmeter.proxy.admin import Admin, AdminPort
from pixelmeter.proxy.server import Listener, Settings, Stop, run_worker
from pixelmeter.sinks.prometheus.workers import Workers
from pixelmeter.upkeep import adopt

__all__ = ["run_proxy"]

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PATIENCE = 5.0
_AGAIN_SECONDS = 1.0
_log = logging.getLogger("pixelmeter")


def run_proxy(
    settings: Settings,
    listeners: Sequence[Listener],
    admin: AdminPort,
    *,
    workers: int,
    ready: Callable[[], object],
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once clients can connect.

    Raises ConfigError for settings that cannot be used.
    """
    settings.tls()
    if workers == 1:
        registry = CollectorRegistry()
        page = Admin(admin, registry)
        asyncio.run(_alone(settings, Meter(settings.database_url, registry=registry), listeners, page, ready))
        return
    if sys.platform == "win32":
        raise ConfigError("several workers need a system that shares sockets, which Windows does not: --workers 1")
    # Read once, so that what cannot be used is said here and not by each worker.
    Meter(settings.database_url).close()
    folder = os.environ.get(_VARIABLE)
    made = None if folder else tempfile.mkdtemp(prefix="pixelmeter-proxy-")
    os.environ[_VARIABLE] = folder = folder or made or ""
    try:
        registry = CollectorRegistry()
        Workers(registry, folder)
        page = Admin(admin, registry)
        asyncio.run(_together(settings, listeners, page, workers, ready, folder))
        # What a worker that died has left, and no other one has come to take in.
        adopt(settings.database_url)
    except LedgerError as error:
        _log.warning("attempts of workers that died wait in the spool: %s", error)
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


async def _alone(
    settings: Settings, meter: Meter, listeners: Sequence[Listener], page: Admin, ready: Callable[[], object]
) -> None:
    stop = Stop()
    stop.on_signals()
    await run_worker(settings, meter, listeners, stop=stop, admin=page, ready=ready)


async def _together(
    settings: Settings,
    listeners: Sequence[Listener],
    page: Admin,
    workers: int,
    ready: Callable[[], object],
    folder: str,
) -> None:
    stop = Stop()
    stop.on_signals()
    async with AsyncExitStack() as stack:
        await page.open(stack, settings.tls())
        seats = [_Seat(settings, listeners, folder) for _ in range(workers)]
        tasks = [asyncio.create_task(seat.keep()) for seat in seats]
        starting = asyncio.create_task(_up(seats, page, ready))
        await stop.wait()
        starting.cancel()
        page.is_ready = False
        for seat in seats:
            seat.end()
        _, late = await asyncio.wait(tasks, timeout=settings.stop_seconds + 2 * _PATIENCE)
        for seat in seats:
            seat.kill()
        if late:
            await asyncio.wait(late, timeout=_PATIENCE)


async def _up(seats: Sequence[_Seat], page: Admin, ready: Callable[[], object]) -> None:
    """Say that calls are taken, once every worker takes them."""
    for seat in seats:
        await seat.is_up.wait()
    page.is_ready = True
    ready()


class _Seat:
    """A worker, and the one after it where it dies."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener], folder: str) -> None:
        self._settings = settings
        self._listeners = listeners
        self._folder = folder
        self._process: SpawnProcess | None = None
        self._is_ending = False
        self.is_up = asyncio.Event()

    async def keep(self) -> None:
        """Run a worker, and another one whenever it ends, until the end."""
        while not self._ends():
            context = multiprocessing.get_context("spawn")
            here, there = context.Pipe(duplex=False)
            self._process = process = context.Process(
                target=_work, args=(self._settings, self._listeners, there), name="pixelmeter-proxy"
            )
            await asyncio.to_thread(process.start)
            there.close()
            await self._started(here)
            if self._ends():
                self.end()
            await _readable(process.sentinel)
            here.close()
            process.join()
            _forget(process.pid, self._folder)
            if not self._ends():
                _log.warning("a worker of the proxy has ended with status %s; another one begins", process.exitcode)
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _started(self, pipe: Any) -> None:
        await _readable(pipe.fileno())
        try:
            pipe.recv()
        except EOFError:
            return
        self.is_up.set()

    def _ends(self) -> bool:
        # Asked anew each time: it changes while this waits.
        return self._is_ending

    def end(self) -> None:
        """Have the worker end once what is under way is done."""
        self._is_ending = True
        process = self._process
        if process is not None and process.pid is not None and process.is_alive():
            os.kill(process.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End the worker at once."""
        if self._process is not None and self._process.is_alive():
            self._process.kill()


def _forget(process: int | None, folder: str) -> None:
    """Have the gauges of a worker that has ended count no more."""
    library: Any = importlib.import_module("prometheus_client.multiprocess")
    library.mark_process_dead(process, folder)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    is_readable = asyncio.Event()
    loop.add_reader(descriptor, is_readable.set)
    try:
        await is_readable.wait()
    finally:
        loop.remove_reader(descriptor)


def _work(settings: Settings, listeners: Sequence[Listener], told: Any) -> None:
    """Be a worker."""
    meter = Meter(settings.database_url, registry=CollectorRegistry())
    asyncio.run(_one_of_many(settings, meter, listeners, told))


async def _one_of_many(settings: Settings, meter: Meter, listeners: Sequence[Listener], told: Any) -> None:
    stop = Stop()
    stop.on_signals()
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Nobody would end it otherwise.
        asyncio.get_running_loop().add_reader(parent.sentinel, stop.set)
    await run_worker(settings, meter, listeners, stop=stop, ready=lambda: told.send(True))
