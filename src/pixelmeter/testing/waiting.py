"""Requests that wait for their release, and tests that wait for requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Waiting"]


class Waiting:
    """Keeps held requests, and wakes whoever waits until something has come true."""

    def __init__(self) -> None:
        self._held: list[tuple[asyncio.Future[None], Callable[[], bool]]] = []
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def held(self) -> int:
        """How many requests wait whose client is still there."""
        return sum(not gone() for _, gone in self._held)

    async def hold(self, gone: Callable[[], bool]) -> None:
        """Wait for the release; `gone` tells whether the client has left meanwhile."""
        released = asyncio.get_running_loop().create_future()
        place = (released, gone)
        self._held.append(place)
        self.changed()
        try:
            await released
        finally:
            if place in self._held:
                self._held.remove(place)

    def release(self) -> int:
        """Let every held request go on; return how many there were."""
        held, self._held = self._held, []
        for released, _ in held:
            if not released.done():
                released.set_result(None)
        return len(held)

    def changed(self) -> None:
        """Look again whether what is waited for has come true."""
        for true, future in self._watchers:
            if not future.done() and true():
                future.set_result(None)

    async def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Return True as soon as it is, False when it is not after that many seconds."""
        if true():
            return True
        watcher = (true, asyncio.get_running_loop().create_future())
        self._watchers.append(watcher)
        try:
            await asyncio.wait_for(watcher[1], seconds)
        except TimeoutError:
            return False
        finally:
            self._watchers.remove(watcher)
        return True
